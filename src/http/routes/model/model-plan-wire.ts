import { z } from '@hono/zod-openapi'
import type { Side } from '../../../authz/model/impact.ts'
import type { Finding } from '../../../authz/model/invariants.ts'
import type { OpenPlan, Plan } from '../../../authz/model/plan-store.ts'
import { hold, type PlanTests } from '../../../authz/model/plan-tests.ts'
import { answer, answerToWire } from './model-tests.ts'

const changeSide = z.strictObject({
  count: z.int(),
  people: z.int(),
  documents: z.int(),
  samples: z.array(z.strictObject({ who: z.string(), document_id: z.string() })),
})
const change = z.strictObject({ gained: changeSide, lost: changeSide })
const finding = z.strictObject({ rule: z.string(), relation: z.string(), detail: z.string() })

// Whoever decides by more than these looks at the model again.
const failuresMax = 100

const tests = z
  .strictObject({
    hold: z
      .boolean()
      .openapi({ description: 'False: some fail or none ran; whoever confirms it has to give a reason' }),
    passed: z.int(),
    failed: z.int(),
    error: z.string().optional().openapi({ description: 'Why none ran' }),
    failures: z
      .array(
        z.strictObject({
          test: z.string(),
          question: z.string().optional().openapi({ example: 'user:anne can_read document:plan' }),
          expected: answer.optional(),
          got: answer.optional(),
          refused: z.string().optional().openapi({ description: 'Why OpenFGA refused the test’s tuples' }),
        }),
      )
      .openapi({ description: `At most ${failuresMax}` }),
  })
  .openapi('ModelPlanTests', { description: 'What the truth table of model.fga says of it' })

/** A plan in full: who gains and loses what, its tests and its refusals. */
export const plan = z
  .strictObject({
    plan_id: z.string(),
    state: z.enum(['open', 'awaiting_second', 'active']),
    planner: z.string(),
    base_model: z.string(),
    digest: z.string(),
    expires_at: z.string(),
    approved_by: z.array(z.string()),
    approvers_needed: z.int().openapi({ description: 'How many different people have to confirm it' }),
    reasons: z
      .array(z.strictObject({ by: z.string(), reason: z.string() }))
      .openapi({ description: 'Why they confirmed it although tests failed' }),
    outdated: z.string().optional().openapi({ description: 'Why nobody can confirm it any more' }),
    tests,
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
  .openapi('ModelPlan')

const counts = z.strictObject({ gain: z.int(), lose: z.int() })

/** A plan in the list of open ones: counts alone. */
export const openPlan = z
  .strictObject({
    plan_id: z.string(),
    state: z.enum(['open', 'awaiting_second']),
    planner: z.string(),
    digest: z.string(),
    created_at: z.string(),
    expires_at: z.string(),
    approved_by: z.array(z.string()),
    applicable: z.boolean().openapi({ description: 'False: refused, or not complete' }),
    tests_hold: z.boolean(),
    people: counts,
    agents: counts,
  })
  .openapi('ModelPlanOpen')

/** Both are the words of {@link ModelChanges}: `approversOf`, `outdatedOf`. */
export function planToWire(
  { id, state, planner, baseModel, digest, expiresAt, approvedBy, reasons, tests: ran, report }: Plan,
  approversNeeded: number,
  outdated: string | undefined,
): z.output<typeof plan> {
  const {
    complete: isComplete,
    people,
    documents,
    delegations,
    unanswered,
    watermark,
    changes,
    invalidTuples,
  } = report
  return {
    plan_id: id,
    state: state === 'open' && approvedBy.length > 0 ? 'awaiting_second' : state,
    planner,
    base_model: baseModel,
    digest,
    expires_at: expiresAt.toISOString(),
    approved_by: [...approvedBy],
    approvers_needed: approversNeeded,
    reasons: [...reasons],
    ...(outdated !== undefined && { outdated }),
    tests: testsToWire(ran),
    complete: isComplete,
    people,
    documents,
    delegations,
    unanswered,
    watermark,
    can_read: { gained: sideToWire(changes.can_read.gained), lost: sideToWire(changes.can_read.lost) },
    can_read_delegated: {
      gained: sideToWire(changes.can_read_delegated.gained),
      lost: sideToWire(changes.can_read_delegated.lost),
    },
    invalid_tuples: { count: invalidTuples.count, samples: [...invalidTuples.samples] },
    refusals: report.refusals.map(findingToWire),
    warnings: report.warnings.map(findingToWire),
  }
}

function testsToWire(ran: PlanTests | undefined): z.output<typeof tests> {
  if (ran === undefined)
    return { hold: false, passed: 0, failed: 0, error: 'Plans had no tests then.', failures: [] }
  const { passed, failed, failures, error } = ran
  return {
    hold: hold(ran),
    passed,
    failed,
    ...(error !== undefined && { error }),
    failures: failures.slice(0, failuresMax).map(({ expected, got, ...failure }) => ({
      ...failure,
      ...(expected !== undefined && { expected: answerToWire(expected) }),
      ...(got !== undefined && { got: answerToWire(got) }),
    })),
  }
}

const sideToWire = ({ samples, ...counts }: Side): z.output<typeof changeSide> => ({
  ...counts,
  samples: samples.map(({ who: asker, document }) => ({ who: asker, document_id: document })),
})

const findingToWire = ({ rule, relation, detail }: Finding): z.output<typeof finding> => ({
  rule,
  relation,
  detail,
})

/** An open plan as JSON. */
export function openPlanToWire(openedPlan: OpenPlan): z.output<typeof openPlan> {
  const { id, planner, digest, createdAt, expiresAt, approvedBy, applicable, testsHold, people, agents } =
    openedPlan
  return {
    plan_id: id,
    state: approvedBy.length > 0 ? 'awaiting_second' : 'open',
    planner,
    digest,
    created_at: createdAt.toISOString(),
    expires_at: expiresAt.toISOString(),
    approved_by: [...approvedBy],
    applicable,
    tests_hold: testsHold,
    people,
    agents,
  }
}
