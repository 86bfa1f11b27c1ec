import { isReservedType } from '../authz/allow-list/reserved.ts'
import type { TupleKey } from '../authz/fga.ts'
import { splitObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import { isOnContent } from './reconcile-tuples.ts'

/**
 * Whether it names the members of a group on what is no content: `group:acme/staff#member` in another group,
 * or blocked at an organization. Rows of these say whom a group keeps from something.
 */
export function isGroupPlace({ user, relation, object }: TupleKey): boolean {
  const { type } = splitObject(object)
  return user.includes('#') && !isReservedType(type) && !isOnContent(type, relation)
}

/** Notes them; those that are known stay. */
export async function addGroupPlaces(sql: Sql, tuples: readonly TupleKey[]): Promise<void> {
  if (tuples.length === 0) return
  await sql.query(
    `insert into group_places (subject, object, relation)
     select distinct * from unnest($1::text[], $2::text[], $3::text[]) order by 1, 2, 3 on conflict do nothing`,
    columnsOf(tuples),
  )
}

/** All that are known. */
export const readGroupPlaces = (sql: Sql): Promise<TupleKey[]> =>
  sql.query<TupleKey>('select subject as "user", relation, object from group_places')

/** Forgets them. */
export async function removeGroupPlaces(sql: Sql, tuples: readonly TupleKey[]): Promise<void> {
  if (tuples.length === 0) return
  await sql.query(
    `delete from group_places place using unnest($1::text[], $2::text[], $3::text[]) as gone (subject, object, relation)
     where place.subject = gone.subject and place.object = gone.object and place.relation = gone.relation`,
    columnsOf(tuples),
  )
}

const columnsOf = (tuples: readonly TupleKey[]): string[][] => [
  tuples.map(({ user }) => user),
  tuples.map(({ object }) => object),
  tuples.map(({ relation }) => relation),
]
