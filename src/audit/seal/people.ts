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

/** Of those whom some rows name: their keys, and which aliases are those of somebody who was erased. */
export interface People {
  /** undefined: somebody whom it names has no key. */
  digestOf(row: SealedRow, recordNo?: number): Buffer | undefined
  /** Whether anything in it looks erased whose person was not. */
  isHidden(row: SealedRow): boolean
}

/** Nothing is kept for other rows: whoever comes back after an erasure has another key. */
export async function readPeople(sql: Sql, rows: readonly SealedRow[]): Promise<People> {
  const keys = await keysOf(sql, [...new Set(rows.flatMap(peopleIn))])
  const aliases = [...new Set(rows.flatMap(aliasesIn))]
  const erasedRows =
    aliases.length === 0
      ? []
      : await sql.query<{ alias: string }>(
          // The record itself has to say so, where whoever may write the table of people cannot take it back.
          `select alias from record_people where alias = any($1) and erasing_since is not null and alias in (
             select detail ->> 'alias' from decision_records where event = 'person_erased')`,
          [aliases],
        )
  const erased = new Set(erasedRows.map(({ alias }) => alias))
  return {
    digestOf(row, recordNo) {
      try {
        return digestOf(row, (subject) => keys.get(subject), recordNo)
      } catch (error) {
        if (error instanceof KeyMissing) return undefined
        throw error
      }
    },
    isHidden: (row) => aliasesIn(row).some((alias) => !erased.has(alias)),
  }
}
