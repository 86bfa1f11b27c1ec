import { namedTwice } from '../settings.ts'
import type { WikiAccount } from './wiki.ts'

/** Who an account of the wiki is in Remit. */
export interface Person {
  /** As they sign in to the wiki. It has no other id of them. */
  readonly account: string
  /** `user:anne`. */
  readonly subject: string
}

/** An account of the wiki that is nobody, and why. */
export interface Nobody {
  readonly account: string
  readonly problem: string
}

/** Who of these is somebody now: each exactly one account, which the wiki knows, and one person. */
export function knownPeople(
  people: readonly Person[],
  found: readonly WikiAccount[],
): { readonly known: readonly Person[]; readonly nobodies: readonly Nobody[] } {
  const names = new Map(found.map(({ account, names: [name = ''] }) => [account, name]))
  const twice = namedTwice(people, ({ account, subject }) => [account, subject, names.get(account)])
  const knownPersons: Person[] = []
  const nobodies: Nobody[] = []
  for (const person of people) {
    const { account } = person
    const name = names.get(account)
    if (name === undefined) nobodies.push({ account, problem: 'The wiki has no such account.' })
    else if (twice.has(person)) nobodies.push({ account, problem: 'It is named twice, or its person is.' })
    else knownPersons.push(person)
  }
  return { known: knownPersons, nobodies }
}
