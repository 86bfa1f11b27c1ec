import { AppError } from './errors.ts'

/**
 * Throws `deadline_exceeded` once the signal fired: whoever wanted this was told that it is over, or left.
 * Asked after each wait that stands before the first effect.
 */
export function assertNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new AppError('deadline_exceeded', { internal: 'nothing was begun: nobody waits for it any more' })
}
