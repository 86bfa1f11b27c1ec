import { type ConditionError, type FgaError, tooComplex } from './errors.ts'
import type { Model, Relation, Rewrite } from './model.ts'
import { createSession, type Session, type SessionInput } from './session.ts'
import { type Node, type Tuple, type TupleStore, userOf } from './tuples.ts'

export interface UserFilter {
  readonly type: string
  /** Empty for concrete users and wildcards of the type. */
  readonly relation: string
}

export interface ListUsersInput extends Omit<SessionInput, 'user'> {
  readonly object: string
  readonly filter: UserFilter
  readonly depthMax?: number
}

/** Someone met on the way: `has` = has the relation, else was taken out by an exclusion. */
interface Found {
  readonly has: boolean
  readonly excluded: readonly string[]
}

type FoundUsers = Map<string, Found>

interface Expansion {
  readonly users: FoundUsers
  readonly cycle: boolean
  readonly error: ConditionError | FgaError | undefined
}

/**
 * The users of one type (`user:anne`, `user:*`) or userset kind (`group:eng#member`) with the relation to the
 * object, in no order. A wildcard is listed as itself and not expanded; with intersections a wildcard on one
 * side lets concrete users of the other through. Every rule hop counts towards the depth limit, also computed
 * ones. Throws ConditionError or FgaError as soon as anything on the way cannot be evaluated. After the server.
 */
export function listUsers(
  model: Model,
  tuples: TupleStore,
  relation: Relation,
  input: ListUsersInput,
): string[] {
  const { filter } = input
  const label = filter.relation === '' ? filter.type : `${filter.type}#${filter.relation}`
  if (label !== relation.key && !relation.strategy(label).reachable) return []
  const session = createSession(model, tuples, { ...input, user: `${filter.type}:` })
  const { users, error } = createExpander(
    session,
    filter,
    input.depthMax ?? 25,
  )(relation, session.node(input.object))
  if (error !== undefined) throw error
  return [...users].filter(([, found]) => found.has).map(([user]) => user)
}

function createExpander(session: Session, filter: UserFilter, depthMax: number) {
  const { model } = session
  const wildcard = `${filter.type}:*`

  function expand(
    relation: Relation | undefined,
    node: Node,
    depth: number,
    path: ReadonlySet<string>,
  ): Expansion {
    if (depth >= depthMax) return failed(tooComplex())
    const key = `${node.name}#${relation?.name ?? ''}`
    if (path.has(key)) return { users: new Map(), cycle: true, error: undefined }
    if (relation === undefined) return empty()
    const inner = rewrite(relation.rewrite, relation, node, depth + 1, new Set([...path, key]))
    if (relation.type === filter.type && relation.name === filter.relation && !inner.users.has(key))
      inner.users.set(key, { has: true, excluded: [] })
    return inner
  }

  function rewrite(
    rule: Rewrite,
    relation: Relation,
    node: Node,
    depth: number,
    path: ReadonlySet<string>,
  ): Expansion {
    const again = (part: Rewrite): Expansion => rewrite(part, relation, node, depth, path)
    switch (rule.kind) {
      case 'this':
        return assigned(relation, node, depth, path)
      case 'computed':
        return expand(rule.relation, node, depth, path)
      case 'ttu':
        return parents(rule, node, depth, path)
      case 'union':
        return union(rule.children.map(again))
      case 'intersection':
        return intersect(rule.children.map(again), wildcard)
      case 'exclusion':
        return subtract(again(rule.base), again(rule.subtract), wildcard)
    }
  }

  function assigned(relation: Relation, node: Node, depth: number, path: ReadonlySet<string>): Expansion {
    const read = readAll(session, relation, node)
    const parts: Expansion[] = [failedOr(read.error)]
    for (const tuple of read.tuples) {
      if (tuple.userRelation === '') {
        if (tuple.user.type === filter.type) parts[0]?.users.set(userOf(tuple), { has: true, excluded: [] })
      } else
        parts.push(expand(model.types.get(tuple.user.type)?.get(tuple.userRelation), tuple.user, depth, path))
    }
    return merge(
      parts,
      parts.some((part) => part.cycle),
    )
  }

  function parents(
    rule: Rewrite & { kind: 'ttu' },
    node: Node,
    depth: number,
    path: ReadonlySet<string>,
  ): Expansion {
    const tupleset = model.types.get(node.type)?.get(rule.tupleset)
    if (tupleset === undefined) return empty()
    const read = readAll(session, tupleset, node)
    const parts = read.tuples.map((tuple) =>
      expand(rule.targets.get(tuple.user.type), tuple.user, depth, path),
    )
    return merge([failedOr(read.error), ...parts], false)
  }

  return (relation: Relation, node: Node): Expansion => expand(relation, node, 0, new Set())
}

interface ReadAll {
  readonly tuples: readonly Tuple[]
  readonly error: ConditionError | undefined
}

/** Unlike a check, any condition that cannot be evaluated is an error, whatever else is found. */
function readAll(session: Session, relation: Relation, node: Node): ReadAll {
  const tuples: Tuple[] = []
  let error: ConditionError | undefined
  for (const tuple of session.every(relation, node)) {
    const verdict = session.holds(tuple)
    if (verdict === true) tuples.push(tuple)
    else if (verdict !== false) error = verdict
  }
  return { tuples, error }
}

const empty = (): Expansion => ({ users: new Map(), cycle: false, error: undefined })
const failed = (error: ConditionError | FgaError): Expansion => ({ users: new Map(), cycle: false, error })
const failedOr = (error: ConditionError | undefined): Expansion =>
  error === undefined ? empty() : failed(error)

const firstError = (parts: readonly Expansion[]): Expansion['error'] =>
  parts.map((part) => part.error).find((error) => error !== undefined)

/** All that was found, later findings over earlier ones, but a yes over a no. */
function merge(parts: readonly Expansion[], cycle: boolean): Expansion {
  const users: FoundUsers = new Map()
  for (const part of parts) {
    for (const [user, found] of part.users) {
      if (found.has || !users.get(user)?.has) users.set(user, found)
    }
  }
  return { users, cycle, error: firstError(parts) }
}

function union(parts: readonly Expansion[]): Expansion {
  const users: FoundUsers = new Map()
  const excluded = countExcluded(parts)
  const everywhere = [...excluded].filter(([, count]) => count === parts.length).map(([user]) => user)
  for (const part of parts) {
    for (const [user, found] of part.users)
      if (found.has) users.set(user, { has: true, excluded: everywhere })
  }
  return { users, cycle: false, error: firstError(parts) }
}

function intersect(parts: readonly Expansion[], wildcard: string): Expansion {
  const counts = new Map<string, number>()
  const excluded = [...countExcluded(parts).keys()]
  let wildcards = 0
  for (const part of parts) {
    const has = [...part.users].filter(([, found]) => found.has).map(([user]) => user)
    const everyone = has.includes(wildcard)
    if (everyone) wildcards++
    for (const user of has) counts.set(user, (counts.get(user) ?? 0) + (everyone ? 0 : 1))
  }
  const passed = [...counts].filter(
    ([user, count]) => !excluded.includes(user) && count + wildcards === parts.length,
  )
  return {
    users: new Map(passed.map(([user]) => [user, { has: true, excluded }])),
    cycle: false,
    error: firstError(parts),
  }
}

function countExcluded(parts: readonly Expansion[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const part of parts) {
    for (const found of part.users.values()) {
      for (const user of found.excluded) counts.set(user, (counts.get(user) ?? 0) + 1)
    }
  }
  return counts
}

/** A cycle on the subtracted side leaves nobody. */
function subtract(base: Expansion, taken: Expansion, wildcard: string): Expansion {
  const users: FoundUsers = new Map()
  if (taken.cycle) return { users, cycle: false, error: undefined }
  const note = (user: string, has: boolean, excluded: readonly string[] = []): void => {
    users.set(user, { has, excluded })
  }
  const everyone = base.users.has(wildcard)
  const everyoneTaken = taken.users.has(wildcard)
  for (const [user, found] of base.users) {
    const removed = taken.users.get(user)
    if (everyone) {
      if (removed === undefined && !everyoneTaken) note(user, found.has, found.excluded)
      for (const [other, status] of taken.users) {
        if (other.endsWith(':*')) {
          if (removed === undefined) note(user, false)
        } else note(other, !status.has, status.has ? [other] : [])
      }
    } else if (everyoneTaken || removed !== undefined) note(user, removed !== undefined && !removed.has)
    else note(user, found.has)
  }
  return { users, cycle: false, error: firstError([base, taken]) }
}
