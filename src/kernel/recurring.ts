import { createFollower, type Follower } from './follower.ts'
import type { Log } from './log.ts'
import { reasonOf } from './reason.ts'

/**
 * Work that is done again and again. `poll` does it now, or waits for the run that is under way; it never
 * rejects.
 */
export type Recurring = Pick<Follower, 'poll'> & AsyncDisposable

/**
 * Does the work so many milliseconds after now, and after the end of each run: it never runs beside itself,
 * so it has to end. What fails is logged, and tried again at its next turn. Disposing waits for what is under
 * way.
 */
export function startRecurring(
  log: Log,
  name: string,
  everyMs: number,
  task: () => Promise<unknown>,
): Recurring {
  const follower = createFollower({
    pollMs: everyMs,
    async read() {
      try {
        await task()
      } catch (error) {
        log('background_failed', { name, reason: reasonOf(error) })
      }
    },
  })
  follower.start()
  return follower
}
