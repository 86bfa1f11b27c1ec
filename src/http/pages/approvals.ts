import { html } from 'hono/html'
import type { ListedApproval, OwnApprovalList } from '../../delegation/approvals/own.ts'
import { grantRow } from './approval.ts'
import { wish } from './approval-asked.ts'
import { installableHead } from './installable.ts'
import { doneLine, type Html, hiddenField, page } from './layout.ts'
import { type OwnNav, ownNav } from './own-nav.ts'
import { scriptTag } from './passkey-script.ts'
import { moment, timeLeft } from './times.ts'

export type ApprovalsDone = 'approved' | 'denied' | 'denied_unsaid' | 'blocked' | 'taken_back' | 'unblocked'

const doneWords: Readonly<Record<ApprovalsDone, string>> = {
  approved: 'Approved. The agent can go on.',
  denied: 'Refused. The agent was told no.',
  denied_unsaid:
    'Refused. The agent was told no, and not why: your sign-in was more than 15 minutes ago by then.',
  blocked: 'Refused and blocked. You will hear nothing more of this agent.',
  taken_back: 'Taken back. The agent can do nothing with it any more.',
  unblocked: 'The agent may ask you again.',
}

export const isApprovalsDone = (value: string | undefined): value is ApprovalsDone =>
  value !== undefined && Object.hasOwn(doneWords, value)

/** What the page of all approvals shows. */
export interface ApprovalsPage extends OwnNav {
  readonly list: OwnApprovalList
  /** Being told in browsers. */
  readonly push: {
    /** `applicationServerKey`, in base64url. */
    readonly publicKey: string
    /** In how many this person is told now. */
    readonly devices: number
  }
  /** Milliseconds since the epoch. */
  readonly now: number
  readonly notice: ApprovalsDone | undefined
}

/** What agents ask of somebody, what they agreed to, and whom they no longer want to hear. */
export function approvalsPage({ person, csrf, waiting, list, push, now, notice }: ApprovalsPage): string {
  const { open: openApprovals, recent, grants, blocked } = list
  return page({
    title: openApprovals.length === 0 ? 'Approvals' : `(${openApprovals.length}) Approvals`,
    // The script without which the section on being told has no buttons.
    head: html`${installableHead}${scriptTag('/approvals/push.js')}`,
    body: html`<div class="top"><h1>Approvals</h1><span class="soft who">${person}</span></div>
${doneLine(notice && doneWords[notice])}
${openApprovals.length === 0 ? html`<p class="empty">Nothing waits for you.</p>` : openApprovals.map((approval) => card(approval, now))}
<h2>What you agreed to</h2>
${grants.length === 0 ? html`<p class="soft">No approvals in effect. See <a href="/delegations">what you lent</a>.</p>` : html`<ul class="rows">${grants.map((grant) => grantRow(grant, { csrf, now }))}</ul>`}
${recent.length === 0 ? '' : html`<h2>The last 7 days</h2><ul class="rows">${recent.map(past)}</ul>`}
${blocked.length === 0 ? '' : html`<h2>Blocked agents</h2><ul class="rows">${blocked.map(({ agent, agentTitle, since: blockedSince }) => html`<li><div class="row"><div><p><strong>${agentTitle}</strong></p><p class="soft"><small>since ${moment(blockedSince)}</small></p></div><form method="post" action="/approvals/blocks/lift">${hiddenField('csrf', csrf)}${hiddenField('agent', agent)}<button class="wakes" type="submit">Unblock<span class="unseen"> ${agentTitle}</span></button></form></div></li>`)}</ul>`}
${pushSection(push, csrf)}
${ownNav({ current: '/approvals', csrf, waiting })}`,
  })
}

const card = (approval: ListedApproval, now: number): Html =>
  html`<section class="card" aria-label="${approval.agentTitle} wants ${wish(approval.asked)}"><h2><a class="whole" href="/approvals/${approval.id}">${approval.agentTitle} wants ${wish(approval.asked)}</a></h2>
${ownWords(approval)}
<p class="soft">${approval.state === 'pending' ? 'Waits for your answer' : 'You asked; it has yet to answer'} · ${timeLeft(approval.expiresAt.getTime() - now)}</p></section>`

/** By which questions of one agent are told apart: its own words, which nobody has looked at. */
function ownWords({ purpose, bindingMessage }: ListedApproval): Html | string {
  const texts = [bindingMessage, purpose].filter((text) => text !== undefined)
  return texts.length === 0
    ? ''
    : html`<p>${texts.map((text) => html`<q><bdi>${text}</bdi></q> `)}<span class="tag">its own words, not checked by us</span></p>`
}

const states: Readonly<Record<ListedApproval['state'], string>> = {
  pending: 'waits',
  info_requested: 'waits',
  approved: 'approved',
  denied: 'refused',
  expired: 'no answer in time',
}

const past = (approval: ListedApproval): Html =>
  html`<li><p><a href="/approvals/${approval.id}">${approval.agentTitle} wanted ${wish(approval.asked)}</a></p>
${ownWords(approval)}
<p class="soft"><small><span class="tag">${states[approval.state]}</span> asked on ${moment(approval.createdAt)}</small></p></li>`

/** Being told on this device; what is sent, in plain words. */
const pushSection = ({ publicKey, devices }: ApprovalsPage['push'], csrf: string): Html =>
  html`<section class="card" aria-label="On this device" data-push="${publicKey}" data-csrf="${csrf}">
<h2>On this device</h2>
<p class="soft">You can be told here when somebody asks for your answer. The notification says only that someone is waiting. It is end-to-end encrypted: the push service of your browser’s maker learns only that there was one.</p>
<p class="soft" data-push-home hidden>On an iPhone or iPad, first put this page on your home screen (Share, then “Add to Home Screen”) and open it from there.</p>
<p class="soft" data-push-never hidden>This browser cannot be told.</p>
<noscript><p class="soft">This needs scripts, which are off here. Everything else works without.</p></noscript>
<div class="buttons"><button type="button" data-push-on hidden>Tell me on this device</button>
<button type="button" data-push-off hidden>Do not tell me here any more</button></div>
<p role="status" data-push-status></p>
${devices === 0 ? '' : html`<form method="post" action="/approvals/push/end-all">${hiddenField('csrf', csrf)}<p class="soft">You are told on ${devices === 1 ? 'one device' : `${devices} devices`}. Signing out on one ends it there. For a day they still hear of a new passkey or linked account. <button class="quiet" type="submit">Tell me nowhere</button></p></form>`}
</section>`
