import { visible } from '@remit/contract/text'
import { html } from 'hono/html'
import type { ForeignDetail } from '../../delegation/registry/details.ts'
import type { Html } from './layout.ts'

/** Details of another's API, word for word as they are granted: these are that API's terms, not ours. */
export const detailLists = (details: readonly ForeignDetail[]): readonly Html[] =>
  details.map(({ type, ...members }) => html`<p><strong>${type}</strong></p>${memberList(members, 0)}`)

// Nobody reads deeper: from there on it stands as it was sent.
const depthMax = 4

const memberList = (members: object, depth: number): Html =>
  html`<dl>${Object.entries(members).map(
    ([name, value]) => html`<dt>${visible(name)}</dt><dd>${valueOf(value, depth)}</dd>`,
  )}</dl>`

function valueOf(value: unknown, depth: number): Html {
  if (value !== null && typeof value === 'object' && depth < depthMax && Object.keys(value).length > 0)
    return Array.isArray(value)
      ? html`<ul class="plain">${value.map((element) => html`<li>${valueOf(element, depth + 1)}</li>`)}</ul>`
      : memberList(value, depth + 1)
  return html`<code>${visible(typeof value === 'string' ? value : JSON.stringify(value))}</code>`
}
