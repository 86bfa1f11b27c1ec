import { createHash } from 'node:crypto'
import type { DecisionEvent } from '@remit/contract/decision-event'
import type { PersonLink } from './decide.ts'

/**
 * Accounts that became somebody, or are nobody from now on, as they go on record: so that an erasure of the
 * person takes the account out too. One that never was anybody is a digest, since nobody's erasure would.
 */
export const peopleChanged = (
  source: string,
  people: readonly Pick<PersonLink, 'account' | 'state' | 'subject'>[],
): DecisionEvent => ({
  event: 'source_people_changed',
  source,
  people: people.map(({ account, state, subject }) =>
    subject === undefined ? { account: digestOf(source, account), state } : { account, state, subject },
  ),
  erasable: true,
})

const digestOf = (source: string, account: string): string =>
  `sha256:${createHash('sha256')
    .update(JSON.stringify([source, account]))
    .digest('base64url')}`
