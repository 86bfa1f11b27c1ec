/**
 * Runs one piece of work at a time, in the order in which it came: an older answer never undoes a newer one.
 */
export interface SerialQueue {
  /**
   * Runs the work when all that came before it has ended, however that went. Throws where the queue is full.
   */
  run<T>(work: () => Promise<T>): Promise<T>
  /**
   * The same work, coalesced: each call waits for a run that begins after it, and calls that wait for the
   * same run share it.
   */
  shared<T>(work: () => Promise<T>): () => Promise<T>
  /** Resolves when all that has come so far has ended. */
  idle(): Promise<void>
}

/** How many runs may be pending, and the error for whoever comes after that. */
export interface SerialQueueOptions {
  /** Runs that have not ended, the one under way included. Default: any number. */
  readonly pendingMax?: number
  /** What whoever comes after that gets. */
  readonly full?: () => Error
}

/**
 * An empty queue. Work that fails holds nothing up. NOT checked: work that waits for its own queue never
 * ends.
 */
export function createSerialQueue({ pendingMax, full }: SerialQueueOptions = {}): SerialQueue {
  const state: { tail: Promise<unknown>; pending: number } = { tail: Promise.resolve(), pending: 0 }

  function run<T>(task: () => Promise<T>): Promise<T> {
    if (pendingMax !== undefined && state.pending >= pendingMax)
      return Promise.reject(full?.() ?? new Error('The queue is full.'))
    state.pending += 1
    const result = state.tail.then(task).finally(() => {
      state.pending -= 1
    })
    // Not the result itself: it would stay in memory until the next work is done.
    state.tail = result.then(forget, forget)
    return result
  }

  function shared<T>(task: () => Promise<T>): () => Promise<T> {
    let waiting: Promise<T> | undefined
    return () => {
      if (waiting !== undefined) return waiting
      const nextRun = run(() => {
        waiting = undefined
        return task()
      })
      waiting = nextRun
      // A queue that was full took it in for nobody: the next call tries again.
      nextRun.catch(() => {
        if (waiting === nextRun) waiting = undefined
      })
      return nextRun
    }
  }

  return {
    run,
    shared,
    async idle() {
      await state.tail
    },
  }
}

const forget = (): void => undefined
