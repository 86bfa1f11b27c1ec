import {
  type CellSet,
  createCellSet,
  createLookers,
  type Lookers,
  placeAll,
  threadsHere,
} from '@remit/vector-index'
import type { Log } from '../../../kernel/log.ts'
import type { Database, Sql } from '../../../store/sql.ts'
import { follows, type Seen } from '../../corpus/read.ts'
import {
  type DocumentCells,
  type Generation,
  readAllCells,
  readCellsSince,
  readGenerations,
  readModel,
  readStagedVectors,
  saveCells,
} from './storage.ts'
import { createUpkeep, type UpkeepOptions } from './trainer.ts'

/** Which passages lie near each other, in memory, for plan E. */
export interface Cells extends AsyncDisposable {
  /**
   * One while all is well, two while passages move to a newer one; none where the corpus is small, or codes tell too little
   * of its vectors to nominate by.
   */
  sets(): readonly CellSet[]
  /** Who looks at them beside this thread. */
  readonly lookers: Lookers
  /** Puts the passages of a document that is about to be live into cells, in the caller's transaction. */
  place(sql: Sql, revision: { readonly docNo: number; readonly revision: number }): Promise<void>
  /** Reads now what any process committed before this call. */
  refresh(): Promise<void>
  /** Trains and moves now what there is to train and move. Resolves when nothing is left, or another process does it. */
  renew(): Promise<void>
}

export interface CellsDeps extends UpkeepOptions {
  readonly database: Database
  readonly log: Log
  /** Milliseconds between two looks at what was committed. Default a second. */
  readonly pollMs?: number
  /** Threads that look at codes for questions; 0: this one does. Default {@link threadsHere}. */
  readonly threads?: number | undefined
}

// Of noise (0.4), 70 rows found two of three; of text (0.05) and of noise around topics (0.19), all.
const untoldMax = 0.25

export function createCells(deps: CellsDeps): Cells {
  const { database, log, pollMs = 1_000, threads = threadsHere() } = deps
  const lookers = createLookers({ threads, log })
  let sets: CellSet[] = []
  let seen: Seen | undefined
  let last: Promise<void> = Promise.resolve()
  let isDeaf = false
  let closed = false
  let timer: NodeJS.Timeout | undefined

  function hold(next: CellSet[]): void {
    if (sets.length > 0 || next.length > 0) lookers.use(next)
    sets = next
  }

  async function follow(): Promise<void> {
    const generations = await readGenerations(database)
    if (generations.length === 0) {
      hold([])
      seen = undefined
      return
    }
    const next = await open(generations, sets)
    // Of a set that is not held, what lies in it was passed over.
    const isNew = next.some((set) => !sets.includes(set))
    const now = await readOn(next, isNew ? undefined : seen)
    if (seen !== undefined && !follows(now, seen)) {
      log('cells_server_changed')
      await readAnew(generations)
      return
    }
    seen = now
    if (isNew || next.length < sets.length) hold(next)
  }

  /** What was read of another server is not believed; until all is read again, it is still what is looked at. */
  async function readAnew(generations: readonly Generation[]): Promise<void> {
    const next = await open(generations, [])
    seen = await readOn(next, undefined)
    // A thread knows a set by its generation, which is another one's now.
    hold([])
    hold(next)
  }

  async function open(generations: readonly Generation[], kept: readonly CellSet[]): Promise<CellSet[]> {
    const next: CellSet[] = []
    for (const { generation } of generations) {
      const own = kept.find((set) => set.generation === generation)
      const model = own?.model ?? (await readModel(database, generation))
      if (model !== undefined) next.push(own ?? createCellSet(generation, model))
    }
    return next
  }

  async function readOn(to: readonly CellSet[], from: Seen | undefined): Promise<Seen> {
    if (from === undefined) return readAllCells(database, (row) => take(to, row))
    const since = await readCellsSince(database, from)
    for (const row of since.rows) take(to, row)
    return since.seen
  }

  /** One after the other, so that no older answer undoes a newer one. */
  function refresh(): Promise<void> {
    const mine = last.then(follow)
    last = mine.catch(() => undefined)
    return mine
  }

  async function poll(): Promise<void> {
    try {
      await refresh()
      isDeaf = false
    } catch (error) {
      if (!isDeaf && !closed)
        log('cells_unheard', { reason: error instanceof Error ? error.message : 'thrown value' })
      isDeaf = true
    }
    if (!closed) timer = setTimeout(() => void poll(), pollMs).unref()
  }
  timer = setTimeout(() => void poll(), 0).unref()
  const upkeep = createUpkeep(deps)

  return {
    lookers,
    sets: () => (sets.every(({ untold }) => untold <= untoldMax) ? sets : []),
    async place(sql, { docNo, revision }) {
      const newest = sets.at(-1)
      if (newest === undefined) return
      const vectors = await readStagedVectors(sql, database.vectorType, { docNo, revision })
      if (vectors.dimensions !== newest.model.centroids.dimensions) return
      const placed = placeAll(newest.model, vectors)
      await saveCells(sql, { docNo, generation: newest.generation, ...placed })
    },
    refresh,
    async renew() {
      await upkeep.renew()
      await refresh()
    },
    async [Symbol.asyncDispose]() {
      closed = true
      clearTimeout(timer)
      await upkeep[Symbol.asyncDispose]()
      await lookers[Symbol.asyncDispose]()
      await last
    },
  }
}

function take(sets: readonly CellSet[], { docNo, generation, cells, codes }: DocumentCells): void {
  for (const set of sets) if (set.generation !== generation || cells.length === 0) set.remove(docNo)
  if (cells.length > 0) sets.find((set) => set.generation === generation)?.put(docNo, cells, codes)
}
