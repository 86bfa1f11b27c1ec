import { AppError } from '../kernel/errors.ts'
import { documentObject } from '../kernel/ids.ts'
import { bringIn } from './bring-in.ts'
import type { IngestContext } from './context.ts'
import { sameTags, sensitiveTag, setTags, type Tag } from './desired-tuples.ts'
import { readDocuments } from './document-rows.ts'
import { setAside } from './failed-documents.ts'
import { isOutage, reasonOf, SharedOutage } from './failures.ts'
import { finishItem } from './job-store.ts'
import { ParseError } from './parse/parsed.ts'
import type { Published } from './publish.ts'
import { reconcileObject } from './reconcile-tuples.ts'
import { type Revision, type RevisionTask, readRevision, readRevisions } from './revision.ts'
import { askSensitivity } from './sensitivity.ts'

// What ends the process this often, with nothing beside it, is at fault itself.
const deathsMax = 3

/** What a batch's processing is told, and says on its way. */
export interface Processing {
  readonly signal: AbortSignal
  /** These are over, well or not: nothing of them is left to do. */
  readonly done: (tasks: readonly RevisionTask[]) => Promise<void>
  /** The trace in which the task was sent. */
  readonly traceOf: (task: RevisionTask) => string | undefined
}

/**
 * Brings accepted revisions of different documents into force: parse, chunk, embed, stage hidden, then hide →
 * tuples → publish, each step for as many together as may be. Every step may run twice; whatever was
 * superseded ends without effect. Throws what another try may mend, once all that can go in is in; then those
 * that are not done are to be tried each alone. What fails alone, again and again for a reason of its own, is
 * refused.
 */
export async function processRevisions(
  context: IngestContext,
  tasks: readonly RevisionTask[],
  processing: Processing,
): Promise<void> {
  const { signal, done: onDone } = processing
  const { database, failures, log } = context
  const ended = async (some: readonly RevisionTask[]): Promise<void> => {
    for (const task of some) failures.ended(keyOf(task))
    await onDone(some)
    for (const task of some) open.delete(task)
  }
  const [task, ...others] = tasks
  if (task === undefined) return
  const open = new Set(tasks)
  try {
    await inTurn(context, tasks, processing, ended)
  } catch (error) {
    if (signal.aborted) throw error
    if (failures.isShared([...open].map(keyOf), error)) throw new SharedOutage(error)
    // Of a batch that failed nobody knows whose reason it was.
    if (others.length > 0 || !failures.failed(keyOf(task), error)) throw error
    const revision = await readRevision(database, task.document, task.revision)
    log('document_given_up', { ...task, reason: reasonOf(error) })
    if (revision !== undefined) await refuse(context, revision, givenUp(error))
    await ended([task])
  }
}

const keyOf = ({ document, revision }: RevisionTask): string => `${document}\n${revision}`

const givenUp = (cause: unknown): ParseError =>
  new ParseError('unreadable', 'Taking this content in failed ten times for the same reason.', cause)

/**
 * A process that ends takes down whatever it was at, and says of none that it was the cause. So what was
 * begun and did not end goes in alone from then on, and only what ends the process alone is given up.
 */
async function inTurn(
  context: IngestContext,
  tasks: readonly RevisionTask[],
  { signal, traceOf }: Processing,
  ended: (tasks: readonly RevisionTask[]) => Promise<void>,
): Promise<void> {
  const { database, crashCounts, sharedLock, jobChanged } = context
  const failed: unknown[] = []
  const keep = (error: unknown): void => void failed.push(error)
  const taskByKey = new Map(tasks.map((task) => [keyOf(task), task]))
  const endedOnes = (some: readonly RevisionTask[]): Promise<void> => {
    context.onEnded(some.length)
    return ended(some.flatMap((task) => taskByKey.get(keyOf(task)) ?? []))
  }
  const outcome = {
    signal,
    traceOf: (task: RevisionTask) => traceOf(taskByKey.get(keyOf(task)) ?? task),
    onPublished: async ({ tasks: published, jobs }: Published): Promise<void> => {
      for (const _ of published) context.failures.published()
      for (const job of jobs) jobChanged(job)
      await endedOnes(published)
    },
    onRefused: async (revision: Revision, error: ParseError): Promise<void> => {
      await refuse(context, revision, error)
      await endedOnes([{ document: revision.id, revision: revision.revision }])
    },
    onSuperseded: async ({ id, revision }: Revision): Promise<void> => {
      await supersede(context, { document: id, revision })
      await endedOnes([{ document: id, revision }])
    },
  }
  const revisions = await readRevisions(database, tasks)
  for (const task of tasks) {
    if (revisions.get(task.document)?.revision === task.revision) continue
    await supersede(context, task)
      .then(() => ended([task]))
      .catch(keep)
  }
  const found = [...revisions.values()]
  const counts = await crashCounts.of(found)
  const suspects = found.filter((_, nth) => (counts[nth]?.deaths ?? 0) > 0)
  const others = found.filter((revision) => !suspects.includes(revision))
  if (others.length > 0)
    await sharedLock.pass(false, () => bringIn(context, others, { ...outcome, isAlone: false })).catch(keep)
  for (const revision of suspects) {
    signal.throwIfAborted()
    const deathsAlone = counts[found.indexOf(revision)]?.deathsAlone ?? 0
    const error = new ParseError('unreadable', 'Reading this content ended the process.')
    await (deathsAlone >= deathsMax
      ? outcome.onRefused(revision, error)
      : sharedLock.pass(true, () => bringIn(context, [revision], { ...outcome, isAlone: true }))
    ).catch(keep)
  }
  if (failed.length > 0) throw failed.find((error) => !isOutage(error)) ?? failed[0]
}

/** Ends the item of a revision that a newer one overtook, and drops what is left of it. */
async function supersede(
  { database, index, jobChanged }: IngestContext,
  { document, revision }: RevisionTask,
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
 * next revision. The content is held for a while, where a retry finds it.
 */
async function refuse(context: IngestContext, revision: Revision, error: ParseError): Promise<void> {
  const { index, documentLocks, jobChanged } = context
  const object = documentObject(revision.id)
  const jobId = await documentLocks.hold([object], async (hold) => {
    const leftOver = await leftBy(context, revision)
    const finished = await hold.transaction(async (sql) => {
      if (leftOver?.tags !== undefined) {
        // Without this lock it changes where all access ends, or a person moves: then it is tried again.
        const access = (await readRevision(sql, revision.id, revision.revision))?.access ?? []
        if (!sameTags(access, leftOver.access))
          throw new AppError('storage_unavailable', { internal: 'the access of what is refused changed' })
      }
      if (leftOver?.tags !== undefined) await setTags(sql, object, leftOver.tags)
      if (leftOver?.remembered === true)
        await sql.query('update documents set was_sensitive = true where doc_no = $1', [revision.docNo])
      await index.forget(sql, { ...revision, number: revision.publication })
      await setAside(sql, revision, error)
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
  /** That of the revision, by which it was decided. */
  readonly access: readonly Tag[]
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
  if (!storedDocument.isLive && desiredTags.length === 0)
    return { tags: undefined, access: current.access, remembered: isLost }
  const nextTags = isLost ? [...desiredTags, sensitiveTag] : desiredTags
  const tags = sameTags(storedDocument.tags, nextTags) ? undefined : nextTags
  return { tags, access: current.access, remembered: false }
}
