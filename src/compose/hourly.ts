import type { Log } from '../kernel/log.ts'
import { reasonOf } from '../kernel/reason.ts'

/** Runs each now and every hour. A failure is logged and tried again at the next turn. */
export function everyHour(
  log: Log,
  tasks: Readonly<Record<string, () => Promise<unknown>>>,
): AsyncDisposable {
  let running: Promise<unknown> = Promise.resolve()
  const run = (): void => {
    running = Promise.all(
      Object.entries(tasks).map(async ([name, task]) => {
        try {
          await task()
        } catch (error) {
          log('background_failed', { name, reason: reasonOf(error) })
        }
      }),
    )
  }
  run()
  const timer = setInterval(run, 3_600_000).unref()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await running
    },
  }
}
