import { createHash } from 'node:crypto'
import { splitObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { sameTags } from './desired-tuples.ts'
import type { AcceptedPlacement } from './placement.ts'
import { bytesOf, type DocumentInput, mimeTypeOf } from './wire.ts'

/** Raised with every change of what is read from a document, so that the same content is read again. */
const readingVersion = 1

/**
 * SHA-256 of what passages and their citation are made of: content and what is said of it, but no access,
 * times or versions.
 */
export function digestOf(subject: string, input: DocumentInput): Buffer {
  const { title, uri = null, metadata = {} } = input
  const digested = [readingVersion, splitObject(subject).id, mimeTypeOf(input), title, uri, metadata]
  return createHash('sha256')
    .update(`${canonical(digested)}\n`)
    .update(bytesOf(input))
    .digest()
}

/** Members in any order make the same text. */
export const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, member: unknown) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  )

/**
 * Whether the document is just what is asked for, so that there is nothing to do: its newest accepted
 * revision is the live one and was made of this content, its tags are in force in OpenFGA, and no passage
 * lacks a vector. Whatever waits, failed, was withdrawn or is remembered as sensitive is not. The caller
 * holds the document's lock.
 */
export async function isUnchanged(
  { embed, index }: Pick<IngestContext, 'embed' | 'index'>,
  sql: Sql,
  digest: Buffer,
  { storedDocument, tags: desiredTags, newParents }: AcceptedPlacement,
): Promise<boolean> {
  if (
    storedDocument === undefined ||
    newParents.length > 0 ||
    storedDocument.isPending ||
    storedDocument.isWithdrawn
  )
    return false
  if (!storedDocument.isSettled || storedDocument.wasSensitive || !sameTags(storedDocument.tags, desiredTags))
    return false
  const rows = await sql.query(
    `select 1 from documents d where doc_no = $1 and live_revision = accepted_revision
       and digest_revision = accepted_revision and accepted_digest = $2`,
    [storedDocument.docNo, digest],
  )
  if (rows.length === 0) return false
  return embed === undefined || !(await index.lacksVector(sql, storedDocument.docNo))
}

/**
 * What a service sent, and the {@link digestOf} it: of a long document that is work for a turn of the event
 * loop.
 */
export interface Sent {
  readonly subject: string
  readonly input: DocumentInput
  readonly digest: Buffer
}

/**
 * Whether the content that is live came from this service and is just this one: what differs is said of it,
 * or who may read it. Told to that service alone, it tells of nothing but what it sent itself. The caller
 * holds the document's lock.
 */
export async function isSameContent(
  sql: Sql,
  { subject, input, digest }: Sent,
  { storedDocument, tags: desiredTags }: AcceptedPlacement,
): Promise<boolean> {
  if (storedDocument === undefined || !storedDocument.isLive || storedDocument.isPending) return false
  const [was] = await sql.query<{ title: string; uri: string | null; metadata: object; digest: Buffer }>(
    `select title, uri, metadata, accepted_digest as digest from documents
     where doc_no = $1 and live_revision = accepted_revision and digest_revision = accepted_revision`,
    [storedDocument.docNo],
  )
  if (was === undefined) return false
  const { title, uri, metadata } = was
  const previousInput = {
    ...input,
    title,
    uri: uri ?? undefined,
    metadata: metadata as DocumentInput['metadata'],
  }
  const isSaidAnew = !digest.equals(was.digest) || !sameTags(storedDocument.tags, desiredTags)
  return isSaidAnew && digestOf(subject, previousInput).equals(was.digest)
}

/** Notes what source and time it comes with now; sent again, it counts as listed. */
export async function noteAgain(
  sql: Sql,
  docNo: number,
  itemNo: number,
  input: DocumentInput,
): Promise<void> {
  await sql.query(
    `update documents set accepted_item = $2, listed_item = null, accepted_version = coalesce($3, accepted_version),
       source_version = coalesce($3, source_version), source_updated_at = coalesce($4, source_updated_at)
     where doc_no = $1`,
    [docNo, itemNo, input.version ?? null, input.updated_at ?? null],
  )
}
