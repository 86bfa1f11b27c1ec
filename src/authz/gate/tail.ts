import { setTimeout as delay } from 'node:timers/promises'
import type { LocalReplica } from '../permission-index.ts'

// A write of this process, or a late look at the log, is over by then; where the tail is not to be had, all
// are that late.
const waitMs = 100
const lookMs = 5

/**
 * Waits a moment for the replica to have the tail of OpenFGA's log, whatever is asked about: better late than
 * without it. Gives whether it has.
 */
export async function untilAtTail(
  index: Pick<LocalReplica, 'status'>,
  isAtTail: () => boolean,
): Promise<boolean> {
  for (let remainingMs = waitMs; remainingMs > 0 && !isAtTail(); remainingMs -= lookMs) {
    if (index.status().state !== 'following') return false
    await delay(lookMs)
  }
  return isAtTail()
}
