import type { Tuple, TupleKey } from '../authz/fga.ts'
import { collectionObject, type FgaObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import type { Access } from './wire.ts'

/** One tuple that we want on an object: OpenFGA should hold it, and drift puts it back. */
export interface Tag {
  readonly relation: string
  /** `user:anne`, `user:*`, `group:eng#member`, `folder:x`. */
  readonly subject: string
  /** ISO 8601, UTC. Left out: without end. */
  readonly expiresAt?: string
}

/** Whether more of a relation means more access, by the model's rules: `blocked` and `sensitive` take access away. */
export type IsWidening = (relation: string) => boolean

export const tagKey = ({ relation, subject }: Pick<Tag, 'relation' | 'subject'>): string =>
  `${relation} ${subject}`

/** The tags of a document of `collection` with this access. A subject that is named twice keeps its later end. */
export function tagsOf(collection: string, access: Access): Tag[] {
  const tags: Tag[] = [{ relation: 'filed_in', subject: collectionObject(collection) }]
  if (access.owner !== undefined) tags.push({ relation: 'owner', subject: access.owner })
  for (const parent of access.parents ?? []) tags.push({ relation: 'parent', subject: parent })
  for (const viewer of access.viewers ?? []) {
    tags.push(
      typeof viewer === 'string'
        ? { relation: 'viewer', subject: viewer }
        : { relation: 'viewer', subject: viewer.user, expiresAt: new Date(viewer.expires_at).toISOString() },
    )
  }
  for (const blocked of access.blocked ?? []) tags.push({ relation: 'blocked', subject: blocked })
  if (access.sensitive === true) tags.push(sensitiveTag)
  const distinct = new Map<string, Tag>()
  for (const tag of tags) {
    const known = distinct.get(tagKey(tag))
    if (known === undefined || endOf(tag) > endOf(known)) distinct.set(tagKey(tag), tag)
  }
  return [...distinct.values()]
}

export const sensitiveTag: Tag = { relation: 'sensitive', subject: 'user:*' }
export const hasSensitive = (tags: readonly Tag[]): boolean =>
  tags.some(({ relation }) => relation === 'sensitive')

/** Milliseconds since the epoch. */
export const endOf = ({ expiresAt }: Tag): number =>
  expiresAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(expiresAt)

/**
 * What may be in force before new content is published: everything that `wanted` takes away is gone already,
 * nothing that it adds is there yet.
 */
export function narrow(current: readonly Tag[], wanted: readonly Tag[], isWidening: IsWidening): Tag[] {
  const next = new Map(wanted.map((tag) => [tagKey(tag), tag]))
  const kept = current.flatMap((tag) => {
    if (!isWidening(tag.relation)) return [tag]
    const later = next.get(tagKey(tag))
    if (later === undefined) return []
    return [endOf(later) < endOf(tag) ? later : tag]
  })
  const known = new Set(kept.map(tagKey))
  return [...kept, ...wanted.filter((tag) => !isWidening(tag.relation) && !known.has(tagKey(tag)))]
}

/** Whether anybody could read more under `wanted` than under `current`. */
export function widens(current: readonly Tag[], wanted: readonly Tag[], isWidening: IsWidening): boolean {
  const before = new Map(current.map((tag) => [tagKey(tag), tag]))
  const after = new Set(wanted.map(tagKey))
  const grants = wanted.some((tag) => {
    if (!isWidening(tag.relation)) return false
    const known = before.get(tagKey(tag))
    return known === undefined || endOf(tag) > endOf(known)
  })
  return grants || current.some((tag) => !isWidening(tag.relation) && !after.has(tagKey(tag)))
}

export function sameTags(one: readonly Tag[], other: readonly Tag[]): boolean {
  const ends = new Map(one.map((tag) => [tagKey(tag), endOf(tag)]))
  return one.length === other.length && other.every((tag) => ends.get(tagKey(tag)) === endOf(tag))
}

export const toTuple = (object: FgaObject, { relation, subject, expiresAt }: Tag): Tuple => ({
  user: subject,
  relation,
  object,
  ...(expiresAt !== undefined && { condition: { name: 'until', context: { expires_at: expiresAt } } }),
})

export const toTag = ({ relation, user, condition }: Tuple): Tag => ({
  relation,
  subject: user,
  ...(condition && { expiresAt: new Date(condition.context.expires_at).toISOString() }),
})

interface TagRow {
  readonly object: string
  readonly relation: string
  readonly subject: string
  readonly expires_at: Date | null
}

export async function readTags(sql: Sql, objects: readonly string[]): Promise<Map<string, Tag[]>> {
  const rows = await sql.query<TagRow>(
    'select object, relation, subject, expires_at from tags where object = any($1) order by object, relation, subject',
    [objects],
  )
  const tags = new Map<string, Tag[]>()
  for (const { object, relation, subject, expires_at } of rows) {
    const list = tags.get(object) ?? []
    list.push({ relation, subject, ...(expires_at !== null && { expiresAt: expires_at.toISOString() }) })
    tags.set(object, list)
  }
  return tags
}

/**
 * Replaces the tags of an object and marks it unsettled: from now until {@link settleObject} has made OpenFGA
 * agree, a crash is mended by drift. `purge` also removes what others wrote on it.
 */
export async function setTags(
  sql: Sql,
  object: string,
  tags: readonly Tag[],
  { purge = false }: { readonly purge?: boolean } = {},
): Promise<void> {
  await sql.query('delete from tags where object = $1', [object])
  await addTags(sql, object, tags)
  await markUnsettled(sql, object, purge)
}

export async function addTags(sql: Sql, object: string, tags: readonly Tag[]): Promise<void> {
  if (tags.length === 0) return
  await sql.query(
    `insert into tags (object, relation, subject, expires_at)
     select $1, * from unnest($2::text[], $3::text[], $4::timestamptz[])
     on conflict (object, relation, subject) do update set expires_at = excluded.expires_at`,
    [
      object,
      tags.map(({ relation }) => relation),
      tags.map(({ subject }) => subject),
      tags.map(({ expiresAt }) => expiresAt ?? null),
    ],
  )
}

export async function removeTags(sql: Sql, keys: readonly TupleKey[]): Promise<void> {
  for (const { object, relation, user } of keys) {
    await sql.query('delete from tags where object = $1 and relation = $2 and subject = $3', [
      object,
      relation,
      user,
    ])
  }
}

/** A mark that an object may differ from its tags in OpenFGA. */
export interface Mark {
  readonly object: string
  readonly number: number
}

/** Gives the mark: only whoever read it, or one set before, may take it away. */
export async function markUnsettled(sql: Sql, object: string, purge: boolean): Promise<Mark> {
  const [row] = await sql.query<{ number: number }>(
    `insert into unsettled (object, purge) values ($1, $2)
     on conflict (object) do update
       set purge = unsettled.purge or excluded.purge, since = now(), number = nextval('unsettled_numbers')
     returning number`,
    [object, purge],
  )
  if (row === undefined) throw new Error('An unsettled object was not marked.')
  return { object, number: row.number }
}

/** Takes these marks away; one that was set anew since stays. */
export async function unmark(sql: Sql, marks: readonly Mark[]): Promise<void> {
  if (marks.length === 0) return
  await sql.query(
    `delete from unsettled u using unnest($1::text[], $2::bigint[]) as m (object, number)
     where u.object = m.object and u.number = m.number`,
    [marks.map(({ object }) => object), marks.map(({ number }) => number)],
  )
}
