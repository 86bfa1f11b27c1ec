import { html } from 'hono/html'
import type { OwnProgram } from '../../delegation/administration/own-programs.ts'
import type { Lendable } from '../../delegation/lending/lendable.ts'
import type { DelegatedItem, OwnDelegation } from '../../delegation/lending/own-delegations.ts'
import { type Agent, digestOfAgents } from '../../delegation/registry/agents.ts'
import { splitObject } from '../../kernel/ids.ts'
import { limitHints, limitWords } from './agent-limits.ts'
import { endByDefault, ends, lendableLine } from './consent.ts'
import { detailLists } from './details.ts'
import {
  type Choice,
  checkLine,
  doneLine,
  type Html,
  hiddenField,
  optionList,
  page,
  problemLine,
} from './layout.ts'
import { type OwnNav, ownNav } from './own-nav.ts'
import { moment, timeLeft } from './times.ts'

/** What the page of delegations shows. */
export interface DelegationsPage extends OwnNav {
  /** Those that count now. */
  readonly delegations: readonly OwnDelegation[]
  /** That get tokens for this person now. */
  readonly programs: readonly OwnProgram[]
  readonly offered: readonly Lendable[]
  /** Those that are not disabled. */
  readonly agents: readonly Agent[]
  /** Makes the form one of its kind: sent twice, it lends once. */
  readonly once: string
  /** Milliseconds since the epoch. */
  readonly now: number
  /** What was just done, told once. */
  readonly notice: Done | undefined
  /**
   * The form as it was filled in, and what is wrong with it; or as it was before they had to sign in again.
   */
  readonly attempt: Tried | undefined
}

export type Done = 'lent' | 'taken_back' | 'signed_out'

const doneWords: Readonly<Record<Done, string>> = {
  lent: 'Lent. It counts from now on.',
  taken_back: 'Taken back. The agent reads nothing under it any more.',
  signed_out: 'Signed out. That program has to ask you again.',
}

export interface Tried {
  readonly agent: string
  readonly objects: readonly string[]
  /** Folders and documents, typed. */
  readonly more: string
  readonly subAgents: readonly string[]
  readonly seconds: string
  readonly purpose: string
  readonly standing: boolean
  readonly problem?: string
}

const standingEnd: Choice = ['7776000', '90 days from now, if standing (under “More”)']

const untouched: Tried = {
  agent: '',
  objects: [],
  more: '',
  subAgents: [],
  seconds: endByDefault,
  purpose: '',
  standing: false,
}

/** What somebody has lent, to whom, until when; how to take it back, and how to lend more. */
export function delegationsPage(delegationsView: DelegationsPage): string {
  const { person, csrf, waiting, delegations, agents, offered, now, notice } = delegationsView
  const agentsById = new Map(agents.map((agent) => [agent.id, agent]))
  return page({
    title: 'What you have lent',
    body: html`<div class="top"><h1>What you have lent</h1>
<span class="soft who">${person}</span></div>
${doneLine(notice && doneWords[notice])}
${
  delegations.length === 0
    ? html`<p class="empty">Nothing. No agent can read anything for you now.</p>`
    : html`<p class="soft">These agents may read for you. None of them sees more than you may read yourself, and no sensitive document unless you approve it.</p>
${delegations.map((delegation) => card(delegation, { csrf, now, agent: agentsById.get(delegation.agent), offered }))}`
}
${lendSection(delegationsView)}
${programsSection(delegationsView)}
${ownNav({ current: '/delegations', csrf, waiting })}`,
  })
}

interface CardContext extends Pick<DelegationsPage, 'csrf' | 'now' | 'offered'> {
  /** undefined: it is disabled. */
  readonly agent: Agent | undefined
}

function card(delegation: OwnDelegation, { csrf, now, agent, offered }: CardContext): Html {
  return html`<section class="card" aria-label="${delegation.agent}">
<h2>${delegation.agent}${delegation.standing ? html` <span class="tag">standing</span>` : ''}</h2>
<p class="soft">${agent?.purpose ?? 'This agent is disabled: it reads nothing now.'}</p>
<dl>${may(delegation)}
${agent?.limits.collections === undefined || delegation.resource !== undefined ? '' : html`<dt>But only in</dt><dd>${limitWords(agent, offered)}<br><small>the limit set for this agent here</small></dd>`}
<dt>For</dt><dd>${delegation.purpose}</dd>
<dt>Through</dt><dd>${delegation.clients.length === 0 ? 'any program of this agent' : delegation.clients.map(({ title }) => title).join(', ')}</dd>
${delegation.subAgents.length === 0 ? '' : html`<dt>May pass on to</dt><dd>${delegation.subAgents.join(', ')}</dd>`}
<dt>Until</dt><dd>${moment(delegation.expiresAt)}<br><small>${timeLeft(delegation.expiresAt.getTime() - now)}</small></dd></dl>
<form method="post" action="/delegations/${encodeURIComponent(delegation.id)}/revoke">${hiddenField('csrf', csrf)}<button class="bad" type="submit">Take back<span class="unseen"> from ${delegation.agent}</span></button></form>
</section>`
}

const may = ({ resource, details, items: lentItems }: OwnDelegation): Html =>
  resource === undefined
    ? html`<dt>May read</dt><dd><ul class="plain">${lentItems.map(lentItem)}</ul></dd>`
    : html`<dt>May act at</dt><dd><code>${resource}</code>${detailLists(details)}</dd>`

function lentItem({ object, title }: DelegatedItem): Html {
  const { type, id } = splitObject(object)
  return title === undefined
    ? html`<li><code>${id}</code> <small>${type}; nothing that you may read now</small></li>`
    : html`<li>${title} <small>${type === 'organization' ? 'organization; everything in it that you may read' : type}</small></li>`
}

function lendSection({
  csrf,
  offered,
  agents,
  once,
  attempt = untouched,
  delegations,
}: DelegationsPage): Html {
  const isKept = attempt !== untouched && attempt.problem === undefined
  const isOpen = attempt !== untouched || delegations.length === 0
  return html`<details${isOpen ? html` open` : ''}><summary>Lend to an agent</summary>
${problemLine(attempt.problem)}
${isKept ? html`<p class="warnbox" role="status">Nothing is lent yet. This is what you had filled in before you had to sign in again: press Lend.</p>` : ''}
${agents.length === 0 ? html`<p class="empty">No agent is registered here yet.</p>` : lendForm({ csrf, offered, agents, once, attempt })}
</details>`
}

function lendForm({
  csrf,
  offered,
  agents,
  once,
  attempt,
}: Pick<DelegationsPage, 'csrf' | 'offered' | 'agents' | 'once'> & { readonly attempt: Tried }): Html {
  const passed = new Set(attempt.subAgents)
  return html`<form method="post" action="/delegations/lend">
${hiddenField('csrf', csrf)}${hiddenField('once', once)}${hiddenField('shown', digestOfAgents(agents))}
<label class="field">To which agent?<select name="agent" required><option value="">Choose</option>${optionList(
    agents.map(({ id, purpose }) => [id, `${id}: ${shortened(purpose)}`]),
    attempt.agent,
  )}</select></label>
${limitHints(agents, offered)}
<fieldset><legend>What may it read?</legend>
<p class="soft"><small>The agent uses one of your loans at a time: the standing one, or else the newest. Choose again what it is to keep.</small></p>
${offered.map((entry) => lendableLine(entry, attempt.objects.includes(entry.object)))}
<label class="field light">Single folders or documents, one a line<br><small>a folder as <code>folder:</code> and its id, a document as <code>document:</code> and its id</small><textarea name="more" rows="2" placeholder="folder:support/playbooks
document:handbook/travel.md" autocapitalize="none" spellcheck="false">${attempt.more}</textarea></label></fieldset>
<label class="field">What is it for?<input type="text" name="purpose" value="${attempt.purpose}" maxlength="500" required></label>
<label class="field">Until when?<select name="seconds">${optionList([...ends, standingEnd], attempt.seconds)}</select></label>
<details class="inner"${passed.size > 0 || attempt.standing ? html` open` : ''}><summary>More</summary>
<fieldset><legend>May it pass this on to other agents?</legend>${agents.map(({ id }) => checkLine('sub_agent', id, html`${id}`, passed.has(id)))}</fieldset>
${checkLine('standing', 'yes', html`Standing <small>up to 90 days, one for each agent. It also counts where the agent signs in through another provider, whose tokens cannot say which of your loans they are for</small>`, attempt.standing)}
</details>
<div class="buttons"><button class="main wakes" type="submit">Lend</button></div>
</form>`
}

const shortened = (text: string): string => (text.length > 60 ? `${text.slice(0, 59)}…` : text)

type ProgramsSection = Pick<DelegationsPage, 'programs' | 'csrf' | 'now'>

/** Programs that get tokens for this person, each with its way out. */
function programsSection(section: ProgramsSection): Html {
  const { programs } = section
  return html`<h2>Programs that you signed in</h2>
${programs.length === 0 ? html`<p class="soft">None.</p>` : html`<ul class="rows">${programs.map((program) => row(program, section))}</ul>`}`
}

const row = (program: OwnProgram, { csrf, now }: ProgramsSection): Html =>
  html`<li><div class="row"><div><p><strong>${program.title}</strong></p>
<p class="soft"><small>${asWhom(program)}<br>Signed in on ${moment(program.signedInAt)}; ${timeLeft(program.expiresAt.getTime() - now)}</small></p></div>
<form method="post" action="/delegations/programs/${encodeURIComponent(program.id)}/end">${hiddenField('csrf', csrf)}<button class="bad" type="submit">Sign out<span class="unseen"> ${program.title}</span></button></form></div></li>`

function asWhom({ agent, lends, elsewhere, handsTo }: OwnProgram): Html {
  if (handsTo !== undefined)
    return html`Hands this to the agent <strong>${handsTo.title}</strong> (<code>${handsTo.id}</code>), within what you lent it; reads nothing itself`
  const atPlace = elsewhere === undefined ? '' : html` at <code>${elsewhere}</code>`
  if (agent === undefined)
    return html`Acts as you${atPlace}${elsewhere === undefined ? ', with all that you may read' : ''}`
  return html`Acts for you${atPlace} as <code>${agent}</code>${lends ? '; what you lent by it ends with it' : ''}`
}
