import type { DecisionEvent } from '@remit/contract/decision-event'
import type { Seal } from '../../store/encryption.ts'
import type { PersonLink } from './decide.ts'

/**
 * Accounts that became somebody, or are nobody from now on, as they go on record: so that an erasure of the
 * person takes the account out too. One that never was anybody is an HMAC, since nobody's erasure would: an
 * account is short, and a digest without a key would be guessed.
 */
export const peopleChanged = (
  seal: Pick<Seal, 'hash'>,
  source: string,
  people: readonly Pick<PersonLink, 'account' | 'state' | 'subject'>[],
): DecisionEvent => ({
  event: 'source_people_changed',
  source,
  people: people.map(({ account, state, subject }) =>
    subject === undefined ? { account: hmacOf(seal, source, account), state } : { account, state, subject },
  ),
  erasable: true,
})

const hmacOf = (seal: Pick<Seal, 'hash'>, source: string, account: string): string =>
  `hmac:${seal.hash('source account', JSON.stringify([source, account]))}`
