import type { JobView } from './job-store.ts'

/** Waits for a job to end. */
export interface JobWaiter {
  /** Wakes who waits for this job. */
  changed(jobId: string): void
  /** Reads until the job has ended or the signal fires, and returns the last reading. */
  wait(
    jobId: string,
    read: () => Promise<JobView | undefined>,
    signal: AbortSignal,
  ): Promise<JobView | undefined>
}

// Another process may have ended it: nobody wakes us then.
const pollMs = 500

const hasEnded = ({ state }: JobView): boolean => state === 'done' || state === 'failed'

/** Lets a request wait for a job without asking the database all the time. */
export function createJobWaiter(): JobWaiter {
  const waiting = new Map<string, Set<() => void>>()

  function nextChange(jobId: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wakers = waiting.get(jobId) ?? new Set()
      waiting.set(jobId, wakers)
      const wake = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', wake)
        wakers.delete(wake)
        if (wakers.size === 0) waiting.delete(jobId)
        resolve()
      }
      const timer = setTimeout(wake, pollMs)
      signal.addEventListener('abort', wake)
      wakers.add(wake)
    })
  }

  return {
    changed(jobId) {
      for (const wake of waiting.get(jobId) ?? []) wake()
    },
    async wait(jobId, read, signal) {
      for (;;) {
        // Listens before it reads: a change in between must not be missed.
        const change = nextChange(jobId, signal)
        const job = await read()
        if (job === undefined || hasEnded(job) || signal.aborted) {
          for (const wake of waiting.get(jobId) ?? []) wake()
          await change
          return job
        }
        await change
      }
    },
  }
}
