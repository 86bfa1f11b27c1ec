import type { JsonObject } from '../../core/condition-values.ts'
import type { Evaluator } from '../../core/evaluate.ts'
import type { Relation, Rewrite } from '../../core/model.ts'
import type { Outcome } from '../../core/outcome.ts'
import type { Session } from '../../core/session.ts'
import type { Node, Tuple } from '../../core/tuples.ts'
import { createProver, type Proof } from './prove.ts'
import { type Holds, type Question, type Reason, ruleText, stepOf } from './reasons.ts'

/** Bounds of the tree of reasons. */
export interface TreeOptions {
  readonly context: JsonObject
  readonly depthMax: number
  /** Most reasons of a refutation. */
  readonly refutationMax: number
  /** Most reasons of each refutation inside a proof: what would have excluded. */
  readonly exclusionMax: number
  /** Most reasons of all proofs. */
  readonly proofMax: number
}

/** Where a refutation stands: hops from the question asked, and the questions that it came by. */
interface Place {
  readonly depth: number
  readonly path: ReadonlySet<string>
}

const rootPlace: Place = { depth: 0, path: new Set() }
/** Branches beside each other that are shown. */
const widthMax = 20

/** One attempt at a tree, or at a refutation inside it. */
interface Attempt {
  /** Questions on top of each other that are opened. */
  readonly levels: number
  readonly reasonsMax: number
  made: number
  /** Whether something was left out for want of levels. */
  isShallow: boolean
  readonly seen: Set<string | Proof>
}

const newAttempt = (
  levels: number,
  reasonsMax: number,
  alreadySeen: Iterable<string | Proof> = [],
): Attempt => ({
  levels,
  reasonsMax,
  made: 0,
  isShallow: false,
  seen: new Set(alreadySeen),
})

/** Puts proofs and refutations into reasons. Each question is shown once; where it comes again, that is said. */
export function createTree(session: Session, evaluator: Evaluator, options: TreeOptions) {
  const { ask, askRule } = evaluator
  const { model, user } = session
  const prover = createProver(session, evaluator)
  let attempt = newAttempt(Infinity, options.proofMax)
  const keyOf = (relation: Relation, node: Node): string => `${relation.index} ${node.id}`
  const reaches = (relation: Relation | undefined): boolean =>
    relation?.strategy(user.label).reachable === true

  /** As many levels as fit, so that what is near is shown before what is far. */
  function fit(reasonsMax: number, build: () => readonly Reason[]): readonly Reason[] {
    const outer = attempt
    let bestReasons: readonly Reason[] = []
    for (let levels = 1; ; levels++) {
      // What stands around it counts as shown: exclusions may lead into each other in a circle.
      attempt = newAttempt(levels, reasonsMax, outer.seen)
      const reasons = build()
      const { made: reasonCount, isShallow } = attempt
      attempt = outer
      if (levels === 1 || reasonCount <= reasonsMax) bestReasons = reasons
      if (!isShallow || reasonCount > reasonsMax) return bestReasons
    }
  }

  function branches<T>(
    candidates: readonly T[],
    holds: Holds,
    show: (candidate: T) => readonly Reason[],
  ): readonly Reason[] {
    const reasons: Reason[] = []
    for (const [index, candidate] of candidates.entries()) {
      if (index === widthMax || attempt.made > attempt.reasonsMax)
        return [...reasons, { kind: 'cut', holds, count: candidates.length - index }]
      const reasonsShown = show(candidate)
      attempt.made += reasonsShown.length
      reasons.push(...reasonsShown)
    }
    return reasons
  }

  function provenReason(relation: Relation, node: Node): Question {
    const proof = prover.question(relation, node)
    const [reason] = proof === undefined ? [] : showAll([proof])
    if (reason?.kind === 'relation') return reason
    return {
      kind: 'relation',
      holds: 'yes',
      relation: relation.name,
      object: node.name,
      because: reason ? [reason] : [],
    }
  }

  const showAll = (proofs: readonly Proof[]): readonly Reason[] =>
    branches(proofs, 'yes', (proof) => [show(proof)])

  function show(proof: Proof): Reason {
    switch (proof.kind) {
      case 'self':
        return { kind: 'self', holds: 'yes' }
      case 'tuple':
        return stepOf(session, options.context, proof.tuple, 'yes', proof.next ? showAll([proof.next]) : [])
      case 'rule':
        return {
          kind: 'rule',
          holds: 'yes',
          rule: ruleText(proof.rule, proof.relation),
          because: showAll(proof.parts),
        }
      case 'not':
        return {
          kind: 'not',
          holds: 'yes',
          rule: ruleText(proof.rule, proof.relation),
          because: fit(options.exclusionMax, () =>
            refuteRule(proof.rule, proof.relation, proof.node, rootPlace),
          ),
        }
      case 'relation': {
        const { relation, node, childProofs } = proof
        const statement = { holds: 'yes', relation: relation.name, object: node.name } as const
        // Of one question there may be two: a contextual tuple hides the stored one for the one asked, not behind a recursion.
        if (!isFirst(proof)) return { kind: 'seen', ...statement }
        return { kind: 'relation', ...statement, because: showAll(childProofs) }
      }
    }
  }

  function isFirst(key: string | Proof): boolean {
    if (attempt.seen.has(key)) return false
    attempt.seen.add(key)
    return true
  }

  function refuted(relation: Relation, node: Node): Question {
    const holds = holdsOf(ask(relation, node))
    const because = fit(options.refutationMax, () => refuteRelation(relation, node, rootPlace))
    return { kind: 'relation', holds, relation: relation.name, object: node.name, because }
  }

  function refuteQuestion(relation: Relation, node: Node, depthAndPath: Place): readonly Reason[] {
    if (!reaches(relation)) return []
    const key = keyOf(relation, node)
    const holds = refusal(ask(relation, node))
    const statement = { holds, relation: relation.name, object: node.name }
    if (depthAndPath.path.has(key)) return [{ kind: 'cycle', ...statement }]
    if (depthAndPath.depth >= options.depthMax) return [{ kind: 'depth', ...statement }]
    if (depthAndPath.path.size >= attempt.levels) {
      attempt.isShallow = true
      return [{ kind: 'cut', holds, count: 1 }]
    }
    if (!isFirst(`no ${key}`)) return [{ kind: 'seen', ...statement }]
    return [{ kind: 'relation', ...statement, because: refuteRelation(relation, node, depthAndPath) }]
  }

  function refuteRelation(relation: Relation, node: Node, depthAndPath: Place): readonly Reason[] {
    const inside = { depth: depthAndPath.depth, path: new Set([...depthAndPath.path, keyOf(relation, node)]) }
    const reasons = refuteRule(relation.rewrite, relation, node, inside)
    if (reasons.length > 0) return reasons
    return [{ kind: 'missing', holds: 'no', relation: relation.name, object: node.name, users: [] }]
  }

  function refuteRule(rule: Rewrite, relation: Relation, node: Node, depthAndPath: Place): readonly Reason[] {
    switch (rule.kind) {
      case 'this':
        return refuteAssigned(relation, node, depthAndPath)
      case 'computed':
        return refuteQuestion(rule.relation, node, depthAndPath)
      case 'ttu':
        return refuteParents(rule, node, depthAndPath)
      case 'union':
        return branches(rule.children, 'no', (child) => refuteRule(child, relation, node, depthAndPath))
      case 'intersection':
        return refuteAll(rule.children, relation, node, depthAndPath)
      case 'exclusion':
        return refuteExclusion(rule, relation, node, depthAndPath)
    }
  }

  function refuteAll(
    rules: readonly Rewrite[],
    relation: Relation,
    node: Node,
    depthAndPath: Place,
  ): readonly Reason[] {
    const operands = rules.map((rule) => ({ rule, holds: holdsOf(askRule(rule, relation, node)) }))
    // One no is enough, whatever else could not be evaluated.
    const decisive = operands.some(({ holds }) => holds === 'no')
      ? ['no', 'yes']
      : ['no', 'yes', 'cycle', 'error']
    const allHold = operands.every(({ holds }) => holds === 'yes')
    return branches(
      operands.filter(({ holds }) => decisive.includes(holds)),
      'no',
      ({ rule, holds }) =>
        holds === 'yes' && !allHold
          ? [heldReason(rule, relation, node)]
          : refuteSide(rule, relation, node, depthAndPath),
    )
  }

  function refuteExclusion(
    rule: Rewrite & { kind: 'exclusion' },
    relation: Relation,
    node: Node,
    depthAndPath: Place,
  ): readonly Reason[] {
    const baseHolds = holdsOf(askRule(rule.base, relation, node))
    const subtractHolds = holdsOf(askRule(rule.subtract, relation, node))
    if (baseHolds === 'no' || (baseHolds !== 'yes' && subtractHolds === 'no'))
      return refuteSide(rule.base, relation, node, depthAndPath)
    const base = baseHolds === 'yes' ? [heldReason(rule.base, relation, node)] : []
    const text = ruleText(rule.subtract, relation)
    if (subtractHolds === 'yes') {
      const proof = prover.rule(rule.subtract, relation, node)
      return [...base, { kind: 'not', holds: 'no', rule: text, because: proof ? showAll([proof]) : [] }]
    }
    const holds = subtractHolds === 'no' ? 'cycle' : subtractHolds
    const because = refuteRule(rule.subtract, relation, node, depthAndPath)
    return [...base, { kind: 'not', holds, rule: text, because }]
  }

  function refuteSide(rule: Rewrite, relation: Relation, node: Node, depthAndPath: Place): readonly Reason[] {
    if (rule.kind === 'computed') {
      const questionReasons = refuteQuestion(rule.relation, node, depthAndPath)
      if (questionReasons.length > 0) return questionReasons
    }
    const holds = refusal(askRule(rule, relation, node))
    const because = refuteRule(rule, relation, node, depthAndPath)
    return [{ kind: 'rule', holds, rule: ruleText(rule, relation), because }]
  }

  function heldReason(rule: Rewrite, relation: Relation, node: Node): Reason {
    return rule.kind === 'computed'
      ? { kind: 'relation', holds: 'yes', relation: rule.relation.name, object: node.name, because: [] }
      : { kind: 'rule', holds: 'yes', rule: ruleText(rule, relation), because: [] }
  }

  function refuteAssigned(relation: Relation, node: Node, depthAndPath: Place): readonly Reason[] {
    const ownTuples = session
      .ownTuples(relation, node, true)
      .filter((tuple) => session.isValid(relation, tuple))
    const usersets = [...session.every(relation, node, ['usersets'])]
    const everyone = usersets.filter(
      (tuple) => tuple.user.wildcard && user.relation === '' && tuple.user.type === user.node.type,
    )
    const groups = usersets.filter((tuple) => tuple.userRelation !== '')
    const near = user.node.wildcard || user.relation !== '' ? ownTuples : [...ownTuples, ...everyone]
    const users = grantors(relation).filter((name) => !near.some((tuple) => tuple.user.name === name))
    const target = (tuple: Tuple): Relation | undefined =>
      model.types.get(tuple.user.type)?.get(tuple.userRelation)
    const leading = groups.filter((tuple) => matters(tuple, target(tuple)))
    const steps = refuteSteps([...near, ...leading], target, depthAndPath)
    if (users.length === 0) return steps
    return [{ kind: 'missing', holds: 'no', relation: relation.name, object: node.name, users }, ...steps]
  }

  /** It could lead to the subject; or its condition errs, which makes the whole question err where it leads nowhere too. */
  const matters = (tuple: Tuple, target: Relation | undefined): boolean =>
    reaches(target) || typeof session.holds(tuple) !== 'boolean'

  /** Whose tuple on this relation could lead to the subject. */
  function grantors(relation: Relation): readonly string[] {
    const named = relation.restrictions.flatMap(({ type, relation: userset, wildcard }) => {
      if (userset !== undefined) {
        const target = model.types.get(type)?.get(userset)
        return reaches(target) || `${type}#${userset}` === user.label ? [`${type}#${userset}`] : []
      }
      if (type !== user.node.type || user.relation !== '') return []
      return [wildcard ? `${type}:*` : user.node.name]
    })
    return [...new Set(named)]
  }

  function refuteParents(
    rule: Rewrite & { kind: 'ttu' },
    node: Node,
    depthAndPath: Place,
  ): readonly Reason[] {
    const tupleset = model.types.get(node.type)?.get(rule.tupleset)
    const types = tupleset?.restrictions.map(({ type }) => type) ?? []
    const able = [...new Set(types)].filter((type) => reaches(rule.targets.get(type)))
    if (tupleset === undefined) return []
    const targetOf = (tuple: Tuple): Relation | undefined => rule.targets.get(tuple.user.type)
    const tuples = [...session.every(tupleset, node, ['concrete'])].filter((tuple) =>
      matters(tuple, targetOf(tuple)),
    )
    const steps = refuteSteps(tuples, targetOf, depthAndPath)
    if (tuples.length > 0 || able.length === 0) return steps
    return [{ kind: 'missing', holds: 'no', relation: tupleset.name, object: node.name, users: able }]
  }

  function refuteSteps(
    tuples: readonly Tuple[],
    targetOf: (tuple: Tuple) => Relation | undefined,
    depthAndPath: Place,
  ): readonly Reason[] {
    const errs = (tuple: Tuple): boolean => {
      const target = targetOf(tuple)
      return (
        typeof session.holds(tuple) !== 'boolean' ||
        (target !== undefined && holdsOf(ask(target, tuple.user)) === 'error')
      )
    }
    // What could not be evaluated decides more than a no: it must not be what is cut.
    const failing = new Set(tuples.filter(errs))
    const ordered = [...failing, ...tuples.filter((tuple) => !failing.has(tuple))]
    return branches(ordered, 'no', (tuple) => refuteStep(tuple, targetOf(tuple), depthAndPath))
  }

  function refuteStep(tuple: Tuple, target: Relation | undefined, depthAndPath: Place): readonly Reason[] {
    const verdict = session.holds(tuple)
    if (typeof verdict !== 'boolean') return [stepOf(session, options.context, tuple, 'error', [])]
    if (!verdict) return [stepOf(session, options.context, tuple, 'no', [])]
    if (target === undefined) return []
    const inner = refuteQuestion(target, tuple.user, { ...depthAndPath, depth: depthAndPath.depth + 1 })
    const [question] = inner
    return question === undefined ? [] : [stepOf(session, options.context, tuple, question.holds, inner)]
  }

  return { proven: provenReason, refuted }
}

function holdsOf(outcome: Outcome): Holds {
  return typeof outcome === 'string' ? outcome : 'error'
}

/** Asked by itself it holds, but where it stands it rests on a question that is still open, or is too deep. */
function refusal(outcome: Outcome): Holds {
  const holds = holdsOf(outcome)
  return holds === 'yes' ? 'cycle' : holds
}
