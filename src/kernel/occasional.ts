/** Work that runs beside everything else, one run at a time and not more often than every `everyMs`. */
export interface Occasional {
  /** Starts a run, unless one is under way or ended lately. */
  run(): void
  /** Resolves when no run is under way. */
  idle(): Promise<void>
}

/** `everyMs` is the least time between two runs, in milliseconds. */
export interface OccasionalOptions {
  readonly everyMs: number
  readonly now: () => number
  readonly work: () => Promise<void>
  readonly onError: (error: unknown) => void
}

/**
 * Whether so little time has passed. Less than none is what a clock says that was set back: nobody knows how
 * much.
 */
export const isWithin = (ms: number, passed: number): boolean => passed >= 0 && passed <= ms

/** Nothing runs before the first call of `run`. */
export function createOccasional({ everyMs, now, work: task, onError }: OccasionalOptions): Occasional {
  let running: Promise<void> | undefined
  let beganAt = Number.NEGATIVE_INFINITY
  return {
    run() {
      if (running !== undefined || isWithin(everyMs, now() - beganAt)) return
      beganAt = now()
      running = task()
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
