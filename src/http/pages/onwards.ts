import { html } from 'hono/html'
import { page } from './layout.ts'

/** Leads on by itself, from a page of ours: see the strict session cookie. `next`: a path of our own. */
export const onwardsPage = (target: string): string =>
  page({
    title: 'One moment',
    head: html`<meta http-equiv="refresh" content="0;url=${target}">`,
    body: html`<h1>One moment</h1><p><a href="${target}">Continue</a></p>`,
  })
