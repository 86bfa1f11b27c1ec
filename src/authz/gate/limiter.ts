/** Lets only so many checks be under way in this process at once, whoever they are for. */
export interface Limiter {
  /**
   * Runs `work` once `permits` are free, first come, first served, and keeps them until it settles. More
   * permits than there are count as all. Rejects with the signal's reason when that fires while it waits;
   * work that has begun is not stopped.
   */
  run<T>(permits: number, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T>
}

interface Waiter {
  readonly permits: number
  readonly start: () => void
}

/** Lets tasks run while they hold at most `max` permits together; a waiter leaves when its signal fires. */
export function createLimiter(max: number): Limiter {
  const waiting = new Set<Waiter>()
  let free = max

  function admit(): void {
    for (const waiter of waiting) {
      // Nobody goes past who came first: many small requests would keep a large one out for ever.
      if (waiter.permits > free) return
      waiting.delete(waiter)
      free -= waiter.permits
      waiter.start()
    }
  }

  function acquire(permits: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const leave = () => {
        waiting.delete(waiter)
        reject(signal?.reason)
        // Those behind may have waited for this one alone.
        admit()
      }
      const waiter: Waiter = {
        permits,
        start: () => {
          signal?.removeEventListener('abort', leave)
          resolve()
        },
      }
      signal?.addEventListener('abort', leave)
      waiting.add(waiter)
      admit()
    })
  }

  return {
    async run(permits, signal, task) {
      const permitsTaken = Math.min(permits, max)
      await acquire(permitsTaken, signal)
      try {
        return await task()
      } finally {
        free += permitsTaken
        admit()
      }
    },
  }
}
