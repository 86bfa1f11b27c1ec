import { record } from '../audit/record.ts'
import { AppError } from '../kernel/errors.ts'
import { documentObject, type FgaObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import { acceptDocuments } from './accept.ts'
import type { IngestContext, Writer } from './context.ts'
import { readTags, type Tag, tagKey } from './desired-tuples.ts'
import {
  type FailedRevision,
  type HeldContent,
  readHeld,
  readRetriable,
  type Taken,
  takeFailed,
} from './failed-documents.ts'
import { insertJob } from './job-store.ts'
import { askRights } from './rights.ts'
import { type Access, accessSchema, type DocumentInput } from './wire.ts'

/** Who asks: the service that sent the document, or an administrator, whose row the caller has checked. */
export interface Retrying {
  readonly by: Writer
  readonly isAdministrator: boolean
  readonly signal?: AbortSignal | undefined
}

/** The job that brings the content in, and whose it is. */
export interface Retry {
  readonly jobId: string
  readonly owner: FgaObject
  /** Somebody has begun it before. */
  readonly isRepeated: boolean
}

// The content, or its access, changes while it is read: rarely once.
const attemptsMax = 5

/**
 * Takes the content of a failed document in again, as if its service had sent it again now: with the rights
 * that the service has now and the access that was set last. A retry that goes on, or brought what is newest,
 * is not begun again. What ended a process goes in alone. Throws `not_found` where nothing of the document
 * failed (it was replaced or withdrawn since, say), where it is of another service, and where the service may
 * not write to its collection any more; `conflict` where the content is held no longer, or its access cannot
 * be stated again; and like a PUT.
 */
export async function retryDocument(context: IngestContext, id: string, retrying: Retrying): Promise<Retry> {
  for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
    const retry = await retryAsRead(context, id, retrying)
    if (retry !== undefined) return retry
  }
  throw new AppError('conflict', { public: 'The document changes at this moment. Ask again.' })
}

/** Undefined where what was read had changed by the time the document was held. */
async function retryAsRead(
  context: IngestContext,
  id: string,
  retrying: Retrying,
): Promise<Retry | undefined> {
  const { database, fga, clock, newId } = context
  const { by, isAdministrator } = retrying
  const found = await readRetriable(database, id, isAdministrator ? undefined : nameOf(by.subject))
  const owner: FgaObject = `service:${found?.service ?? (isAdministrator ? newId() : nameOf(by.subject))}`
  // Also where nothing is there: a 404 at once would tell that from one of others.
  const collection = found?.collection ?? newId()
  const rights = await askRights(fga, owner, [{ relation: 'writer', collection }], clock.now())
  const mayWrite = rights.has('writer', collection)
  if (found === undefined || (!mayWrite && !isAdministrator)) throw new AppError('not_found')
  if (!mayWrite)
    throw new AppError('conflict', {
      public: 'The service that sent this document may not write to its collection any more.',
    })
  const { failed, retriedAs } = found
  if (failed === undefined && retriedAs !== undefined) return { jobId: retriedAs, owner, isRepeated: true }
  if (failed === undefined) return undefined
  const content = await readHeld(database, failed)
  if (content === undefined) return undefined
  if (content === null)
    throw new AppError('conflict', { public: 'The content is held no longer. Send the document again.' })
  const input = await inputOf(database, id, collection, content)
  const jobId = newId()
  const hasBegun = await accept(context, retrying, { jobId, owner, input, failed, held: content })
  return hasBegun ? { jobId, owner, isRepeated: false } : undefined
}

const nameOf = (subject: string): string => subject.slice('service:'.length)

interface Begun {
  readonly jobId: string
  readonly owner: FgaObject
  readonly input: DocumentInput
  readonly failed: FailedRevision
  readonly held: HeldContent
}

class ChangedError extends Error {}

/** False where the content was not as it was read any more; then nothing was done. */
async function accept(
  context: IngestContext,
  { by, isAdministrator, signal }: Retrying,
  { jobId, owner, input, failed, held: content }: Begun,
): Promise<boolean> {
  let takenRow: Taken | undefined
  try {
    await acceptDocuments(
      context,
      { ...by, subject: owner, actors: [] },
      {
        jobId,
        items: [{ input }],
        onRefused: 'throw',
        signal,
        async begin(sql) {
          takenRow = await takeFailed(sql, failed, content)
          if (takenRow === undefined) throw new ChangedError()
          await insertJob(sql, { id: jobId, owner, kind: 'retry' })
          await record(sql, by, {
            event: 'document_retried',
            document_id: input.id,
            revision: failed.revision,
          })
        },
        end: (sql) => carryOver(sql, failed, takenRow),
      },
    )
    return true
  } catch (error) {
    if (error instanceof ChangedError) return false
    // Taken back since it was asked about.
    if (!isAdministrator && error instanceof AppError && error.field === 'collection')
      throw new AppError('not_found')
    throw error
  }
}

/**
 * What ended a process before goes in with nothing beside it, and has all its tries again. Nobody has listed
 * the document by asking for a retry: a snapshot that lacks it withdraws it.
 */
async function carryOver(
  sql: Sql,
  { docNo, tries }: FailedRevision,
  takenRow: Taken | undefined,
): Promise<void> {
  await sql.query(
    `update revisions set tries = $2, deaths = $3 where doc_no = $1
     and revision = (select accepted_revision from documents where doc_no = $1)`,
    [docNo, tries + 1, takenRow?.isSuspect === true ? 1 : 0],
  )
  await sql.query('update documents set listed_item = $2 where doc_no = $1', [
    docNo,
    takenRow?.listedItem ?? 0,
  ])
}

async function inputOf(
  sql: Sql,
  id: string,
  collection: string,
  content: HeldContent,
): Promise<DocumentInput> {
  const { bytes, title, uri, mimeType, metadata, updatedAt, version } = content
  return {
    id,
    collection,
    title,
    content_base64: Buffer.from(bytes).toString('base64'),
    mime_type: mimeType,
    metadata: metadata as DocumentInput['metadata'],
    access: await accessOf(sql, id, content),
    ...(uri !== null && { uri }),
    ...(updatedAt !== null && { updated_at: updatedAt.toISOString() }),
    ...(version !== null && { version }),
  }
}

const named = new Set(['filed_in', 'owner', 'viewer', 'parent', 'blocked', 'sensitive'])

/** The access that has these tags. What a service cannot state has to be in force: then it stays. */
async function accessOf(sql: Sql, id: string, { access }: HeldContent): Promise<Access> {
  const object = documentObject(id)
  const unnamed = access.filter(({ relation }) => !named.has(relation))
  const stored = unnamed.length === 0 ? [] : ((await readTags(sql, [object])).get(object) ?? [])
  const storedKeys = new Set(stored.map(tagKey))
  const of = (relation: string): Tag[] => access.filter((tag) => tag.relation === relation)
  const [owner] = of('owner')
  const parsed = accessSchema.safeParse({
    ...(owner !== undefined && { owner: owner.subject }),
    viewers: of('viewer').map(({ subject, expiresAt }) =>
      expiresAt === undefined ? subject : { user: subject, expires_at: expiresAt },
    ),
    parents: of('parent').map(({ subject }) => subject),
    blocked: of('blocked').map(({ subject }) => subject),
    sensitive: of('sensitive').length > 0,
  })
  if (!parsed.success || of('owner').length > 1 || unnamed.some((tag) => !storedKeys.has(tagKey(tag))))
    throw new AppError('conflict', {
      public: 'The access of this content cannot be stated again. Send the document again.',
    })
  return parsed.data
}
