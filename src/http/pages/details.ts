import { html } from 'hono/html'
import type { ForeignDetail } from '../../delegation/details.ts'
import type { Html } from './layout.ts'

/** Details of another's API, word for word as they are granted: these are that API's terms, not ours. */
export const detailLists = (details: readonly ForeignDetail[]): readonly Html[] =>
  details.map(
    ({ type, ...members }) =>
      html`<p><strong>${type}</strong></p><dl>${Object.entries(members).map(
        ([name, value]) =>
          html`<dt>${name}</dt><dd><code>${typeof value === 'string' ? value : JSON.stringify(value)}</code></dd>`,
      )}</dl>`,
  )
