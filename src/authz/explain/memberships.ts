import { keyOf, listCandidates, type Model, overApproximate, type Relation, type Tuple } from '@remit/engine'
import { record } from '../../audit/record.ts'
import { invalid } from '../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Verdict } from '../fga.ts'
import { leavesOf } from '../model/reachable.ts'
import type { ReplicaView } from '../permission-index.ts'
import { assertObject, assertPerson } from './input.ts'
import { type Asking, type ListedPage, type ListingDeps, listPage } from './listing.ts'

/**
 * Of a person: the groups that they are in, by themselves or through others. Of a group: whom it was told to
 * hold.
 */
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
export interface MembershipPage extends ListedPage {
  readonly memberships: readonly Membership[]
}

/** Lists groups of a member, or members of a group. Throws `invalid_request` for what cannot be asked. */
export type Memberships = Asking<MembershipQuestion, MembershipPage>

/**
 * The replica nominates, OpenFGA says of each whether it counts. A group is whatever the model lets stand for
 * its members on the left of a tuple: `group#member`, `organization#member`. On record before it is given.
 * Does NOT check who asks.
 */
export function createMemberships(dependencies: ListingDeps): Memberships {
  return async (asker, { of: subject, cursor, limit }, { signal }) => {
    if ('user' in subject) assertPerson(subject.user, 'user', 'Whose groups: name user:ID.')
    else assertObject(subject.group, 'group')
    const { answers, page, facts } = await listPage<Candidate>(
      dependencies,
      {
        named: 'user' in subject ? [subject.user, 'groups'] : [subject.group, 'members'],
        cursor,
        limit,
        nominate: (view, after) => ({
          candidates: (view === undefined ? [] : nominate(view, subject)).filter(
            (candidate) => after === undefined || nameOf(candidate) > after,
          ),
          complete: view !== undefined,
        }),
        nameOf,
        checkOf: ({ member, relation, group }) => ({ user: member, relation, object: group }),
      },
      signal,
    )
    const memberships = answers.map(({ candidate, verdict, via }) => ({
      ...candidate,
      verdict,
      via: 'user' in subject ? via() : undefined,
    }))
    await record(dependencies.sql, asker, {
      event: 'memberships_listed',
      ...('user' in subject ? { user: subject.user } : { object: subject.group }),
      listed: memberships.length,
      ...facts,
    })
    return { memberships, ...page }
  }
}

type Candidate = Pick<Membership, 'member' | 'relation' | 'group' | 'until'>

const nameOf = ({ member, relation, group }: Candidate): string => `${group} ${relation} ${member}`

function nominate(view: ReplicaView, subject: MembershipQuestion['of']): readonly Candidate[] {
  const found = 'user' in subject ? groupsOf(view, subject.user) : membersOf(view, subject.group)
  return found.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
}

function groupsOf({ model, tuples }: ReplicaView, user: FgaObject): readonly Candidate[] {
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

function membersOf({ model, tuples }: ReplicaView, group: FgaObject): readonly Candidate[] {
  const { type } = splitObject(group)
  const ownGroupings = groupings(model).filter((relation) => relation.type === type)
  if (ownGroupings.length === 0) throw invalid('group', 'The model has no such groups.')
  const node = tuples.node(group)
  if (node === undefined) return []
  return [...directOf(ownGroupings)].flatMap(({ name }) => {
    const { concrete = [], usersets = [] } = tuples.at(node, name) ?? {}
    return [...concrete, ...usersets].map((tuple): Candidate => {
      const key = keyOf(tuple)
      return { member: key.user, relation: name, group, until: endOf(tuple) }
    })
  })
}

/** Relations that stand for their members in tuples of others, each once. */
function groupings({ types }: Model): readonly Relation[] {
  const restrictions = [...types.values()].flatMap((relations) =>
    [...relations.values()].flatMap((relation) => relation.restrictions),
  )
  return [
    ...new Set(restrictions.flatMap(({ type, relation }) => types.get(type)?.get(relation ?? '') ?? [])),
  ]
}

/**
 * The relations of the same object whose tuples give one of these; what comes from other objects is not among
 * them.
 */
function directOf(targets: readonly Relation[]): ReadonlySet<Relation> {
  const direct = new Set<Relation>()
  const visited = new Set(targets)
  // What is added while it is gone through is gone through as well.
  for (const relation of visited)
    for (const leaf of leavesOf(relation.rewrite)) {
      if (leaf.kind === 'this') direct.add(relation)
      if (leaf.kind === 'computed') visited.add(leaf.relation)
    }
  return direct
}

function endOf(tuple: Pick<Tuple, 'condition'> | undefined): string | undefined {
  const expiry = tuple?.condition?.context['expires_at']
  return typeof expiry === 'string' ? expiry : undefined
}
