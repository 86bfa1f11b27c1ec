import type { z } from '@hono/zod-openapi'
import { failuresMax, modelPlan, openModelPlan, planTests } from '@remit/contract/model'
import type { Side } from '../../../authz/model/impact.ts'
import type { Finding } from '../../../authz/model/invariants.ts'
import type { OpenPlan, Plan } from '../../../authz/model/plan-store.ts'
import { hold, type PlanTests } from '../../../authz/model/plan-tests.ts'
import { answerToWire } from './model-tests.ts'

const tests = planTests
  .clone()
  .openapi('ModelPlanTests', { description: 'What the truth table of model.fga says of it' })

/** A plan in full: who gains and loses what, its tests and its refusals. */
export const plan = modelPlan.extend({ tests }).openapi('ModelPlan')

type WirePlan = z.output<typeof plan>

/** A plan in the list of open ones: counts alone. */
export const openPlan = openModelPlan.clone().openapi('ModelPlanOpen')

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

const sideToWire = ({ samples, ...counts }: Side): WirePlan['can_read']['gained'] => ({
  ...counts,
  samples: samples.map(({ who: asker, document }) => ({ who: asker, document_id: document })),
})

const findingToWire = ({ rule, relation, detail }: Finding): WirePlan['refusals'][number] => ({
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
