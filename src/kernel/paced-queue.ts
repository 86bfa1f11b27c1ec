/** Limits on tasks: under way, for each turn of the thread, and waiting. */
export interface PacedQueueOptions {
  /** Under way at most. */
  readonly atOnce: number
  /** Begun at most before whoever else waits for this thread has had their turn. */
  readonly perTurn: number
  /** Waiting at most. */
  readonly waitingMax: number
  /** What whoever comes after that gets. */
  readonly full: () => Error
}

/** Runs the work in the order in which it came, once it is its turn. */
export type PacedQueue = <T>(work: () => Promise<T>) => Promise<T>

/**
 * Keeps work of which much may come at once from keeping everybody else waiting: so much in one turn of the
 * event loop.
 */
export function createPacedQueue({ atOnce, perTurn, waitingMax, full }: PacedQueueOptions): PacedQueue {
  const waiting: (() => void)[] = []
  let underWay = 0
  let begunCount = 0

  const mayBegin = (): boolean => underWay < atOnce && begunCount < perTurn
  function beginNext(): void {
    if (begunCount === 0) setImmediate(turnOver)
    begunCount += 1
    underWay += 1
  }
  function turnOver(): void {
    begunCount = 0
    goOn()
  }
  function goOn(): void {
    while (waiting.length > 0 && mayBegin()) {
      beginNext()
      waiting.shift()?.()
    }
  }

  return async (task) => {
    if (waiting.length === 0 && mayBegin()) beginNext()
    else if (waiting.length >= waitingMax) throw full()
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await task()
    } finally {
      underWay -= 1
      goOn()
    }
  }
}
