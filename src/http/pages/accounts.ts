import { html } from 'hono/html'
import type { AccountLink } from '../../delegation/people/links.ts'
import type { Passkey } from '../../delegation/people/passkeys.ts'
import type { UpstreamIdentity } from '../../delegation/upstream/provider.ts'
import { type Html, hiddenField, page, problemLine } from './layout.ts'
import { type OwnNav, ownNav } from './own-nav.ts'
import { passkeyScript, scriptTag } from './passkey-script.ts'

export interface AccountsPage extends OwnNav {
  readonly links: readonly AccountLink[]
  readonly providers: readonly { readonly namespace: string; readonly host: string }[]
  readonly problem: string | undefined
  /** Whether the sign-in is too old for changes. */
  readonly stale: boolean
  /** Whether they have a passkey, and did not just sign in with it: nothing is linked without. */
  readonly needsPasskey: boolean
}

/** What the page of passkeys shows. */
interface PasskeysPage extends OwnNav {
  readonly passkeys: readonly Passkey[]
  /** What the browser needs to make one; left out where none can be added now. */
  readonly options: object | undefined
  /** Why none can be added, or why the last try failed. */
  readonly problem: string | undefined
  /** Whether the sign-in is too old for changes. */
  readonly stale: boolean
  /**
   * Whether they were verified lately: what they add counts for approvals at once, and without they add none
   * to one that does.
   */
  readonly verified: boolean
  /** Whether what they add counts for approvals at once all the same. */
  readonly countsAtOnce: boolean
  /** Ids of the approvals that wait for them: many come here from one, for the passkey that it takes. */
  readonly questions: readonly string[]
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** Accounts elsewhere that are this person: link, end. */
export function accountsPage({
  person,
  csrf,
  waiting,
  links,
  providers,
  problem,
  stale,
  needsPasskey,
}: AccountsPage): string {
  return page({
    title: 'Linked accounts',
    body: html`<h1>Linked accounts</h1>
<p>Whoever signs in with one of these accounts is <strong>${person}</strong> here: with what you may read, and what you
may lend. So are the tokens that were issued for it.</p>
${problemLine(problem)}
${links.length === 0 ? html`<p class="soft">No account is linked.</p>` : html`<ul class="rows">${links.map((link) => accountRow(link, { csrf, stale }))}</ul>`}
${stale ? html`<p><a href="/sign-in?next=%2Faccounts">Sign in again</a> to change anything here: it was more than a quarter of an hour ago.</p>` : ''}
${stale || providers.length === 0 ? '' : needsPasskey ? html`<p><a class="button" href="/sign-in?next=%2Faccounts">Sign in with your passkey to link an account</a></p>` : providers.map((provider) => linkForm(provider, csrf))}
${providers.length === 0 ? html`<p class="soft">There is no other provider here through which people sign in.</p>` : ''}
${ownNav({ current: '/accounts', csrf, waiting })}`,
  })
}

const accountRow = (
  { issuer, sub, linkedAt }: AccountLink,
  { csrf, stale }: { readonly csrf: string; readonly stale: boolean },
): Html => html`<li><div class="row"><div><p><strong>${new URL(issuer).host}</strong></p>
<p class="soft"><small>Account <code>${sub}</code><br>Linked on ${linkedAt.toISOString().slice(0, 10)}</small></p></div>
${stale ? '' : html`<form method="post" action="/accounts/end">${hiddenField('csrf', csrf)}${hiddenField('issuer', issuer)}${hiddenField('sub', sub)}<button type="submit">End this link</button></form>`}</div></li>`

const linkForm = (
  { namespace, host }: { readonly namespace: string; readonly host: string },
  csrf: string,
): Html =>
  html`<form method="post" action="/accounts/link" class="way">${hiddenField('csrf', csrf)}${hiddenField('provider', namespace)}<button class="wide wakes" type="submit">Link my account at ${host}</button></form>`

export interface ConfirmLinkPage extends Pick<OwnNav, 'person' | 'csrf'> {
  readonly identity: UpstreamIdentity
}

/** Both sides, before they become one. */
export function confirmLinkPage({ person, csrf, identity }: ConfirmLinkPage): string {
  return page({
    title: 'Link this account?',
    body: html`<h1>Link this account?</h1>
<dl><dt>Account</dt><dd><strong>${identity.name}</strong><br><code>${identity.sub}</code></dd>
<dt>At</dt><dd>${new URL(identity.issuer).host}</dd><dt>You here</dt><dd><strong>${person}</strong></dd></dl>
<p>From then on whoever signs in with that account is <strong>${person}</strong> here. Only go on if it is yours alone.</p>
<p class="soft">What was shared with that account before does not come along. You can end the link at any time.</p>
<div class="buttons"><form method="post" action="/accounts/confirm">${hiddenField('csrf', csrf)}<button class="main wakes" type="submit">Link this account</button></form>
<form method="post" action="/accounts/cancel">${hiddenField('csrf', csrf)}<button type="submit">Cancel</button></form></div>`,
  })
}

/** A person's passkeys: add, name, remove. */
export function passkeysPage(passkeysView: PasskeysPage): string {
  const { person, csrf, waiting, passkeys, options, questions, problem, stale, now } = passkeysView
  return page({
    title: 'Passkeys',
    head: scriptTag(passkeyScript.path),
    body: html`<h1>Passkeys</h1>
<p>With a passkey you sign in as <strong>${person}</strong> by your fingerprint, your face or the PIN of a device of
yours. There is nothing to type that somebody could steal, and it works on this site only.</p>
${problemLine(problem)}
${wayBack(questions)}
${
  passkeys.length === 0
    ? html`<p class="soft">You have none yet.</p>`
    : html`<ul class="rows">${passkeys.map((passkey) => passkeyRow(passkey, { csrf, stale, now }))}</ul>`
}
${stale ? html`<p><a href="/sign-in?next=%2Fpasskeys">Sign in again</a> to change anything here: it was more than a quarter of an hour ago.</p>` : ''}
${options === undefined || stale ? '' : addition(passkeysView, options)}
${ownNav({ current: '/passkeys', csrf, waiting })}`,
  })
}

/** From what is stored alone: an address that a link could name leads nowhere. */
const wayBack = ([first, ...others]: readonly string[]): Html | string =>
  first === undefined
    ? ''
    : others.length > 0
      ? html`<p><a href="/approvals">Back to the questions that wait</a></p>`
      : html`<p><a href="/approvals/${first}">Back to the question that waits</a></p>`

/** Whoever has one that counts adds another by it. */
const addition = ({ csrf, passkeys, verified, countsAtOnce, now }: PasskeysPage, options: object): Html =>
  !verified && passkeys.some(({ verifiesFrom }) => verifiesFrom.getTime() <= now)
    ? html`<h2>Add a passkey</h2><p><a class="button" href="/sign-in?next=%2Fpasskeys">Sign in with one of yours to add another</a></p>
<p class="soft"><small>If you have none of them any more, remove them: what you add then approves what is sensitive after a day.</small></p>`
    : addForm(csrf, options, verified || countsAtOnce)

const addForm = (csrf: string, options: object, counts: boolean): Html => html`<h2>Add a passkey</h2>
${counts ? '' : html`<p class="soft">You did not sign in with a passkey, or with a linked account by more than a password: what you add can approve what is sensitive only after a day. <a href="/sign-in?next=%2Fpasskeys">Sign in so</a> first if you can.</p>`}
<p class="soft" data-without-script>This browser makes no passkeys here: it is too old, or runs no JavaScript.</p>
<form method="post" action="/passkeys" data-passkey="create" data-options="${JSON.stringify(options)}" hidden>
${hiddenField('csrf', csrf)}<input type="hidden" name="answer">
<label class="field">What is it on?<input type="text" name="title" maxlength="60" placeholder="My phone" autocomplete="off"></label>
<div class="buttons"><button class="main wakes" type="submit">Add a passkey</button></div>
<p class="problem" role="status"></p>
</form>`

function passkeyRow(
  { id, title, backedUp, createdAt, lastUsedAt, verifiesFrom }: Passkey,
  { csrf, stale, now }: { readonly csrf: string; readonly stale: boolean; readonly now: number },
): Html {
  const hidden = html`${hiddenField('csrf', csrf)}${hiddenField('id', id)}`
  const details = html`<p class="soft"><small>Added on ${day(createdAt)} · ${lastUsedAt === undefined ? 'never used' : html`last used on ${day(lastUsedAt)}`} · ${backedUp ? 'shared by your devices' : 'on one device'}${verifiesFrom.getTime() <= now ? '' : html`<br>Approves what is sensitive from ${moment(verifiesFrom)} on: it was added without another one of yours. If that was not you, remove it.`}</small></p>`
  if (stale) return html`<li><p><strong>${title}</strong></p>${details}</li>`
  return html`<li><div class="row"><form method="post" action="/passkeys/rename" class="grow">${hidden}<label class="field">Name<input type="text" name="title" value="${title}" maxlength="60" autocomplete="off" required></label><button type="submit">Save</button></form>
<form method="post" action="/passkeys/remove">${hidden}<button type="submit" aria-label="Remove ${title}">Remove</button></form></div>${details}</li>`
}

const moment = (date: Date): string => `${date.toISOString().slice(0, 16).replace('T', ', ')} UTC`

const day = (date: Date): string => date.toISOString().slice(0, 10)
