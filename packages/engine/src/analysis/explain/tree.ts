import type { JsonObject } from '../../core/condition-values.ts'
import type { Evaluator } from '../../core/evaluate.ts'
import type { Relation, Rewrite } from '../../core/model.ts'
import type { Outcome } from '../../core/outcome.ts'
import type { Session } from '../../core/session.ts'
import type { Node, Tuple } from '../../core/tuples.ts'
import { createProver, type Proof } from './prove.ts'
import { type Holds, type Question, type Reason, ruleText, stepOf } from './reasons.ts'

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

const start: Place = { depth: 0, path: new Set() }
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

const begin = (levels: number, reasonsMax: number, seen: Iterable<string | Proof> = []): Attempt => ({
  levels,
  reasonsMax,
  made: 0,
  isShallow: false,
  seen: new Set(seen),
})

/** Puts proofs and refutations into reasons. Each question is shown once; where it comes again, that is said. */
export function createTree(session: Session, evaluator: Evaluator, options: TreeOptions) {
  const { ask, askRule } = evaluator
  const { model, user } = session
  const prover = createProver(session, evaluator)
  let attempt = begin(Infinity, options.proofMax)
  const keyOf = (relation: Relation, node: Node): string => `${relation.index} ${node.id}`
  const reaches = (relation: Relation | undefined): boolean =>
    relation?.strategy(user.label).reachable === true

  /** As many levels as fit, so that what is near is shown before what is far. */
  function fit(reasonsMax: number, build: () => readonly Reason[]): readonly Reason[] {
    const outer = attempt
    let best: readonly Reason[] = []
    for (let levels = 1; ; levels++) {
      // What stands around it counts as shown: exclusions may lead into each other in a circle.
      attempt = begin(levels, reasonsMax, outer.seen)
      const reasons = build()
      const { made, isShallow } = attempt
      attempt = outer
      if (levels === 1 || made <= reasonsMax) best = reasons
      if (!isShallow || made > reasonsMax) return best
    }
  }

  function branches<T>(
    items: readonly T[],
    holds: Holds,
    show: (item: T) => readonly Reason[],
  ): readonly Reason[] {
    const reasons: Reason[] = []
    for (const [index, item] of items.entries()) {
      if (index === widthMax || attempt.made > attempt.reasonsMax)
        return [...reasons, { kind: 'cut', holds, count: items.length - index }]
      const shown = show(item)
      attempt.made += shown.length
      reasons.push(...shown)
    }
    return reasons
  }

  function proven(relation: Relation, node: Node): Question {
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
          because: fit(options.exclusionMax, () => refuteRule(proof.rule, proof.relation, proof.node, start)),
        }
      case 'relation': {
        const { relation, node, parts } = proof
        const what = { holds: 'yes', relation: relation.name, object: node.name } as const
        // Of one question there may be two: a contextual tuple hides the stored one for the one asked, not behind a recursion.
        if (!isFirst(proof)) return { kind: 'seen', ...what }
        return { kind: 'relation', ...what, because: showAll(parts) }
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
    const because = fit(options.refutationMax, () => refuteRelation(relation, node, start))
    return { kind: 'relation', holds, relation: relation.name, object: node.name, because }
  }

  function refuteQuestion(relation: Relation, node: Node, place: Place): readonly Reason[] {
    if (!reaches(relation)) return []
    const key = keyOf(relation, node)
    const holds = refusal(ask(relation, node))
    const what = { holds, relation: relation.name, object: node.name }
    if (place.path.has(key)) return [{ kind: 'cycle', ...what }]
    if (place.depth >= options.depthMax) return [{ kind: 'depth', ...what }]
    if (place.path.size >= attempt.levels) {
      attempt.isShallow = true
      return [{ kind: 'cut', holds, count: 1 }]
    }
    if (!isFirst(`no ${key}`)) return [{ kind: 'seen', ...what }]
    return [{ kind: 'relation', ...what, because: refuteRelation(relation, node, place) }]
  }

  function refuteRelation(relation: Relation, node: Node, place: Place): readonly Reason[] {
    const inside = { depth: place.depth, path: new Set([...place.path, keyOf(relation, node)]) }
    const reasons = refuteRule(relation.rewrite, relation, node, inside)
    if (reasons.length > 0) return reasons
    return [{ kind: 'missing', holds: 'no', relation: relation.name, object: node.name, users: [] }]
  }

  function refuteRule(rule: Rewrite, relation: Relation, node: Node, place: Place): readonly Reason[] {
    switch (rule.kind) {
      case 'this':
        return refuteAssigned(relation, node, place)
      case 'computed':
        return refuteQuestion(rule.relation, node, place)
      case 'ttu':
        return refuteParents(rule, node, place)
      case 'union':
        return branches(rule.children, 'no', (child) => refuteRule(child, relation, node, place))
      case 'intersection':
        return refuteAll(rule.children, relation, node, place)
      case 'exclusion':
        return refuteExclusion(rule, relation, node, place)
    }
  }

  function refuteAll(
    rules: readonly Rewrite[],
    relation: Relation,
    node: Node,
    place: Place,
  ): readonly Reason[] {
    const sides = rules.map((rule) => ({ rule, holds: holdsOf(askRule(rule, relation, node)) }))
    // One no is enough, whatever else could not be evaluated.
    const decisive = sides.some(({ holds }) => holds === 'no')
      ? ['no', 'yes']
      : ['no', 'yes', 'cycle', 'error']
    const allHold = sides.every(({ holds }) => holds === 'yes')
    return branches(
      sides.filter(({ holds }) => decisive.includes(holds)),
      'no',
      ({ rule, holds }) =>
        holds === 'yes' && !allHold ? [held(rule, relation, node)] : refuteSide(rule, relation, node, place),
    )
  }

  function refuteExclusion(
    rule: Rewrite & { kind: 'exclusion' },
    relation: Relation,
    node: Node,
    place: Place,
  ): readonly Reason[] {
    const kept = holdsOf(askRule(rule.base, relation, node))
    const taken = holdsOf(askRule(rule.subtract, relation, node))
    if (kept === 'no' || (kept !== 'yes' && taken === 'no'))
      return refuteSide(rule.base, relation, node, place)
    const base = kept === 'yes' ? [held(rule.base, relation, node)] : []
    const text = ruleText(rule.subtract, relation)
    if (taken === 'yes') {
      const proof = prover.rule(rule.subtract, relation, node)
      return [...base, { kind: 'not', holds: 'no', rule: text, because: proof ? showAll([proof]) : [] }]
    }
    const holds = taken === 'no' ? 'cycle' : taken
    const because = refuteRule(rule.subtract, relation, node, place)
    return [...base, { kind: 'not', holds, rule: text, because }]
  }

  function refuteSide(rule: Rewrite, relation: Relation, node: Node, place: Place): readonly Reason[] {
    if (rule.kind === 'computed') {
      const shown = refuteQuestion(rule.relation, node, place)
      if (shown.length > 0) return shown
    }
    const holds = refusal(askRule(rule, relation, node))
    const because = refuteRule(rule, relation, node, place)
    return [{ kind: 'rule', holds, rule: ruleText(rule, relation), because }]
  }

  function held(rule: Rewrite, relation: Relation, node: Node): Reason {
    return rule.kind === 'computed'
      ? { kind: 'relation', holds: 'yes', relation: rule.relation.name, object: node.name, because: [] }
      : { kind: 'rule', holds: 'yes', rule: ruleText(rule, relation), because: [] }
  }

  function refuteAssigned(relation: Relation, node: Node, place: Place): readonly Reason[] {
    const own = session.own(relation, node, true).filter((tuple) => session.isValid(relation, tuple))
    const usersets = [...session.every(relation, node, ['usersets'])]
    const everyone = usersets.filter(
      (tuple) => tuple.user.wildcard && user.relation === '' && tuple.user.type === user.node.type,
    )
    const groups = usersets.filter((tuple) => tuple.userRelation !== '')
    const near = user.node.wildcard || user.relation !== '' ? own : [...own, ...everyone]
    const users = grantors(relation).filter((name) => !near.some((tuple) => tuple.user.name === name))
    const target = (tuple: Tuple): Relation | undefined =>
      model.types.get(tuple.user.type)?.get(tuple.userRelation)
    const leading = groups.filter((tuple) => matters(tuple, target(tuple)))
    const steps = refuteSteps([...near, ...leading], target, place)
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

  function refuteParents(rule: Rewrite & { kind: 'ttu' }, node: Node, place: Place): readonly Reason[] {
    const tupleset = model.types.get(node.type)?.get(rule.tupleset)
    const types = tupleset?.restrictions.map(({ type }) => type) ?? []
    const able = [...new Set(types)].filter((type) => reaches(rule.targets.get(type)))
    if (tupleset === undefined) return []
    const targetOf = (tuple: Tuple): Relation | undefined => rule.targets.get(tuple.user.type)
    const tuples = [...session.every(tupleset, node, ['concrete'])].filter((tuple) =>
      matters(tuple, targetOf(tuple)),
    )
    const steps = refuteSteps(tuples, targetOf, place)
    if (tuples.length > 0 || able.length === 0) return steps
    return [{ kind: 'missing', holds: 'no', relation: tupleset.name, object: node.name, users: able }]
  }

  function refuteSteps(
    tuples: readonly Tuple[],
    targetOf: (tuple: Tuple) => Relation | undefined,
    place: Place,
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
    return branches(ordered, 'no', (tuple) => refuteStep(tuple, targetOf(tuple), place))
  }

  function refuteStep(tuple: Tuple, target: Relation | undefined, place: Place): readonly Reason[] {
    const verdict = session.holds(tuple)
    if (typeof verdict !== 'boolean') return [stepOf(session, options.context, tuple, 'error', [])]
    if (!verdict) return [stepOf(session, options.context, tuple, 'no', [])]
    if (target === undefined) return []
    const inner = refuteQuestion(target, tuple.user, { ...place, depth: place.depth + 1 })
    const [question] = inner
    return question === undefined ? [] : [stepOf(session, options.context, tuple, question.holds, inner)]
  }

  return { proven, refuted }
}

function holdsOf(outcome: Outcome): Holds {
  return typeof outcome === 'string' ? outcome : 'error'
}

/** Asked by itself it holds, but where it stands it rests on a question that is still open, or is too deep. */
function refusal(outcome: Outcome): Holds {
  const holds = holdsOf(outcome)
  return holds === 'yes' ? 'cycle' : holds
}
