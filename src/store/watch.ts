import { setTimeout as sleep } from 'node:timers/promises'

export interface WatchOptions {
  /** Milliseconds after which a statement is looked at, and looked at again. */
  readonly idleMs: number
  /** Milliseconds that one may be worked on. */
  readonly busyMs: number
  /** Resolves once the database's thread listens: not while it works on a statement. */
  readonly listens: () => Promise<unknown>
  /** Whether the disk is: Postgres in this form then works on for ever, also when there is room again. */
  readonly isFull: () => Promise<boolean>
  readonly onLost: (reason: string) => void
}

export type Watch = <T>(statement: Promise<T>) => Promise<T>

// What the thread sent before may still lie in the socket.
const onItsWayMs = 1_000

/**
 * Gives every statement an end: one that nobody works on and that was not answered for `idleMs`, or that is worked on for
 * `busyMs` or while the disk is full, never will be.
 */
export function createWatch({ idleMs, busyMs, listens, isFull, onLost }: WatchOptions): Watch {
  return async (statement) => {
    const began = performance.now()
    let isOver = false
    const later = () => setTimeout(() => void look(), idleMs).unref()
    let timer = later()
    async function look(): Promise<void> {
      // A thread that has ended says so itself.
      const isIdle = await Promise.race([
        listens().then(
          () => true,
          () => false,
        ),
        sleep(idleMs, false, { ref: false }),
      ])
      if (isIdle) await sleep(onItsWayMs, undefined, { ref: false })
      if (isOver) return
      if (isIdle) onLost('a statement is not answered')
      else if (await isFull()) onLost('the disk is full')
      else if (performance.now() - began >= busyMs) onLost('a statement does not end')
      else timer = later()
    }
    try {
      return await statement
    } finally {
      isOver = true
      clearTimeout(timer)
    }
  }
}
