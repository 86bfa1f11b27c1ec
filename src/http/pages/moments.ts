import { html } from 'hono/html'
import type { Html } from './layout.ts'

const format = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' })

export const moment = (at: Date): Html =>
  html`<time datetime="${at.toISOString()}">${format.format(at)} UTC</time>`

/** How much time that is, roughly: "47 min left". */
export function left(ms: number): string {
  const hours = Math.round(ms / 3_600_000)
  if (hours >= 48) return `${Math.round(hours / 24)} days left`
  if (hours >= 2) return `${hours} hours left`
  return `${Math.max(1, Math.round(ms / 60_000))} min left`
}
