import { getOrInsert } from '../core/get-or-insert.ts'
import type { Leaf, Model, Relation } from '../core/model.ts'
import { leavesOf } from '../core/rule.ts'
import { type Node, type Tuple, type TupleView, userOf } from '../core/tuples.ts'

/** Subjects that may have a relation to an object, found by tuples alone. */
export interface SubjectUpperBound {
  /** `user:anne`: every one that a chain of tuples leads to. A superset: exclusions and conditions are left out. */
  readonly users: ReadonlySet<string>
  /** The wildcard of the type is among them. */
  readonly everyone: boolean
  /** Those that some exclusion names, whether or not it excludes them here. */
  readonly excluded: ReadonlySet<string>
  /** False: it stopped at `usersMax`, and the sets lack some. */
  readonly complete: boolean
}

/** Bounds of {@link subjectUpperBound}. */
export interface SubjectUpperBoundOptions {
  /** Most users collected. */
  readonly usersMax: number
}

/** Whom a check of this relation could allow, of one subject type: to be asked about one by one. Never throws. */
export function subjectUpperBound(
  model: Model,
  tuples: TupleView,
  relation: Relation,
  object: string,
  type: string,
  { usersMax }: SubjectUpperBoundOptions,
): SubjectUpperBound {
  const walk = createWalk(model, tuples, type, usersMax)
  const objectNode = tuples.node(object)
  const granted =
    objectNode === undefined ? new Set<string>() : walk.collect([[relation, objectNode]], 'granted')
  const everyone = granted.delete(`${type}:*`)
  // Without everyone nobody has to be named as left out.
  const excluded = everyone ? walk.collect(walk.subtracted, 'any') : new Set<string>()
  excluded.delete(`${type}:*`)
  return { users: granted, everyone, excluded, complete: walk.complete }
}

type Question = readonly [Relation, Node]

function createWalk(model: Model, tuples: TupleView, type: string, usersMax: number) {
  const subtracted: Question[] = []
  let isComplete = true

  /** `granted` leaves what is subtracted for later; `any` follows it too. */
  function collect(startQuestions: Iterable<Question>, bound: 'granted' | 'any'): Set<string> {
    const users = new Set<string>()
    const visited = new Map<Relation, Set<Node>>()
    const pending: Question[] = []

    function visit(relation: Relation | undefined, node: Node): void {
      if (relation === undefined || !relation.strategy(type).reachable) return
      const nodes = getOrInsert(visited, relation, () => new Set<Node>())
      if (nodes.has(node)) return
      nodes.add(node)
      pending.push([relation, node])
    }

    function assigned(relation: Relation, node: Node): void {
      const bucket = tuples.at(node, relation.name)
      for (const tuple of bucket?.concrete ?? []) if (tuple.user.type === type) add(userOf(tuple))
      for (const tuple of bucket?.usersets ?? []) {
        if (tuple.userRelation !== '') visit(relationOf(tuple), tuple.user)
        else if (tuple.user.type === type) add(userOf(tuple))
      }
    }

    function add(user: string): void {
      if (users.size < usersMax) users.add(user)
      else if (!users.has(user)) isComplete = false
    }

    function follow(relation: Relation, node: Node): void {
      for (const { leaf, isSubtracted } of leavesOf(relation.rewrite)) {
        if (isSubtracted && bound === 'granted') subtracted.push(...questionsOf(leaf, relation, node, tuples))
        else if (leaf.kind === 'this') assigned(relation, node)
        else for (const question of questionsOf(leaf, relation, node, tuples)) visit(...question)
      }
    }

    for (const [relation, node] of startQuestions) visit(relation, node)
    for (let question = pending.pop(); question !== undefined && isComplete; question = pending.pop())
      follow(...question)
    return users
  }

  const relationOf = (tuple: Tuple): Relation | undefined =>
    model.types.get(tuple.user.type)?.get(tuple.userRelation)

  return {
    collect,
    subtracted,
    get complete() {
      return isComplete
    },
  }
}

/** The questions that a leaf of the relation's rule puts. */
function questionsOf(leaf: Leaf, relation: Relation, node: Node, tuples: TupleView): Question[] {
  if (leaf.kind === 'this') return [[relation, node]]
  if (leaf.kind === 'computed') return [[leaf.relation, node]]
  return (tuples.at(node, leaf.tupleset)?.concrete ?? []).flatMap(({ user }): Question[] => {
    const target = leaf.targets.get(user.type)
    return target === undefined ? [] : [[target, user]]
  })
}
