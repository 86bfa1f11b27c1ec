import { createEvaluator } from '../core/evaluate.ts'
import { getOrInsert } from '../core/get-or-insert.ts'
import { reverseGraph } from '../core/list-objects.ts'
import type { Model, Relation, Rewrite, Ttu } from '../core/model.ts'
import { typeOf } from '../core/names.ts'
import { leavesOf } from '../core/rule.ts'
import { createSession, type SessionInput } from '../core/session.ts'
import { keyOf, type Node, type TupleKey, type TupleView } from '../core/tuples.ts'
import { createDecomposeNo } from './decompose-no.ts'

/** A smaller question, and the answer by which the larger one follows. An error is no answer. */
export interface CheckPart {
  readonly user: string
  readonly relation: string
  readonly object: string
  readonly allowed: boolean
  /** Brought along with this part alone, beside what all are asked with. */
  readonly contextualTuples?: readonly TupleKey[]
}

/**
 * The parts of one question of the session's subject; undefined: it is not a yes here, or parts would spare
 * nothing.
 */
export type DecomposeCheck = (relation: string, object: string) => readonly CheckPart[] | undefined

/**
 * Takes a yes apart along the tuples that grant it here, so that what many questions lead to is asked once.
 * The yes follows from the parts by the rules of the model alone: tuples that are wrong here make parts that
 * come out otherwise, never a wrong yes. All parts have to be asked with the same contextual tuples and
 * context, under this model, and every one has to come out as it says.
 *
 * Of `a or b` one is enough; `a and b` needs both; `a but not b` needs a, and a plain no to b, which is asked
 * whole. `a from parent` needs that the parent is one, and a of it. What a group is given is given to its
 * members, except where something behind it is `but not`: there nothing is taken apart. Of `and` the group
 * has both sides, and so has each member. Nor is anything taken apart under a model that recurses through
 * `and` or `but not`: there an answer depends on where the question began, and a part's is not the whole's.
 */
export function createDecomposeCheck(model: Model, tuples: TupleView, input: SessionInput): DecomposeCheck {
  if (!model.isWeighted) return () => undefined
  const session = createSession(model, tuples, input)
  const { ask, askRule } = createEvaluator(session)
  const cachedParts = new Map<string, readonly CheckPart[]>()
  const takeNo = createDecomposeNo(model, session)

  const wholeCheck = (relation: Relation, node: Node): CheckPart => ({
    user: input.user,
    relation: relation.name,
    object: node.name,
    allowed: true,
  })

  function question(relation: Relation, node: Node): readonly CheckPart[] {
    const key = `${relation.key} ${node.id}`
    const cached = cachedParts.get(key)
    if (cached !== undefined) return cached
    // Where it leads back to itself it is asked as it is.
    cachedParts.set(key, [wholeCheck(relation, node)])
    const checkParts = take(relation.rewrite, relation, node) ?? [wholeCheck(relation, node)]
    cachedParts.set(key, checkParts)
    return checkParts
  }

  /** Undefined: the relation has to be asked whole. */
  function take(rule: Rewrite, relation: Relation, node: Node): readonly CheckPart[] | undefined {
    switch (rule.kind) {
      case 'this':
        return throughGroup(relation, node)
      case 'computed':
        return question(rule.relation, node)
      case 'ttu':
        return throughParent(rule, node)
      case 'union': {
        const granting = rule.children.find((child) => askRule(child, relation, node) === 'yes')
        return granting && take(granting, relation, node)
      }
      case 'intersection': {
        const childParts = rule.children.map((child) => take(child, relation, node))
        return childParts.every((childPart) => childPart !== undefined) ? childParts.flat() : undefined
      }
      case 'exclusion': {
        const { subtract } = rule
        if (subtract.kind !== 'computed') return undefined
        const base = take(rule.base, relation, node)
        return base && [...takeNo(subtract.relation, node), ...base]
      }
    }
  }

  function throughParent(rule: Ttu, node: Node): readonly CheckPart[] | undefined {
    const tupleset = model.types.get(node.type)?.get(rule.tupleset)
    if (tupleset === undefined) return undefined
    for (const { user } of session.concrete(tupleset, node).tuples) {
      const target = rule.targets.get(user.type)
      if (target === undefined || ask(target, user) !== 'yes') continue
      const link = { user: user.name, relation: tupleset.name, object: node.name, allowed: true }
      return [link, ...question(target, user)]
    }
    return undefined
  }

  function throughGroup(relation: Relation, node: Node): readonly CheckPart[] | undefined {
    const { user } = session
    const isEveryone = ({ name }: Node): boolean => name === `${user.node.type}:*`
    if (!isPlain(relation) || session.direct(relation, node, true) === true) return undefined
    const usersetTuples = session.usersets(relation, node, () => true).tuples
    if (usersetTuples.some((tuple) => isEveryone(tuple.user))) return undefined
    for (const tuple of usersetTuples) {
      const target = model.types.get(tuple.user.type)?.get(tuple.userRelation)
      if (target === undefined || ask(target, tuple.user) !== 'yes') continue
      const { user: group } = keyOf(tuple)
      const link = { user: group, relation: relation.name, object: node.name, allowed: true }
      return [link, ...question(target, tuple.user)]
    }
    return undefined
  }

  const unions = new Map<Relation, boolean>()

  /**
   * Whether no `but not` is behind it: what leads to it from a group leads to it from each of its members.
   */
  const isPlain = (relation: Relation): boolean =>
    getOrInsert(unions, relation, () =>
      [...reverseGraph(model).behind(relation)].every(
        ({ rewrite }) => !leavesOf(rewrite).some(({ isSubtracted }) => isSubtracted),
      ),
    )

  return (relation, object) => {
    const found = model.types.get(typeOf(object))?.get(relation)
    const node = session.node(object)
    if (found === undefined || ask(found, node) !== 'yes') return undefined
    const checkParts = question(found, node)
    // Without a tuple that others may share it is the same work, in more questions.
    return checkParts.some(({ user }) => user !== input.user) ? checkParts : undefined
  }
}
