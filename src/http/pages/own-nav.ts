import { html } from 'hono/html'
import type { OwnPage } from '../sign-in/next.ts'
import type { Html } from './layout.ts'

const titles: Readonly<Record<OwnPage, string>> = {
  '/approvals': 'Approvals',
  '/delegations': 'What you lent',
  '/connections': 'Connected accounts',
  '/passkeys': 'Passkeys',
  '/accounts': 'Linked accounts',
}

/** The way between the pages of whoever is signed in, and out. */
export const ownNav = ({ current, csrf }: { readonly current: OwnPage; readonly csrf: string }): Html =>
  html`<nav class="own" aria-label="Your account">${Object.entries(titles).map(
    ([path, title]) =>
      html`<a href="${path}"${path === current ? html` aria-current="page"` : ''}>${title}</a>`,
  )}<form method="post" action="/sign-out"><input type="hidden" name="csrf" value="${csrf}"><button type="submit">Sign out</button></form></nav>`
