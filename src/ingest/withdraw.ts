import { record } from '../audit/record.ts'
import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { AppError } from '../kernel/errors.ts'
import { documentObject } from '../kernel/ids.ts'
import { pluralize } from '../kernel/pluralize.ts'
import type { ChunkPublisher } from '../retrieval/chunk-index/port.ts'
import type { Sql } from '../store/sql.ts'
import { keptOf } from './by-allow-list.ts'
import type { IngestContext, Writer } from './context.ts'
import { setTags, type Tag } from './desired-tuples.ts'
import { broughtBy, lastSaid, readDocuments } from './document-rows.ts'
import type { ImportRequest } from './imports.ts'
import { insertItem, type JobNote, noteTexts } from './job-store.ts'
import { hide } from './publish.ts'
import { stillReceiving } from './receiving.ts'
import { reconcileObject } from './reconcile-tuples.ts'
import { askRights } from './rights.ts'
import { askSensitivity } from './sensitivity.ts'

/** A withdrawal, and the check that it is still meant. */
export interface Withdrawing {
  readonly jobId: string
  readonly ids: readonly string[]
  /** Which of them are to be withdrawn after all, asked while they are held. Left out: all. */
  readonly stillMeant?: () => Promise<readonly string[]>
  /** Runs first in the same transaction: makes the job, or sees that its import still comes in. */
  readonly begin?: (sql: Sql) => Promise<void>
  /** Fires when the request is over: what has not begun then does not begin. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Withdraws documents: hidden at once, then every tuple on them goes, whoever wrote it. The row stays and
 * remembers that the document was sensitive. Withdrawing twice changes nothing.
 * Throws `not_found` where one is missing or filed where the service may not write, `forbidden` where the
 * service brought it there; 503 when OpenFGA does not answer: what is hidden by then stays hidden, and drift
 * removes the tuples.
 */
export async function withdrawDocuments(
  context: IngestContext,
  writer: Writer,
  withdrawing: Withdrawing,
): Promise<void> {
  const { database, fga, clock, newId, step, jobChanged, corpusChanged } = context
  const { jobId, begin: beginWithdrawal, stillMeant } = withdrawing
  const now = clock.now()
  await context.documentLocks.hold(
    withdrawing.ids.map(documentObject).sort(),
    async (hold) => {
      const ids = (await stillMeant?.()) ?? withdrawing.ids
      const documents = await readDocuments(database, ids)
      const rights = await askRights(
        fga,
        writer.subject,
        // Also where nothing is there: a 404 at once would tell that from one of others.
        ids.map((id) => ({ relation: 'writer', collection: documents.get(id)?.collection ?? newId() })),
        now,
      )
      for (const id of ids) {
        const storedDocument = documents.get(id)
        if (storedDocument === undefined) throw new AppError('not_found')
        if (!rights.has('writer', storedDocument.collection))
          throw new AppError(broughtBy(writer.subject, storedDocument) ? 'forbidden' : 'not_found')
      }
      const sensitivity = await askSensitivity({ fga, now }, documents)
      const list = listOf(context)
      await hold.transaction(async (sql) => {
        await writer.assertCurrent?.(sql)
        await beginWithdrawal?.(sql)
        for (const id of ids) {
          const storedDocument = documents.get(id)
          if (storedDocument === undefined) continue
          const object = documentObject(id)
          const keptTags = keptOf(list, object, lastSaid(storedDocument))
          await bury(sql, context.index, {
            ...storedDocument,
            id,
            isSensitive: sensitivity.of(object),
            kept: keptTags,
          })
          await insertItem(sql, { jobId, documentId: id, state: 'done' })
          if (!storedDocument.isWithdrawn) {
            await record(sql, writer, {
              event: 'document_withdrawn',
              document_id: id,
              revision: storedDocument.acceptedRevision + 1,
            })
          }
        }
      })
      await corpusChanged([...documents.values()].map(({ docNo }) => docNo))
      for (const id of ids) await step('withdrawn', id)
      for (const id of ids) await reconcileObject(context, hold, documentObject(id))
    },
    withdrawing.signal,
  )
  jobChanged(jobId)
}

// Nothing keeps a document from being withdrawn: where no list can be used, all that might be kept is.
function listOf({ allowList }: IngestContext): AllowList | undefined {
  try {
    return allowList()
  } catch {
    return undefined
  }
}

interface Burial {
  readonly id: string
  readonly docNo: number
  readonly isSensitive: boolean
  readonly kept: readonly Tag[]
}

async function bury(
  sql: Sql,
  index: ChunkPublisher,
  { id, docNo, isSensitive, kept: keptTags }: Burial,
): Promise<void> {
  await hide(sql, index, [docNo])
  await sql.query(
    `update documents set accepted_revision = accepted_revision + 1, accepted_version = null, source_version = null,
       title = '', uri = null, owner = null, metadata = '{}', source_updated_at = null,
       was_sensitive = $2, withdrawn_at = coalesce(withdrawn_at, now())
     where doc_no = $1`,
    [docNo, isSensitive],
  )
  await setTags(sql, documentObject(id), keptTags, { purge: true })
}

/** What a body turned out to hold. */
export interface ReceivedBody {
  /** Lines with a document. */
  readonly documents: number
  readonly refused: number
  /** The count of the end line; undefined without one as the last line. */
  readonly end: number | undefined
}

/** An import that lists a collection whole. */
export interface Snapshot {
  readonly collection: string
  /** Lets an empty list withdraw everything; the second limit holds besides. */
  readonly allowEmpty: boolean
  /** Lets more than half of the collection be withdrawn, up to this many documents. */
  readonly allowWithdraw: number | undefined
}

const batchMax = 50

/**
 * Withdraws what the collection holds and the list does not. Only after a list that is beyond doubt: every
 * line accepted, the end line last and right. Else nothing is withdrawn, and the job says why.
 */
export async function applySnapshot(
  context: IngestContext,
  writer: Writer,
  jobId: string,
  snapshot: Snapshot,
  received: ReceivedBody,
  { signal, assertStands }: Pick<ImportRequest, 'signal' | 'assertStands'> = {},
): Promise<void> {
  const { database } = context
  const unlisted = await findUnlisted(database, jobId, snapshot.collection)
  const doubt = doubtOf(snapshot, received, unlisted.ids.length, unlisted.total)
  if (doubt !== undefined) {
    await note(database, jobId, {
      code: 'snapshot_not_applied',
      detail: `${noteTexts.snapshot_not_applied} ${doubt}`,
    })
    return
  }
  for (let offset = 0; offset < unlisted.ids.length; offset += batchMax) {
    const ids = unlisted.ids.slice(offset, offset + batchMax)
    // The earlier ones take time, in which somebody may have brought these in.
    const stillMeant = async () => {
      await assertStands?.()
      return (await findUnlisted(database, jobId, snapshot.collection, ids)).ids
    }
    await withdrawDocuments(context, writer, {
      jobId,
      ids,
      stillMeant,
      begin: (sql) => stillReceiving(sql, jobId),
      signal,
    })
  }
  await note(database, jobId, { code: 'snapshot_applied', detail: noteTexts.snapshot_applied })
}

function doubtOf(
  { allowEmpty, allowWithdraw }: Snapshot,
  { documents, refused: refusedCount, end: expectedCount }: ReceivedBody,
  withdrawals: number,
  total: number,
): string | undefined {
  if (expectedCount === undefined) return 'The last line is not {"end": <count>}: the list may be cut short.'
  if (refusedCount > 0) return 'Some lines were refused.'
  if (expectedCount !== documents)
    return `The end line counts ${expectedCount} documents, the list holds ${documents}.`
  if (documents === 0 && !allowEmpty)
    return `The list is empty: it would withdraw ${pluralize(withdrawals, 'document')}, all that there are. If that is meant, import it again with allow_empty=true and allow_withdraw=${withdrawals} (remit import --allow-empty --allow-withdraw ${withdrawals}).`
  if (withdrawals * 2 > total && (allowWithdraw ?? 0) < withdrawals) {
    return `It would withdraw ${withdrawals} of the collection’s ${pluralize(total, 'document')}, more than half. If that is meant, import it again with allow_withdraw=${withdrawals} (remit import --allow-withdraw ${withdrawals}), which lets so many go and no more.`
  }
  return undefined
}

/**
 * Documents of the collection that were not accepted again since this import began, by it or by anyone. What
 * others merely sent does not count: refused, or older than what is there. Nor does a retry, which knows
 * nothing of the source. A line of its own that is older does: the list has it. What was under way as it
 * began has a lower number, and is told by its transaction.
 */
async function findUnlisted(
  sql: Sql,
  jobId: string,
  collection: string,
  /** Of these alone. */
  among?: readonly string[],
): Promise<{ readonly ids: readonly string[]; readonly total: number }> {
  const rows = await sql.query<{ id: string; listed: boolean; known: boolean }>(
    `select d.id, (d.live_revision is not null or d.accepted_revision > 1) as known,
       coalesce(coalesce(d.listed_item, d.accepted_item) > j.items_before, false) or exists (
         select 1 from job_items i where i.item_no = coalesce(d.listed_item, d.accepted_item) and i.document_id = d.id
           and i.accepted_in in (select pg_snapshot_xip(j.began_in))
       ) or exists (
         select 1 from job_items i where i.job_id = j.id and i.document_id = d.id and i.state <> 'failed'
       ) as listed
     from jobs j, documents d where j.id = $1 and d.collection = $2 and d.withdrawn_at is null
       and ($3::text[] is null or d.id = any($3)) order by d.id`,
    [jobId, collection, among ?? null],
  )
  return {
    ids: rows.flatMap(({ id, listed }) => (listed ? [] : [id])),
    // What this import itself brought is not the collection that it would shrink.
    total: rows.filter(({ listed, known: isKnown }) => !listed || isKnown).length,
  }
}

async function note(sql: Sql, jobId: string, { code, detail }: JobNote): Promise<void> {
  await sql.query(`update jobs set notes = notes || $2::jsonb where id = $1`, [
    jobId,
    JSON.stringify([{ code, detail }]),
  ])
}
