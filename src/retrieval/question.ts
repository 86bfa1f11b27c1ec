import type { GateCounts } from '../authz/gate.ts'
import type { Mode } from './candidate.ts'
import type { Filter } from './filter.ts'
import type { Passage } from './read.ts'

/** What is asked: words, or a vector of the caller's own. */
export interface Question {
  readonly query?: string
  readonly embedding?: Float32Array
  readonly topK: number
  readonly mode: Mode
  readonly collections?: readonly string[]
  readonly filter?: Filter
  readonly consistency: 'fast' | 'strict'
  /**
   * A grant that the agent presents, `g_…`. No part of what is asked: its digest is the same with and
   * without.
   */
  readonly approval?: string
}

/** The passages of an answer, and what it says of itself. */
export interface Answer {
  readonly passages: readonly Passage[]
  /** False iff the deadline, a budget or an unready index stopped the search. */
  readonly complete: boolean
  /** What was searched by in the end: `keyword` where no vectors can be had. */
  readonly modeUsed: Mode
  readonly modelId: string
  readonly scopeKey: string
  /** The person could be asked for more than the agent was given: `o_…`. */
  readonly offer?: string
}

/**
 * What one answer took of OpenFGA, and what it brought: documents, each once. Tells neither who asked nor
 * what.
 */
export interface AnswerEvent extends GateCounts {
  readonly returned: number
}

/** Called after each answer with its counts. Must not throw. */
export type OnAnswer = (event: AnswerEvent) => void
