import { html } from 'hono/html'
import type { Html } from './layout.ts'
import { scriptTag } from './passkey-script.ts'

export interface PushSection {
  /** `applicationServerKey`, in base64url. */
  readonly publicKey: string
  readonly csrf: string
  /** In how many browsers this person is told now. */
  readonly devices: number
}

/** The script without which the section has no buttons. */
export const pushHead: Html = scriptTag('/approvals/push.js')

/** Being told on this device; what is sent, in plain words. */
export const pushSection = ({ publicKey, csrf, devices }: PushSection): Html =>
  html`<section class="card" aria-label="On this device" data-push="${publicKey}" data-csrf="${csrf}">
<h2>On this device</h2>
<p class="soft">You can be told here when somebody asks for your answer. The notification says only that someone is waiting. It is end-to-end encrypted: the push service of your browser’s maker learns only that there was one.</p>
<p class="soft" data-push-home hidden>On an iPhone or iPad, first put this page on your home screen (Share, then “Add to Home Screen”) and open it from there.</p>
<p class="soft" data-push-never hidden>This browser cannot be told.</p>
<noscript><p class="soft">This needs scripts, which are off here. Everything else works without.</p></noscript>
<div class="buttons"><button type="button" data-push-on hidden>Tell me on this device</button>
<button type="button" data-push-off hidden>Do not tell me here any more</button></div>
<p role="status" data-push-status></p>
${devices === 0 ? '' : html`<form method="post" action="/approvals/push/end-all"><input type="hidden" name="csrf" value="${csrf}"><p class="soft">You are told on ${devices === 1 ? 'one device' : `${devices} devices`}. Signing out on one ends it there. For a day they still hear of a new passkey or linked account. <button class="quiet" type="submit">Tell me nowhere</button></p></form>`}
</section>`
