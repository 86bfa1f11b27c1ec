import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { InvertedLists } from './inverted-lists.ts'
import type { BestSlots, ScanQuery } from './probe.ts'
import type { FromThread, ToThread } from './scan-thread.ts'

/** One line of the operator's log. */
export type Log = (event: string, fields?: Readonly<Record<string, unknown>>) => void

/** Threads that scan codes, so that one query does not wait for the scans of all others. */
export interface ScanPool extends AsyncDisposable {
  /** These are scanned from now on. */
  use(lists: readonly InvertedLists[]): void
  /**
   * The best of each generation. Undefined: scan in this thread, since the query is small, no thread is up yet, or there
   * are none. It resolves with undefined where a thread fails.
   */
  scan(lists: readonly InvertedLists[], query: ScanQuery): Promise<PoolScan | undefined> | undefined
}

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

/** As many as there are cores, since the main one does little besides; more than a few are not needed to keep it busy. */
export function defaultScanThreads(): number {
  const cores = availableParallelism()
  return cores === 1 ? 0 : Math.min(cores, 4)
}

/** Visible chunks from which on a scan takes far longer than handing the query over, which takes 20 µs. */
const chunksWorthIt = 3_000

// A thread that cannot live is not started again and again.
const restartMs = 1_000

// One query that is scanned for, and one that begins without waiting for this thread. The others wait here for whichever
// thread is free first: behind one that gets little of a core they would wait for all that is ahead of them.
const queueMax = 2

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

/** Scans lists in up to `threads` worker threads; with 0, or too few chunks, in this one. */
export function createScanPool({ threads, log, chunksMin = chunksWorthIt }: ScanPoolOptions): ScanPool {
  let running: PoolThread[] = []
  let waiting: PendingQuery[] = []
  let lists: readonly InvertedLists[] = []
  let startableFrom = Number.NEGATIVE_INFINITY
  let closed = false

  const sharedLists = () =>
    lists.map(({ generation, codes: { partitions, dimensions, steps, codeMemory, documentMemory } }) => ({
      generation,
      codes: { partitions, dimensions, steps, codeMemory, documentMemory },
    }))

  function startThread(): void {
    const worker = new Worker(new URL('./scan-thread.ts', import.meta.url), { workerData: sharedLists() })
    worker.unref()
    const thread: PoolThread = { worker, queue: [], isUp: false }
    running.push(thread)
    worker.on('message', (message: FromThread) => {
      if (message === undefined) {
        thread.isUp = true
        dispatch()
        return
      }
      const pending = thread.queue.shift()
      dispatch()
      if ('failed' in message) {
        fail(pending, message.failed)
        return
      }
      const { best: bestSlots, tookMs } = message
      pending?.settle({ best: bestSlots, waitedMs: performance.now() - pending.since - tookMs })
    })
    const onEnd = (reason: string): void => {
      if (!running.includes(thread)) return
      running = running.filter(({ worker: candidate }) => candidate !== worker)
      if (!closed) noteEnd(reason)
      for (const { settle } of thread.queue.splice(0)) settle(undefined)
      if (!running.some(({ isUp }) => isUp)) answerHere()
    }
    worker.on('error', (error) => onEnd(reasonOf(error)))
    worker.on('exit', (code) => onEnd(`exit code ${code}`))
  }

  function noteEnd(reason: string): void {
    log('search_thread_ended', { reason })
    startableFrom = performance.now() + restartMs
  }

  function fail(pending: PendingQuery | undefined, reason: string): void {
    log('search_thread_failed', { reason })
    pending?.settle(undefined)
  }

  /** Those that were never started, and those that ended: as soon as there is something for them. */
  function startAll(): void {
    if (performance.now() < startableFrom) return
    try {
      while (running.length < threads) startThread()
    } catch (error) {
      // Where the system has no thread left to give.
      noteEnd(reasonOf(error))
    }
  }

  function dispatch(): void {
    for (let thread = leastBusyThread(running); thread !== undefined; thread = leastBusyThread(running)) {
      const pending = waiting.shift()
      if (pending === undefined) return
      try {
        postTo(thread.worker, {
          kind: 'scan',
          lists: pending.lists.map(({ generation, size }) => ({ generation, size })),
          query: pending.query,
        })
      } catch (error) {
        // Where there is no memory to copy it. Nobody answers it, so that the next answer would be taken for its.
        fail(pending, reasonOf(error))
        continue
      }
      thread.queue.push(pending)
    }
  }

  /** Queries that wait are answered in the callers' thread. */
  function answerHere(): void {
    const pending = waiting
    waiting = []
    for (const { settle } of pending) settle(undefined)
  }

  return {
    use(newLists) {
      lists = newLists
      // No thread knows any more what they ask for.
      answerHere()
      for (const { worker } of running) {
        try {
          postTo(worker, { kind: 'use', lists: sharedLists() })
        } catch (error) {
          // Lists that are made anew have the same generation: the thread would scan the former ones for ever.
          fail(undefined, reasonOf(error))
          void worker.terminate()
        }
      }
    },
    scan(queried, query) {
      if (threads === 0 || closed || query.chunks < chunksMin) return undefined
      startAll()
      if (!running.some(({ isUp }) => isUp)) return undefined
      return new Promise((settle) => {
        waiting.push({ lists: queried, query, since: performance.now(), settle })
        dispatch()
      })
    },
    async [Symbol.asyncDispose]() {
      closed = true
      // Who waits is answered as each ends.
      await Promise.all(running.map(({ worker }) => worker.terminate()))
    },
  }
}

const postTo = (worker: Worker, message: ToThread): void => worker.postMessage(message)

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : 'thrown value')

/** The least busy of those that have room for one more. */
function leastBusyThread(threads: readonly PoolThread[]): PoolThread | undefined {
  let leastBusy: PoolThread | undefined
  for (const thread of threads)
    if (thread.isUp && thread.queue.length < (leastBusy?.queue.length ?? queueMax)) leastBusy = thread
  return leastBusy
}
