import { randomBytes } from 'node:crypto'
import type { Sql } from '../../store/sql.ts'
import { aliasOf, type KeyedPerson, type PersonOf } from './canonical.ts'

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
