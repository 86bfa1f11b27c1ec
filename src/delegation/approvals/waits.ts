import type { Clock } from '../../kernel/clock.ts'
import type { Approval } from './approval.ts'
import type { ApprovalChanges } from './changes.ts'

/** Requests that wait for a person. None of them holds a connection to the database. */
export interface Waits {
  /**
   * How it stands once it is no longer as it was when this was called, at once where it is not `pending`, and in any
   * case when the signal fires or the service closes. `read` is asked before, and after each change that was heard.
   */
  until(
    read: () => Promise<Approval | undefined>,
    key: WaitKey,
    signal: AbortSignal,
  ): Promise<Approval | undefined>
  /** Answers everybody who waits, and from now on whoever would, at once. */
  close(): void
}

export interface WaitKey {
  readonly id: string
  /** Whose waits are counted together: beyond {@link waitsMax} they are answered at once. */
  readonly owner: string
}

export interface WaitsDeps {
  readonly changes: Pick<ApprovalChanges, 'watch'>
  readonly clock: Clock
  /** Throws a 503 while it is not known who may act: whoever waits is told. */
  readonly assertOpen: () => void
}

export const waitsMax = 20
const tickMs = 500
// What ends with what was lent is told by nobody here.
const lookMs = 5_000

export function createWaits({ changes, clock, assertOpen }: WaitsDeps): Waits {
  const closing = new AbortController()
  const counts = new Map<string, number>()

  const count = (owner: string, by: 1 | -1): void => {
    const next = (counts.get(owner) ?? 0) + by
    if (next === 0) counts.delete(owner)
    else counts.set(owner, next)
  }

  return {
    async until(read, { id, owner }, signal) {
      const stop = AbortSignal.any([signal, closing.signal])
      // Heard before the first look: what changes from there on is not missed.
      let heard = 0
      let wake = (): void => undefined
      using _watch = changes.watch(id, () => {
        heard += 1
        wake()
      })
      let seen = heard
      const first = await read()
      if (first === undefined || (counts.get(owner) ?? 0) >= waitsMax) return first
      count(owner, 1)
      try {
        let current: Approval | undefined = first
        while (current?.state === 'pending' && current.version === first.version && !stop.aborted) {
          const lookAt = Math.min(clock.now() + lookMs, current.expiresAt.getTime())
          while (heard === seen && !stop.aborted && clock.now() < lookAt) {
            assertOpen()
            await pause(stop, (end) => {
              wake = end
            })
          }
          seen = heard
          current = await read()
        }
        return current
      } finally {
        count(owner, -1)
      }
    },
    close: () => closing.abort(),
  }
}

/** Until woken, stopped, or half a second is over. */
async function pause(stop: AbortSignal, onWake: (end: () => void) => void): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  onWake(resolve)
  const end = (): void => resolve()
  const timer = setTimeout(end, tickMs)
  stop.addEventListener('abort', end, { once: true })
  try {
    await promise
  } finally {
    clearTimeout(timer)
    stop.removeEventListener('abort', end)
  }
}
