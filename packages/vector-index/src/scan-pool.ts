import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { InvertedLists } from './inverted-lists.ts'
import type { BestSlots, ScanQuery } from './probe.ts'
import type { FromThread, ToThread } from './scan-thread.ts'

/** One line of the operator's log. */
export type Log = (event: string, fields?: Readonly<Record<string, unknown>>) => void

/** Threads that look at codes, so that one question does not wait for the looks of all others. */
export interface ScanPool extends AsyncDisposable {
  /** These are what is looked at from now on. */
  use(sets: readonly InvertedLists[]): void
  /**
   * The best of each set. Undefined: look yourself, since the question is small, no thread is up yet, or there are none. What
   * a thread fails at comes to undefined, too.
   */
  scan(sets: readonly InvertedLists[], look: ScanQuery): Promise<PoolScan | undefined> | undefined
}

export interface PoolScan {
  readonly best: readonly BestSlots[]
  /** Milliseconds until somebody looked, and until that was heard. */
  readonly waitedMs: number
}

export interface ScanPoolOptions {
  /** How many. 0: none. */
  readonly threads: number
  readonly log: Log
  /** Defaults to {@link looksWorthIt}. */
  readonly chunksMin?: number
}

/** As many as there are cores, since the main one does little besides; more than a few are not needed to keep it busy. */
export function defaultScanThreads(): number {
  const cores = availableParallelism()
  return cores === 1 ? 0 : Math.min(cores, 4)
}

/** Visible chunks from which on looking takes far longer than handing the question over: 20 µs here, as many there. */
const looksWorthIt = 3_000

// One that cannot live is not begun again and again.
const restMs = 1_000

// One that is looked at, and one that is begun without waiting for this thread. The others wait here for whichever thread is free
// first: behind one that gets little of a core they would wait for all that is before them.
const handedAtOnce = 2

interface Asked {
  readonly sets: readonly InvertedLists[]
  readonly scan: ScanQuery
  readonly since: number
  settle(looked: PoolScan | undefined): void
}

interface Thread {
  readonly worker: Worker
  /** In the order in which they are answered. */
  readonly handed: Asked[]
  isUp: boolean
}

export function createScanPool({ threads, log, chunksMin: least = looksWorthIt }: ScanPoolOptions): ScanPool {
  let running: Thread[] = []
  let waiting: Asked[] = []
  let sets: readonly InvertedLists[] = []
  let startable = Number.NEGATIVE_INFINITY
  let closed = false

  const handed = () =>
    sets.map(({ generation, codes: { partitions, dimensions, steps, codeMemory, documentMemory } }) => ({
      generation,
      codes: { partitions, dimensions, steps, codeMemory, documentMemory },
    }))

  function start(): void {
    const worker = new Worker(new URL('./scan-thread.ts', import.meta.url), { workerData: handed() })
    worker.unref()
    const thread: Thread = { worker, handed: [], isUp: false }
    running.push(thread)
    worker.on('message', (message: FromThread) => {
      if (message === undefined) {
        thread.isUp = true
        handOn()
        return
      }
      const asked = thread.handed.shift()
      handOn()
      if ('failed' in message) {
        fail(asked, message.failed)
        return
      }
      const { best, tookMs } = message
      asked?.settle({ best, waitedMs: performance.now() - asked.since - tookMs })
    })
    const end = (reason: string): void => {
      if (!running.includes(thread)) return
      running = running.filter((one) => one !== thread)
      if (!closed) rest(reason)
      for (const { settle } of thread.handed.splice(0)) settle(undefined)
      if (!running.some(({ isUp }) => isUp)) giveUp()
    }
    worker.on('error', (error) => end(reasonOf(error)))
    worker.on('exit', (code) => end(`exit code ${code}`))
  }

  function rest(reason: string): void {
    log('search_thread_ended', { reason })
    startable = performance.now() + restMs
  }

  function fail(asked: Asked | undefined, reason: string): void {
    log('search_thread_failed', { reason })
    asked?.settle(undefined)
  }

  /** Those that were never started, and those that ended: as soon as there is something for them. */
  function startAll(): void {
    if (performance.now() < startable) return
    try {
      while (running.length < threads) start()
    } catch (error) {
      // Where the system has no thread left to give.
      rest(reasonOf(error))
    }
  }

  function handOn(): void {
    for (let thread = leastBusy(running); thread !== undefined; thread = leastBusy(running)) {
      const asked = waiting.shift()
      if (asked === undefined) return
      try {
        tell(thread.worker, {
          kind: 'look',
          sets: asked.sets.map(({ generation, size }) => ({ generation, size })),
          look: asked.scan,
        })
      } catch (error) {
        // Where there is no memory to copy it. Nobody answers it, so that the next answer would be taken for its.
        fail(asked, reasonOf(error))
        continue
      }
      thread.handed.push(asked)
    }
  }

  /** Whoever waits is answered in this thread. */
  function giveUp(): void {
    const asked = waiting
    waiting = []
    for (const { settle } of asked) settle(undefined)
  }

  return {
    use(next) {
      sets = next
      // No thread knows any more what they ask for.
      giveUp()
      for (const { worker } of running) {
        try {
          tell(worker, { kind: 'use', sets: handed() })
        } catch (error) {
          // A set that is made anew has the same number: it would look into the former one for ever.
          fail(undefined, reasonOf(error))
          void worker.terminate()
        }
      }
    },
    scan(asked, look) {
      if (threads === 0 || closed || look.chunks < least) return undefined
      startAll()
      if (!running.some(({ isUp }) => isUp)) return undefined
      return new Promise((settle) => {
        waiting.push({ sets: asked, scan: look, since: performance.now(), settle })
        handOn()
      })
    },
    async [Symbol.asyncDispose]() {
      closed = true
      // Who waits is answered as each ends.
      await Promise.all(running.map(({ worker }) => worker.terminate()))
    },
  }
}

const tell = (worker: Worker, message: ToThread): void => worker.postMessage(message)

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : 'thrown value')

/** Of those that have room for one more. */
function leastBusy(threads: readonly Thread[]): Thread | undefined {
  let free: Thread | undefined
  for (const thread of threads)
    if (thread.isUp && thread.handed.length < (free?.handed.length ?? handedAtOnce)) free = thread
  return free
}
