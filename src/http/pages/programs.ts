import { html } from 'hono/html'
import type { OwnProgram } from '../../delegation/administration/own-programs.ts'
import type { Html } from './layout.ts'
import { moment, timeLeft } from './times.ts'

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
${programs.length === 0 ? html`<p class="soft">None.</p>` : html`<ul class="rows">${programs.map((program) => row(program, section))}</ul>`}`
}

const row = (program: OwnProgram, { csrf, now }: ProgramsSection): Html =>
  html`<li><div class="row"><div><p><strong>${program.title}</strong></p>
<p class="soft"><small>${asWhom(program)}<br>Signed in on ${moment(program.signedInAt)}; ${timeLeft(program.expiresAt.getTime() - now)}</small></p></div>
<form method="post" action="/delegations/programs/${encodeURIComponent(program.id)}/end"><input type="hidden" name="csrf" value="${csrf}"><button class="bad" type="submit">Sign out<span class="unseen"> ${program.title}</span></button></form></div></li>`

function asWhom({ agent, lends, elsewhere, handsTo }: OwnProgram): Html {
  if (handsTo !== undefined)
    return html`Hands this to the agent <strong>${handsTo.title}</strong> (<code>${handsTo.id}</code>), within what you lent it; reads nothing itself`
  const atPlace = elsewhere === undefined ? '' : html` at <code>${elsewhere}</code>`
  if (agent === undefined)
    return html`Acts as you${atPlace}${elsewhere === undefined ? ', with all that you may read' : ''}`
  return html`Acts for you${atPlace} as <code>${agent}</code>${lends ? '; what you lent by it ends with it' : ''}`
}
