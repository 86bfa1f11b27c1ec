import type { IvfModel } from '@remit/vector-index'
import {
  createModelWorker,
  dot,
  type ModelWorker,
  nearestCentroid,
  type Vectors,
  vectorCount,
} from '@remit/vector-index'
import { createFollower } from '../../../kernel/follower.ts'
import type { Log } from '../../../kernel/log.ts'
import { reasonOf } from '../../../kernel/reason.ts'
import type { Lease } from '../../../store/lease.ts'
import type { Database, Sql } from '../../../store/sql.ts'
import {
  dropOlder,
  readGenerations,
  readModel,
  readSample,
  readUnassigned,
  saveAssigned,
  saveModel,
  takeTrainingLease,
} from './storage.ts'

/** When to train, and by which random numbers. */
export interface TrainerOptions {
  /** Passages below which there are no cells: comparing all of them is as fast. Default 1,000. */
  readonly passagesMin?: number
  /** Milliseconds between two looks at whether there is something to do. Default a minute. */
  readonly everyMs?: number
  readonly seed?: () => number
}

/** Keeps the model fit for the corpus until it is disposed. */
export interface Trainer extends AsyncDisposable {
  renew(): Promise<void>
}

interface Deps extends TrainerOptions {
  readonly database: Database
  readonly log: Log
}

const leaseSeconds = 120
const partitionsPerRoot = 4
// Every centroid is compared for each question, and of a model's there are two copies. Enough for 17 million
// passages.
const partitionsMax = 16_384
const partitionsFor = (passages: number): number =>
  Math.min(partitionsMax, Math.round(partitionsPerRoot * Math.sqrt(passages)))
// With fewer of what there should be, each holds too much, whatever that is.
const partitionShareMin = 0.6
const samplesPerPartition = 16
const samplesMin = 20_000
// Passages that are moved in one transaction.
const batch = 1_000
// Trained for that many, a model is looked at again when there are a fifth more or less.
const changedBy = 0.2
const driftMax = 1.2
const driftSamples = 2_000

/**
 * Trains cells where the corpus is large enough and none fit, and moves passages into the newest ones, a
 * batch a transaction, one process at a time: each write asks for its lease. Whatever a crash leaves is found
 * at the next look: what is not in the newest model is moved, and a model in which nothing lies goes.
 */
export function createTrainer({
  database,
  log,
  passagesMin = 1_000,
  everyMs = 60_000,
  seed = () => Date.now(),
}: Deps): Trainer {
  const closing = new AbortController()
  /** Passages when the newest model was last found to fit. */
  let fitted:
    | { readonly generation: number; readonly passages: number; readonly partitions: number }
    | undefined

  async function trainAndMove(): Promise<void> {
    const passages = await countPassages(database)
    if (passages < passagesMin) return
    const lease = await takeTrainingLease(database, leaseSeconds)
    if (lease === undefined) return
    let worker: ModelWorker | undefined
    const thread = () => (worker ??= createModelWorker())
    // Nobody waits for a minute of arithmetic at the end.
    const stop = () => void worker?.[Symbol.asyncDispose]()
    closing.signal.addEventListener('abort', stop)
    try {
      if (!(await fits(passages))) await train(thread(), lease, passages)
      await moveAll(thread, lease)
    } finally {
      closing.signal.removeEventListener('abort', stop)
      // Whatever becomes of the thread: a lease that this process does nothing with runs out.
      lease.stop()
      try {
        await worker?.[Symbol.asyncDispose]()
      } finally {
        await lease.end()
      }
    }
  }

  async function fits(passages: number): Promise<boolean> {
    const newest = (await readGenerations(database)).at(-1)
    if (newest === undefined) return false
    if (fitted?.generation !== newest.generation) {
      // It may be of another version of this program. Read only while it is new here: it is megabytes.
      const model = await readModel(database, newest.generation)
      if (model === undefined) return false
      fitted = { ...newest, partitions: vectorCount(model.centroids) }
    }
    if (fitted.partitions < partitionShareMin * partitionsFor(passages)) return false
    if (Math.abs(passages - fitted.passages) <= changedBy * fitted.passages) return true
    const model = await readModel(database, newest.generation)
    if (model === undefined) return false
    const sample = await readSample(database, (100 * driftSamples) / passages)
    if (errorOf(model, sample) > driftMax * model.error) return false
    fitted = { ...fitted, passages }
    return true
  }

  async function train(worker: ModelWorker, lease: Lease, passages: number): Promise<void> {
    const count = partitionsFor(passages)
    const sampleSize = Math.max(samplesMin, samplesPerPartition * count)
    const sample = await readSample(database, (100 * sampleSize) / passages)
    // Passages without vectors are found by words.
    if (vectorCount(sample) < count) return
    const model = await worker.train(sample, count, seed())
    closing.signal.throwIfAborted()
    await saveModel(lease, model, passages)
    log('ivf_trained', { passages, cells: vectorCount(model.centroids) })
  }

  async function moveAll(thread: () => ModelWorker, lease: Lease): Promise<void> {
    const newest = (await readGenerations(database)).at(-1)
    if (newest === undefined) return
    let model: IvfModel | undefined
    let afterDocNo = 0
    for (;;) {
      closing.signal.throwIfAborted()
      const documents = await readUnassigned(database, newest.generation, afterDocNo, batch)
      const lastDocument = documents.at(-1)
      if (lastDocument === undefined) break
      model ??= await readModel(database, newest.generation)
      if (model === undefined) return
      const assigned = []
      for (const document of documents)
        assigned.push({ ...document, assignments: await thread().assign(model, document.vectors) })
      await saveAssigned(lease, newest.generation, assigned)
      afterDocNo = lastDocument.docNo
    }
    await dropOlder(lease, newest.generation)
  }

  const follower = createFollower({
    read: trainAndMove,
    pollMs: everyMs,
    onFailed: (error) => log('background_failed', { name: 'ivf', reason: reasonOf(error) }),
  })
  follower.start(0)
  return {
    renew: follower.refresh,
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('The service is shutting down.'))
      await follower[Symbol.asyncDispose]()
    },
  }
}

async function countPassages(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ passages: number }>(
    'select coalesce(sum(chunk_count), 0)::bigint as passages from documents where live_revision is not null',
  )
  return row?.passages ?? 0
}

/** Mean squared distance to the nearest centroid. Both are of length 1 but for rounding. */
function errorOf({ centroids }: IvfModel, { numbers, dimensions }: Vectors): number {
  let sum = 0
  for (let offset = 0; offset < numbers.length; offset += dimensions) {
    const partition = nearestCentroid(centroids, numbers, offset)
    sum += 2 - 2 * dot(centroids.numbers, partition * dimensions, numbers, offset, dimensions)
  }
  return sum / Math.max(1, numbers.length / dimensions)
}
