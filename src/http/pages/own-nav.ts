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

export interface OwnNav {
  readonly csrf: string
  /** Questions of agents that wait for an answer. */
  readonly waiting: number
}

/** The way between the pages of whoever is signed in, and out. */
export const ownNav = ({ current, csrf, waiting }: OwnNav & { readonly current: OwnPage }): Html =>
  html`<nav class="own" aria-label="Your account">${Object.entries(titles).map(
    ([path, title]) =>
      html`<a href="${path}"${path === current ? html` aria-current="page"` : ''}>${title}${path === '/approvals' && waiting > 0 ? html` <span class="count">${waiting}<span class="unseen"> waiting</span></span>` : ''}</a>`,
  )}<form method="post" action="/sign-out"><input type="hidden" name="csrf" value="${csrf}"><button type="submit">Sign out</button></form></nav>`
