import type { JsonObject } from '../../core/condition-values.ts'
import { checkDepthMax, type Evaluator } from '../../core/evaluate.ts'
import type { Relation, Rewrite, Ttu } from '../../core/model.ts'
import type { Outcome } from '../../core/outcome.ts'
import type { Session } from '../../core/session.ts'
import type { Node, Tuple } from '../../core/tuples.ts'
import type { Proof, Prover } from './prove.ts'
import { type Holds, type Question, type Reason, ruleText, stepOf } from './reasons.ts'
import type { Room } from './room.ts'

/** What a refutation is made from, and the room that it has. `showAll` puts proofs into reasons. */
interface RefuterDeps {
  readonly session: Session
  readonly evaluator: Evaluator
  readonly prover: Prover
  readonly room: Room
  readonly context: JsonObject
  readonly showAll: (proofs: readonly Proof[]) => readonly Reason[]
}

/** A question that is refuted: hops from the question asked, and the questions that it came by. */
interface Place {
  readonly relation: Relation
  readonly node: Node
  readonly depth: number
  readonly path: ReadonlySet<string>
}

/** Puts refutations into reasons. */
export function createRefuter({ session, evaluator, prover, room, context, showAll }: RefuterDeps) {
  const { ask, askRule } = evaluator
  const { model, user } = session
  const keyOf = ({ relation, node }: Place): string => `${relation.index} ${node.id}`
  const reaches = (relation: Relation | undefined): boolean =>
    relation?.strategy(user.label).reachable === true

  function refuteQuestion(place: Place): readonly Reason[] {
    const { relation, node, depth, path } = place
    if (!reaches(relation)) return []
    const key = keyOf(place)
    const holds = refusal(ask(relation, node))
    const statement = { holds, relation: relation.name, object: node.name }
    if (path.has(key)) return [{ kind: 'cycle', ...statement }]
    if (depth >= checkDepthMax) return [{ kind: 'depth', ...statement }]
    if (!room.opens(path.size)) return [{ kind: 'cut', holds, count: 1 }]
    if (!room.isFirst(`no ${key}`)) return [{ kind: 'seen', ...statement }]
    return [{ kind: 'relation', ...statement, because: refuteRelation(place) }]
  }

  function refuteRelation(place: Place): readonly Reason[] {
    const { relation, node, path } = place
    const reasons = refuteRule(relation.rewrite, { ...place, path: new Set([...path, keyOf(place)]) })
    return reasons.length > 0 ? reasons : [missing(relation, node, [])]
  }

  function refuteRule(rule: Rewrite, place: Place): readonly Reason[] {
    switch (rule.kind) {
      case 'this':
        return refuteAssigned(place)
      case 'computed':
        return refuteQuestion({ ...place, relation: rule.relation })
      case 'ttu':
        return refuteParents(rule, place)
      case 'union':
        return room.branches(rule.children, 'no', (child) => refuteRule(child, place))
      case 'intersection':
        return refuteAll(rule.children, place)
      case 'exclusion':
        return refuteExclusion(rule.base, rule.subtract, place)
    }
  }

  function refuteAll(rules: readonly Rewrite[], place: Place): readonly Reason[] {
    const operands = rules.map((rule) => ({
      rule,
      holds: holdsOf(askRule(rule, place.relation, place.node)),
    }))
    // One no is enough, whatever else could not be evaluated.
    const decisive = operands.some(({ holds }) => holds === 'no')
      ? ['no', 'yes']
      : ['no', 'yes', 'cycle', 'error']
    const allHold = operands.every(({ holds }) => holds === 'yes')
    return room.branches(
      operands.filter(({ holds }) => decisive.includes(holds)),
      'no',
      ({ rule, holds }) =>
        holds === 'yes' && !allHold ? [heldReason(rule, place)] : refuteSide(rule, place),
    )
  }

  function refuteExclusion(base: Rewrite, subtract: Rewrite, place: Place): readonly Reason[] {
    const { relation, node } = place
    const baseHolds = holdsOf(askRule(base, relation, node))
    const subtractHolds = holdsOf(askRule(subtract, relation, node))
    if (baseHolds === 'no' || (baseHolds !== 'yes' && subtractHolds === 'no')) return refuteSide(base, place)
    const baseReasons = baseHolds === 'yes' ? [heldReason(base, place)] : []
    const rule = ruleText(subtract, relation)
    if (subtractHolds === 'yes') {
      const proof = prover.rule(subtract, relation, node)
      return [...baseReasons, { kind: 'not', holds: 'no', rule, because: proof ? showAll([proof]) : [] }]
    }
    const holds = subtractHolds === 'no' ? 'cycle' : subtractHolds
    return [...baseReasons, { kind: 'not', holds, rule, because: refuteRule(subtract, place) }]
  }

  function refuteSide(rule: Rewrite, place: Place): readonly Reason[] {
    if (rule.kind === 'computed') {
      const questionReasons = refuteQuestion({ ...place, relation: rule.relation })
      if (questionReasons.length > 0) return questionReasons
    }
    const { relation, node } = place
    const holds = refusal(askRule(rule, relation, node))
    return [{ kind: 'rule', holds, rule: ruleText(rule, relation), because: refuteRule(rule, place) }]
  }

  function heldReason(rule: Rewrite, { relation, node }: Place): Reason {
    return rule.kind === 'computed'
      ? { kind: 'relation', holds: 'yes', relation: rule.relation.name, object: node.name, because: [] }
      : { kind: 'rule', holds: 'yes', rule: ruleText(rule, relation), because: [] }
  }

  function refuteAssigned(place: Place): readonly Reason[] {
    const { relation, node } = place
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
    const { recursion, reads } = relation.strategy(user.label)
    const leading = (recursion === 'userset' ? [() => true] : reads).flatMap((isRead) =>
      bearing(groups.filter(isRead), target),
    )
    // One that is met grants by itself: what is asked here rests on an open question.
    const steps = refuteSteps([...near.filter((tuple) => !isMet(tuple)), ...leading], target, place)
    return users.length === 0 ? steps : [missing(relation, node, users), ...steps]
  }

  const isMet = (tuple: Tuple): boolean => session.holds(tuple) === true
  const fails = (tuple: Tuple): boolean => typeof session.holds(tuple) !== 'boolean'

  /**
   * What counts of the tuples that are read together: those that could lead to the subject, and, where no
   * condition holds, those that make the question err. One that holds has the others' errors passed over: it
   * stands beside them, though it leads nowhere, since they would err without it.
   */
  function bearing(
    read: readonly Tuple[],
    targetOf: (tuple: Tuple) => Relation | undefined,
  ): readonly Tuple[] {
    const met = read.find(isMet)
    const shown = read.filter((tuple) => reaches(targetOf(tuple)) || (met === undefined && fails(tuple)))
    return met !== undefined && shown.some(fails) && !shown.some(isMet) ? [...shown, met] : shown
  }

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

  function refuteParents(rule: Ttu, place: Place): readonly Reason[] {
    const { node } = place
    const tupleset = model.types.get(node.type)?.get(rule.tupleset)
    if (tupleset === undefined) return []
    const types = new Set(tupleset.restrictions.map(({ type }) => type))
    const able = [...types].filter((type) => reaches(rule.targets.get(type)))
    const targetOf = (tuple: Tuple): Relation | undefined => rule.targets.get(tuple.user.type)
    const tuples = bearing([...session.every(tupleset, node, ['concrete'])], targetOf)
    const steps = refuteSteps(tuples, targetOf, place)
    return tuples.length > 0 || able.length === 0 ? steps : [missing(tupleset, node, able)]
  }

  function refuteSteps(
    tuples: readonly Tuple[],
    targetOf: (tuple: Tuple) => Relation | undefined,
    place: Place,
  ): readonly Reason[] {
    const errs = (tuple: Tuple): boolean => {
      const target = targetOf(tuple)
      return fails(tuple) || (target !== undefined && holdsOf(ask(target, tuple.user)) === 'error')
    }
    // What could not be evaluated decides more than a no: it must not be what is cut.
    const failing = new Set(tuples.filter(errs))
    const ordered = [...failing, ...tuples.filter((tuple) => !failing.has(tuple))]
    return room.branches(ordered, 'no', (tuple) => refuteStep(tuple, targetOf(tuple), place))
  }

  function refuteStep(tuple: Tuple, target: Relation | undefined, place: Place): readonly Reason[] {
    const verdict = session.holds(tuple)
    if (verdict !== true) return [stepOf(session, context, tuple, verdict === false ? 'no' : 'error', [])]
    if (target === undefined) return [stepOf(session, context, tuple, 'no', [])]
    const inner = refuteQuestion({ ...place, relation: target, node: tuple.user, depth: place.depth + 1 })
    const [question = missing(target, tuple.user, [])] = inner
    return [stepOf(session, context, tuple, question.holds, [question])]
  }

  const rootPlace = (relation: Relation, node: Node): Place => ({ relation, node, depth: 0, path: new Set() })

  return {
    /** Why the relation does not stand, in at most so many reasons. */
    question(relation: Relation, node: Node, reasonsMax: number): Question {
      const holds = holdsOf(ask(relation, node))
      const because = room.fit(reasonsMax, () => refuteRelation(rootPlace(relation, node)))
      return { kind: 'relation', holds, relation: relation.name, object: node.name, because }
    },
    /** Why a part of the relation's rule does not stand. */
    rule: (rule: Rewrite, relation: Relation, node: Node): readonly Reason[] =>
      refuteRule(rule, rootPlace(relation, node)),
  }
}

const missing = (relation: Relation, node: Node, users: readonly string[]): Reason => ({
  kind: 'missing',
  holds: 'no',
  relation: relation.name,
  object: node.name,
  users,
})

const holdsOf = (outcome: Outcome): Holds => (typeof outcome === 'string' ? outcome : 'error')

/**
 * Asked by itself it holds, but where it stands it rests on a question that is still open, or is too deep.
 */
function refusal(outcome: Outcome): Holds {
  const holds = holdsOf(outcome)
  return holds === 'yes' ? 'cycle' : holds
}
