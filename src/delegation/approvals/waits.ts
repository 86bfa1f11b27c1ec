import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../../kernel/clock.ts'
import type { Approval } from './approval.ts'
import type { ApprovalChanges } from './changes.ts'

/** Requests that wait for a person. None of them holds a connection to the database. */
export interface Waits {
  /**
   * How it stands once it is no longer as it was when this was called, at once where it is not `pending`, and
   * in any case when the signal fires or the service closes. `read` is asked before, and after each change
   * that was heard.
   */
  until(
    read: () => Promise<Approval | undefined>,
    key: WaitKey,
    signal: AbortSignal,
  ): Promise<Approval | undefined>
  /** Answers everybody who waits, and from now on whoever would, at once. */
  close(): void
}

/** The approval that is waited for, and who waits, for the limit of {@link waitsMax}. */
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

/** Requests of one owner that may wait at once. One more is answered at once. */
export const waitsMax = 20
const tickMs = 500
// What ends with what was lent is told by nobody here.
const lookMs = 5_000

/** Holds no database connection while it waits. `close` ends every wait. */
export function createWaits({ changes, clock, assertOpen }: WaitsDeps): Waits {
  const closing = new AbortController()
  const counts = new Map<string, number>()

  const count = (owner: string, delta: 1 | -1): void => {
    const newCount = (counts.get(owner) ?? 0) + delta
    if (newCount === 0) counts.delete(owner)
    else counts.set(owner, newCount)
  }

  return {
    async until(read, { id, owner }, signal) {
      const stop = AbortSignal.any([signal, closing.signal])
      // Heard before the first look: what changes from there on is not missed.
      let change = new AbortController()
      using _watch = changes.watch(id, () => change.abort())
      const initial = await read()
      if (initial === undefined || (counts.get(owner) ?? 0) >= waitsMax) return initial
      count(owner, 1)
      try {
        let current: Approval | undefined = initial
        while (current?.state === 'pending' && current.version === initial.version && !stop.aborted) {
          const lookAt = Math.min(clock.now() + lookMs, current.expiresAt.getTime())
          const awake = AbortSignal.any([stop, change.signal])
          while (!awake.aborted && clock.now() < lookAt) {
            assertOpen()
            await sleep(tickMs, undefined, { signal: awake }).catch(() => undefined)
          }
          change = new AbortController()
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
