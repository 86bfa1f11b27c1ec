import { html } from 'hono/html'
import { isOpen } from '../../delegation/approvals/approval.ts'
import type { OwnApproval } from '../../delegation/approvals/own.ts'
import { roundsMax } from '../../delegation/approvals/rounds.ts'
import type { ShownApproval } from '../../delegation/approvals/view.ts'
import { isStrangerAgent } from '../../delegation/oauth/cimd/strangers.ts'
import { type Answering, answerForms, moreWays } from './approval-answers.ts'
import { askedSection, headline } from './approval-asked.ts'
import { grantRow } from './approval-grants.ts'
import { type Html, page } from './layout.ts'
import { type OwnNav, ownNav } from './own-nav.ts'
import { passkeyScript, scriptTag } from './passkey-script.ts'
import { left, moment } from './times.ts'
import { words } from './words.ts'

export interface ApprovalPage extends Answering, OwnNav {
  readonly own: OwnApproval
  /** Account key of who is signed in. */
  readonly person: string
  /** What went wrong with the answer that was sent. */
  readonly problem?: string
  /** Whether a question of theirs was just sent. */
  readonly isAsked: boolean
}

/** One question of an agent: who asks, for what, until when; and the person's answer. */
export function approvalPage(given: ApprovalPage): string {
  const { own, person, csrf, waiting, problem, now } = given
  const { shown } = own
  const canAnswer = isOpen(shown)
  const title = headline(own)
  return page({
    title,
    head: scriptTag(passkeyScript.path),
    body: html`<p class="kicker">${kickers[shown.state]}${canAnswer ? ` · ${left(shown.expiresAt.getTime() - now)}` : ''}</p>
<h1>${title}</h1>
<p>Asked by the agent <strong>${shown.agentTitle}</strong>, through <strong>${shown.clientTitle ?? shown.client}</strong>, for you, signed in as <strong>${person}</strong>.</p>
${isStrangerAgent(shown.agent) ? html`<p class="problem">Nobody registered this agent here, and nobody here vouches for it. If you block it, you block every program of its host.</p>` : ''}
${problem === undefined ? '' : html`<p class="problem" role="alert">${problem}</p>`}
${given.isAsked && canAnswer ? html`<p class="done" role="status">Asked. Its answer ${shown.state === 'pending' ? 'is below' : 'will be here'}.</p>` : ''}
${askedSection(own, { ticked: given.tried.documents, publicUrl: given.publicUrl })}
${ownWords(shown)}
${shown.rounds.length === 0 ? '' : conversation(shown)}
${canAnswer ? answerForms(given) : outcome(own, given)}
${canAnswer ? moreWays(given) : ''}
<dl class="facts">${canAnswer ? html`<dt>Answer until</dt><dd>${moment(shown.expiresAt)}</dd>` : ''}
<dt>You lent it</dt><dd>until ${moment(shown.lentUntil)}</dd><dt>Lent for</dt><dd>${shown.lentFor}</dd>
<dt>Agent</dt><dd><code>${shown.agent}</code></dd><dt>Program</dt><dd><code>${shown.client}</code></dd></dl>
<p><a href="/approvals">All approvals</a></p>
${ownNav({ current: '/approvals', csrf, waiting })}`,
  })
}

const kickers: Readonly<Record<ShownApproval['state'], string>> = {
  pending: 'Waits for your answer',
  info_requested: 'You asked; the agent has yet to answer',
  approved: 'You approved this',
  denied: 'You refused this',
  expired: 'Over: its time ended before an answer',
}

function ownWords({ purpose, bindingMessage }: ShownApproval): Html {
  return html`${bindingMessage === undefined ? '' : words({ by: 'Where you started this, it shows the same words', text: bindingMessage, note: 'Other words there, or none? Then refuse.' })}${
    purpose === undefined ? '' : words({ by: 'Why, in the agent’s own words', text: purpose })
  }`
}

/** What was asked back. The answers are a program's, and may have been written by anybody whose text it read. */
const conversation = ({ id, rounds }: ShownApproval): Html =>
  html`<section aria-label="What you asked it"><h2>What you asked it <small>${rounds.length} of ${roundsMax}</small></h2>
${rounds.map(
  ({ question, answer }) =>
    html`<p class="asked"><span class="unseen">You asked: </span>${question}</p>
${answer === undefined ? html`<p class="soft">No answer yet. <a href="/approvals/${id}">Look again</a></p>` : words({ by: 'Its answer', text: answer })}`,
)}</section>`

function outcome({ shown, grant }: OwnApproval, { csrf, now }: ApprovalPage): Html {
  if (shown.state === 'expired') return html`<p>Nothing was agreed to. The agent may ask anew.</p>`
  if (shown.state === 'denied')
    return html`<p>The agent was told no${shown.reason === undefined ? '.' : html`, with your words:`}</p>${shown.reason === undefined ? '' : html`<p class="asked">${shown.reason}</p>`}`
  if (shown.asked.kind === 'access')
    return html`<p>The agent gets one token for exactly this, which ends after a few minutes.</p>`
  return grant === undefined
    ? html`<p>It is used up, ended, or taken back: nothing more comes of it.</p>`
    : html`<ul class="rows">${grantRow(grant, { csrf, now })}</ul>`
}

/** An approval of somebody else, and one that there never was: all the same. */
export const noApprovalPage = ({ person, csrf, waiting }: OwnNav & { readonly person: string }): string =>
  page({
    title: 'Nothing here for you',
    body: html`<h1>There is nothing here for you</h1>
<p>You are signed in as <strong>${person}</strong>. There is no such question for you: the address is wrong, it was long ago, or it is for somebody else.</p>
<p>If somebody sent you this link to have you agree to something, do nothing more.</p>
<p><a href="/approvals">Your approvals</a></p>
${ownNav({ current: '/approvals', csrf, waiting })}`,
  })
