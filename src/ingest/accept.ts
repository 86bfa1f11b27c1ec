import { recordAll } from '../audit/record.ts'
import { assertInForce } from '../authz/allow-list/in-force.ts'
import type { AppError } from '../kernel/errors.ts'
import { documentObject, splitObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext, Writer } from './context.ts'
import { ownerOf, sameTags, setAllTags, type Tag } from './desired-tuples.ts'
import { readFields } from './document-rows.ts'
import { fileMentioned, reconcileParents } from './filing.ts'
import { insertItem, insertQueuedItems, type NoteCode } from './job-store.ts'
import {
  type AcceptedPlacement,
  contentRefusal,
  decidePlacements,
  type PlacementDecision,
} from './placement.ts'
import { reconcileObjects } from './reconcile-tuples.ts'
import type { RevisionTask } from './revision.ts'
import { digestOf, isSameContent, isUnchanged, noteAgain } from './unchanged.ts'
import { bytesOf, type DocumentInput, mimeTypeOf } from './wire.ts'

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
  /** Runs last in it. */
  readonly end?: (sql: Sql) => Promise<unknown>
  /** Fires when the request is over: what has not begun then does not begin. */
  readonly signal?: AbortSignal | undefined
}

/** What became of the items. */
export interface Accepted {
  readonly refused: number
  /** Those that wait to be published; of the others nothing is left to do. */
  readonly queued: number
}

/**
 * Accepts documents for publishing: their rows, the queue's tasks and the job's items commit together, and
 * whatever access they take away is gone from OpenFGA when this returns. Ids must be distinct. Throws the
 * refusal with `throw`, and 503 when rights cannot be asked or removals cannot be made; a removal that was
 * begun is then completed by the worker.
 */
export async function acceptDocuments(
  context: IngestContext,
  writer: Writer,
  accepting: Accepting,
): Promise<Accepted> {
  const { database, fga, clock, queue, step, fewAtATime } = context
  const { items: documentItems } = accepting
  const objects = documentItems.map(({ input }) => documentObject(input.id)).sort()
  const accepted = await context.documentLocks.hold(
    objects,
    async (hold, patience) => {
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
      const commitAll = () =>
        hold.transaction(async (sql) => {
          await assertInForce(sql, allowList)
          const accepted = await commit(context, sql, writer, accepting, checked)
          await accepting.end?.(sql)
          return accepted
        })
      // Nobody waits for one batch of an import, but for one of its documents.
      const committed = await (accepting.onRefused === 'note' ? fewAtATime(commitAll, patience) : commitAll())
      for (const { input } of documentItems) await step('accepted', input.id)
      await reconcileParents(context, committed.tags)
      if (committed.narrowed.length > 0)
        await reconcileObjects(context, hold, committed.narrowed.map(documentObject))
      for (const id of committed.narrowed) await step('narrowed', id)
      return { refused: checked.filter(({ ok }) => !ok).length, queued: committed.queued }
    },
    accepting.signal,
  )
  // Of what is unchanged nothing is left, and a look at the queue costs more than all else that it does.
  if (accepted.queued > 0) queue.wake()
  return accepted
}

interface Committed {
  /** Documents whose tags lost something, or gained a restriction, which OpenFGA is not known to have. */
  readonly narrowed: readonly string[]
  /** What all documents of the request shall have. */
  readonly tags: readonly Tag[]
  /** How many of them the queue got. */
  readonly queued: number
}

async function commit(
  context: IngestContext,
  sql: Sql,
  writer: Writer,
  { jobId, items: documentItems, begin: beginWriting }: Accepting,
  decisions: readonly PlacementDecision[],
): Promise<Committed> {
  await writer.assertCurrent?.(sql)
  await beginWriting?.(sql)
  const fresh: FreshRevision[] = []
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
    await fileMentioned(sql, documentItem.input.collection, accepted.newParents)
    const code = await noteOfFresh(sql, writer, documentItem, accepted, digest)
    fresh.push({ documentItem, accepted, digest, code })
  }
  const tasks = await insertRevisions(sql, writer, jobId, fresh)
  const narrowed = await narrowTags(sql, fresh)
  await recordAll(
    sql,
    tasks.map(({ document, revision }) => ({
      actor: writer,
      decision: { event: 'document_accepted', document_id: document, revision },
    })),
  )
  await context.queue.send(
    sql,
    tasks.map((task) => ({ key: task.document, turn: writer.subject, data: task })),
  )
  return { narrowed, tags: fresh.flatMap(({ accepted }) => accepted.tags), queued: tasks.length }
}

/** A document whose content is to be taken in. */
interface FreshRevision {
  readonly documentItem: Item
  readonly accepted: AcceptedPlacement
  readonly digest: Buffer
  /** What its item tells. */
  readonly code: NoteCode | undefined
}

async function noteOfFresh(
  sql: Sql,
  { subject }: Writer,
  { line, input }: Item,
  accepted: AcceptedPlacement,
  digest: Buffer,
): Promise<NoteCode | undefined> {
  if (accepted.sensitivityKept) return 'sensitivity_kept'
  // As with what is unchanged, lines of an import are not told.
  if (line !== undefined) return undefined
  return (await isSameContent(sql, { subject, input, digest }, accepted)) ? 'same_content' : undefined
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

async function insertRevisions(
  sql: Sql,
  writer: Writer,
  jobId: string,
  fresh: readonly FreshRevision[],
): Promise<RevisionTask[]> {
  if (fresh.length === 0) return []
  const itemNos = await insertQueuedItems(
    sql,
    jobId,
    fresh.map(({ documentItem: { line, input }, code }) => ({ line, documentId: input.id, code })),
  )
  const inputs = fresh.map(({ documentItem }) => documentItem.input)
  const rows = await sql.query<{ id: string; doc_no: number; accepted_revision: number }>(
    `insert into documents (id, collection, accepted_revision, accepted_version, accepted_item, accepted_digest, digest_revision)
     select id, collection, 1, version, item_no, decode(digest, 'base64'), 1
     from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[])
       as d (id, collection, version, item_no, digest) order by id
     on conflict (id) do update set accepted_revision = documents.accepted_revision + 1, withdrawn_at = null,
       accepted_version = coalesce(excluded.accepted_version, documents.accepted_version),
       accepted_item = excluded.accepted_item, listed_item = null, accepted_digest = excluded.accepted_digest,
       digest_revision = documents.accepted_revision + 1
     returning id, doc_no, accepted_revision`,
    [
      inputs.map(({ id }) => id),
      inputs.map(({ collection }) => collection),
      inputs.map(({ version }) => version ?? null),
      itemNos,
      fresh.map(({ digest }) => digest.toString('base64')),
    ],
  )
  const rowById = new Map(rows.map((row) => [row.id, row]))
  const documents = inputs.map(({ id }) => {
    const row = rowById.get(id)
    if (row === undefined) throw new Error('The row of a document was not written.')
    return row
  })
  await sql.query(
    `insert into revisions (doc_no, revision, item_no, source, title, uri, mime_type, content, metadata, owner,
       access, source_updated_at, source_version, creates)
     select r.doc_no, r.revision, r.item_no, $4, r.title, r.uri, r.mime_type, decode(r.content, 'base64'),
       r.metadata::jsonb, r.owner, r.access::jsonb, r.updated_at, r.version, r.creates
     from unnest($1::int[], $2::bigint[], $3::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
       $10::text[], $11::text[], $12::timestamptz[], $13::bigint[], $14::bool[])
       as r (doc_no, revision, item_no, title, uri, mime_type, content, metadata, owner, access, updated_at, version, creates)`,
    [
      documents.map(({ doc_no }) => doc_no),
      documents.map(({ accepted_revision }) => accepted_revision),
      itemNos,
      splitObject(writer.subject).id,
      inputs.map(({ title }) => title),
      inputs.map(({ uri }) => uri ?? null),
      inputs.map(mimeTypeOf),
      inputs.map((input) => Buffer.from(bytesOf(input)).toString('base64')),
      inputs.map(({ metadata }) => JSON.stringify(metadata ?? {})),
      fresh.map(({ accepted }) => ownerOf(accepted.tags)),
      fresh.map(({ accepted }) => JSON.stringify(accepted.tags)),
      inputs.map(({ updated_at }) => updated_at ?? null),
      inputs.map(({ version }) => version ?? null),
      fresh.map(({ accepted }) => isNothingInForce(accepted)),
    ],
  )
  return documents.map(({ id, accepted_revision }) => ({ document: id, revision: accepted_revision }))
}

/** Nothing of ours is in force on it: whatever tuples are found there are a stranger's. */
const isNothingInForce = ({ storedDocument }: AcceptedPlacement): boolean =>
  storedDocument === undefined || (!storedDocument.isLive && storedDocument.tags.length === 0)

/** Gives the documents whose tags OpenFGA may not have yet. */
async function narrowTags(sql: Sql, fresh: readonly FreshRevision[]): Promise<string[]> {
  const inForce = fresh.filter(({ accepted }) => !isNothingInForce(accepted))
  const [same, other] = [true, false].map((isSame) =>
    inForce.filter(
      ({ accepted: { storedDocument, narrowed } }) =>
        sameTags(storedDocument?.tags ?? [], narrowed) === isSame,
    ),
  ) as [FreshRevision[], FreshRevision[]]
  if (other.length > 0)
    await setAllTags(
      sql,
      other.map(({ documentItem, accepted }) => ({
        object: documentObject(documentItem.input.id),
        tags: accepted.narrowed,
      })),
    )
  // An earlier request may have stored them and failed before OpenFGA had them: this one promises it, too.
  const unsettled = same.filter(({ accepted }) => accepted.storedDocument?.isSettled === false)
  return [...unsettled, ...other].map(({ documentItem }) => documentItem.input.id)
}
