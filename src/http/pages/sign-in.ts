import { html } from 'hono/html'
import { type Html, page } from './layout.ts'
import { scriptTag } from './passkey-script.ts'

/** What the sign-in page shows. */
export interface SignInPage {
  /** What each method of signing in puts on the page. */
  readonly offers: readonly Html[]
  /** Addresses of scripts of ours that some of them need. */
  readonly scripts: readonly string[]
  readonly csrf: string
  /** Application for which the person signs in; left out on our own page. */
  readonly client?: string
  readonly problem?: string
  /** Where to give up; left out where there is nothing to give up. */
  readonly refuse?: string
  /** Said below the forms, in the demo. */
  readonly hint?: string
}

export function signInPage({ offers, scripts, csrf, client, problem, refuse, hint }: SignInPage): string {
  return page({
    title: 'Sign in',
    head: html`${scripts.map(scriptTag)}`,
    body: html`<h1>Sign in</h1>
${client === undefined ? '' : html`<p>to continue to <strong>${client}</strong></p>`}
${problem === undefined ? '' : html`<p class="problem" role="alert" id="problem">${problem}</p>`}
<div class="ways">${offers.slice(0, -1)}</div>
${offers.length > 1 ? html`<p class="or">or</p>` : ''}
${offers.at(-1) ?? ''}
${
  refuse === undefined
    ? ''
    : html`<form method="post" action="${refuse}" class="aside"><input type="hidden" name="csrf" value="${csrf}"><button class="quiet" type="submit">Cancel</button></form>`
}
${hint === undefined ? '' : html`<p class="soft"><small>${hint}</small></p>`}`,
  })
}
