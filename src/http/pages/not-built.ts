import { html } from 'hono/html'
import { page } from './layout.ts'

/** Where the console's files are not there: the service was started past `npm start`. */
export const notBuiltPage = (): string =>
  page({
    title: 'Not built',
    body: html`<h1>The console was not built</h1>
<p>Whoever runs this service makes it by <code>npm run build --workspace @remit/console</code>; <code>npm start</code> does it by itself.</p>`,
  })
