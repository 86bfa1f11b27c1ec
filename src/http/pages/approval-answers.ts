import { html } from 'hono/html'
import { textMax } from '../../delegation/approvals/decide.ts'
import { coolDownMs, hourlyMax, openMax } from '../../delegation/approvals/limits.ts'
import type { OwnApproval } from '../../delegation/approvals/own.ts'
import { questionsMax } from '../../delegation/approvals/request-approval.ts'
import type { ShownApproval } from '../../delegation/approvals/view.ts'
import type { StepUpWay } from '../../delegation/people/step-up.ts'
import { type Choice, checkLine, type Html, hiddenField, optionList } from './layout.ts'

/** The forms of an answer as they were filled in. */
export interface TriedAnswer {
  readonly documents: readonly string[] | undefined
  readonly extent: string
  readonly seconds: string
  readonly place: string
  readonly rememberSeconds: string
  readonly reason: string
  readonly blocks: boolean
  readonly question: string
}

/** An answer that nobody has begun: once, for a quarter of an hour. */
export const untouched: TriedAnswer = {
  documents: undefined,
  extent: 'once',
  seconds: '900',
  place: '',
  rememberSeconds: '86400',
  reason: '',
  blocks: false,
  question: '',
}

/** What the forms of an answer show. */
export interface Answering {
  readonly approval: OwnApproval
  readonly csrf: string
  /** Of what this page shows. */
  readonly digest: string
  readonly triedAnswer: TriedAnswer
  /** Whether the sign-in is too old for anything but a no. */
  readonly isStale: boolean
  /** How the person verifies themself for a yes; undefined: they have, or it takes none. */
  readonly stepUp: StepUpWay | undefined
  /** Milliseconds since the epoch. */
  readonly now: number
  readonly publicUrl: string
}

/** In seconds. */
const spans: readonly Choice[] = [
  ['300', '5 minutes'],
  ['900', '15 minutes'],
  ['3600', '1 hour'],
  ['28800', '8 hours'],
  ['86400', '24 hours'],
]
const longSpans: readonly Choice[] = [
  ['3600', '1 hour'],
  ['86400', '24 hours'],
  ['604800', '7 days'],
  ['2592000', '30 days'],
]

/** Yes, as far as they want, and no. */
export function answerForms(answering: Answering): Html {
  const { approval, isStale } = answering
  return html`${isNothing(approval.shown) ? '' : isStale ? signInFirst(approval.shown) : yesForm(answering)}${noForm(answering)}`
}

const signInFirst = ({ id }: ShownApproval): Html =>
  html`<p><a class="button main" href="/sign-in?next=${encodeURIComponent(`/approvals/${id}`)}">Sign in again to approve</a></p>
<p class="soft">Your sign-in was more than 15 minutes ago. You come back to this page. Refusing needs no sign-in.</p>`

/** Nothing is left that could be agreed to. */
const isNothing = ({ asked: requested, documents }: ShownApproval): boolean =>
  requested.kind === 'documents' && documents.length === 0

function yesForm(answering: Answering): Html {
  const { approval, stepUp } = answering
  const { shown: request } = approval
  if (stepUp !== undefined && stepUp.way !== 'passkey') return otherWay(stepUp.way, request.id)
  const script =
    stepUp === undefined
      ? ''
      : html` data-passkey="get" data-options="${JSON.stringify(stepUp.options)}" hidden`
  return html`${stepUp === undefined ? '' : html`<p class="soft" data-without-script>Approving this takes a passkey, and this browser uses none here: it is too old, or runs no JavaScript. You can refuse.</p>`}
<form method="post" action="/approvals/${request.id}/decision" id="yes"${script}>
${hidden(answering, 'approve')}${stepUp === undefined ? '' : html`<input type="hidden" name="answer">`}
${extent(answering)}
<div class="buttons"><button class="main wide wakes" type="submit">${stepUp === undefined ? 'Approve' : 'Approve with your passkey'}</button></div>
<p class="problem" role="status"></p></form>`
}

const hidden = ({ csrf, digest }: Answering, decision: string): Html =>
  html`${hiddenField('csrf', csrf)}${hiddenField('digest', digest)}${hiddenField('decision', decision)}`

const otherWay = (alternative: 'elsewhere' | 'add_passkey' | 'none', id: string): Html => {
  const back = encodeURIComponent(`/approvals/${id}`)
  switch (alternative) {
    case 'elsewhere':
      return html`<p>To approve this, show that it is you who sits here: <a href="/sign-in?next=${back}">sign in once more</a> at your provider, in a way that takes more than a password.</p>`
    case 'add_passkey':
      return html`<p>To approve this you need a passkey: your fingerprint, your face or the PIN of a device of yours. <a href="/passkeys">Add one</a>, then come back. If an account elsewhere is linked to yours, <a href="/sign-in?next=${back}">sign in with that</a> first: a passkey that is added without it can approve this only after a day.</p>`
    case 'none':
      return html`<p class="problem">This takes a passkey, and there are none here: the address of this service is a number, not a name. You can refuse.</p>`
  }
}

/** How far a yes goes. A token for an API is as long as it is. */
function extent({ approval, triedAnswer, now }: Answering): Html | string {
  const { shown: request } = approval
  const { kind } = request.asked
  if (kind === 'access') return ''
  const options = (spans: readonly Choice[], chosen: string) =>
    optionList(spansWithin(spans, request.lentUntil.getTime() - now), chosen)
  const select = (name: string, spans: readonly Choice[], chosen: string) =>
    html`<select name="${name}" aria-label="For how long?">${options(spans, chosen)}</select>`
  if (kind === 'vault_call')
    return html`<label class="field">It may do this once, within<select name="seconds">${options(spans, triedAnswer.seconds)}</select></label>`
  const choice = (value: string, label: Html, extra: Html) =>
    html`<div class="choice"><label class="line"><input type="radio" name="extent" value="${value}"${triedAnswer.extent === value ? html` checked` : ''}> <span>${label}</span></label><div class="more">${extra}</div></div>`
  return html`<fieldset><legend>How far does your yes go?</legend>
${choice('once', html`<strong>Once</strong><br><small>for one answer to what it just looked for. Its question is not kept in words, so it cannot be shown here.</small>`, html`Within ${select('seconds', spans, triedAnswer.seconds)}`)}
${choice('while', html`<strong>For a while</strong><br><small>as often as it needs these documents</small>`, html`For ${select('while_seconds', spans, triedAnswer.seconds)}`)}
${
  request.places.length === 0
    ? ''
    : choice(
        'remember',
        html`<strong>Without asking again</strong><br><small>for everything in one place, not only these documents</small>`,
        html`<select name="place" aria-label="Where?">${optionList(
          request.places.map(({ object, title }) => [object, title]),
          triedAnswer.place,
        )}</select>
<p class="warnbox"><strong>Documents that are added there later are included</strong>, sensitive ones too, as far as you may read them and have lent them.</p>For ${select('remember_seconds', longSpans, triedAnswer.rememberSeconds)}`,
      )
}</fieldset>`
}

/** No yes lasts longer than what was lent: what would is offered as that. */
function spansWithin(spans: readonly Choice[], lentMs: number): readonly Choice[] {
  const shorter = spans.filter(([seconds]) => Number(seconds) * 1_000 <= lentMs)
  const [nextLonger] = spans.slice(shorter.length)
  return nextLonger === undefined ? shorter : [...shorter, [nextLonger[0], 'until what you lent it ends']]
}

const noForm = (answering: Answering): Html =>
  html`<form method="post" action="/approvals/${answering.approval.shown.id}/decision" class="way">${hidden(answering, 'deny')}
<button class="wide" type="submit">Refuse</button></form>
<p class="soft"><small>If you do not know why it asks, refuse: nothing is lost.</small></p>`

/** What else than yes and no: a question first, or a no that says more. */
export const moreWays = (answering: Answering): Html =>
  html`<div class="ways-on">${answering.isStale ? '' : askForm(answering)}${longNoForm(answering)}</div>`

/** What they want to know first. */
function askForm(answering: Answering): Html | string {
  const { approval, triedAnswer } = answering
  const { shown: request } = approval
  const roundsLeft = questionsMax - request.rounds.length
  if (request.state === 'info_requested' || roundsLeft <= 0) return ''
  return html`<details${triedAnswer.question === '' ? '' : html` open`}><summary>Ask it something first</summary>
<form method="post" action="/approvals/${request.id}/decision">${hidden(answering, 'ask')}
<label class="field light">Your question to the agent<input type="text" name="question" value="${triedAnswer.question}" maxlength="${textMax}" required autocomplete="off"></label>
<p class="soft"><small>${roundsLeft === 1 ? 'One question is left' : `${roundsLeft} questions are left`}. Nothing is agreed to by asking.</small></p>
<button class="wide" type="submit">Ask</button></form></details>`
}

function longNoForm(answering: Answering): Html {
  const { approval, triedAnswer, isStale } = answering
  return html`<details${triedAnswer.blocks || triedAnswer.reason !== '' ? html` open` : ''}><summary>${isStale ? 'Refuse and block it' : 'Refuse and say why, or block it'}</summary>
<form method="post" action="/approvals/${approval.shown.id}/decision">${hidden(answering, 'deny')}
${isStale ? html`<p class="soft"><small>To tell the agent why, sign in again first: it gets no words of a session in which nobody did lately.</small></p>` : html`<label class="field light">Tell the agent why<input type="text" name="reason" value="${triedAnswer.reason}" maxlength="${textMax}" autocomplete="off"></label>`}
${checkLine('block', 'yes', html`Block this agent<br><small>Whatever it asks of you is refused from now on, and you hear nothing of it. What you lent it stays.</small>`, triedAnswer.blocks)}
<button class="wide bad" type="submit">Refuse</button>
<p class="soft"><small>An agent can have ${openMax} questions before you at a time and ask ${hourlyMax} in an hour; after a no it has to wait ${coolDownMs / 60_000} minutes before it can ask the same again.</small></p></form></details>`
}
