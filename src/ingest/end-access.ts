import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { isReservedType } from '../authz/allow-list/reserved.ts'
import type { TupleKey } from '../authz/fga.ts'
import type { FgaObject } from '../kernel/ids.ts'
import { splitObject } from '../kernel/ids.ts'
import { betweenLeases } from '../store/lease.ts'
import type { Sql } from '../store/sql.ts'
import { takeAway } from './access.ts'
import type { IngestContext, Writer } from './context.ts'

/** Of these usersets, those that keep whoever is in them from something. */
export type RestrictingOf = (usersets: readonly string[]) => Promise<readonly string[]>

/**
 * Takes away all that lets anybody read, and who writes where, also of content that waits or failed. Members
 * of groups that are blocked somewhere stay in those, and in what is in those: they would read more without.
 * Where things are filed stays, since nobody sends that again. Returns how many tuples that were.
 */
export async function endAccess(
  context: IngestContext,
  writer: Writer,
  restrictingOf: RestrictingOf,
): Promise<number> {
  const { database, fga } = context
  const list = context.allowList()
  // A recovery, which is not over, holds OpenFGA to the database all the same.
  const recovering = { ...context, assertSound: async () => undefined }
  // First: what is brought in meanwhile is seen below.
  await betweenLeases(database, (sql) => endWaiting(sql, list))
  let ended = 0
  // Until a reading of all finds none: what came to stand behind what was read already is found by the next.
  for (let found = 1; found > 0; ended += found) {
    found = 0
    for await (const page of fga.readAll()) {
      const giving = page.filter((tuple) => isAccess(list, tuple))
      const held = new Set(await restrictingOf([...new Set(giving.map(usersetOf))]))
      const tuples = giving.flatMap((tuple): TupleKey[] => {
        const { user, relation, object } = tuple
        return held.has(usersetOf(tuple)) ? [] : [{ user, relation, object: object as FgaObject }]
      })
      if (tuples.length > 0) await takeAway(recovering, writer, tuples)
      found += tuples.length
    }
  }
  // Of what was never written.
  const tags = await database.query<TupleKey>(
    'select subject as "user", relation, object from desired_tuples',
  )
  const giving = tags.filter((tag) => isAccess(list, tag))
  const held = new Set(await restrictingOf([...new Set(giving.map(usersetOf))]))
  const left = giving.filter((tag) => !held.has(usersetOf(tag)))
  // Of what is published meanwhile, too, which is waited for: its Write may be still to come.
  await takeAway(recovering, writer, left)
  return ended + left.length
}

interface Told {
  readonly object: string
  readonly relation: string
}

const usersetOf = ({ object, relation }: Told): string => `${object}#${relation}`

function isAccess(list: AllowList, { object, relation }: Told): boolean {
  const { type } = splitObject(object)
  return !filing.has(`${type}#${relation}`) && !isReservedType(type) && list.isWidening(type, relation)
}

// By these alone nobody reads, and what blocks comes through them.
const filing: ReadonlySet<string> = new Set([
  'collection#organization',
  'document#filed_in',
  'folder#filed_in',
  'zone#filed_in',
])

async function endWaiting(sql: Sql, list: AllowList): Promise<void> {
  const relations = await sql.query<{ relation: string }>(
    `select distinct tag ->> 'relation' as relation
     from (select access from revisions union all select access from failed_documents) as waiting
       cross join lateral jsonb_array_elements(access) as tag`,
  )
  const giving = relations.flatMap(({ relation }) =>
    isAccess(list, { object: 'document:waiting', relation }) ? [relation] : [],
  )
  if (giving.length === 0) return
  await sql.query(
    `update revisions set access = coalesce(
       (select jsonb_agg(tag) from jsonb_array_elements(access) as tag where tag ->> 'relation' <> all($1::text[])), '[]')`,
    [giving],
  )
  await sql.query(
    `update failed_documents set access = coalesce(
       (select jsonb_agg(tag) from jsonb_array_elements(access) as tag where tag ->> 'relation' <> all($1::text[])), '[]')
     where access is not null`,
    [giving],
  )
}
