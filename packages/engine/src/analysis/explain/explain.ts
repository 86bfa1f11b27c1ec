import { type CheckRequest, relationOf } from '../../core/check.ts'
import { createEvaluator } from '../../core/evaluate.ts'
import type { Model } from '../../core/model.ts'
import { createSession } from '../../core/session.ts'
import type { TupleView } from '../../core/tuples.ts'
import type { Explanation, Reason } from './reasons.ts'
import { createTree, type TreeOptions } from './tree.ts'

export interface ExplainOptions extends Partial<Omit<TreeOptions, 'context'>> {}

/**
 * What `check` answers, and why. An allowance is shown by its shortest path, tuple by tuple, with what would have
 * excluded; a denial by every branch that could have granted, with what was missing there. Wide and deep graphs
 * are cut: `cut` counts the branches left out; a path that grants is shown whole. Throws FgaError when the
 * request names what the model does not know; a condition or a depth that errs stands in `error` instead.
 */
export function explain(
  model: Model,
  tuples: TupleView,
  request: CheckRequest,
  options: ExplainOptions = {},
): Explanation {
  const { depthMax = 25, refutationMax = 200, exclusionMax = 30, proofMax = 1_000 } = options
  const relation = relationOf(model, request)
  const session = createSession(model, tuples, request)
  const evaluator = createEvaluator(session, { depthMax, mode: 'check' })
  const node = session.node(request.object)
  const outcome = evaluator.ask(relation, node)
  const context = request.context ?? {}
  const tree = createTree(session, evaluator, { context, depthMax, refutationMax, exclusionMax, proofMax })
  const allowed = outcome === 'yes'
  const reason = allowed ? tree.proven(relation, node) : tree.refuted(relation, node)
  return {
    allowed,
    error: typeof outcome === 'string' ? undefined : outcome.message,
    reason,
    cut: countCut(reason),
  }
}

function countCut(reason: Reason): number {
  if (reason.kind === 'cut') return reason.count
  return 'because' in reason ? reason.because.reduce((sum, inner) => sum + countCut(inner), 0) : 0
}
