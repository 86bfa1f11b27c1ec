import type { AppError } from '../kernel/errors.ts'
import { documentObject } from '../kernel/ids.ts'
import { type IngestContext, type Prepared, UnreadableError } from './deps.ts'
import { finishItem } from './job-store.ts'
import { publish } from './publish.ts'
import { type Revision, readRevision } from './revision.ts'
import { settleObject } from './settle.ts'
import { isStaged, stage } from './stage.ts'
import { setTags } from './tags.ts'

// What ends the process this often is at fault itself.
const deathsMax = 3

/**
 * Brings one accepted revision into force: parse, chunk, embed, stage hidden, then hide → tuples → publish.
 * Every step may run twice; whatever was superseded ends without effect. Throws what another try may mend.
 */
export async function processRevision(
  context: IngestContext,
  task: { readonly document: string; readonly revision: number },
  signal: AbortSignal,
): Promise<void> {
  const revision = await readRevision(context.database, task.document, task.revision)
  if (revision === undefined) return supersede(context, task)
  if (revision.deaths >= deathsMax) {
    return refuse(
      context,
      revision,
      new UnreadableError('unreadable', 'Reading this content ended the process.'),
    )
  }
  if (!(await isStaged(context.database, revision))) {
    await countDeath(context, revision, 1)
    try {
      await prepareAndStage(context, revision, signal)
    } catch (error) {
      if (!(error instanceof UnreadableError)) {
        await countDeath(context, revision, -1)
        throw error
      }
      return refuse(context, revision, error)
    }
    await countDeath(context, revision, -1)
  }
  signal.throwIfAborted()
  const jobId = await context.locks.hold([documentObject(revision.id)], (hold) =>
    publish(context, hold, task),
  )
  // Overtaken while it was prepared: nothing was published.
  if (jobId === undefined) return supersede(context, task)
  context.jobChanged(jobId)
}

async function prepareAndStage(
  context: IngestContext,
  revision: Revision,
  signal: AbortSignal,
): Promise<void> {
  const { database, prepare, embed, step } = context
  const [row] = await database.query<{ content: Uint8Array }>(
    'select content from revisions where doc_no = $1 and revision = $2',
    [revision.docNo, revision.revision],
  )
  // Superseded meanwhile: the publish step finds the same.
  if (row === undefined) return
  const { title, mimeType } = revision
  const prepared: Prepared = await prepare({ mimeType, title, bytes: row.content })
  await step('prepared', revision.id)
  const texts = prepared.chunks.map(({ embedText }) => embedText)
  const vectors = embed === undefined || texts.length === 0 ? undefined : await embed(texts, { signal })
  await step('embedded', revision.id)
  await stage(database, revision, prepared, vectors)
  await step('staged', revision.id)
}

async function countDeath(
  { database }: IngestContext,
  { docNo, revision }: Revision,
  by: 1 | -1,
): Promise<void> {
  await database.query('update revisions set deaths = deaths + $3 where doc_no = $1 and revision = $2', [
    docNo,
    revision,
    by,
  ])
}

/** Ends the item of a revision that a newer one overtook, and drops what is left of it. */
async function supersede(
  { database, jobChanged }: IngestContext,
  { document, revision }: { readonly document: string; readonly revision: number },
): Promise<void> {
  const jobId = await database.transaction(async (sql) => {
    const [row] = await sql.query<{ doc_no: number; item_no: number }>(
      `select r.doc_no, r.item_no from documents d join revisions r using (doc_no)
       where d.id = $1 and r.revision = $2 and r.revision < d.accepted_revision`,
      [document, revision],
    )
    if (row === undefined) return undefined
    await sql.query('delete from revisions where doc_no = $1 and revision = $2', [row.doc_no, revision])
    return finishItem(sql, row.item_no, { state: 'done', code: 'superseded' })
  })
  if (jobId !== undefined) jobChanged(jobId)
}

/** The content cannot be read: what is live stays live, under the access that was set since, if any was. */
async function refuse(
  context: IngestContext,
  revision: Revision,
  error: UnreadableError | AppError,
): Promise<void> {
  const { locks, jobChanged } = context
  const object = documentObject(revision.id)
  const jobId = await locks.hold([object], async (hold) => {
    const current = await readRevision(context.database, revision.id, revision.revision)
    const applies = current?.retagged === true && !current.creates
    const finished = await hold.transaction(async (sql) => {
      if (current !== undefined && applies) await setTags(sql, object, current.access)
      await sql.query('delete from revisions where doc_no = $1 and revision = $2', [
        revision.docNo,
        revision.revision,
      ])
      return finishItem(sql, revision.itemNo, { state: 'failed', code: error.code, detail: error.message })
    })
    if (applies) await settleObject(context, hold, object)
    return finished
  })
  if (jobId !== undefined) jobChanged(jobId)
}
