import { html } from 'hono/html'
import type { Lendable } from '../../delegation/lending/lendable.ts'
import { type Choice, checkLine, type Html } from './layout.ts'

/** How long something may be lent, as pages offer it: in seconds. */
export const ends: readonly Choice[] = [
  ['3600', '1 hour from now'],
  ['28800', '8 hours from now'],
  ['86400', '1 day from now'],
  ['604800', '7 days from now'],
  ['1209600', '14 days from now'],
]
export const endByDefault = '28800'

/** What may be lent, to be ticked. */
export const lendableLine = ({ object, title }: Lendable, isTicked: boolean): Html =>
  checkLine(
    'object',
    object,
    html`${title}${object.startsWith('organization:') ? html` <small>everything in it that you may read</small>` : ''}`,
    isTicked,
  )
