import { html } from 'hono/html'
import type { Html } from './layout.ts'

export interface Words {
  readonly by: string
  /** Of somebody else: escaped, held apart from the direction of our own, never more than it may be long. */
  readonly text: string
  readonly note?: string
}

/** Words that are not ours, marked as such. */
export const quote = ({ by: author, text, note }: Words): Html =>
  html`<figure class="words"><figcaption>${author} <span class="tag">not checked by us</span></figcaption><blockquote><p><bdi>${text}</bdi></p></blockquote>${note === undefined ? '' : html`<p class="soft"><small>${note}</small></p>`}</figure>`
