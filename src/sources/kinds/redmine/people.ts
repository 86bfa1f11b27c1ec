import { namedTwice } from '../settings.ts'
import type { Rights } from './rights.ts'

/** Who an account is in Remit. */
export interface Person {
  /** Its number in Redmine, which no other account ever gets. */
  readonly account: number
  /** `user:anne`. */
  readonly subject: string
}

/** An account that is somebody in Remit. */
export interface KnownAccount {
  readonly id: number
  readonly subject: string
}

export interface KnownAccounts {
  readonly accounts: readonly KnownAccount[]
  /** Who of those that were named is nobody, and why. */
  readonly problems: readonly { readonly name: string; readonly problem: string }[]
}

/** Who is who now. Whoever is not exactly one active account is nobody. */
export function knownAccounts(
  people: readonly Person[],
  { accounts: found, self }: Pick<Rights, 'accounts' | 'self'>,
): KnownAccounts {
  const accounts: KnownAccount[] = []
  const problems: { name: string; problem: string }[] = []
  const twice = namedTwice(people, ({ account, subject }) => [account, subject])
  for (const person of people) {
    const { account, subject } = person
    const problem = !found.has(account)
      ? 'Redmine has no active account of this number.'
      : account === self
        ? 'Its key reads this source: it is to belong to no person.'
        : twice.has(person)
          ? 'It is named twice, or its person is.'
          : undefined
    if (problem === undefined) accounts.push({ id: account, subject })
    else problems.push({ name: `account ${account}`, problem })
  }
  return { accounts: accounts.sort((a, b) => a.id - b.id), problems }
}
