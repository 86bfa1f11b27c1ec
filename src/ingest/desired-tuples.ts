import type { Operation } from '../authz/allow-list/allow-list.ts'
import type { Tuple, TupleKey } from '../authz/fga.ts'
import { collectionObject, type FgaObject } from '../kernel/ids.ts'
import { movedTo } from '../store/moved.ts'
import type { Sql } from '../store/sql.ts'
import type { Access } from './wire.ts'

/** One tuple of a change and where it stands in the request: `writes.3`. */
export interface Entry {
  readonly tuple: Tuple
  readonly operation: Operation
  readonly field: string
}

/** One tuple that we want on an object: OpenFGA should hold it, and drift puts it back. */
export interface Tag {
  readonly relation: string
  /** `user:anne`, `user:*`, `group:eng#member`, `folder:x`. */
  readonly subject: string
  /** ISO 8601, UTC. Left out: without end. */
  readonly expiresAt?: string
}

/**
 * Whether more of a relation means more access, by the model's rules: `blocked` and `sensitive` take access
 * away.
 */
export type IsWidening = (relation: string) => boolean

/** Identifies a tag among those of one object; its end does not count. */
export const tagKey = ({ relation, subject }: Pick<Tag, 'relation' | 'subject'>): string =>
  `${relation} ${subject}`

/**
 * The tags of a document of `collection` with this access. A subject that is named twice keeps its later end.
 */
export function tagsOf(collection: string, access: Access): Tag[] {
  const accessTags: Tag[] = [{ relation: 'filed_in', subject: collectionObject(collection) }]
  if (access.owner !== undefined) accessTags.push({ relation: 'owner', subject: access.owner })
  for (const parent of access.parents ?? []) accessTags.push({ relation: 'parent', subject: parent })
  for (const viewer of access.viewers ?? []) {
    accessTags.push(
      typeof viewer === 'string'
        ? { relation: 'viewer', subject: viewer }
        : { relation: 'viewer', subject: viewer.user, expiresAt: new Date(viewer.expires_at).toISOString() },
    )
  }
  for (const blocked of access.blocked ?? []) accessTags.push({ relation: 'blocked', subject: blocked })
  if (access.sensitive === true) accessTags.push(sensitiveTag)
  return distinct(accessTags)
}

function distinct(tags: readonly Tag[]): Tag[] {
  const tagsByKey = new Map<string, Tag>()
  for (const tag of tags) {
    const knownTag = tagsByKey.get(tagKey(tag))
    if (knownTag === undefined || endOf(tag) > endOf(knownTag)) tagsByKey.set(tagKey(tag), tag)
  }
  return [...tagsByKey.values()]
}

/** The same of those who were moved, by {@link movedTo}. A subject that two became keeps its later end. */
export const renamedTags = (tags: readonly Tag[], moved: ReadonlyMap<string, string>): readonly Tag[] =>
  moved.size === 0
    ? tags
    : distinct(tags.map((tag) => ({ ...tag, subject: moved.get(tag.subject) ?? tag.subject })))

/** Who is cited as the owner: by the key of now, where they were moved. Null: nobody. */
export const ownerOf = (tags: readonly Tag[]): string | null =>
  tags.find(({ relation }) => relation === 'owner')?.subject ?? null

/** The tag that makes an object sensitive. */
export const sensitiveTag: Tag = { relation: 'sensitive', subject: 'user:*' }
/** Whether this is a tag that makes an object sensitive. */
export const isSensitiveTag = ({ relation }: Tag): boolean => relation === sensitiveTag.relation
/** Whether the tags make an object sensitive. */
export const hasSensitive = (documentTags: readonly Tag[]): boolean => documentTags.some(isSensitiveTag)

/** Milliseconds since the epoch. */
export const endOf = ({ expiresAt }: Tag): number =>
  expiresAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(expiresAt)

/**
 * What may be in force before new content is published: everything that `wanted` takes away is gone already,
 * nothing that it adds is there yet.
 */
export function narrow(
  current: readonly Tag[],
  requestedTags: readonly Tag[],
  isWidening: IsWidening,
): Tag[] {
  const narrowedByKey = new Map(requestedTags.map((tag) => [tagKey(tag), tag]))
  const keptTags = current.flatMap((tag) => {
    if (!isWidening(tag.relation)) return [tag]
    const later = narrowedByKey.get(tagKey(tag))
    if (later === undefined) return []
    return [endOf(later) < endOf(tag) ? later : tag]
  })
  const keptKeys = new Set(keptTags.map(tagKey))
  return [
    ...keptTags,
    ...requestedTags.filter((tag) => !isWidening(tag.relation) && !keptKeys.has(tagKey(tag))),
  ]
}

/** Whether anybody could read more under `wanted` than under `current`. */
export function widens(
  current: readonly Tag[],
  requestedTags: readonly Tag[],
  isWidening: IsWidening,
): boolean {
  const currentByKey = new Map(current.map((tag) => [tagKey(tag), tag]))
  const requestedKeys = new Set(requestedTags.map(tagKey))
  const grants = requestedTags.some((tag) => {
    if (!isWidening(tag.relation)) return false
    const currentTag = currentByKey.get(tagKey(tag))
    return currentTag === undefined || endOf(tag) > endOf(currentTag)
  })
  return grants || current.some((tag) => !isWidening(tag.relation) && !requestedKeys.has(tagKey(tag)))
}

/** Whether two sets of distinct tags are the same, their ends included. */
export function sameTags(a: readonly Tag[], b: readonly Tag[]): boolean {
  const ends = new Map(a.map((tag) => [tagKey(tag), endOf(tag)]))
  return a.length === b.length && b.every((tag) => ends.get(tagKey(tag)) === endOf(tag))
}

/** The tuple that a tag stands for. */
export const toTuple = (object: FgaObject, { relation, subject, expiresAt }: Tag): Tuple => ({
  user: subject,
  relation,
  object,
  ...(expiresAt !== undefined && { condition: { name: 'until', context: { expires_at: expiresAt } } }),
})

/** The tag that stands for a tuple. */
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

/** Stored tags by object: of these relations, or of all. */
export async function readTags(
  sql: Sql,
  objects: readonly string[],
  relations?: readonly string[],
): Promise<Map<string, Tag[]>> {
  const rows = await sql.query<TagRow>(
    `select object, relation, subject, expires_at from desired_tuples
     where object = any($1) and ($2::text[] is null or relation = any($2)) order by object, relation, subject`,
    [objects, relations ?? null],
  )
  const tagsByObject = new Map<string, Tag[]>()
  for (const { object, relation, subject, expires_at } of rows) {
    const list = tagsByObject.get(object) ?? []
    list.push({ relation, subject, ...(expires_at !== null && { expiresAt: expires_at.toISOString() }) })
    tagsByObject.set(object, list)
  }
  return tagsByObject
}

/** An object with the tags that it shall have. `purge` also removes what others wrote on it. */
export interface TaggedObject {
  readonly object: string
  readonly tags: readonly Tag[]
  readonly purge?: boolean
}

/**
 * Replaces the tags of distinct objects and marks them unsettled: from now until {@link reconcileObjects} has
 * made OpenFGA agree, a crash is mended by drift.
 */
export async function setAllTags(sql: Sql, objects: readonly TaggedObject[]): Promise<void> {
  await sql.query('delete from desired_tuples where object = any($1)', [objects.map(({ object }) => object)])
  await insertTags(sql, objects)
  await sql.query(
    `insert into unreconciled (object, purge) select * from unnest($1::text[], $2::bool[]) order by 1
     on conflict (object) do update
       set purge = unreconciled.purge or excluded.purge, number = nextval('unreconciled_numbers')`,
    [objects.map(({ object }) => object), objects.map(({ purge = false }) => purge)],
  )
}

/** As {@link setAllTags}, of one object. */
export const setTags = (
  sql: Sql,
  object: string,
  tags: readonly Tag[],
  { purge = false }: { readonly purge?: boolean } = {},
): Promise<void> => setAllTags(sql, [{ object, tags, purge }])

/** Adds tags to an object's stored ones; one that is there already gets the new end. */
export const addTags = (sql: Sql, object: string, tags: readonly Tag[]): Promise<void> =>
  insertTags(sql, [{ object, tags }])

// Of one statement: a group may have any number of members.
const rowsAtOnce = 5_000

function* slicesOf<T>(rows: readonly T[]): Generator<readonly T[]> {
  for (let offset = 0; offset < rows.length; offset += rowsAtOnce)
    yield rows.slice(offset, offset + rowsAtOnce)
}

/** For rows that come under another name: one that both have keeps its later end. */
export const keepingLaterEnd = `on conflict (object, relation, subject) do update set expires_at =
  case when desired_tuples.expires_at is null or excluded.expires_at is null then null
       else greatest(desired_tuples.expires_at, excluded.expires_at) end`
const takingNewEnd = `on conflict (object, relation, subject) do update set expires_at = excluded.expires_at
  where desired_tuples.expires_at is distinct from excluded.expires_at`

// What members are is said by name, and moves in an order of its own.
const content = /^(?:document|folder|zone|collection):/

/**
 * On documents and what they lie in whoever was moved is stored under the new key, whoever says it: what was
 * read before the move, too. Else a block would be lost.
 */
async function insertTags(sql: Sql, objects: readonly TaggedObject[]): Promise<void> {
  const all = objects.flatMap(({ object, tags }) => tags.map((tag) => ({ object, ...tag })))
  const moved = await movedTo(
    sql,
    all.flatMap(({ object, subject }) => (content.test(object) ? [subject] : [])),
  )
  const isMoved = ({ object, subject }: Row): boolean => moved.has(subject) && content.test(object)
  await insertRows(sql, moved.size === 0 ? all : all.filter((row) => !isMoved(row)), takingNewEnd)
  // One at a time: two who were moved to one are one row.
  for (const row of moved.size === 0 ? [] : all.filter(isMoved))
    await insertRows(sql, [{ ...row, subject: moved.get(row.subject) ?? row.subject }], keepingLaterEnd)
}

interface Row extends Tag {
  readonly object: string
}

async function insertRows(sql: Sql, all: readonly Row[], onConflict: string): Promise<void> {
  for (const rows of slicesOf(all))
    await sql.query(
      `insert into desired_tuples (object, relation, subject, expires_at)
       select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) ${onConflict}`,
      [
        rows.map(({ object }) => object),
        rows.map(({ relation }) => relation),
        rows.map(({ subject }) => subject),
        rows.map(({ expiresAt }) => expiresAt ?? null),
      ],
    )
}

/** Removes stored tags by their tuple keys. */
export async function removeTags(sql: Sql, keys: readonly TupleKey[]): Promise<void> {
  for (const slice of slicesOf(keys))
    await sql.query(
      `delete from desired_tuples t
       using unnest($1::text[], $2::text[], $3::text[]) as gone (object, relation, subject)
       where t.object = gone.object and t.relation = gone.relation and t.subject = gone.subject`,
      [
        slice.map(({ object }) => object),
        slice.map(({ relation }) => relation),
        slice.map(({ user }) => user),
      ],
    )
}

/** A mark that an object may differ from its tags in OpenFGA. */
export interface Mark {
  readonly object: string
  readonly number: number
}

/** Gives the mark: only whoever read it, or one set before, may take it away. */
export async function markUnsettled(sql: Sql, object: string, purge: boolean): Promise<Mark> {
  const [row] = await sql.query<{ number: number }>(
    `insert into unreconciled (object, purge) values ($1, $2)
     on conflict (object) do update
       set purge = unreconciled.purge or excluded.purge, number = nextval('unreconciled_numbers')
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
    `delete from unreconciled u using unnest($1::text[], $2::bigint[]) as m (object, number)
     where u.object = m.object and u.number = m.number`,
    [marks.map(({ object }) => object), marks.map(({ number }) => number)],
  )
}
