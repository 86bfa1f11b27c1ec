import { html } from 'hono/html'
import { isOpen } from '../../delegation/approvals/approval.ts'
import type { OwnApproval, ShownGrant } from '../../delegation/approvals/own.ts'
import { questionsMax } from '../../delegation/approvals/request-approval.ts'
import type { ShownApproval } from '../../delegation/approvals/view.ts'
import { isMetadataAgent } from '../../delegation/oauth/cimd/metadata-clients.ts'
import { splitObject } from '../../kernel/ids.ts'
import { type Answering, answerForms, moreWays } from './approval-answers.ts'
import { askedSection, headline } from './approval-asked.ts'
import { type Html, hiddenField, page, problemLine } from './layout.ts'
import { type OwnNav, ownNav } from './own-nav.ts'
import { passkeyScript, scriptTag } from './passkey-script.ts'
import { moment, timeLeft } from './times.ts'

/** What the page of one approval shows. */
export interface ApprovalPage extends Answering, OwnNav {
  readonly approval: OwnApproval
  /** What went wrong with the answer that was sent. */
  readonly problem: string | undefined
  /** Whether a question of theirs was just sent. */
  readonly isAsked: boolean
}

/** One question of an agent: who asks, for what, until when; and the person's answer. */
export function approvalPage(approvalView: ApprovalPage): string {
  const { approval, person, csrf, waiting, problem, now } = approvalView
  const { shown: request } = approval
  const canAnswer = isOpen(request)
  const title = headline(approval)
  return page({
    title,
    head: scriptTag(passkeyScript.path),
    body: html`<p class="kicker">${kickers[request.state]}${canAnswer ? ` · ${timeLeft(request.expiresAt.getTime() - now)}` : ''}</p>
<h1>${title}</h1>
<p>Asked by the agent <strong>${request.agentTitle}</strong>, through <strong>${request.clientTitle ?? request.client}</strong>, for you, signed in as <strong>${person}</strong>.</p>
${isMetadataAgent(request.agent) ? html`<p class="problem">Nobody registered this agent here, and nobody here vouches for it. If you block it, you block every program of its host.</p>` : ''}
${problemLine(problem)}
${approvalView.isAsked && canAnswer ? html`<p class="done" role="status">Asked. Its answer ${request.state === 'pending' ? 'is below' : 'will be here'}.</p>` : ''}
${askedSection(approval, { ticked: approvalView.triedAnswer.documents, publicUrl: approvalView.publicUrl })}
${ownWords(request)}
${request.rounds.length === 0 ? '' : conversation(request)}
${canAnswer ? answerForms(approvalView) : outcome(approval, approvalView)}
${canAnswer ? moreWays(approvalView) : ''}
<dl class="facts">${canAnswer ? html`<dt>Answer until</dt><dd>${moment(request.expiresAt)}</dd>` : ''}
<dt>You lent it</dt><dd>until ${moment(request.lentUntil)}</dd><dt>Lent for</dt><dd>${request.lentFor}</dd>
<dt>Agent</dt><dd><code>${request.agent}</code></dd><dt>Program</dt><dd><code>${request.client}</code></dd></dl>
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
  return html`${bindingMessage === undefined ? '' : quote({ by: 'Where you started this, it shows the same words', text: bindingMessage, note: 'Other words there, or none? Then refuse.' })}${
    purpose === undefined ? '' : quote({ by: 'Why, in the agent’s own words', text: purpose })
  }`
}

/**
 * What was asked back. The answers are a program's, and may have been written by anybody whose text it read.
 */
const conversation = ({ id, rounds }: ShownApproval): Html =>
  html`<section aria-label="What you asked it"><h2>What you asked it <small>${rounds.length} of ${questionsMax}</small></h2>
${rounds.map(
  ({ question, answer }) =>
    html`<p class="asked"><span class="unseen">You asked: </span>${question}</p>
${answer === undefined ? html`<p class="soft">No answer yet. <a href="/approvals/${id}">Look again</a></p>` : quote({ by: 'Its answer', text: answer })}`,
)}</section>`

function outcome({ shown: request, grant }: OwnApproval, { csrf, now }: ApprovalPage): Html {
  if (request.state === 'expired') return html`<p>Nothing was agreed to. The agent may ask anew.</p>`
  if (request.state === 'denied')
    return html`<p>The agent was told no${request.reason === undefined ? '.' : html`, with your words:`}</p>${request.reason === undefined ? '' : html`<p class="asked">${request.reason}</p>`}`
  if (request.asked.kind === 'access')
    return html`<p>The agent gets tokens for exactly this, which end after a few minutes.</p>`
  return grant === undefined
    ? html`<p>It is used up, ended, or taken back: nothing more comes of it.</p>`
    : html`<ul class="rows">${grantRow(grant, { csrf, now })}</ul>`
}

/** An approval of somebody else, and one that there never was: all the same. */
export const noApprovalPage = ({ person, csrf, waiting }: OwnNav): string =>
  page({
    title: 'Nothing here for you',
    body: html`<h1>There is nothing here for you</h1>
<p>You are signed in as <strong>${person}</strong>. There is no such question for you: the address is wrong, it was long ago, or it is for somebody else.</p>
<p>If somebody sent you this link to have you agree to something, do nothing more.</p>
<p><a href="/approvals">Your approvals</a></p>
${ownNav({ current: '/approvals', csrf, waiting })}`,
  })

interface Words {
  readonly by: string
  /** Of somebody else: escaped, held apart from the direction of our own, never more than it may be long. */
  readonly text: string
  readonly note?: string
}

/** Words that are not ours, marked as such. */
const quote = ({ by: author, text, note }: Words): Html =>
  html`<figure class="words"><figcaption>${author} <span class="tag">not checked by us</span></figcaption><blockquote><p><bdi>${text}</bdi></p></blockquote>${note === undefined ? '' : html`<p class="soft"><small>${note}</small></p>`}</figure>`

/** What was agreed to and counts now, and how to take it back. */
export const grantRow = (
  grant: ShownGrant,
  { csrf, now }: { readonly csrf: string; readonly now: number },
): Html => html`<li><p><strong>${grant.agentTitle}</strong> ${grant.remembered ? html`<span class="tag">need not ask</span>` : ''}</p>
<div>${contentOf(grant)}</div>
<p class="soft"><small>${grant.maxUses === undefined ? 'As often as it needs' : 'Once'}, until ${moment(grant.until)} (${timeLeft(grant.until.getTime() - now)})</small></p>
<form class="aside" method="post" action="/approvals/grants/${grant.id}/revoke">${hiddenField('csrf', csrf)}<button class="bad" type="submit">Take back<span class="unseen"> from ${grant.agentTitle}</span></button></form></li>`

function contentOf({ items: grantItems, vaultCall, remembered }: ShownGrant): Html {
  if (vaultCall !== undefined)
    return html`May make this call: <code>${vaultCall.method}</code> <code>${vaultCall.path}</code>`
  const named = html`<ul>${grantItems.map(({ object, title }) => html`<li>${nameOf(object, title)}</li>`)}</ul>`
  return remembered
    ? html`May read whatever you may read and have lent it in:${named}Documents that are added there later are included.`
    : html`May read:${named}`
}

const nameOf = (object: ShownGrant['objects'][number], title: string | undefined): Html =>
  title === undefined
    ? html`<small>one that you may not read now</small>`
    : object.startsWith('folder:')
      ? html`the folder <code>${splitObject(object).id}</code>`
      : html`<bdi>${title}</bdi>`
