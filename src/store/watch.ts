import { realTimer, type Timer } from '../kernel/timer.ts'

/** Times are in milliseconds. */
export interface WatchOptions {
  /** Milliseconds after which a statement is looked at, and looked at again. */
  readonly idleMs: number
  /** Milliseconds that one may be worked on. */
  readonly busyMs: number
  /** Resolves once the database's thread listens: not while it works on a statement. */
  readonly listens: () => Promise<unknown>
  /**
   * Whether the disk is: Postgres in this form then works on for ever, also when there is room again. Where
   * it rejects, nobody knows.
   */
  readonly isFull: () => Promise<boolean>
  readonly onLost: (reason: string) => void
  readonly timer?: Timer
}

/** Notices that an embedded database does not answer any more. */
export type Watch = <T>(statement: Promise<T>) => Promise<T>

// What the thread sent before may still lie in the socket.
const onItsWayMs = 1_000
// A process that stood still (stopped, or the machine slept) finds what is due long over when it goes on, and
// the thread had none of that time. So time is counted in parts, each begun after the one before: a
// standstill is one of them, however long.
const stepCount = 10

/**
 * Gives every statement an end: one that nobody works on and that was not answered for `idleMs`, or that is
 * worked on for `busyMs` or while the disk is full, never will be. Only time that the process had counts.
 */
export function createWatch({
  idleMs,
  busyMs,
  listens,
  isFull,
  onLost,
  timer = realTimer,
}: WatchOptions): Watch {
  return async (statement) => {
    let isOver = false
    let callOff = (): void => undefined
    let hadMs = 0
    const waitInSteps = (ms: number, then: () => void, stepsLeft = stepCount): void => {
      callOff = timer(ms / stepCount, () => {
        hadMs += ms / stepCount
        if (isOver) return
        if (stepsLeft > 1) waitInSteps(ms, then, stepsLeft - 1)
        else then()
      })
    }
    const resting = (ms: number): Promise<void> => new Promise((resolve) => waitInSteps(ms, resolve))
    async function probe(): Promise<void> {
      // A thread that has ended says so itself.
      const isIdle = await Promise.race([
        listens().then(
          () => true,
          () => false,
        ),
        resting(idleMs).then(() => false),
      ])
      if (isIdle) await resting(onItsWayMs)
      if (isOver) return
      if (isIdle) onLost('a statement is not answered')
      else if (await isFull().catch(() => false)) onLost('the disk is full')
      else if (hadMs >= busyMs) onLost('a statement does not end')
      else waitInSteps(idleMs, () => void probe())
    }
    waitInSteps(idleMs, () => void probe())
    try {
      return await statement
    } finally {
      isOver = true
      callOff()
    }
  }
}
