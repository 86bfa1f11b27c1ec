import { type ConditionError, type FgaError, tooComplex } from './errors.ts'
import { checkDepthMax } from './evaluate.ts'
import type { Model, Relation, Rewrite, Ttu } from './model.ts'
import { createSession, type Session, type SessionInput } from './session.ts'
import { type Node, type Tuple, type TupleView, userOf } from './tuples.ts'

/** Which users are listed: of a type, or members of a userset of that type. */
export interface UserFilter {
  readonly type: string
  /** Empty for concrete users and wildcards of the type. */
  readonly relation: string
}

/** Object, relation, filter and context of one ListUsers request. */
export interface ListUsersInput extends Omit<SessionInput, 'user'> {
  readonly object: string
  readonly filter: UserFilter
}

/** Someone met on the way: `has` = has the relation, else was taken out by an exclusion. */
interface Found {
  readonly user: string
  readonly has: boolean
  readonly excluded: readonly string[]
}

interface Expansion {
  /** A user may be found more than once, and how often counts (see `countExcluded`). */
  readonly users: readonly Found[]
  readonly cycle: boolean
  readonly error: ConditionError | FgaError | undefined
}

/**
 * The users of one type (`user:anne`, `user:*`) or userset kind (`group:eng#member`) with the relation to the
 * object, in no order. A wildcard is listed as itself and not expanded; with intersections a wildcard on one
 * side lets concrete users of the other through. Every rule hop counts towards the depth limit, also computed
 * ones. Throws ConditionError or FgaError as soon as anything on the way cannot be evaluated. After the
 * server.
 */
export function listUsers(
  model: Model,
  tuples: TupleView,
  relation: Relation,
  input: ListUsersInput,
): string[] {
  const { filter } = input
  const label = filter.relation === '' ? filter.type : `${filter.type}#${filter.relation}`
  if (label !== relation.key && !mayHold(model, relation, filter, new Set())) return []
  const session = createSession(model, tuples, { ...input, user: `${filter.type}:` })
  const { users, error } = createExpander(session, filter)(relation, session.node(input.object))
  if (error !== undefined) throw error
  return [...byUser(users).values()].filter((found) => found.has).map((found) => found.user)
}

/**
 * Whether the server looks at all: of an `and` it asks only the first operand, of a `but not` only the base.
 * Else it lists nobody, and does not meet the error that a tuple of the other operands is.
 */
function mayHold({ types }: Model, relation: Relation, filter: UserFilter, visited: Set<Relation>): boolean {
  function reaches(target: Relation | undefined): boolean {
    if (target === undefined) return false
    if (target.type === filter.type && target.name === filter.relation) return true
    if (visited.has(target)) return false
    visited.add(target)
    return leads(target.rewrite, target)
  }
  function leads(rule: Rewrite, owner: Relation): boolean {
    switch (rule.kind) {
      case 'this':
        return owner.restrictions.some(
          ({ type, relation: userRelation = '', wildcard }) =>
            (type === filter.type && (wildcard !== undefined || userRelation === filter.relation)) ||
            reaches(types.get(type)?.get(userRelation)),
        )
      case 'computed':
        return reaches(rule.relation)
      case 'ttu': {
        const parents = types.get(owner.type)?.get(rule.tupleset)?.restrictions ?? []
        return parents.some(({ type }) => reaches(rule.targets.get(type)))
      }
      case 'union':
        return rule.children.some((child) => leads(child, owner))
      case 'intersection':
        return rule.children.slice(0, 1).some((child) => leads(child, owner))
      case 'exclusion':
        return leads(rule.base, owner)
    }
  }
  visited.add(relation)
  return leads(relation.rewrite, relation)
}

function createExpander(session: Session, filter: UserFilter) {
  const { model } = session
  const wildcard = `${filter.type}:*`

  /** `path`: the questions on the way here, each of them one hop. */
  function expand(relation: Relation | undefined, node: Node, path: ReadonlySet<string>): Expansion {
    if (path.size >= checkDepthMax) return failed(tooComplex())
    const key = `${node.name}#${relation?.name ?? ''}`
    if (path.has(key)) return { users: [], cycle: true, error: undefined }
    if (relation === undefined) return empty()
    const inner = rewrite(relation.rewrite, relation, node, new Set([...path, key]))
    if (relation.type !== filter.type || relation.name !== filter.relation) return inner
    return { ...inner, users: [{ user: key, has: true, excluded: [] }, ...inner.users] }
  }

  function rewrite(rule: Rewrite, relation: Relation, node: Node, path: ReadonlySet<string>): Expansion {
    const expandOperand = (operand: Rewrite): Expansion => rewrite(operand, relation, node, path)
    switch (rule.kind) {
      case 'this':
        return assigned(relation, node, path)
      case 'computed':
        return expand(rule.relation, node, path)
      case 'ttu':
        return parents(rule, node, path)
      case 'union':
        return union(rule.children.map(expandOperand))
      case 'intersection':
        return intersect(rule.children.map(expandOperand), wildcard)
      case 'exclusion':
        return subtract(expandOperand(rule.base), expandOperand(rule.subtract), wildcard)
    }
  }

  function assigned(relation: Relation, node: Node, path: ReadonlySet<string>): Expansion {
    const read = readAll(session, relation, node)
    const expansions: Expansion[] = [failedOr(read.error)]
    const users: Found[] = []
    for (const tuple of read.tuples) {
      if (tuple.userRelation !== '') {
        const target = model.types.get(tuple.user.type)?.get(tuple.userRelation)
        expansions.push(expand(target, tuple.user, path))
      } else if (tuple.user.type === filter.type) users.push({ user: userOf(tuple), has: true, excluded: [] })
    }
    const cycle = expansions.some((expansion) => expansion.cycle)
    return { ...combined([...users, ...allUsers(expansions)], expansions), cycle }
  }

  function parents(rule: Ttu, node: Node, path: ReadonlySet<string>): Expansion {
    const tupleset = model.types.get(node.type)?.get(rule.tupleset)
    if (tupleset === undefined) return empty()
    const read = readAll(session, tupleset, node)
    const expansions = read.tuples.map((tuple) => expand(rule.targets.get(tuple.user.type), tuple.user, path))
    return combined(allUsers(expansions), [failedOr(read.error), ...expansions])
  }

  return (relation: Relation, node: Node): Expansion => expand(relation, node, new Set())
}

/** Unlike a check, any condition that cannot be evaluated is an error, whatever else is found. */
function readAll(session: Session, relation: Relation, node: Node) {
  const tuples: Tuple[] = []
  let error: ConditionError | undefined
  for (const tuple of session.every(relation, node)) {
    const verdict = session.holds(tuple)
    if (verdict === true) tuples.push(tuple)
    else if (verdict !== false) error = verdict
  }
  return { tuples, error }
}

const empty = (): Expansion => ({ users: [], cycle: false, error: undefined })
const failed = (error: ConditionError | FgaError): Expansion => ({ users: [], cycle: false, error })
const failedOr = (error: ConditionError | undefined): Expansion =>
  error === undefined ? empty() : failed(error)

/** Users found from these expansions, with the first error that any of them met. */
const combined = (users: readonly Found[], expansions: readonly Expansion[]): Expansion => ({
  users,
  cycle: false,
  error: expansions.map((expansion) => expansion.error).find((error) => error !== undefined),
})

const allUsers = (expansions: readonly Expansion[]): Found[] =>
  expansions.flatMap((expansion) => expansion.users)

const namesThatHave = (users: readonly Found[]): Set<string> =>
  new Set(users.filter((found) => found.has).map((found) => found.user))

/** The last word on each user, but a yes over a no: the server takes whichever comes last. */
function byUser(found: readonly Found[]): Map<string, Found> {
  const users = new Map<string, Found>()
  for (const foundUser of found)
    if (foundUser.has || !users.get(foundUser.user)?.has) users.set(foundUser.user, foundUser)
  return users
}

function union(expansions: readonly Expansion[]): Expansion {
  const counts = countExcluded(expansions)
  const excluded = [...counts].filter(([, count]) => count === expansions.length).map(([user]) => user)
  const users = [...namesThatHave(allUsers(expansions))].map((user) => ({ user, has: true, excluded }))
  return combined(users, expansions)
}

function intersect(expansions: readonly Expansion[], wildcard: string): Expansion {
  const counts = new Map<string, number>()
  const excluded = [...countExcluded(expansions).keys()]
  let wildcards = 0
  for (const expansion of expansions) {
    const has = namesThatHave(expansion.users)
    const everyone = has.has(wildcard)
    if (everyone) wildcards++
    for (const user of has) counts.set(user, (counts.get(user) ?? 0) + (everyone ? 0 : 1))
  }
  const passed = [...counts].filter(
    ([user, count]) => !excluded.includes(user) && count + wildcards === expansions.length,
  )
  return combined(
    passed.map(([user]) => ({ user, has: true, excluded })),
    expansions,
  )
}

/** How often each user was said to be excluded. The server counts sayings, not operands; so does this. */
function countExcluded(expansions: readonly Expansion[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const found of allUsers(expansions))
    for (const user of found.excluded) counts.set(user, (counts.get(user) ?? 0) + 1)
  return counts
}

/** A cycle on the subtracted side leaves nobody. */
function subtract(base: Expansion, subtracted: Expansion, wildcard: string): Expansion {
  if (subtracted.cycle) return empty()
  const baseUsers = byUser(base.users)
  const subtractedUsers = byUser(subtracted.users)
  const users = [...baseUsers.values()].flatMap((found) =>
    baseUsers.has(wildcard)
      ? fromEveryone(found, subtractedUsers, wildcard)
      : [fromOne(found, subtractedUsers, wildcard)],
  )
  return combined(users, [base, subtracted])
}

function fromOne(found: Found, subtractedUsers: ReadonlyMap<string, Found>, wildcard: string): Found {
  const removed = subtractedUsers.get(found.user)
  if (!subtractedUsers.has(wildcard) && removed === undefined)
    return { user: found.user, has: found.has, excluded: [] }
  return { user: found.user, has: removed !== undefined && !removed.has, excluded: [] }
}

/** The base holds everyone: whoever is subtracted is known not to have the relation. */
function fromEveryone(found: Found, subtractedUsers: ReadonlyMap<string, Found>, wildcard: string): Found[] {
  const isGone = subtractedUsers.has(found.user)
  const users: Found[] = isGone || subtractedUsers.has(wildcard) ? [] : [found]
  for (const subtractedUser of subtractedUsers.values()) {
    if (subtractedUser.user.endsWith(':*')) {
      if (!isGone) users.push({ user: found.user, has: false, excluded: [] })
    } else
      users.push({
        user: subtractedUser.user,
        has: !subtractedUser.has,
        excluded: subtractedUser.has ? [subtractedUser.user] : [],
      })
  }
  return users
}
