/** One piece of work at a time. */
export interface SerialQueue {
  /** Runs when its turn comes. */
  run<T>(work: () => Promise<T>): Promise<T>
  /** A run of the repeated work that began after this call; callers who wait for the same one share it. */
  rerun(): Promise<void>
  /** The same of another work. */
  shared<T>(work: () => Promise<T>): () => Promise<T>
  /** Resolves when nothing is left to do. */
  idle(): Promise<void>
}

export function createSerialQueue(repeated: () => Promise<void>): SerialQueue {
  let last: Promise<unknown> = Promise.resolve()

  function take<T>(work: () => Promise<T>): Promise<T> {
    const mine = last.then(work)
    last = mine.catch(() => undefined)
    return mine
  }

  function shared<T>(work: () => Promise<T>): () => Promise<T> {
    let waiting: Promise<T> | undefined
    return () => {
      waiting ??= take(() => {
        waiting = undefined
        return work()
      })
      return waiting
    }
  }

  return {
    run: take,
    shared,
    rerun: shared(repeated),
    async idle() {
      await last
    },
  }
}

/** Work that runs beside everything else, one run at a time and not more often than every `everyMs`. */
export interface Occasional {
  /** Starts a run, unless one is under way or ended lately. */
  run(): void
  idle(): Promise<void>
}

/** Whether so little time has passed. Less than none is what a clock says that was set back: nobody knows how much. */
export const isWithin = (ms: number, passed: number): boolean => passed >= 0 && passed <= ms

export function createOccasional(options: {
  readonly everyMs: number
  readonly now: () => number
  readonly work: () => Promise<void>
  readonly onError: (error: unknown) => void
}): Occasional {
  const { everyMs, now, work, onError } = options
  let running: Promise<void> | undefined
  let beganAt = Number.NEGATIVE_INFINITY
  return {
    run() {
      if (running !== undefined || isWithin(everyMs, now() - beganAt)) return
      beganAt = now()
      running = work()
        .catch(onError)
        .finally(() => {
          running = undefined
        })
    },
    async idle() {
      await running
    },
  }
}

/** The same, but its waiting ends with the signal; the work goes on. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
