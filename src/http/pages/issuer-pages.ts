import { html, raw } from 'hono/html'
import type { IssuerPages } from '../../delegation/oauth/provider.ts'
import { type Html, page, problemLine } from './layout.ts'

/** The pages that the authorization server shows by itself: the device flow's, and its errors. */
export const issuerPages: IssuerPages = {
  error: ({ code, detail }) =>
    page({
      title: 'This did not work',
      body: html`<h1>This did not work</h1>
<p>${code === 'invalid_client' ? 'The application that sent you here is not registered here under the client id that it gave.' : 'The application that sent you here asked for something that cannot be done.'}</p>
<p class="soft"><code>${code}</code> ${detail}</p>`,
    }),
  deviceCode: ({ form, problem }) =>
    page({
      title: 'Connect a device',
      body: html`<h1>Connect a device</h1>
<p>Enter the code that the device or program shows. Only go on if <strong>you</strong> have just started it.</p>
${problemLine(problem)}
${library(form)}
<div class="buttons"><button class="main" type="submit" form="op.deviceInputForm">Continue</button></div>`,
    }),
  deviceConfirm: ({ form, client, code }) =>
    page({
      title: 'Is this your device?',
      body: html`<h1>Is this your device?</h1>
<p><strong>${client}</strong> shows the code</p>
<p><code>${code}</code></p>
<p class="soft">If the code is another one, or somebody sent it to you, do not go on: they would get what is yours.</p>
${library(form)}
<div class="buttons"><button class="main wakes" type="submit" form="op.deviceConfirmForm">It is mine, continue</button>
<button type="submit" form="op.deviceConfirmForm" name="abort" value="yes">Stop</button></div>`,
    }),
  deviceDone: ({ client }) =>
    page({
      title: 'Connected',
      body: html`<h1>Connected</h1><p><strong>${client}</strong> can go on now. You can close this page.</p>`,
    }),
}

/**
 * The library's form: its own markup, escaped by it. Handlers in attributes are what the page's policy
 * forbids.
 */
const library = (form: string): Html =>
  html`${raw(
    form
      .replaceAll(/ onfocus="[^"]*"/g, '')
      .replace('type="text"', 'type="text" aria-label="Code" autocapitalize="characters"'),
  )}`
