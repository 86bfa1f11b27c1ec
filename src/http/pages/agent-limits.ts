import { html } from 'hono/html'
import { limitsAllow } from '../../delegation/lending/collection-limits.ts'
import type { Lendable } from '../../delegation/lending/lendable.ts'
import type { Agent } from '../../delegation/registry/agents.ts'
import type { Html } from './layout.ts'

/**
 * Where the registry lets the agent read at all, in titles of what this person may read themself: others are
 * not theirs to know.
 */
export function limitWords({ limits }: Agent, offered: readonly Lendable[]): string {
  const titles = offered.flatMap(({ object, title }) =>
    object.startsWith('collection:') && limitsAllow(limits, object) ? [title] : [],
  )
  return titles.length === 0 ? 'nothing that you may read' : titles.join(', ')
}

/** Said before something is lent that the agent could not read. */
export function limitHints(agents: readonly Agent[], offered: readonly Lendable[]): Html | string {
  const limited = agents.filter(({ limits }) => limits.collections !== undefined)
  if (limited.length === 0) return ''
  return html`<p class="soft"><small>${limited.map((agent) => html`<code>${agent.id}</code> is limited to: ${limitWords(agent, offered)}.<br>`)}</small></p>`
}
