import { html } from 'hono/html'
import type { AccountLink } from '../../delegation/people/links.ts'
import type { UpstreamIdentity } from '../../delegation/upstream/provider.ts'
import { type Html, hiddenField, page, problemLine } from './layout.ts'
import { type OwnNav, ownNav } from './own-nav.ts'

export interface AccountsPage extends OwnNav {
  readonly links: readonly AccountLink[]
  readonly providers: readonly { readonly namespace: string; readonly host: string }[]
  readonly problem: string | undefined
  /** Whether the sign-in is too old for changes. */
  readonly stale: boolean
  /** Whether they have a passkey, and did not just sign in with it: nothing is linked without. */
  readonly needsPasskey: boolean
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
${links.length === 0 ? html`<p class="soft">No account is linked.</p>` : html`<ul class="rows">${links.map((link) => row(link, { csrf, stale }))}</ul>`}
${stale ? html`<p><a href="/sign-in?next=%2Faccounts">Sign in again</a> to change anything here: it was more than a quarter of an hour ago.</p>` : ''}
${stale || providers.length === 0 ? '' : needsPasskey ? html`<p><a class="button" href="/sign-in?next=%2Faccounts">Sign in with your passkey to link an account</a></p>` : providers.map((provider) => linkForm(provider, csrf))}
${providers.length === 0 ? html`<p class="soft">There is no other provider here through which people sign in.</p>` : ''}
${ownNav({ current: '/accounts', csrf, waiting })}`,
  })
}

const row = (
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
