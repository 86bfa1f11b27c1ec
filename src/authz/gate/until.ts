import { AppError } from '../../kernel/errors.ts'

/** `deadline_exceeded`: the verdicts did not come in time. */
export const overdue = (): AppError =>
  new AppError('deadline_exceeded', { internal: 'the request ended while permissions were checked' })

/** Rejects as soon as the signal fires, whatever the work does about it. */
export function runUntilAborted<T>(signal: AbortSignal | undefined, task: () => Promise<T>): Promise<T> {
  if (signal === undefined) return task()
  return new Promise((resolve, reject) => {
    const stop = () => reject(overdue())
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    task()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', stop))
  })
}
