import type { JobSummary } from '@remit/contract/writes'

/** How fast a job goes, and when it will have ended; what is not known is left out. */
export interface Progress {
  /** Items that were accepted and wait, or are being taken in. */
  readonly queued: number
  /** Items in a second, of late. */
  readonly rate?: number
  readonly estimatedEnd?: Date
}

/** What the rows of `jobs` hold of the progress. */
export interface Paced {
  readonly total: number
  readonly done: number
  readonly failed: number
  /** Not its body still coming in, or broken off. */
  readonly isOpen: boolean
  readonly pace: number
  /** Seconds since the first and the last item that the queue ended; null before that. */
  readonly pacedFor: number | null
  readonly pacedAgo: number | null
}

/** The columns of `jobs` from which {@link progressOf} works. */
export const pacedColumns = `state = 'open' as "isOpen", pace, extract(epoch from now() - paced_from)::float8 as "pacedFor",
  extract(epoch from now() - paced_at)::float8 as "pacedAgo"`

// As in job_paced() of migration 0103.
const rememberedSeconds = 60
/** Shorter says nothing, and so does a job of which nothing ended for longer. */
const secondsMin = 2
const silentSecondsMax = 120
// What takes longer is a guess, and jobs are kept for as long.
const endSecondsMax = 30 * 86_400

/**
 * How fast a job goes. Nothing is said of the rate before two seconds, or once nothing ended for two minutes;
 * nor of the end while documents still come in. `now` is in milliseconds.
 */
export function progressOf({ total, done, failed, isOpen, ...paced }: Paced, now: number): Progress {
  const queued = Math.max(0, total - done - failed)
  const { pace, pacedFor, pacedAgo } = paced
  if (queued === 0 || pacedFor === null || pacedAgo === null) return { queued }
  if (pacedFor < secondsMin || pacedAgo > silentSecondsMax) return { queued }
  const rate =
    (pace * Math.exp(-pacedAgo / rememberedSeconds)) / (1 - Math.exp(-pacedFor / rememberedSeconds))
  if (!(rate > 0)) return { queued }
  const rounded = Number(rate.toPrecision(3))
  const seconds = queued / rate
  return {
    queued,
    rate: rounded,
    ...(isOpen && seconds <= endSecondsMax && { estimatedEnd: new Date(now + Math.ceil(seconds) * 1_000) }),
  }
}

/** The progress as JSON. */
export const progressToWire = ({
  queued,
  rate,
  estimatedEnd,
}: Progress): Pick<JobSummary, 'queued' | 'rate' | 'estimated_end'> => ({
  queued,
  ...(rate !== undefined && { rate }),
  ...(estimatedEnd !== undefined && { estimated_end: estimatedEnd.toISOString() }),
})
