import { randomBytes } from 'node:crypto'
import type { Sql } from '../../store/sql.ts'
import {
  aliasesIn,
  aliasOf,
  digestOf,
  type KeyedPerson,
  KeyMissing,
  type PersonOf,
  peopleIn,
  type SealedRow,
} from './canonical.ts'

/** The keys of those who have one. */
export async function keysOf(sql: Sql, people: readonly string[]): Promise<Map<string, KeyedPerson>> {
  if (people.length === 0) return new Map()
  const rows = await sql.query<{ subject: string; key: Uint8Array }>(
    'select subject, key from record_people where subject = any($1)',
    [people],
  )
  // Made anew, not read: a key that was put in the place of another shows.
  return new Map(rows.map(({ subject, key }) => [subject, { key, alias: aliasOf(key, subject) }]))
}

/** The key of each, made for whoever has none. */
export async function ensureKeys(sql: Sql, people: readonly string[]): Promise<PersonOf> {
  const keyOf = await keysOf(sql, people)
  // In one order, so that no two transactions wait for each other.
  const newPeople = people.filter((subject) => !keyOf.has(subject)).sort()
  if (newPeople.length > 0) {
    const keys = newPeople.map(() => randomBytes(32))
    await sql.query(
      `insert into record_people (alias, subject, key) select * from unnest($1::text[], $2::text[], $3::bytea[])
       on conflict (subject) do nothing`,
      [newPeople.map((subject, index) => aliasOf(keys[index] ?? Buffer.alloc(0), subject)), newPeople, keys],
    )
    for (const [subject, personKey] of await keysOf(sql, newPeople)) keyOf.set(subject, personKey)
  }
  return (subject) => keyOf.get(subject)
}

const peopleMax = 50_000

/** Keys of the people in the rows at hand, and whether each alias is that of somebody who was erased. */
export class PeopleCache {
  readonly #sql: Sql
  #keys = new Map<string, KeyedPerson>()
  // Those of the batch that is compared while another is read.
  #olderKeys: ReadonlyMap<string, KeyedPerson> = new Map()
  readonly #erased = new Set<string>()

  constructor(sql: Sql) {
    this.#sql = sql
  }

  async load(rows: readonly SealedRow[]): Promise<void> {
    if (this.#keys.size > peopleMax) {
      this.#olderKeys = this.#keys
      this.#keys = new Map()
    }
    const missing = [...new Set(rows.flatMap(peopleIn))].filter((person) => !this.#keys.has(person))
    for (const [subject, personKey] of await keysOf(this.#sql, missing)) this.#keys.set(subject, personKey)
    const aliases = [...new Set(rows.flatMap(aliasesIn))].filter((alias) => !this.#erased.has(alias))
    if (aliases.length === 0) return
    const erased = await this.#sql.query<{ alias: string }>(
      // The record itself has to say so, where whoever may write the table of people cannot take it back.
      `select alias from record_people p where alias = any($1) and erasing_since is not null and exists (
         select 1 from decision_records where event = 'person_erased' and detail ->> 'alias' = p.alias)`,
      [aliases],
    )
    for (const { alias } of erased) this.#erased.add(alias)
  }

  /** undefined: somebody whom it names has no key. */
  digestOf(row: SealedRow, recordNo?: number): Buffer | undefined {
    try {
      return digestOf(row, (subject) => this.#keys.get(subject) ?? this.#olderKeys.get(subject), recordNo)
    } catch (error) {
      if (error instanceof KeyMissing) return undefined
      throw error
    }
  }

  /** Whether anything in it looks erased whose person was not. */
  isHidden(row: SealedRow): boolean {
    return aliasesIn(row).some((alias) => !this.#erased.has(alias))
  }
}
