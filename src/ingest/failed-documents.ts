import { documentObject, type FgaObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import type { Tag } from './desired-tuples.ts'
import { nextOf, type PageOf, type Place, placeIn } from './pages.ts'
import type { ParseError } from './parse/parsed.ts'
import type { Revision } from './revision.ts'

/** Bytes of failed content that are held for one service; beyond, what fails has to be sent again. */
const heldBytesMax = 256 * 1024 * 1024
/** And documents. */
const heldMax = 5_000
/** Days for which failed content is held. */
export const heldDays = 7

/**
 * Ends a revision that cannot be taken in, and holds its content for a retry: in the caller's transaction,
 * under the document's lock. Of one that was overtaken, or of more than {@link heldMax} for its service,
 * nothing is held. A second call changes nothing.
 */
export async function setAside(
  sql: Sql,
  { docNo, revision, source }: Pick<Revision, 'docNo' | 'revision' | 'source'>,
  { code, detail }: Pick<ParseError, 'code' | 'detail'>,
): Promise<void> {
  await sql.query(
    // What is begun is counted as a death until it ends.
    `with gone as (
       delete from revisions where doc_no = $1 and revision = $2 returning *
     ), failed as (
       select gone.*, octet_length(gone.content) as bytes, held.count < $6 and held.bytes + octet_length(gone.content) <= $7 as holds
       from gone join documents d on d.doc_no = gone.doc_no and d.accepted_revision = gone.revision
       cross join (
         select count(*) as count, coalesce(sum(bytes), 0) as bytes from failed_documents
         where source = $3 and content is not null
       ) held
     )
     insert into failed_documents (doc_no, revision, source, code, detail, tries, deaths, bytes, content, title, uri, mime_type,
       metadata, access, source_updated_at, source_version)
     select doc_no, revision, source, $4, $5, tries, greatest(deaths - (begun_by is not null)::int, 0), bytes,
       case when holds then content end, case when holds then title end,
       case when holds then uri end, case when holds then mime_type end, case when holds then metadata end,
       case when holds then access end, case when holds then source_updated_at end, case when holds then source_version end
     from failed`,
    [docNo, revision, source, code, detail, heldMax, heldBytesMax],
  )
}

/** What a service says anew of who may read replaces what came with the content: a retry brings that. */
export async function retagFailed(sql: Sql, docNo: number, newTags: readonly Tag[]): Promise<boolean> {
  const changed = await sql.query(
    `update failed_documents set access = $2
     where doc_no = $1 and content is not null and access is distinct from $2::jsonb returning 1`,
    [docNo, JSON.stringify(newTags)],
  )
  return changed.length > 0
}

/** The same where single tuples of these documents change. */
export async function changeFailed(
  sql: Sql,
  ids: readonly string[],
  change: (object: FgaObject, currentTags: readonly Tag[]) => readonly Tag[],
): Promise<void> {
  if (ids.length === 0) return
  const rows = await sql.query<{ id: string; docNo: number; access: readonly Tag[] }>(
    `select d.id, f.doc_no as "docNo", f.access from failed_documents f join documents d using (doc_no)
     where d.id = any($1) and f.content is not null`,
    [ids],
  )
  for (const { id, docNo, access } of rows) await retagFailed(sql, docNo, change(documentObject(id), access))
}

/** Whether a retry could bring content of this document. */
export async function isHeld(sql: Sql, docNo: number): Promise<boolean> {
  const rows = await sql.query('select 1 from failed_documents where doc_no = $1 and content is not null', [
    docNo,
  ])
  return rows.length > 0
}

/** Content that was held for so long goes; what is known of the failure stays. */
export async function forgetFailed(sql: Sql): Promise<void> {
  await sql.query(
    `update failed_documents set content = null, title = null, uri = null, mime_type = null, metadata = null, access = null,
       source_updated_at = null, source_version = null
     where content is not null and failed_at < now() - make_interval(days => $1)`,
    [heldDays],
  )
}

/** A document whose newest content could not be taken in. Never its content, nor its title. */
export interface FailedDocument {
  readonly id: string
  readonly collection: string
  /** The service that sent it. */
  readonly service: string
  readonly code: string
  readonly detail: string
  readonly failedAt: Date
  /** How often it was begun. */
  readonly tries: number
  /** Whether it can be taken in again without being sent again. */
  readonly isHeld: boolean
}

/** Which of them: all that is left out is any. */
export interface FailedFilter {
  /** The name of the service that sent them. */
  readonly service: string | undefined
  /** Of these collections alone. */
  readonly collections?: readonly string[]
  readonly code?: string | undefined
}

/** One page, newest failure first. */
export interface FailedPage {
  readonly documents: readonly FailedDocument[]
  /** Where the next page begins; undefined on the last. */
  readonly cursor: string | undefined
}

/**
 * Documents whose newest content failed. What fails meanwhile comes before the first page and moves none.
 * Throws `invalid_request` for a cursor of another list. Does NOT check who asks.
 */
export async function listFailed(
  sql: Sql,
  { service, collections, code }: FailedFilter,
  { cursor, limit }: PageOf,
): Promise<FailedPage> {
  const place = placeIn('failed', cursor)
  const rows = await sql.query<FailedDocument & Place>(
    `select to_char(f.failed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as place, d.id, d.collection,
       f.source as service, f.code, f.detail, f.failed_at as "failedAt", f.tries, f.content is not null as "isHeld"
     from failed_documents f join documents d on d.doc_no = f.doc_no and d.accepted_revision = f.revision
     where ($1::text is null or f.source = $1) and ($2::text[] is null or d.collection = any($2))
       and ($3::text is null or f.code = $3) and ($4::timestamptz is null or (f.failed_at, d.id) < ($4, $5::text))
     order by f.failed_at desc, d.id desc limit $6`,
    [service ?? null, collections ?? null, code ?? null, place?.place ?? null, place?.id ?? null, limit + 1],
  )
  return {
    documents: rows.slice(0, limit).map(({ place: _, ...document }) => document),
    cursor: nextOf('failed', rows, limit),
  }
}

/** Where the failed documents of a service are filed. */
export async function collectionsOfFailed(sql: Sql, service: string): Promise<readonly string[]> {
  const rows = await sql.query<{ collection: string }>(
    'select distinct d.collection from failed_documents f join documents d using (doc_no) where f.source = $1',
    [service],
  )
  return rows.map(({ collection }) => collection)
}

/** What is known of a document to whoever would have its content taken in again. */
export interface Retriable {
  readonly collection: string
  /** The name of the service that sent it. */
  readonly service: string
  /** Its newest content failed. Left out: it was retried since, as this job. */
  readonly failed: FailedRevision | undefined
  readonly retriedAs: string | undefined
}

/** Content that failed. */
export interface FailedRevision {
  readonly docNo: number
  readonly revision: number
  /** How often it was begun. */
  readonly tries: number
}

/**
 * A document of which something failed, or was retried and nothing came since. Undefined for every other one,
 * and for one of another service than `service`, where that is given. Does NOT check rights.
 */
export async function readRetriable(
  sql: Sql,
  id: string,
  service: string | undefined,
): Promise<Retriable | undefined> {
  const [row] = await sql.query<{
    collection: string
    service: string
    retriedAs: string | null
    docNo: number
    revision: number | null
    tries: number
  }>(
    `select d.collection, coalesce(f.source, substr(j.owner, length('service:') + 1)) as service, j.id as "retriedAs",
       d.doc_no as "docNo", f.revision, f.tries
     from documents d
     left join failed_documents f on f.doc_no = d.doc_no and f.revision = d.accepted_revision
     left join job_items i on i.item_no = d.accepted_item and i.document_id = d.id and d.withdrawn_at is null
     left join jobs j on j.id = i.job_id and j.kind = 'retry'
     where d.id = $1 and (f.source is not null or j.id is not null)
       and ($2::text is null or coalesce(f.source, substr(j.owner, length('service:') + 1)) = $2)`,
    [id, service ?? null],
  )
  if (row === undefined) return undefined
  const { collection, service: sentBy, retriedAs, docNo, revision, tries } = row
  return {
    collection,
    service: sentBy,
    failed: revision === null ? undefined : { docNo, revision, tries },
    retriedAs: retriedAs ?? undefined,
  }
}

/** Failed content, as it was sent, with the tuples that would come with it. */
export interface HeldContent {
  readonly bytes: Uint8Array
  readonly title: string
  readonly uri: string | null
  readonly mimeType: string
  readonly metadata: object
  readonly access: readonly Tag[]
  readonly updatedAt: Date | null
  readonly version: number | null
}

/** Null where it is held no longer; undefined where nothing failed any more. */
export async function readHeld(
  sql: Sql,
  { docNo, revision }: FailedRevision,
): Promise<HeldContent | null | undefined> {
  const [row] = await sql.query<HeldContent & { readonly isHeld: boolean }>(
    `select content is not null as "isHeld", content as bytes, title, uri, mime_type as "mimeType", metadata, access,
       source_updated_at as "updatedAt", source_version as version
     from failed_documents where doc_no = $1 and revision = $2`,
    [docNo, revision],
  )
  return row?.isHeld === false ? null : row
}

/** What is to be known of failed content once it was taken out. */
export interface Taken {
  /** Whether a process ended while it was at this content. */
  readonly isSuspect: boolean
  /** The item by which somebody sent the document last. */
  readonly listedItem: number | null
}

/** Takes failed content out, as it was read; undefined where any of it changed since, or came after it. */
export async function takeFailed(
  sql: Sql,
  { docNo, revision }: FailedRevision,
  { access }: HeldContent,
): Promise<Taken | undefined> {
  const [row] = await sql.query<Taken>(
    `delete from failed_documents f using documents d where f.doc_no = $1 and f.revision = $2 and f.access = $3::jsonb
       and d.doc_no = f.doc_no and d.accepted_revision = f.revision
     returning f.deaths > 0 as "isSuspect", coalesce(d.listed_item, d.accepted_item) as "listedItem"`,
    [docNo, revision, JSON.stringify(access)],
  )
  return row
}
