import { documentObject } from '../kernel/ids.ts'
import { NotFound } from '../retrieval/chunk-index/port.ts'
import type { IngestContext } from './context.ts'
import { sameTags, sensitiveTag, setTags, type Tag } from './desired-tuples.ts'
import { readDocuments } from './document-rows.ts'
import { reasonOf } from './failures.ts'
import { finishItem } from './job-store.ts'
import { ParseError } from './parse/parsed.ts'
import { isStaged, publish, stage, stageAnew } from './publish.ts'
import { reconcileObject } from './reconcile-tuples.ts'
import { type Revision, readRevision } from './revision.ts'
import { askSensitivity } from './sensitivity.ts'

// What ends the process this often, with nothing beside it, is at fault itself.
const deathsMax = 3

interface Task {
  readonly document: string
  readonly revision: number
}

/**
 * Brings one accepted revision into force: parse, chunk, embed, stage hidden, then hide → tuples → publish.
 * Every step may run twice; whatever was superseded ends without effect. Throws what another try may mend;
 * what fails again and again for a reason of its own is refused.
 */
export async function processRevision(
  context: IngestContext,
  task: Task,
  signal: AbortSignal,
): Promise<void> {
  const { database, failures, log } = context
  const key = `${task.document}\n${task.revision}`
  try {
    await inTurn(context, task, signal)
  } catch (error) {
    if (signal.aborted || !failures.failed(key, error)) throw error
    const revision = await readRevision(database, task.document, task.revision)
    log('document_given_up', { ...task, reason: reasonOf(error) })
    if (revision !== undefined) await refuse(context, revision, givenUp(error))
  }
  failures.ended(key)
}

const givenUp = (cause: unknown): ParseError =>
  new ParseError('unreadable', 'Taking this content in failed ten times for the same reason.', cause)

/**
 * A process that ends takes down whatever it was at, and says of none that it was the cause. So what was
 * begun and did not end goes in alone from then on, and only what ends the process alone is given up.
 */
async function inTurn(context: IngestContext, task: Task, signal: AbortSignal): Promise<void> {
  const revision = await readRevision(context.database, task.document, task.revision)
  if (revision === undefined) return supersede(context, task)
  const { deaths, deathsAlone } = await context.crashCounts.of(revision)
  if (deathsAlone >= deathsMax) {
    const error = new ParseError('unreadable', 'Reading this content ended the process.')
    return refuse(context, revision, error)
  }
  const isAlone = deaths > 0
  await context.sharedLock.pass(isAlone, () => bringIn(context, task, { revision, isAlone, signal }))
}

interface Attempt {
  readonly revision: Revision
  readonly isAlone: boolean
  readonly signal: AbortSignal
}

async function bringIn(
  context: IngestContext,
  task: Task,
  { revision, isAlone, signal }: Attempt,
): Promise<void> {
  signal.throwIfAborted()
  if (!(await isStaged(context.database, revision))) {
    const refusal = await context.crashCounts.unlessEnded(revision, isAlone, () =>
      prepareAndStage(context, revision, signal).catch(asRefusal),
    )
    if (refusal !== undefined) return refuse(context, revision, refusal)
  }
  signal.throwIfAborted()
  const jobId = await context.documentLocks
    .hold([documentObject(revision.id)], (hold) => publish(context, hold, task))
    .catch(async (error: unknown) => {
      // The index has lost it since: another try would find it staged, and no nearer to being found.
      if (error instanceof NotFound) await stageAnew(context.database, revision)
      throw error
    })
  // Overtaken while it was prepared: nothing was published.
  if (jobId === undefined) return supersede(context, task)
  context.failures.published()
  context.jobChanged(jobId)
}

/** Content that cannot be read was read to its end all the same. */
function asRefusal(error: unknown): ParseError {
  if (error instanceof ParseError) return error
  throw error
}

async function prepareAndStage(
  context: IngestContext,
  revision: Revision,
  signal: AbortSignal,
): Promise<undefined> {
  const { database, index, prepare, embed, step } = context
  const [row] = await database.query<{ content: Uint8Array }>(
    'select content from revisions where doc_no = $1 and revision = $2',
    [revision.docNo, revision.revision],
  )
  // Superseded meanwhile: the publish step finds the same.
  if (row === undefined) return undefined
  const { title, mimeType, source } = revision
  const prepared = await prepare({ mimeType, title, source, bytes: row.content }, signal)
  await step('prepared', revision.id)
  const texts = prepared.chunks.map(({ embedText }) => embedText)
  const tokens = new Map(prepared.chunks.map((chunk) => [chunk.embedText, chunk.tokens]))
  const countTokens = (text: string): number => tokens.get(text) ?? Number.POSITIVE_INFINITY
  const vectors =
    embed === undefined || texts.length === 0 ? undefined : await embed(texts, { signal, countTokens })
  await step('embedded', revision.id)
  await stage({ database, index }, revision, prepared, vectors)
  await step('staged', revision.id)
}

/** Ends the item of a revision that a newer one overtook, and drops what is left of it. */
async function supersede(
  { database, index, jobChanged }: IngestContext,
  { document, revision }: Task,
): Promise<void> {
  const jobId = await database.transaction(async (sql) => {
    const [row] = await sql.query<{ doc_no: number; item_no: number; publication: number }>(
      `select r.doc_no, r.item_no, r.publication from documents d join revisions r using (doc_no)
       where d.id = $1 and r.revision = $2 and r.revision < d.accepted_revision`,
      [document, revision],
    )
    if (row === undefined) return undefined
    await index.forget(sql, { number: row.publication, docNo: row.doc_no, revision })
    await sql.query('delete from revisions where doc_no = $1 and revision = $2', [row.doc_no, revision])
    return finishItem(sql, row.item_no, { state: 'done', code: 'superseded' })
  })
  if (jobId !== undefined) jobChanged(jobId)
}

/**
 * The content cannot be read: what is live stays live, under the access that was set since, if any was. What
 * made the document sensitive was accepted all the same, and stays: on what is live, else remembered for the
 * next revision.
 */
async function refuse(context: IngestContext, revision: Revision, error: ParseError): Promise<void> {
  const { index, documentLocks, jobChanged } = context
  const object = documentObject(revision.id)
  const jobId = await documentLocks.hold([object], async (hold) => {
    const leftOver = await leftBy(context, revision)
    const finished = await hold.transaction(async (sql) => {
      if (leftOver?.tags !== undefined) await setTags(sql, object, leftOver.tags)
      if (leftOver?.remembered === true)
        await sql.query('update documents set was_sensitive = true where doc_no = $1', [revision.docNo])
      await index.forget(sql, { ...revision, number: revision.publication })
      await sql.query('delete from revisions where doc_no = $1 and revision = $2', [
        revision.docNo,
        revision.revision,
      ])
      return finishItem(sql, revision.itemNo, { state: 'failed', code: error.code, detail: error.detail })
    })
    if (leftOver?.tags !== undefined) await reconcileObject(context, hold, object)
    return finished
  })
  if (jobId !== undefined) jobChanged(jobId)
}

interface Left {
  /** What shall be in force; undefined where that stays as it is. */
  readonly tags: readonly Tag[] | undefined
  /** Nothing is in force that could carry the mark. */
  readonly remembered: boolean
}

/** What a refused revision leaves behind; undefined where a newer one was accepted, which has counted it. */
async function leftBy(
  { database, fga, clock }: IngestContext,
  { id, revision }: Revision,
): Promise<Left | undefined> {
  const current = await readRevision(database, id, revision)
  const documents = await readDocuments(database, [id])
  const storedDocument = documents.get(id)
  if (current === undefined || storedDocument === undefined) return undefined
  const desiredTags = current.retagged && !current.creates ? current.access : storedDocument.tags
  const sensitivity = await askSensitivity({ fga, now: clock.now() }, documents)
  const isLost = sensitivity.of(documentObject(id)) && !sensitivity.by(desiredTags)
  if (!storedDocument.isLive && desiredTags.length === 0) return { tags: undefined, remembered: isLost }
  const nextTags = isLost ? [...desiredTags, sensitiveTag] : desiredTags
  return { tags: sameTags(storedDocument.tags, nextTags) ? undefined : nextTags, remembered: false }
}
