import { record } from '../audit/record.ts'
import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { AppError } from '../kernel/errors.ts'
import { documentObject } from '../kernel/ids.ts'
import type { ChunkPublisher } from '../retrieval/chunk-index/port.ts'
import type { Sql } from '../store/sql.ts'
import { keptOf } from './by-allow-list.ts'
import type { IngestContext, Writer } from './context.ts'
import { setTags, type Tag } from './desired-tuples.ts'
import { readDocuments } from './document-rows.ts'
import { insertItem } from './job-store.ts'
import { hide } from './publish.ts'
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
 * Throws `not_found` where one is missing or filed where the service may not write; 503 when OpenFGA does not
 * answer: what is hidden by then stays hidden, and drift removes the tuples.
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
        if (storedDocument === undefined || !rights.has('writer', storedDocument.collection))
          throw new AppError('not_found')
      }
      const sensitivity = await askSensitivity({ fga, now }, documents)
      const list = listOf(context)
      await hold.transaction(async (sql) => {
        await beginWithdrawal?.(sql)
        for (const id of ids) {
          const storedDocument = documents.get(id)
          if (storedDocument === undefined) continue
          const object = documentObject(id)
          const keptTags = keptOf(list, object, [...storedDocument.tags, ...storedDocument.pendingTags])
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
  await hide(sql, index, docNo)
  await sql.query(
    `update documents set accepted_revision = accepted_revision + 1, accepted_version = null, source_version = null,
       title = '', uri = null, owner = null, metadata = '{}', source_updated_at = null,
       was_sensitive = $2, withdrawn_at = coalesce(withdrawn_at, now())
     where doc_no = $1`,
    [docNo, isSensitive],
  )
  await setTags(sql, documentObject(id), keptTags, { purge: true })
}
