import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { InvertedLists } from './inverted-lists.ts'
import {
  type BestSlots,
  type Nominated,
  nominate,
  type ScanFilter,
  type ScanQuery,
  scanHere,
} from './probe.ts'
import type { SharedCodes } from './quantized-codes.ts'
import type { FromThread, ToThread } from './scan-thread.ts'

/** One line of the operator's log. */
export type Log = (event: string, fields?: Readonly<Record<string, unknown>>) => void

/** What a thread found, and how long the query waited for one. */
export interface PoolScan {
  readonly best: readonly BestSlots[]
  /** Milliseconds until a thread began, and until its answer was heard. */
  readonly waitedMs: number
}

/** How many threads there are, and which queries they get. */
export interface ScanPoolOptions {
  /** How many. 0: none. */
  readonly threads: number
  readonly log: Log
  /** Visible chunks from which on a query is handed over. Defaults to {@link chunksWorthIt}. */
  readonly chunksMin?: number
}

/**
 * As many as there are cores, since the main one does little besides; more than a few are not needed to keep
 * it busy.
 */
export function defaultScanThreads(): number {
  const cores = availableParallelism()
  return cores === 1 ? 0 : Math.min(cores, 4)
}

/** Visible chunks from which on a scan takes far longer than handing the query over, which takes 20 µs. */
const chunksWorthIt = 3_000

// A thread that cannot live is not started again and again.
const restartMs = 1_000

// One query that is scanned for, and one that begins without waiting for this thread. The others wait here
// for whichever thread is free first: behind one that gets little of a core they would wait for all that is
// ahead of them.
const queueMax = 2

/** What a thread has to know of lists. */
type ScannedLists = Pick<InvertedLists, 'generation'> & { readonly codes: SharedCodes }

interface PendingQuery {
  readonly lists: readonly InvertedLists[]
  readonly query: ScanQuery
  readonly since: number
  settle(answer: PoolScan | undefined): void
}

interface PoolThread {
  readonly worker: Worker
  /** In the order in which they are answered. */
  readonly queue: PendingQuery[]
  isUp: boolean
}

/**
 * Threads that scan codes, so that one query does not wait for the scans of all others: up to `threads` of
 * them; with 0, or too few chunks, none.
 */
export class ScanPool implements AsyncDisposable {
  readonly #options: ScanPoolOptions
  #running: readonly PoolThread[] = []
  #waiting: PendingQuery[] = []
  #lists: readonly ScannedLists[] = []
  #startableFrom = Number.NEGATIVE_INFINITY
  #isClosed = false

  constructor(options: ScanPoolOptions) {
    this.#options = options
  }

  /** These are scanned from now on. */
  use(lists: readonly ScannedLists[]): void {
    this.#lists = lists
    // No thread knows any more what they ask for.
    this.#answerHere()
    for (const { worker } of this.#running) {
      try {
        postTo(worker, { kind: 'use', lists: this.#sharedLists() })
      } catch (error) {
        // Lists that are made anew have the same generation: the thread would scan the former ones for ever.
        this.#fail(undefined, reasonOf(error))
        void worker.terminate()
      }
    }
  }

  /**
   * The best of each generation. Undefined: scan in this thread, since the query is small, no thread is up
   * yet, or there are none. It resolves with undefined where a thread fails.
   */
  scan(lists: readonly InvertedLists[], query: ScanQuery): Promise<PoolScan | undefined> | undefined {
    const { threads, chunksMin = chunksWorthIt } = this.#options
    if (threads === 0 || this.#isClosed || query.chunks < chunksMin) return undefined
    this.#startAll()
    if (!this.#running.some(({ isUp }) => isUp)) return undefined
    return new Promise((settle) => {
      this.#waiting.push({ lists, query, since: performance.now(), settle })
      this.#dispatch()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    // Who waits is answered as each ends.
    await Promise.all(this.#running.map(({ worker }) => worker.terminate()))
  }

  #sharedLists() {
    return this.#lists.map(({ generation, codes }) => {
      const { partitions, dimensions, steps, codeMemory, documentMemory } = codes
      return { generation, codes: { partitions, dimensions, steps, codeMemory, documentMemory } }
    })
  }

  #startThread(): void {
    const worker = new Worker(new URL('./scan-thread.ts', import.meta.url), {
      workerData: this.#sharedLists(),
    })
    worker.unref()
    const thread: PoolThread = { worker, queue: [], isUp: false }
    this.#running = [...this.#running, thread]
    worker.on('message', (message: FromThread) => this.#hear(thread, message))
    worker.on('error', (error) => this.#end(thread, reasonOf(error)))
    worker.on('exit', (code) => this.#end(thread, `exit code ${code}`))
  }

  #hear(thread: PoolThread, message: FromThread): void {
    if (message === undefined) {
      thread.isUp = true
      this.#dispatch()
      return
    }
    const pending = thread.queue.shift()
    this.#dispatch()
    if ('failed' in message) {
      this.#fail(pending, message.failed)
      return
    }
    const { best, tookMs } = message
    pending?.settle({ best, waitedMs: performance.now() - pending.since - tookMs })
  }

  #end(thread: PoolThread, reason: string): void {
    if (!this.#running.includes(thread)) return
    this.#running = this.#running.filter((other) => other !== thread)
    if (!this.#isClosed) this.#noteEnd(reason)
    for (const { settle } of thread.queue.splice(0)) settle(undefined)
    if (!this.#running.some(({ isUp }) => isUp)) this.#answerHere()
  }

  #noteEnd(reason: string): void {
    this.#options.log('search_thread_ended', { reason })
    this.#startableFrom = performance.now() + restartMs
  }

  #fail(pending: PendingQuery | undefined, reason: string): void {
    this.#options.log('search_thread_failed', { reason })
    pending?.settle(undefined)
  }

  /** Those that were never started, and those that ended: as soon as there is something for them. */
  #startAll(): void {
    if (performance.now() < this.#startableFrom) return
    try {
      while (this.#running.length < this.#options.threads) this.#startThread()
    } catch (error) {
      // Where the system has no thread left to give.
      this.#noteEnd(reasonOf(error))
    }
  }

  #dispatch(): void {
    for (let thread = this.#leastBusy(); thread !== undefined; thread = this.#leastBusy()) {
      const pending = this.#waiting.shift()
      if (pending === undefined) return
      try {
        postTo(thread.worker, {
          kind: 'scan',
          lists: pending.lists.map(({ generation, size }) => ({ generation, size })),
          query: pending.query,
        })
      } catch (error) {
        // Where there is no memory to copy it. Nobody answers it, so that the next answer would be taken for
        // its.
        this.#fail(pending, reasonOf(error))
        continue
      }
      thread.queue.push(pending)
    }
  }

  /** The least busy of those that have room for one more. */
  #leastBusy(): PoolThread | undefined {
    let leastBusy: PoolThread | undefined
    for (const thread of this.#running)
      if (thread.isUp && thread.queue.length < (leastBusy?.queue.length ?? queueMax)) leastBusy = thread
    return leastBusy
  }

  /** Queries that wait are answered in the callers' thread. */
  #answerHere(): void {
    for (const { settle } of this.#waiting.splice(0)) settle(undefined)
  }
}

/**
 * Nominates chunks that are worth comparing: in a thread, where one is to be had and the query is worth it.
 */
export async function probeWithPool(
  pool: Pick<ScanPool, 'scan'> | undefined,
  lists: readonly InvertedLists[],
  filter: ScanFilter,
  embedding: Float32Array,
  rows: number,
): Promise<Nominated & Pick<PoolScan, 'waitedMs'>> {
  const query = { embedding, chunks: filter.chunks, bits: filter.bits(), rows }
  const scanned = (await pool?.scan(lists, query)) ?? { best: scanHere(lists, query), waitedMs: 0 }
  return { ...nominate(lists, scanned.best, query), waitedMs: scanned.waitedMs }
}

const postTo = (worker: Worker, message: ToThread): void => worker.postMessage(message)

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : 'thrown value')
