import { type CheckRequest, relationOf } from '../../core/check.ts'
import type { JsonObject } from '../../core/condition-values.ts'
import { createEvaluator, type Evaluator } from '../../core/evaluate.ts'
import { getOrInsert } from '../../core/get-or-insert.ts'
import type { Model, Relation, Rewrite } from '../../core/model.ts'
import type { Outcome } from '../../core/outcome.ts'
import { createSession, type Session } from '../../core/session.ts'
import type { Node, TupleView } from '../../core/tuples.ts'
import { createProver, type Proof } from './prove.ts'
import { type Explanation, type Question, type Reason, ruleText, stepOf } from './reasons.ts'
import { createRefuter } from './refute.ts'
import { createRoom } from './room.ts'

/** Bounds of the tree of reasons. */
export interface ExplainOptions {
  /** Most reasons of a refutation. */
  readonly refutationMax?: number
  /** Most reasons of each refutation inside a proof: what would have excluded. */
  readonly exclusionMax?: number
  /** Most reasons of all proofs. */
  readonly proofMax?: number
}

/**
 * What `check` answers, and why. An allowance is shown by its shortest path, tuple by tuple, with what would
 * have excluded; a denial by every branch that could have granted, with what was missing there. Wide and deep
 * graphs are cut: `cut` counts the branches left out; a path that grants is shown whole. Throws FgaError when
 * the request names what the model does not know; a condition or a depth that errs stands in `error` instead.
 *
 * Where nothing is cut, an allowance stands by the tuples that it shows and those of the request: `check`
 * allows it over these alone. That is not promised where a rule of the model recurses through `and` or
 * `but not`.
 */
export function explain(
  model: Model,
  tuples: TupleView,
  request: CheckRequest,
  options: ExplainOptions = {},
): Explanation {
  const relation = relationOf(model, request)
  const session = createSession(model, tuples, request)
  const evaluator = askOnce(createEvaluator(session))
  const node = session.node(request.object)
  const outcome = evaluator.ask(relation, node)
  const tree = createTree(session, evaluator, request.context ?? {}, options)
  const allowed = outcome === 'yes'
  const reason = allowed ? tree.proven(relation, node) : tree.refuted(relation, node)
  return {
    allowed,
    error: typeof outcome === 'string' ? undefined : outcome.message,
    reason,
    cut: countCut(reason),
  }
}

/**
 * Each question is asked once: proofs and refutations ask the same ones many times, and where a rule recurses
 * through `but not`, each answer costs a whole evaluation.
 */
function askOnce({ ask, askRule }: Evaluator): Evaluator {
  const answers = new Map<Relation | Rewrite, Map<number, Outcome>>()
  const once = (asked: Relation | Rewrite, { id }: Node, answer: () => Outcome): Outcome =>
    getOrInsert(
      getOrInsert(answers, asked, () => new Map<number, Outcome>()),
      id,
      answer,
    )
  return {
    ask: (relation, node) => once(relation, node, () => ask(relation, node)),
    askRule: (rule, relation, node) => once(rule, node, () => askRule(rule, relation, node)),
  }
}

/**
 * Puts proofs and refutations into reasons. Each question is shown once; where it comes again, that is said.
 */
function createTree(
  session: Session,
  evaluator: Evaluator,
  context: JsonObject,
  { refutationMax = 200, exclusionMax = 30, proofMax = 1_000 }: ExplainOptions,
) {
  const prover = createProver(session, evaluator)
  const room = createRoom(proofMax)
  const showAll = (proofs: readonly Proof[]): readonly Reason[] =>
    room.branches(proofs, 'yes', (proof) => [show(proof)])
  const refuter = createRefuter({ session, evaluator, prover, room, context, showAll })

  function show(proof: Proof): Reason {
    switch (proof.kind) {
      case 'self':
        return { kind: 'self', holds: 'yes' }
      case 'tuple':
        return stepOf(session, context, proof.tuple, 'yes', proof.next ? showAll([proof.next]) : [])
      case 'rule': {
        const rule = ruleText(proof.rule, proof.relation)
        return { kind: 'rule', holds: 'yes', rule, because: showAll(proof.parts) }
      }
      case 'not': {
        const because = room.fit(exclusionMax, () => refuter.rule(proof.rule, proof.relation, proof.node))
        return { kind: 'not', holds: 'yes', rule: ruleText(proof.rule, proof.relation), because }
      }
      case 'relation': {
        const statement = { holds: 'yes', relation: proof.relation.name, object: proof.node.name } as const
        // Of one question there may be two: a contextual tuple hides the stored one for the one asked, not
        // behind a recursion.
        if (!room.isFirst(proof)) return { kind: 'seen', ...statement }
        return { kind: 'relation', ...statement, because: showAll(proof.childProofs) }
      }
    }
  }

  return {
    proven(relation: Relation, node: Node): Question {
      const proof = prover.question(relation, node)
      const because = proof === undefined ? [] : showAll([proof])
      const [reason] = because
      if (reason?.kind === 'relation') return reason
      return { kind: 'relation', holds: 'yes', relation: relation.name, object: node.name, because }
    },
    refuted: (relation: Relation, node: Node): Question => refuter.question(relation, node, refutationMax),
  }
}

function countCut(reason: Reason): number {
  if (reason.kind === 'cut') return reason.count
  return 'because' in reason ? reason.because.reduce((sum, inner) => sum + countCut(inner), 0) : 0
}
