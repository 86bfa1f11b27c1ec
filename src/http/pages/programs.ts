import { html } from 'hono/html'
import type { OwnProgram } from '../../delegation/administration/own-programs.ts'
import type { Html } from './layout.ts'
import { left, moment } from './times.ts'

export interface ProgramsSection {
  readonly programs: readonly OwnProgram[]
  readonly csrf: string
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** Programs that get tokens for this person, each with its way out. */
export function programsSection(section: ProgramsSection): Html {
  const { programs } = section
  return html`<h2>Programs that you signed in</h2>
${programs.length === 0 ? html`<p class="soft">None.</p>` : html`<ul class="rows">${programs.map((one) => row(one, section))}</ul>`}`
}

const row = (one: OwnProgram, { csrf, now }: ProgramsSection): Html =>
  html`<li><div class="row"><div><p><strong>${one.title}</strong></p>
<p class="soft"><small>${asWhom(one)}<br>Signed in on ${moment(one.signedInAt)}; ${left(one.expiresAt.getTime() - now)}</small></p></div>
<form method="post" action="/delegations/programs/${encodeURIComponent(one.id)}/end"><input type="hidden" name="csrf" value="${csrf}"><button class="bad" type="submit">Sign out<span class="unseen"> ${one.title}</span></button></form></div></li>`

function asWhom({ agent, lends, elsewhere, handsTo }: OwnProgram): Html {
  if (handsTo !== undefined)
    return html`Hands this to the agent <strong>${handsTo.title}</strong> (<code>${handsTo.id}</code>), within what you lent it; reads nothing itself`
  const there = elsewhere === undefined ? '' : html` at <code>${elsewhere}</code>`
  if (agent === undefined)
    return html`Acts as you${there}${elsewhere === undefined ? ', with all that you may read' : ''}`
  return html`Acts for you${there} as <code>${agent}</code>${lends ? '; what you lent by it ends with it' : ''}`
}
