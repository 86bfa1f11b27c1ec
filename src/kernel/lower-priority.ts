import { setPriority } from 'node:os'

/**
 * A third of what others get where all want the processor. Never a tenth: what is slow has clocks that end
 * it.
 */
const niceness = 5

/**
 * Lets all that is not niced go before this thread, in this process and in others. On Linux, where each
 * thread has a niceness of its own; elsewhere it would be the whole process's, and nothing is done. Costs
 * nothing where nobody else wants the processor.
 */
export function lowerPriority(): void {
  if (process.platform !== 'linux') return
  try {
    setPriority(niceness)
  } catch {
    // A sandbox may forbid it: then it is as fast as the others.
  }
}
