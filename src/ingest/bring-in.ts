import { documentObject } from '../kernel/ids.ts'
import { NotFound } from '../retrieval/chunk-index/port.ts'
import type { IngestContext, Prepared } from './context.ts'
import { isOutage } from './failures.ts'
import { reconcileParents } from './filing.ts'
import { ParseError } from './parse/parsed.ts'
import { type Published, publish } from './publish.ts'
import { parted, type Read, type Reading, type ReadWell, readEach, type Texts } from './read-each.ts'
import type { Revision, RevisionTask } from './revision.ts'
import { type ReadRevision, stage, stageAnew } from './stage.ts'

/** How a batch of revisions goes in, and who is told what came of each. */
export interface Attempt {
  /** Nothing else is under way in this process: one of them ended one. */
  readonly isAlone: boolean
  readonly signal: AbortSignal
  /** The id of the trace in which it was accepted. */
  readonly traceOf: (task: RevisionTask) => string | undefined
  readonly onPublished: (published: Published) => Promise<void>
  /** Its content cannot be read. */
  readonly onRefused: (revision: Revision, error: ParseError) => Promise<void>
  /** Overtaken while it was prepared: nothing was published. */
  readonly onSuperseded: (revision: Revision) => Promise<void>
}

// Passages that go on together: a local model takes seconds for so many.
const textsMax = 128
/** So long a batch waits for documents that others hold: then each waits for its own. */
const batchWaitMsMax = 500

/**
 * Reads, embeds, stages and publishes revisions of different documents, small ones first, as many together as
 * the bounds let. One that cannot be read, or that is slow, keeps no other from going in. Throws what kept
 * some of them out once all the others are in.
 */
export async function bringIn(
  context: IngestContext,
  revisions: readonly Revision[],
  attempt: Attempt,
): Promise<void> {
  const failures: unknown[] = []
  const keep = (error: unknown): void => void failures.push(error)
  const staged = revisions.filter(({ isStaged }) => isStaged)
  await publishStaged(context, staged, attempt).catch(keep)
  const unread = revisions.filter(({ isStaged }) => !isStaged).sort((a, b) => a.bytes - b.bytes)
  await readAndBringIn(context, unread, attempt, keep)
  // What was nobody's fault last: they may go in together again only where it was nothing else.
  if (failures.length > 0) throw failures.find((error) => !isOutage(error)) ?? failures[0]
}

/** What a batch needs on its way beside the attempt. */
interface Run extends Attempt, Reading {
  /** Where that cannot be written, the next look at it knows that this process lives. */
  readonly end: (revisions: readonly Revision[], isThrough: boolean) => Promise<void>
}

async function readAndBringIn(
  context: IngestContext,
  revisions: readonly Revision[],
  attempt: Attempt,
  keep: (error: unknown) => void,
): Promise<void> {
  const { crashCounts } = context
  const { isAlone } = attempt
  const open = new Set<Revision>()
  const run: Run = {
    ...attempt,
    keep,
    texts: new Map(),
    async begin(some) {
      await crashCounts.begin(some, isAlone)
      for (const revision of some) open.add(revision)
    },
    async end(some, isThrough) {
      for (const revision of some) open.delete(revision)
      await crashCounts.end(some, { isAlone, isThrough }).catch(keep)
    },
  }
  // What is read later waits for nothing that is on its way already.
  const onTheirWay: Promise<void>[] = []
  for await (const some of readEach(context, revisions, run))
    onTheirWay.push(goOn(context, some, run).catch(keep))
  await Promise.all(onTheirWay)
  await run.end([...open], false)
}

/** Those with few passages first: they wait for none that has many. */
async function goOn(context: IngestContext, some: readonly Read[], run: Run): Promise<void> {
  const { keep, end } = run
  const { read, refused: refusedReads, failed, gone: goneRevisions } = sorted(some)
  for (const { error } of failed) keep(error)
  await end(
    [...goneRevisions, ...refusedReads.map(({ revision }) => revision)],
    // Content that cannot be read was read to its end all the same.
    true,
  )
  await end(
    failed.map(({ revision }) => revision),
    false,
  )
  read.sort((a, b) => a.passages - b.passages)
  for (const part of parted(read, ({ passages }) => passages, textsMax)) {
    await context.whenCalm(run.signal)
    await stageRead(context, part, run)
      .then((staged) => publishStaged(context, staged, run))
      .catch(keep)
  }
  // Last: these may wait for somebody's lock.
  for (const { revision, error } of refusedReads) await run.onRefused(revision, error).catch(keep)
  for (const revision of goneRevisions) await run.onSuperseded(revision).catch(keep)
}

/** What came of each. */
function sorted(some: readonly Read[]) {
  const read: ReadWell[] = []
  const refusedReads: { readonly revision: Revision; readonly error: ParseError }[] = []
  const failed: { readonly revision: Revision; readonly error: unknown }[] = []
  const goneRevisions: Revision[] = []
  for (const one of some) {
    const { revision } = one
    if ('passages' in one) read.push(one)
    else if (!('error' in one)) goneRevisions.push(revision)
    else if (one.error instanceof ParseError) refusedReads.push({ revision, error: one.error })
    else failed.push({ revision, error: one.error })
  }
  return { read, refused: refusedReads, failed, gone: goneRevisions }
}

/** Gives those that are staged. Nothing here holds what was read of them any more. */
async function stageRead(
  context: IngestContext,
  read: readonly ReadWell[],
  { signal, texts, keep, end }: Run,
): Promise<readonly Revision[]> {
  const { step, fewAtATime } = context
  let staged: readonly Revision[] = []
  try {
    signal.throwIfAborted()
    const { embedded, failed } = await embedEach(context, read, texts, signal)
    for (const error of failed) keep(error)
    for (const { revision } of embedded) await step('embedded', revision.id)
    if (embedded.length > 0) await fewAtATime(() => stage(context, embedded))
    for (const { revision } of embedded) await step('staged', revision.id)
    staged = embedded.map(({ revision }) => revision)
  } finally {
    for (const { revision } of read) {
      texts.get(revision)?.share.giveBack()
      texts.delete(revision)
    }
    await end(staged, true)
    await end(
      read.flatMap(({ revision }) => (staged.includes(revision) ? [] : [revision])),
      false,
    )
  }
  return staged
}

/**
 * One call for each document, side by side: the model's queue makes batches of what all ask (decision 0051).
 * What it refuses of one document keeps no other out.
 */
async function embedEach(
  { embed }: IngestContext,
  read: readonly ReadWell[],
  texts: Texts,
  signal: AbortSignal,
): Promise<{ readonly embedded: readonly ReadRevision[]; readonly failed: readonly unknown[] }> {
  const outcomes = await Promise.allSettled(
    read.flatMap(({ revision }) => {
      const prepared = texts.get(revision)?.prepared
      return prepared === undefined ? [] : [embedOne(revision, prepared)]
    }),
  )
  return {
    embedded: outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])),
    failed: outcomes.flatMap((one): unknown[] => (one.status === 'rejected' ? [one.reason] : [])),
  }

  async function embedOne(revision: Revision, prepared: Prepared): Promise<ReadRevision> {
    const { chunks } = prepared
    if (embed === undefined || chunks.length === 0) return { revision, prepared, vectors: embed && [] }
    const tokens = new Map(chunks.map((chunk) => [chunk.embedText, chunk.tokens]))
    const vectors = await embed(
      chunks.map(({ embedText }) => embedText),
      { signal, countTokens: (text) => tokens.get(text) ?? Number.POSITIVE_INFINITY },
    )
    return { revision, prepared, vectors }
  }
}

async function publishStaged(
  context: IngestContext,
  revisions: readonly Revision[],
  { signal, traceOf, onPublished, onSuperseded }: Attempt,
): Promise<void> {
  if (revisions.length === 0) return
  signal.throwIfAborted()
  const waitMsMax = revisions.length > 1 ? batchWaitMsMax : undefined
  // Before anything is held or hidden: this may wait for who holds a folder.
  await reconcileParents(
    context,
    revisions.flatMap(({ access }) => access),
    waitMsMax,
  )
  const tasks = revisions.map(({ id, revision }): RevisionTask => ({ document: id, revision }))
  const published = await context.documentLocks
    .hold(
      revisions.map(({ id }) => documentObject(id)),
      (hold) => publish(context, hold, tasks, traceOf),
      undefined,
      waitMsMax,
    )
    .catch(async (error: unknown) => {
      // The index has lost one since: another try would find it staged, and no nearer to being found.
      if (error instanceof NotFound) await stageAnew(context.database, revisions)
      throw error
    })
  await onPublished(published)
  const ids = new Set(published.tasks.map(({ document }) => document))
  for (const revision of revisions) if (!ids.has(revision.id)) await onSuperseded(revision)
}
