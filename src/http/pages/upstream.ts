import { html } from 'hono/html'
import { page } from './layout.ts'

/**
 * Leads to another provider. A page, not a redirect: browsers hold what follows a form to the page's own
 * targets.
 */
export function awayPage(url: string): string {
  const { host } = new URL(url)
  return page({
    title: `To ${host}`,
    head: html`<meta http-equiv="refresh" content="0;url=${url}">`,
    body: html`<h1>On to ${host}</h1>
<p>You sign in there, and come back here.</p><p><a href="${url}">Continue to ${host}</a></p>`,
  })
}

/** A sign-in elsewhere that came to nothing. `back`: a path of our own. */
export const upstreamFailedPage = (problem: string, back: string): string =>
  page({
    title: 'Not signed in',
    body: html`<h1>You are not signed in</h1>
<p class="problem" role="alert">${problem}</p><p><a href="${back}">Back</a></p>`,
  })
