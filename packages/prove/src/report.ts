/** What a check is about: what came that must not, what can be told from outside, or what did not come. */
export type Kind = 'leak' | 'oracle' | 'incomplete'

/** Something that must not be. Names are digests. */
export interface Finding {
  readonly check: string
  readonly kind: Kind
  readonly message: string
  readonly person?: string
  readonly document?: string
  readonly question?: string
}

/** A claim that was tried. */
export interface Check {
  readonly id: string
  readonly kind: Kind
  /** What holds if nothing was found. */
  readonly claim: string
  readonly state: 'held' | 'broken' | 'not_tried' | 'inconclusive'
  /** Of what it was tried, and how often. */
  readonly unit: string
  readonly trials: number
  readonly failures: number
  /** With 95 % confidence the rate of failures is lower than this. Only where trials were drawn by lots. */
  readonly upper95: number | null
  /** Smallest p of its tests, after Holm's correction over all of the run. */
  readonly p: number | null
  /** Figures, and why it was not tried. */
  readonly notes: readonly string[]
}

export interface Report {
  readonly tool: 'remit-prove'
  readonly version: string
  readonly endpoint: string
  readonly run: string
  /** Of all requests of this run. */
  readonly trace: string
  readonly seed: number
  readonly started: string
  readonly seconds: number
  readonly requests: number
  readonly passages: number
  readonly checks: readonly Check[]
  readonly findings: readonly Finding[]
  /** Planted documents that could not be removed. */
  readonly left: readonly string[]
}
