import { z } from 'zod'
import type { Wire } from './wire.ts'

const changeSide = z.strictObject({
  count: z.int(),
  people: z.int(),
  documents: z.int(),
  samples: z.array(z.strictObject({ who: z.string(), document_id: z.string() })),
})
const change = z.strictObject({ gained: changeSide, lost: changeSide })
const finding = z.strictObject({ rule: z.string(), relation: z.string(), detail: z.string() })

/** What a model answers to a test's question: yes or no, a list of ids, or why there is no answer. */
export const modelAnswer = z.union([z.boolean(), z.array(z.string()), z.strictObject({ error: z.string() })])

/** Failures that a plan names at most. */
export const failuresMax = 100

/** What the truth table says of a plan. */
export const planTests = z.strictObject({
  hold: z
    .boolean()
    .meta({ description: 'False: some fail or none ran; whoever confirms it has to give a reason' }),
  passed: z.int(),
  failed: z.int(),
  error: z.string().optional().meta({ description: 'Why none ran' }),
  failures: z
    .array(
      z.strictObject({
        test: z.string(),
        question: z.string().optional().meta({ example: 'user:anne can_read document:plan' }),
        expected: modelAnswer.optional(),
        got: modelAnswer.optional(),
        refused: z.string().optional().meta({ description: 'Why OpenFGA refused the test’s tuples' }),
      }),
    )
    .meta({ description: `At most ${failuresMax}` }),
})

/** A plan in full: who gains and loses what, its tests and its refusals. */
export const modelPlan = z.strictObject({
  plan_id: z.string(),
  state: z.enum(['open', 'awaiting_second', 'active']),
  planner: z.string(),
  base_model: z.string(),
  digest: z.string(),
  expires_at: z.string(),
  approved_by: z.array(z.string()),
  approvers_needed: z.int().meta({ description: 'How many different people have to confirm it' }),
  reasons: z
    .array(z.strictObject({ by: z.string(), reason: z.string() }))
    .meta({ description: 'Why they confirmed it although tests failed' }),
  outdated: z.string().optional().meta({ description: 'Why nobody can confirm it any more' }),
  tests: planTests,
  complete: z.boolean(),
  people: z.int(),
  documents: z.int(),
  delegations: z.int(),
  unanswered: z.int(),
  watermark: z.strictObject({ read_to: z.string(), tuples: z.int() }),
  can_read: change,
  can_read_delegated: change,
  invalid_tuples: z.strictObject({
    count: z.int(),
    samples: z.array(z.strictObject({ tuple: z.string(), reason: z.string() })),
  }),
  refusals: z.array(finding),
  warnings: z.array(finding),
})

const counts = z.strictObject({ gain: z.int(), lose: z.int() })

/** A plan in the list of open ones: counts alone. */
export const openModelPlan = z.strictObject({
  plan_id: z.string(),
  state: z.enum(['open', 'awaiting_second']),
  planner: z.string(),
  digest: z.string(),
  created_at: z.string(),
  expires_at: z.string(),
  approved_by: z.array(z.string()),
  applicable: z.boolean().meta({ description: 'False: refused, or not complete' }),
  tests_hold: z.boolean(),
  people: counts,
  agents: counts,
})

/** What `GET /model/plans` answers. */
export const openModelPlansAnswer = z.strictObject({
  plans: z.array(openModelPlan),
  more: z.boolean().meta({ description: 'There are others beside these, older ones' }),
  txn: z.string(),
})

/** What `POST /model/plan` answers. */
export const modelPlanned = z.strictObject({ plan: modelPlan, txn: z.string() })

/** What `GET /model/plans/{id}` answers. */
export const modelPlanRead = z.strictObject({
  plan: modelPlan,
  model: z.string(),
  diff: z.string().meta({ description: 'What it changes in the model that it was made from, as of diff -u' }),
  allow_list: z.string().nullable().meta({ description: 'Null: made before there were any' }),
  allow_list_diff: z.string(),
  txn: z.string(),
})

/** What `GET /model` answers. */
export const activeModelAnswer = z.strictObject({
  model_id: z.string(),
  digest: z.string(),
  model: z.string().nullable(),
  allow_list: z.string().nullable(),
  matches_file: z.boolean(),
  history: z.array(
    z.strictObject({
      model_id: z.string(),
      digest: z.string(),
      plan_id: z.string().optional(),
      activated_by: z.array(z.string()),
      activated_at: z.string(),
    }),
  ),
  awaiting: z.array(modelPlan),
  txn: z.string(),
})

const textProblem = z.strictObject({
  line: z.int(),
  column: z.int(),
  end_line: z.int(),
  end_column: z.int(),
  message: z.string(),
})

/** What `POST /model/check` answers. */
export const modelCheckAnswer = z.strictObject({
  problems: z
    .array(textProblem)
    .meta({ description: 'Lines and columns count from 1; `end_column` is the first behind it' }),
  refusals: z.array(finding).meta({ description: 'None of these may come into force' }),
  warnings: z.array(finding),
  txn: z.string(),
})

/** What `POST /model/test` answers. */
export const modelTestAnswer = z.strictObject({
  passed: z.int(),
  failed: z.int(),
  tests: z.array(
    z.strictObject({
      name: z.string(),
      refused: z.string().optional().meta({ description: 'OpenFGA took its tuples not' }),
      questions: z.array(
        z.strictObject({
          question: z.string().meta({ example: 'user:anne can_read document:plan' }),
          expected: modelAnswer,
          got: modelAnswer,
          passed: z.boolean(),
        }),
      ),
    }),
  ),
  txn: z.string(),
})

/** A plan in full: who gains and loses what, its tests and its refusals. */
export type Plan = Wire<typeof modelPlan>

/** Who gains and who loses one relation. */
export type Change = Wire<typeof change>

/** Those who gain, or lose, access: `count` pairs, and samples of them. */
export type ChangeSide = Wire<typeof changeSide>

/** A rule that a model breaks, and where. */
export type Finding = Wire<typeof finding>

/** What the truth table says of a plan. */
export type PlanTests = Wire<typeof planTests>

/** What a model answers to a test's question. */
export type ModelAnswer = Wire<typeof modelAnswer>

/** Plans that can still be confirmed, as `GET /model/plans` gives them. */
export type OpenPlanList = Wire<typeof openModelPlansAnswer>

/** A plan that was just made, as `POST /model/plan` gives it. */
export type PlanMade = Wire<typeof modelPlanned>

/** A plan with its texts and what those change, as `GET /model/plans/{id}` gives it. */
export type PlanRead = Wire<typeof modelPlanRead>

/** The model in force and those before it, as `GET /model` gives them. */
export type ActiveModel = Wire<typeof activeModelAnswer>

/** A problem of a model's text. Lines and columns count from 1. */
export type TextProblem = Wire<typeof textProblem>

/** What is wrong with a text, as `POST /model/check` says it. */
export type ModelCheck = Wire<typeof modelCheckAnswer>

/** Each test with its questions, as `POST /model/test` ran them. */
export type TestRun = Wire<typeof modelTestAnswer>
