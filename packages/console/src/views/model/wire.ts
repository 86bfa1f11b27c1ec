import type { Finding, ModelAnswer, Plan } from '@remit/contract/model'
import type { TextProblem } from './editor.ts'

/** `GET /model`: the model in force, and those before it. */
export interface ActiveModel {
  readonly model_id: string
  readonly model: string | null
  readonly allow_list: string | null
  readonly matches_file: boolean
  readonly history: readonly {
    readonly model_id: string
    readonly plan_id?: string
    readonly activated_by: readonly string[]
    readonly activated_at: string
  }[]
}

interface Counts {
  readonly gain: number
  readonly lose: number
}

/** `GET /model/plans`. */
export interface OpenPlanList {
  readonly plans: readonly (Pick<Plan, 'plan_id' | 'planner' | 'approved_by' | 'expires_at'> & {
    /** sha256 of its text and its allow-list. */
    readonly digest: string
    /** How many pairs of somebody and a document. */
    readonly people: Counts
    readonly agents: Counts
    /** Not where it is refused or not complete: nobody can confirm it. */
    readonly applicable: boolean
    /** Not where tests fail or did not run: whoever confirms it has to say why. */
    readonly tests_hold: boolean
  })[]
  readonly more: boolean
}

/** `POST /model/check`: what is wrong with a text. */
export interface ModelCheck {
  readonly problems: readonly TextProblem[]
  readonly refusals: readonly Finding[]
  readonly warnings: readonly Finding[]
}

/** `POST /model/test`: each test with its questions. */
export interface TestRun {
  readonly passed: number
  readonly failed: number
  readonly tests: readonly {
    readonly name: string
    readonly refused?: string
    readonly questions: readonly {
      readonly question: string
      readonly expected: ModelAnswer
      readonly got: ModelAnswer
      readonly passed: boolean
    }[]
  }[]
}
