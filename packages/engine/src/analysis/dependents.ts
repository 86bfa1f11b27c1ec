import type { JsonObject } from '../core/condition-values.ts'
import { checkDepthMax } from '../core/evaluate.ts'
import { getOrInsert } from '../core/get-or-insert.ts'
import { reverseGraph } from '../core/list-objects.ts'
import type { Leaf, Model, Relation } from '../core/model.ts'
import { splitUser, typeOf } from '../core/names.ts'
import { leavesOf } from '../core/rule.ts'
import { createSession, type Session } from '../core/session.ts'
import { type Node, Tuple, type TupleKey, type TupleView } from '../core/tuples.ts'

/** Which answers may rest on some tuples: a superset. */
export interface Dependents {
  /** Objects of the target's type whose answer may, by name. */
  readonly objects: ReadonlySet<string>
  /** Users of the type for whom it may, by name. */
  readonly users: ReadonlySet<string>
  /**
   * For every user: a tuple leads to everyone, lies on a circle or on a chain near the depth limit, or beside
   * a condition that cannot be evaluated.
   */
  readonly everybody: boolean
  /**
   * `type#relation object`: what is asked behind the tuples. Whoever brings a contextual tuple there is one
   * for whom it may.
   */
  readonly questions: ReadonlySet<string>
  /** Users whom a tuple names itself. */
  readonly direct: ReadonlySet<string>
  /**
   * What is asked of the tuples' users: who has none of it under the relaxed model, and is not named, is not
   * affected.
   */
  readonly asked: readonly { readonly relation: string; readonly object: string }[]
}

/** Which tuples changed, and the type of the users whose answers are wanted. */
export interface DependentsInput {
  /** The changed tuples, all of them on one object and relation; that they are stored is not needed. */
  readonly keys: readonly TupleKey[]
  /** Type of the users. */
  readonly type: string
  /** Context of the questions. */
  readonly context?: JsonObject
}

/** Hops after which a check errs, less one: what is near it counts as beyond. */
const depthMax = checkDepthMax - 1
const yieldEvery = 2_000

type Question = readonly [Relation, Node]

/**
 * The answers about `target` that may change when tuples on one object and relation are written or deleted.
 * Give it tuples that hold all of before and all of after the change: conditions are taken as met and
 * exclusions followed, so that what follows from many tuples changed at once is in the union over them.
 * Yields now and then, for whoever drives it to let others run; what is stored meanwhile may be in or not.
 * One thing it does not see: a check that fails on depth for a member of something, where it is a plain no
 * for a member of nothing, on a chain that no changed tuple is part of.
 */
export function* dependentsOf(
  model: Model,
  tuples: TupleView,
  target: Relation,
  { keys, type, context }: DependentsInput,
): Generator<undefined, Dependents> {
  const session = createSession(model, tuples, { user: `${type}:`, context })
  const starts = keys.map((key) => startOf(session, target, key))
  const usersets = starts.flatMap((startPoint) => startPoint.usersets)
  const up = yield* walk(
    starts.flatMap(({ above }) => above),
    (question) => upwards(session, target, question),
  )
  const down = createDescent(session, type)
  for (const { direct } of starts) down.meet(direct)
  if (usersets.length > 0) for (const key of keys) down.watchSiblings(key)
  const below = yield* walk(usersets, down.step)
  const isDeep = usersets.length > 0 && up.hops + below.hops >= depthMax
  return {
    direct: new Set(starts.flatMap(({ direct }) => (direct === undefined ? [] : [direct.name]))),
    asked: usersets.map(([{ name }, node]) => ({ relation: name, object: node.name })),
    objects: new Set([...(up.seen.get(target) ?? [])].map(({ name }) => name)),
    users: down.users,
    everybody: down.everybody || down.isUnsure || isDeep,
    questions: new Set(
      [...below.seen].flatMap(([{ key: name }, nodes]) => [...nodes].map((node) => `${name} ${node.name}`)),
    ),
  }
}

interface Start {
  /** The user itself, where the tuple names it or everyone. */
  readonly direct: Node | undefined
  /** What is asked of the tuple's user. */
  readonly usersets: readonly Question[]
  /** What is asked of the tuple's object. */
  readonly above: readonly Question[]
}

function startOf({ model, node }: Session, target: Relation, key: TupleKey): Start {
  const { object: userName, relation: userRelation } = splitUser(key.user)
  const user = node(userName)
  const object = node(key.object)
  const useful = reverseGraph(model).behind(target)
  const usersets: Question[] = []
  const above: Question[] = []
  const ownRelation = model.types.get(typeOf(key.object))?.get(key.relation)
  const isAsked = ownRelation !== undefined && useful.has(ownRelation)
  if (isAsked) above.push([ownRelation, object])
  const userset = model.types.get(user.type)?.get(userRelation)
  if (isAsked && userset !== undefined) usersets.push([userset, user])
  for (const relation of model.types.get(object.type)?.values() ?? []) {
    if (!useful.has(relation)) continue
    for (const { leaf } of leavesOf(relation.rewrite)) {
      if (leaf.kind !== 'ttu' || leaf.tupleset !== key.relation) continue
      const through = leaf.targets.get(user.type)
      if (through === undefined) continue
      above.push([relation, object])
      usersets.push([through, user])
    }
  }
  return { direct: isAsked && userRelation === '' ? user : undefined, usersets, above }
}

interface Step {
  /** The same object, no hop. */
  readonly sameObject: readonly Question[]
  /** One hop on. */
  readonly nextQuestions: readonly Question[]
}

/** Questions that ask this one. */
function upwards({ model, into }: Session, target: Relation, [relation, node]: Question): Step {
  const graph = reverseGraph(model)
  const useful = graph.behind(target)
  const here = graph.computedFrom(relation).map(({ to: computing }): Question => [computing, node])
  const next: Question[] = []
  for (const tuple of into(node)) {
    const { object } = tuple
    const on = model.types.get(object.type)?.get(tuple.relation)
    if (on === undefined) continue
    if (tuple.userRelation === relation.name) next.push([on, object])
    if (tuple.userRelation !== '') continue
    for (const { to: computing } of graph.through(on, relation)) next.push([computing, object])
  }
  const isUseful = ([relation]: Question): boolean => useful.has(relation)
  return { sameObject: here.filter(isUseful), nextQuestions: next.filter(isUseful) }
}

/** Follows questions to the users for whom they could be answered by a yes. */
function createDescent(session: Session, type: string) {
  const { model } = session
  const users = new Set<string>()
  const found = { users, everybody: false, isUnsure: false }

  function meet(user: Node | undefined): void {
    if (user?.type !== type) return
    if (user.wildcard) found.everybody = true
    else users.add(user.name)
  }

  function watch(tuples: Iterable<Parameters<Session['holds']>[0]>): void {
    for (const tuple of tuples) if (typeof session.holds(tuple) !== 'boolean') found.isUnsure = true
  }

  function follow(leaf: Leaf, relation: Relation, node: Node): Step {
    if (leaf.kind === 'this') return assigned(relation, node)
    if (leaf.kind === 'computed') return { sameObject: [[leaf.relation, node]], nextQuestions: [] }
    const tupleset = model.types.get(node.type)?.get(leaf.tupleset)
    const parents = tupleset === undefined ? [] : [...session.every(tupleset, node, ['concrete'])]
    watch(parents)
    const nextQuestions = parents.flatMap(({ user }): Question[] => {
      const through = leaf.targets.get(user.type)
      return through === undefined ? [] : [[through, user]]
    })
    return { sameObject: [], nextQuestions }
  }

  function assigned(relation: Relation, node: Node): Step {
    for (const { user } of session.every(relation, node, ['concrete'])) meet(user)
    const nextQuestions: Question[] = []
    for (const tuple of session.every(relation, node, ['usersets'])) {
      watch([tuple])
      const userset = model.types.get(tuple.user.type)?.get(tuple.userRelation)
      if (userset !== undefined) nextQuestions.push([userset, tuple.user])
      else meet(tuple.user)
    }
    return { sameObject: [], nextQuestions }
  }

  return Object.assign(found, {
    meet,
    step: ([relation, node]: Question): Step => {
      const steps = leavesOf(relation.rewrite).map(({ leaf }) => follow(leaf, relation, node))
      const isReachable = ([relation]: Question): boolean => relation.strategy(type).reachable
      return {
        sameObject: steps.flatMap(({ sameObject }) => sameObject).filter(isReachable),
        nextQuestions: steps.flatMap(({ nextQuestions }) => nextQuestions).filter(isReachable),
      }
    },
    /**
     * Read together with the tuple: a condition of theirs that cannot be evaluated is passed over, or not,
     * because of it.
     */
    watchSiblings({ object, relation, condition }: TupleKey): void {
      const ownRelation = model.types.get(typeOf(object))?.get(relation)
      if (ownRelation === undefined) return
      const node = session.node(object)
      watch(session.every(ownRelation, node, ownRelation.isTupleset ? ['concrete'] : ['usersets']))
      // Itself, as it was: what takes its place may have another condition.
      if (condition !== undefined) watch([new Tuple(node, relation, node, '', condition)])
    },
  })
}

interface Walked {
  readonly seen: ReadonlyMap<Relation, ReadonlySet<Node>>
  /** The longest way, counted up to the depth limit; a circle reaches it. */
  readonly hops: number
}

/**
 * Level by level, where what was seen is gone through again on a longer way, until ways are as long as they
 * may be.
 */
function* walk(
  firstLevel: readonly Question[],
  step: (question: Question) => Step,
): Generator<undefined, Walked> {
  const visited = new Map<Relation, Set<Node>>()
  let hops = 0
  let steps = 0
  for (let level = firstLevel; level.length > 0; hops += 1) {
    const onLevel = new Map<Relation, Set<Node>>()
    const nextLevel: Question[] = []
    const pending = [...level]
    for (let question = pending.pop(); question !== undefined; question = pending.pop()) {
      const isOld = !add(visited, question)
      if (!add(onLevel, question) || (isOld && hops > depthMax)) continue
      const { sameObject, nextQuestions: further } = step(question)
      pending.push(...sameObject)
      for (const followed of further) nextLevel.push(followed)
      steps += 1
      if (steps % yieldEvery === 0) yield
    }
    level = nextLevel
  }
  return { seen: visited, hops }
}

function add(visited: Map<Relation, Set<Node>>, [relation, node]: Question): boolean {
  const nodes = getOrInsert(visited, relation, () => new Set<Node>())
  if (nodes.has(node)) return false
  nodes.add(node)
  return true
}
