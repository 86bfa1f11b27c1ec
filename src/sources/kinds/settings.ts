import { isId } from '@remit/contract/id'
import { z } from 'zod'

/** Who somebody is in Remit, in the settings of a source: `user:anne`. */
export const subject = z
  .string()
  .refine((value) => value.startsWith('user:') && isId(value.slice('user:'.length)), 'must be user:ID')

/** The people that the settings of a source name. */
export const peopleOf = <Person extends z.ZodType>(person: Person) => z.array(person).max(20_000)

/** Where a system lies at its origin, with or without a path: `https://wiki.example/wiki`. */
export const address = z
  .url({ protocol: /^https?$/ })
  .max(1_000)
  .refine((value) => {
    const { search, hash, username, password } = new URL(value)
    return search + hash + username + password === ''
  }, 'must be an address without an account, a query or a fragment')

/** An `address` as its origin and its path, which ends without a slash. */
export function placeOf(url: string): { readonly origin: string; readonly path: string } {
  let { origin, pathname: path } = new URL(url)
  while (path.endsWith('/')) path = path.slice(0, -1)
  return { origin, path }
}

/** The system at an `address`: two below one origin have accounts of their own. */
export function systemAt(url: string): string {
  const { origin, path } = placeOf(url)
  return origin + path
}

/**
 * Those of whom somebody else has one of the same keys: neither is anybody then. `keysOf`: the same kind of
 * key at the same place; undefined is no key.
 */
export function namedTwice<Person>(
  people: readonly Person[],
  keysOf: (person: Person) => readonly (string | number | undefined)[],
): ReadonlySet<Person> {
  const counts = new Map<string, number>()
  const texts = (person: Person): readonly string[] =>
    keysOf(person).flatMap((key, at) => (key === undefined ? [] : [`${at} ${key}`]))
  for (const text of people.flatMap(texts)) counts.set(text, (counts.get(text) ?? 0) + 1)
  return new Set(people.filter((person) => texts(person).some((text) => (counts.get(text) ?? 0) > 1)))
}
