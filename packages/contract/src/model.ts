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
