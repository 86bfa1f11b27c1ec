import { documentObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import { readTags, type Tag } from './desired-tuples.ts'

/** A document as the tables have it, with the tags of its live and its pending revision. */
export interface StoredDocument {
  readonly docNo: number
  readonly collection: string
  /** The services that brought what is live, what waits and what is held for a retry, without `service:`. */
  readonly sources: readonly string[]
  readonly isLive: boolean
  readonly acceptedRevision: number
  readonly acceptedVersion: number | null
  /** Withdrawn, or never readable, while it was sensitive: it comes back sensitive. */
  readonly wasSensitive: boolean
  readonly isWithdrawn: boolean
  /** A revision was accepted and is not published yet. */
  readonly isPending: boolean
  /** The tags that come with that revision. */
  readonly pendingTags: readonly Tag[]
  /** OpenFGA agrees with `tags`, as far as we know. */
  readonly isSettled: boolean
  readonly tags: readonly Tag[]
}

/**
 * Whether something of a document was brought by this service: it knows that it is there. One that may not
 * write it any more has to hear that, and not that it is gone.
 */
export const broughtBy = (subject: string, { sources }: StoredDocument): boolean =>
  sources.some((source) => subject === `service:${source}`)

/**
 * What was said last of who may read: what waits, else what is in force. While content waits, what is in
 * force restricts by where the document lay or will lie, too: nobody said that of the document.
 */
export const lastSaid = ({ isPending, pendingTags, tags }: StoredDocument): readonly Tag[] =>
  isPending ? pendingTags : tags

/** What is known of these documents. Stays true for as long as their locks are held. */
export async function readDocuments(sql: Sql, ids: readonly string[]): Promise<Map<string, StoredDocument>> {
  const rows = await sql.query<Omit<StoredDocument, 'tags'> & { readonly id: string }>(
    `select d.id, d.doc_no as "docNo", d.collection, d.live_revision is not null as "isLive",
       d.accepted_revision as "acceptedRevision", d.accepted_version as "acceptedVersion",
       d.was_sensitive as "wasSensitive", d.withdrawn_at is not null as "isWithdrawn", r.access is not null as "isPending",
       coalesce(r.access, '[]') as "pendingTags",
       array_remove(array[case when d.live_revision is not null then d.source end, r.source,
         (select f.source from failed_documents f where f.doc_no = d.doc_no and f.content is not null)], null) as sources,
       not exists (select from unreconciled u where u.object = 'document:' || d.id) as "isSettled"
     from documents d left join revisions r on r.doc_no = d.doc_no and r.revision = d.accepted_revision
     where d.id = any($1)`,
    [ids],
  )
  const tagsByObject = await readTags(
    sql,
    rows.map(({ id }) => documentObject(id)),
  )
  return new Map(
    rows.map(({ id, ...row }) => [id, { ...row, tags: tagsByObject.get(documentObject(id)) ?? [] }]),
  )
}

/** Collection → whether it may be opened to everybody. */
export async function readCollections(
  sql: Sql,
  ids: readonly string[],
): Promise<Map<string, { readonly publicAllowed: boolean }>> {
  const rows = await sql.query<{ id: string; publicAllowed: boolean }>(
    'select id, public_allowed as "publicAllowed" from collections where id = any($1)',
    [ids],
  )
  return new Map(rows.map(({ id, publicAllowed }) => [id, { publicAllowed }]))
}

/** Folder or zone → the collection in which it is filed. */
export async function readFilings(sql: Sql, objects: readonly string[]): Promise<Map<string, string>> {
  if (objects.length === 0) return new Map()
  const rows = await sql.query<{ object: string; collection: string }>(
    'select object, collection from filings where object = any($1)',
    [objects],
  )
  return new Map(rows.map(({ object, collection }) => [object, collection]))
}

/** The type of a metadata field that filters may use. */
export type FieldType = 'string' | 'number' | 'boolean' | 'date'

/** The metadata fields that filters may use, by name. */
export async function readFields(sql: Sql): Promise<ReadonlyMap<string, FieldType>> {
  const rows = await sql.query<{ name: string; type: FieldType }>(
    'select name, type from fields order by name',
  )
  return new Map(rows.map(({ name, type }) => [name, type]))
}

/** A collection as an operator sees it. */
interface CollectionRow {
  readonly id: string
  readonly title: string
  /** Whether documents in it may be readable by everyone. */
  readonly publicAllowed: boolean
}

/** Every collection, for the operator: whoever asks over HTTP sees those in which they may read something. */
export const allCollections = (sql: Sql): Promise<CollectionRow[]> =>
  sql.query<CollectionRow>('select id, title, public_allowed as "publicAllowed" from collections order by id')
