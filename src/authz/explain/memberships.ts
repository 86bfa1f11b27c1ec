import { isId } from '@remit/contract/id'
import {
  explain,
  keyOf,
  listCandidates,
  type Model,
  overApproximate,
  type Relation,
  type Rewrite,
  type Tuple,
} from '@remit/engine'
import { record } from '../../audit/record.ts'
import { invalid } from '../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Principal } from '../../kernel/principal.ts'
import type { Sql } from '../../store/sql.ts'
import { contextAt, type Fga, type Verdict } from '../fga.ts'
import type { Limiter } from '../gate/limiter.ts'
import type { LocalReplica, LogFollower, ReplicaView } from '../permission-index.ts'
import { cursorAfter, placeOf } from './cursor.ts'
import { assertObject } from './input.ts'
import { pathOf } from './path.ts'
import { caughtUp, type ReplicaState } from './replica.ts'

/** Of a person: the groups that they are in, by themselves or through others. Of a group: whom it was told to hold. */
export interface MembershipQuestion {
  readonly of: { readonly user: FgaObject } | { readonly group: FgaObject }
  readonly cursor?: string
  /** Most memberships asked about for one page. */
  readonly limit: number
}

/** One tuple by which somebody belongs to a group, with OpenFGA's verdict about it now. */
export interface Membership {
  /** `user:anne`, or a group within the group: `group:eng#member`. */
  readonly member: string
  readonly relation: string
  readonly group: FgaObject
  /** OpenFGA's word, now: an ended one is denied. */
  readonly verdict: Verdict
  /** `member of group:eng, member of group:staff`; undefined where the replica shows none. */
  readonly via: string | undefined
  /** When what is stored ends, as it was written; undefined: it does not, or is none that is stored. */
  readonly until: string | undefined
}

/** A page of memberships, in the order of their names. */
export interface MembershipPage {
  readonly memberships: readonly Membership[]
  /** Where the next page begins; undefined on the last. */
  readonly cursor: string | undefined
  /** False: something may be missing: the replica is behind or is not there, or OpenFGA did not answer about some. */
  readonly complete: boolean
  readonly replica: ReplicaState
  readonly modelId: string
}

/** Lists groups of a member, or members of a group. Throws `invalid_request` for what cannot be asked. */
export type Memberships = (
  asker: Principal,
  question: MembershipQuestion,
  options: { readonly signal: AbortSignal },
) => Promise<MembershipPage>

/** The replica names the candidates, OpenFGA decides each. */
export interface MembershipsDeps {
  readonly sql: Sql
  readonly fga: Fga
  readonly index: LocalReplica & LogFollower
  readonly limiter: Limiter
  readonly now: () => number
}

/**
 * The replica nominates, OpenFGA says of each whether it counts. A group is whatever the model lets stand for its members on
 * the left of a tuple: `group#member`, `organization#member`. On record before it is given. Does NOT check who asks.
 */
export function createMemberships({ sql, fga, index, limiter, now }: MembershipsDeps): Memberships {
  return async (asker, question, { signal }) => {
    const { of: member, limit } = question
    const subject = 'user' in member ? member.user : member.group
    if ('user' in member) assertPerson(member.user)
    else assertObject(member.group, 'group')
    const list = {
      object: subject,
      relation: 'user' in member ? 'groups' : 'members',
      ...(question.cursor !== undefined && { cursor: question.cursor }),
    }
    const afterName = placeOf(list)
    const { view, ...replica } = await caughtUp(index, fga, signal)
    const nowMs = now()
    const modelId = fga.modelId
    const current = view()
    const nominated = current === undefined ? [] : nominate(current, member)
    const remaining = nominated.filter(
      (nomination) => afterName === undefined || nameOf(nomination) > afterName,
    )
    const page = remaining.slice(0, limit)
    const { verdicts, requestIds } =
      page.length === 0
        ? { verdicts: [], requestIds: [] }
        : await limiter.run(page.length, signal, () =>
            fga.batchCheck(
              page.map(({ member, relation, group }) => ({ user: member, relation, object: group })),
              { now: nowMs, signal },
            ),
          )
    const memberships = page.map(
      (nomination, index): Membership => ({
        ...nomination,
        verdict: verdicts[index] ?? 'error',
        via: 'user' in member ? wayTo(view(), nomination, nowMs) : undefined,
      }),
    )
    const lastNomination = page.at(-1)
    const isComplete = replica.state === 'ready' && memberships.every(({ verdict }) => verdict !== 'error')
    await record(sql, asker, {
      event: 'memberships_listed',
      ...('user' in member ? { user: member.user } : { object: member.group }),
      continued: afterName !== undefined,
      listed: memberships.length,
      complete: isComplete,
      model_id: modelId,
      openfga_request_ids: requestIds,
    })
    return {
      memberships,
      cursor:
        lastNomination !== undefined && remaining.length > page.length
          ? cursorAfter(list, nameOf(lastNomination))
          : undefined,
      complete: isComplete,
      replica: { state: replica.state, lagMs: replica.lagMs },
      modelId,
    }
  }
}

type Nominated = Pick<Membership, 'member' | 'relation' | 'group' | 'until'>

const nameOf = ({ member, relation, group }: Nominated): string => `${group} ${relation} ${member}`

/** In the order of pages, by code unit, as they are compared with the cursor. */
function nominate(view: ReplicaView, subject: MembershipQuestion['of']): readonly Nominated[] {
  const found = 'user' in subject ? groupsOf(view, subject.user) : membersOf(view, subject.group)
  return found.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
}

function groupsOf({ model, tuples }: ReplicaView, user: FgaObject): readonly Nominated[] {
  const relaxed = overApproximate(model)
  return groupings(relaxed).flatMap((relation) =>
    relation.strategy('user').reachable
      ? listCandidates(relaxed, tuples, relation, { user }).map((group) => ({
          member: user,
          relation: relation.name,
          group: group as FgaObject,
          until: endOf(tuples.get({ user, relation: relation.name, object: group })),
        }))
      : [],
  )
}

function membersOf({ model, tuples }: ReplicaView, group: FgaObject): readonly Nominated[] {
  const { type } = splitObject(group)
  const ownGroupings = groupings(model).filter((relation) => relation.type === type)
  if (ownGroupings.length === 0) throw invalid('group', 'The model has no such groups.')
  const node = tuples.node(group)
  if (node === undefined) return []
  const relations = new Set(ownGroupings.flatMap((relation) => [...directOf(relation.rewrite, relation)]))
  return [...relations].flatMap(({ name }) => {
    const { concrete = [], usersets = [] } = tuples.at(node, name) ?? {}
    return [...concrete, ...usersets].map((tuple): Nominated => {
      const key = keyOf(tuple)
      return { member: key.user, relation: name, group, until: endOf(tuple) }
    })
  })
}

/** Relations that stand for their members in tuples of others, each once. */
function groupings(model: Model): readonly Relation[] {
  const found = new Set<Relation>()
  for (const relations of model.types.values())
    for (const { restrictions } of relations.values())
      for (const { type, relation } of restrictions) {
        const target = relation === undefined ? undefined : model.types.get(type)?.get(relation)
        if (target !== undefined) found.add(target)
      }
  return [...found]
}

/** The relations of the same object whose tuples give this one; what comes from other objects is not among them. */
function* directOf(rule: Rewrite, relation: Relation, visited = new Set<Relation>()): Generator<Relation> {
  switch (rule.kind) {
    case 'this':
      yield relation
      return
    case 'computed':
      if (visited.has(rule.relation)) return
      visited.add(rule.relation)
      yield* directOf(rule.relation.rewrite, rule.relation, visited)
      return
    case 'ttu':
      return
    case 'union':
    case 'intersection':
      for (const child of rule.children) yield* directOf(child, relation, visited)
      return
    case 'exclusion':
      yield* directOf(rule.base, relation, visited)
  }
}

function endOf(tuple: Pick<Tuple, 'condition'> | undefined): string | undefined {
  const expiry = tuple?.condition?.context['expires_at']
  return typeof expiry === 'string' ? expiry : undefined
}

function wayTo(
  view: ReplicaView | undefined,
  { member, relation, group }: Nominated,
  nowMs: number,
): string | undefined {
  if (view === undefined) return undefined
  const { allowed, reason } = explain(
    view.model,
    view.tuples,
    { user: member, relation, object: group, context: contextAt(nowMs) },
    { exclusionMax: 1 },
  )
  return allowed ? pathOf(reason) : undefined
}

function assertPerson(user: string): void {
  const { type, id } = splitObject(user)
  if (type !== 'user' || !isId(id)) throw invalid('user', 'Whose groups: name user:ID.')
}
