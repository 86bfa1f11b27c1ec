import { record } from '../audit/record.ts'
import { assertInForce } from '../authz/allow-list/in-force.ts'
import type { AppError } from '../kernel/errors.ts'
import { documentObject, splitObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext, Writer } from './context.ts'
import { sameTags, setTags, type Tag } from './desired-tuples.ts'
import { readFields } from './document-rows.ts'
import { fileFolders, reconcileFolders } from './folders.ts'
import { insertItem, type NoteCode } from './job-store.ts'
import {
  type AcceptedPlacement,
  contentRefusal,
  decidePlacements,
  type PlacementDecision,
} from './placement.ts'
import { reconcileObject } from './reconcile-tuples.ts'
import { digestOf, isSameContent, isUnchanged, noteAgain } from './unchanged.ts'
import { bytesOf, type DocumentInput, mimeTypeOf } from './wire.ts'

/** The queue's tasks: one for each accepted revision. */
export interface RevisionTask extends Readonly<Record<string, string | number>> {
  readonly document: string
  readonly revision: number
}

/** One document that came in. */
export interface Item {
  /** Its line in an import, from 1. */
  readonly line?: number
  readonly input: DocumentInput
}

/** Documents to accept for one job. */
export interface Accepting {
  readonly jobId: string
  readonly items: readonly Item[]
  /** What a refused item does: a single request fails as a whole, an import notes the line. */
  readonly onRefused: 'throw' | 'note'
  /** Runs first in the same transaction: makes the job, or sees that its import still comes in. */
  readonly begin?: (sql: Sql) => Promise<void>
  /** Fires when the request is over: what has not begun then does not begin. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Accepts documents for publishing: their rows, the queue's tasks and the job's items commit together, and
 * whatever access they take away is gone from OpenFGA when this returns. Ids must be distinct. Returns how
 * many items were refused. Throws the refusal with `throw`, and 503 when rights cannot be asked or removals
 * cannot be made; a removal that was begun is then completed by the worker.
 */
export async function acceptDocuments(
  context: IngestContext,
  writer: Writer,
  accepting: Accepting,
): Promise<number> {
  const { database, fga, clock, queue, step } = context
  const { items: documentItems } = accepting
  let isWorkLeft = false
  const objects = documentItems.map(({ input }) => documentObject(input.id)).sort()
  const refusals = await context.documentLocks.hold(
    objects,
    async (hold) => {
      const allowList = context.allowList()
      const fields = await readFields(database)
      const decisions = await decidePlacements(
        { database, fga, allowList, now: clock.now() },
        writer.subject,
        documentItems.map(({ input }) => input),
      )
      const checked = decisions.map((entry, index): PlacementDecision => {
        const input = documentItems[index]?.input
        if (!entry.ok || input === undefined) return entry
        const error = contentRefusal(input, fields)
        return error === undefined ? entry : { ok: false, error }
      })
      const firstRefusal = checked.find((entry) => !entry.ok)
      if (accepting.onRefused === 'throw' && firstRefusal?.ok === false) throw firstRefusal.error
      const committed = await hold.transaction(async (sql) => {
        await assertInForce(sql, allowList)
        return commit(context, sql, writer, accepting, checked)
      })
      for (const { input } of documentItems) await step('accepted', input.id)
      isWorkLeft = committed.isWorkLeft
      await reconcileFolders(context, committed.tags)
      for (const id of committed.narrowed) {
        await reconcileObject(context, hold, documentObject(id))
        await step('narrowed', id)
      }
      return checked.filter(({ ok }) => !ok).length
    },
    accepting.signal,
  )
  // Of what is unchanged nothing is left, and a look at the queue costs more than all else that it does.
  if (isWorkLeft) queue.wake()
  return refusals
}

interface Committed {
  /** Documents whose tags lost something, or gained a restriction, which OpenFGA is not known to have. */
  readonly narrowed: readonly string[]
  /** What all documents of the request shall have. */
  readonly tags: readonly Tag[]
  /** Whether the queue got any of it. */
  readonly isWorkLeft: boolean
}

async function commit(
  context: IngestContext,
  sql: Sql,
  writer: Writer,
  { jobId, items: documentItems, begin: beginWriting }: Accepting,
  decisions: readonly PlacementDecision[],
): Promise<Committed> {
  await beginWriting?.(sql)
  const tasks: RevisionTask[] = []
  const narrowed: string[] = []
  const tagsToNote: Tag[] = []
  for (const [index, documentItem] of documentItems.entries()) {
    const entry = decisions[index]
    if (entry === undefined) continue
    if (!entry.ok) {
      await noteRefusal(sql, jobId, documentItem, entry.error)
      continue
    }
    const { accepted } = entry
    if (isStale(documentItem.input, accepted)) {
      await insertItem(sql, {
        ...itemOf(jobId, documentItem),
        state: 'done',
        code: 'stale_version' satisfies NoteCode,
      })
      continue
    }
    const digest = digestOf(writer.subject, documentItem.input)
    if (accepted.storedDocument !== undefined && (await isUnchanged(context, sql, digest, accepted))) {
      const itemNo = await insertItem(sql, {
        ...itemOf(jobId, documentItem),
        state: 'done',
        ...noteOf(documentItem, accepted),
      })
      await noteAgain(sql, accepted.storedDocument.docNo, itemNo, documentItem.input)
      continue
    }
    await fileFolders(sql, documentItem.input.collection, accepted.newFolders)
    tagsToNote.push(...accepted.tags)
    const revision = await insertRevision(sql, writer, jobId, documentItem, accepted, digest)
    tasks.push({ document: documentItem.input.id, revision })
    if (await narrowTags(sql, documentItem.input.id, accepted)) narrowed.push(documentItem.input.id)
    await record(sql, writer, { event: 'document_accepted', document_id: documentItem.input.id, revision })
  }
  await context.queue.send(
    sql,
    tasks.map((task) => ({ key: task.document, turn: writer.subject, data: task })),
  )
  return { narrowed, tags: tagsToNote, isWorkLeft: tasks.length > 0 }
}

/** Lines of an import are not told: a list of every night is mostly that. */
function noteOf({ line }: Item, { sensitivityKept }: AcceptedPlacement): { readonly code?: NoteCode } {
  if (sensitivityKept) return { code: 'sensitivity_kept' }
  return line === undefined ? { code: 'unchanged' } : {}
}

const isStale = ({ version }: DocumentInput, { storedDocument }: AcceptedPlacement): boolean =>
  version !== undefined && version < (storedDocument?.acceptedVersion ?? 0)

const itemOf = (jobId: string, { line, input }: Item) => ({
  jobId,
  ...(line !== undefined && { line }),
  documentId: input.id,
})

/** Notes in the job why a document was refused. */
export async function noteRefusal(
  sql: Sql,
  jobId: string,
  documentItem: Item,
  error: AppError,
): Promise<void> {
  await insertItem(sql, {
    ...itemOf(jobId, documentItem),
    state: 'failed',
    code: error.code,
    ...(error.field !== undefined && { field: error.field }),
    detail: error.public ?? error.code,
  })
}

async function insertRevision(
  sql: Sql,
  writer: Writer,
  jobId: string,
  documentItem: Item,
  accepted: AcceptedPlacement,
  digest: Buffer,
): Promise<number> {
  const { input } = documentItem
  const itemNo = await insertItem(sql, {
    ...itemOf(jobId, documentItem),
    state: 'queued',
    ...(accepted.sensitivityKept
      ? { code: 'sensitivity_kept' satisfies NoteCode }
      : // As with what is unchanged, lines of an import are not told.
        documentItem.line === undefined &&
        (await isSameContent(sql, { subject: writer.subject, input, digest }, accepted)) && {
          code: 'same_content' satisfies NoteCode,
        }),
  })
  const [row] = await sql.query<{ doc_no: number; accepted_revision: number }>(
    `insert into documents (id, collection, accepted_revision, accepted_version, accepted_item, accepted_digest, digest_revision)
     values ($1, $2, 1, $3, $4, $5, 1)
     on conflict (id) do update set accepted_revision = documents.accepted_revision + 1, withdrawn_at = null,
       accepted_version = coalesce(excluded.accepted_version, documents.accepted_version),
       accepted_item = excluded.accepted_item, accepted_digest = excluded.accepted_digest,
       digest_revision = documents.accepted_revision + 1
     returning doc_no, accepted_revision`,
    [input.id, input.collection, input.version ?? null, itemNo, digest],
  )
  if (row === undefined) throw new Error('The row of a document was not written.')
  const storedDocument = accepted.storedDocument
  await sql.query(
    `insert into revisions (doc_no, revision, item_no, source, title, uri, mime_type, content, metadata, owner,
       access, source_updated_at, source_version, creates)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    [
      row.doc_no,
      row.accepted_revision,
      itemNo,
      splitObject(writer.subject).id,
      input.title,
      input.uri ?? null,
      mimeTypeOf(input),
      bytesOf(input),
      input.metadata ?? {},
      input.access.owner ?? null,
      JSON.stringify(accepted.tags),
      input.updated_at ?? null,
      input.version ?? null,
      // Nothing of ours is in force on it: whatever tuples are found there are a stranger's.
      storedDocument === undefined || (!storedDocument.isLive && storedDocument.tags.length === 0),
    ],
  )
  return row.accepted_revision
}

async function narrowTags(
  sql: Sql,
  id: string,
  { storedDocument, narrowed }: AcceptedPlacement,
): Promise<boolean> {
  if (storedDocument === undefined || (!storedDocument.isLive && storedDocument.tags.length === 0))
    return false
  // An earlier request may have stored them and failed before OpenFGA had them: this one promises it, too.
  if (sameTags(storedDocument.tags, narrowed)) return !storedDocument.isSettled
  await setTags(sql, documentObject(id), narrowed)
  return true
}
