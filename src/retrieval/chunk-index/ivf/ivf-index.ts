import { assignAll, defaultScanThreads, InvertedLists, ScanPool } from '@remit/vector-index'
import { createFollower } from '../../../kernel/follower.ts'
import type { Log } from '../../../kernel/log.ts'
import { reasonOf } from '../../../kernel/reason.ts'
import type { Database, Sql } from '../../../store/sql.ts'
import { type CorpusMark, follows } from '../../corpus/read.ts'
import {
  type DocumentCodes,
  type Generation,
  readAllCodes,
  readCodesSince,
  readGenerations,
  readModel,
  readStagedVectors,
  saveCodes,
} from './storage.ts'
import { createTrainer, type TrainerOptions } from './trainer.ts'

/** The IVF index: which passages lie near each other, in memory. It follows what any process commits. */
export interface IvfIndex extends AsyncDisposable {
  /**
   * One while all is well, two while passages move to a newer one; none where the corpus is small, or codes
   * tell too little of its vectors to nominate by.
   */
  lists(): readonly InvertedLists[]
  /** Who looks at them beside this thread. */
  readonly scanPool: ScanPool
  /**
   * Puts the passages of documents that are about to be live into partitions, in the caller's transaction.
   */
  assign(sql: Sql, revisions: readonly { readonly docNo: number; readonly revision: number }[]): Promise<void>
  /** Reads now what any process committed before this call. */
  refresh(): Promise<void>
  /**
   * Trains and moves now what there is to train and move. Resolves when nothing is left, or another process
   * does it.
   */
  renew(): Promise<void>
}

/** What the IVF index needs. */
export interface IvfIndexDeps extends TrainerOptions {
  readonly database: Database
  readonly log: Log
  /** Milliseconds between two looks at what was committed. Default a second. */
  readonly pollMs?: number
  /** Threads that look at codes for questions; 0: this one does. Default {@link defaultScanThreads}. */
  readonly threads?: number | undefined
}

// Of noise (0.4), 70 rows found two of three; of text (0.05) and of noise around topics (0.19), all.
const residualVarianceMax = 0.25

/**
 * The IVF index over `document_codes`. It follows what other processes commit, and trains in turn with them.
 */
export function createIvfIndex(dependencies: IvfIndexDeps): IvfIndex {
  const { database, log, pollMs = 1_000, threads = defaultScanThreads() } = dependencies
  const scanPool = new ScanPool({ threads, log })
  let sets: InvertedLists[] = []
  let position: CorpusMark | undefined

  function hold(newest: InvertedLists[]): void {
    if (sets.length > 0 || newest.length > 0) scanPool.use(newest)
    sets = newest
  }

  async function follow(): Promise<void> {
    const generations = await readGenerations(database)
    if (generations.length === 0) {
      hold([])
      position = undefined
      return
    }
    const opened = await openLists(generations, sets)
    // Of a set that is not held, what lies in it was passed over.
    const isNew = opened.some((set) => !sets.includes(set))
    const caughtUp = await readOn(opened, isNew ? undefined : position)
    if (position !== undefined && !follows(caughtUp, position)) {
      log('ivf_server_changed')
      await readAnew(generations)
      return
    }
    position = caughtUp
    if (isNew || opened.length < sets.length) hold(opened)
  }

  /**
   * What was read of another server is not believed; until all is read again, it is still what is looked at.
   */
  async function readAnew(generations: readonly Generation[]): Promise<void> {
    const opened = await openLists(generations, [])
    position = await readOn(opened, undefined)
    // A thread knows a set by its generation, which is another one's now.
    hold([])
    hold(opened)
  }

  async function openLists(
    generations: readonly Generation[],
    current: readonly InvertedLists[],
  ): Promise<InvertedLists[]> {
    const opened: InvertedLists[] = []
    for (const { generation } of generations) {
      const reused = current.find((set) => set.generation === generation)
      const model = reused?.model ?? (await readModel(database, generation))
      if (model !== undefined) opened.push(reused ?? new InvertedLists(generation, model))
    }
    return opened
  }

  async function readOn(
    lists: readonly InvertedLists[],
    position: CorpusMark | undefined,
  ): Promise<CorpusMark> {
    if (position === undefined) return readAllCodes(database, (row) => take(lists, row))
    const changes = await readCodesSince(database, position)
    for (const row of changes.rows) take(lists, row)
    return changes.seen
  }

  // One read after the other, so that no older answer undoes a newer one.
  const follower = createFollower({
    read: follow,
    pollMs,
    onFailed(error, failures) {
      if (failures === 1) log('ivf_unheard', { reason: reasonOf(error) })
    },
  })
  follower.start(0)
  const upkeep = createTrainer(dependencies)

  return {
    scanPool,
    lists: () =>
      sets.every(({ residualVariance: variance }) => variance <= residualVarianceMax) ? sets : [],
    async assign(sql, revisions) {
      const newest = sets.at(-1)
      if (newest === undefined) return
      const staged = await readStagedVectors(sql, database.vectorType, revisions)
      const codes = staged.flatMap(({ docNo, vectors }) =>
        vectors.dimensions === newest.model.centroids.dimensions
          ? [{ docNo, ...assignAll(newest.model, vectors) }]
          : [],
      )
      if (codes.length > 0) await saveCodes(sql, newest.generation, codes)
    },
    refresh: follower.refresh,
    async renew() {
      await upkeep.renew()
      await follower.refresh()
    },
    async [Symbol.asyncDispose]() {
      await follower[Symbol.asyncDispose]()
      await upkeep[Symbol.asyncDispose]()
      await scanPool[Symbol.asyncDispose]()
    },
  }
}

function take(sets: readonly InvertedLists[], { docNo, generation, partitions, codes }: DocumentCodes): void {
  for (const set of sets) if (set.generation !== generation || partitions.length === 0) set.remove(docNo)
  if (partitions.length > 0) sets.find((set) => set.generation === generation)?.put(docNo, partitions, codes)
}
