import { html } from 'hono/html'
import type { Html } from './layout.ts'

const format = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' })

/** A moment as people read it, and as programs do. */
export const moment = (date: Date): Html =>
  html`<time datetime="${date.toISOString()}">${format.format(date)} UTC</time>`

/** How long from now, in the unit that one would say it in. */
export function timeLeft(ms: number): string {
  const hours = Math.round(ms / 3_600_000)
  if (hours >= 48) return `${Math.round(hours / 24)} days left`
  if (hours >= 2) return `${hours} hours left`
  return `${Math.max(1, Math.round(ms / 60_000))} min left`
}
