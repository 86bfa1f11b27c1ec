import type { Kind } from './report.ts'
import type { Session } from './session.ts'

/** What a probe saw of one claim. */
export interface Seen {
  readonly trials: number
  readonly failures: number
  readonly notes?: readonly string[]
  /** Trials were drawn by lots, each by itself: a bound on the rate of failures holds. */
  readonly isDrawn?: true
  /** Its tests by lots: corrected together with all others of the run before they count. */
  readonly tests?: readonly Test[]
}

export interface Test {
  /** What can be told by it, for the report. */
  readonly what: string
  readonly p: number
}

export interface Probe {
  readonly id: string
  readonly kind: Kind
  readonly claim: string
  /** What is counted. */
  readonly unit: string
  /** Why it cannot be tried here, if it cannot. */
  missing?(session: Session): string | undefined
  try(session: Session): Promise<Seen>
}

export const needsCanary = ({ adapter, canaryPeople }: Session): string | undefined =>
  adapter.canary === undefined || canaryPeople === undefined
    ? 'it needs a place for invented documents, and two invented people'
    : undefined
