import { html } from 'hono/html'
import { page } from './layout.ts'

export interface SignInPage {
  /** Where the form goes. */
  readonly action: string
  readonly csrf: string
  /** Application for which the person signs in; left out on our own page. */
  readonly client?: string
  readonly problem?: string
  /** What was typed before. */
  readonly user?: string
  /** Where to give up; left out where there is nothing to give up. */
  readonly refuse?: string
  /** Said below the form, in the demo. */
  readonly hint?: string
}

export function signInPage({ action, csrf, client, problem, user = '', refuse, hint }: SignInPage): string {
  return page({
    title: 'Sign in',
    body: html`<h1>Sign in</h1>
${client === undefined ? '' : html`<p>to continue to <strong>${client}</strong></p>`}
${problem === undefined ? '' : html`<p class="problem" role="alert">${problem}</p>`}
<form method="post" action="${action}" id="sign-in">
<input type="hidden" name="csrf" value="${csrf}">
<label class="field">Account<input type="text" name="user" value="${user}" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus></label>
<label class="field">Password<input type="password" name="password" autocomplete="current-password" required></label>
</form>
<div class="buttons"><button class="main" type="submit" form="sign-in">Sign in</button>${
      refuse === undefined
        ? ''
        : html`<form method="post" action="${refuse}"><input type="hidden" name="csrf" value="${csrf}"><button type="submit">Cancel</button></form>`
    }</div>
${hint === undefined ? '' : html`<p class="soft"><small>${hint}</small></p>`}`,
  })
}
