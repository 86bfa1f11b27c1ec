import type { TextProblem } from './editor.ts'

/** Those who gain, or lose, access: `count` pairs, and samples of them. */
export interface ChangeSide {
  readonly count: number
  /** Whoever it is: a person, or a person through one agent. */
  readonly people: number
  readonly documents: number
  readonly samples: readonly { readonly who: string; readonly document_id: string }[]
}

/** Who gains and who loses one relation. */
export interface Change {
  readonly gained: ChangeSide
  readonly lost: ChangeSide
}

/** A rule that a model breaks, and where. */
export interface Finding {
  readonly rule: string
  readonly relation: string
  readonly detail: string
}

/** `GET /model/plans/{id}` and others give a plan so. */
export interface Plan {
  readonly plan_id: string
  readonly state: 'open' | 'awaiting_second' | 'active'
  readonly planner: string
  readonly base_model: string
  readonly expires_at: string
  readonly approved_by: readonly string[]
  readonly approvers_needed: number
  /** Why nobody can confirm it any more. */
  readonly outdated?: string
  /** Why they confirmed it although tests failed. */
  readonly reasons: readonly { readonly by: string; readonly reason: string }[]
  readonly tests: PlanTests
  readonly complete: boolean
  readonly people: number
  readonly documents: number
  readonly delegations: number
  readonly unanswered: number
  readonly can_read: Change
  readonly can_read_delegated: Change
  readonly invalid_tuples: {
    readonly count: number
    readonly samples: readonly { readonly tuple: string; readonly reason: string }[]
  }
  readonly refusals: readonly Finding[]
  readonly warnings: readonly Finding[]
}

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

/** Yes or no, a list of ids, or why there is no answer. */
export type Answer = boolean | readonly string[] | { readonly error: string }

/** What the truth table says of a plan. */
export interface PlanTests {
  readonly hold: boolean
  readonly passed: number
  readonly failed: number
  /** Why it did not run. */
  readonly error?: string
  /** The first hundred. */
  readonly failures: readonly {
    readonly test: string
    /** Left out where its tuples were refused. */
    readonly question?: string
    readonly expected?: Answer
    readonly got?: Answer
    readonly refused?: string
  }[]
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
      readonly expected: Answer
      readonly got: Answer
      readonly passed: boolean
    }[]
  }[]
}
