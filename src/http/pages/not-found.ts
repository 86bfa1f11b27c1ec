import { html } from 'hono/html'
import { page } from './layout.ts'

/** For a browser at an address that leads nowhere, the same for every one of them. */
export const notFoundPage = (): string =>
  page({
    title: 'Nothing here',
    body: html`<h1>There is nothing at this address</h1>
<p>Your own pages: <a href="/delegations">what you lent to agents</a>. For programs: <a href="/docs">the API</a>.</p>`,
  })
