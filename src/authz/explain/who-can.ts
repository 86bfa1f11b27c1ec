import { type Model, type Relation, subjectUpperBound } from '@remit/engine'
import { record } from '../../audit/record.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import { presentedKeys } from '../allow-list/reserved.ts'
import { leavesOf } from '../model/reachable.ts'
import type { ReplicaView } from '../permission-index.ts'
import { closedBySource } from './closed.ts'
import { assertInModel, assertObject, assertRelation } from './input.ts'
import {
  type Answered,
  type Asking,
  type ListedPage,
  type ListingDeps,
  listPage,
  type Nominated,
} from './listing.ts'
import { shutOut } from './shut-out.ts'

/** The object and relation, and the page to give. */
export interface WhoCanQuestion {
  readonly object: FgaObject
  readonly relation: string
  readonly cursor?: string
  /** Most people asked about for one page. */
  readonly limit: number
}

/** `excluded`: everyone has it but this person. */
export interface WhoCanEntry {
  readonly kind: 'person' | 'everyone' | 'excluded'
  readonly user: string
  /** `member of group:eng, viewer of folder:plans`; undefined where the replica shows none. */
  readonly via: string | undefined
}

/** A page of subjects, in the order of their names. */
export interface WhoCanPage extends ListedPage {
  readonly entries: readonly WhoCanEntry[]
  /** Why nobody is listed, though OpenFGA lets somebody read the document; undefined: nothing closes it. */
  readonly limitedBy: string | undefined
}

/** Lists who has a relation to an object. Does NOT check that the asker may know it: the route does. */
export type WhoCan = Asking<WhoCanQuestion, WhoCanPage>

/** By which a document is read. */
const reading: ReadonlySet<string> = new Set(['can_read', 'can_read_delegated', 'can_be_told'])
const everyone = 'user:*'
const usersMax = 100_000

/**
 * Which people have a relation to an object, each confirmed by OpenFGA. The replica names who could, as a
 * superset; groups are followed to their people. Whoever is shut out reads nothing, and is left out. Nobody
 * reads a document that its source closes: then the list is empty, and says why. On record before it is
 * given. Throws `invalid_request` for a relation that no person can have without an agent's request. Does NOT
 * check who asks.
 */
export function createWhoCan(dependencies: ListingDeps): WhoCan {
  return async (asker, question, { signal }) => {
    const { object, relation, cursor, limit } = question
    assertObject(object)
    assertRelation(relation)
    const { answers, page, facts } = await listPage<Candidate>(
      dependencies,
      {
        named: [object, relation],
        cursor,
        limit,
        nominate: (view, after) => nominate(view, question, after),
        nameOf: ({ user }) => user,
        checkOf: ({ user }) => ({ user, relation, object }),
      },
      signal,
    )
    // After the answers: they are not given where it was closed by then.
    const limitedBy = reading.has(relation) ? await closedBySource(dependencies.sql, object) : undefined
    const found = limitedBy === undefined ? entriesOf(answers, !facts.continued) : []
    const entries = reading.has(relation) ? await withoutShutOut(dependencies, found) : found
    await record(dependencies.sql, asker, {
      event: 'who_can_listed',
      object,
      relation,
      listed: entries.length,
      ...facts,
    })
    return {
      ...page,
      entries,
      limitedBy,
      ...(limitedBy !== undefined && { cursor: undefined, complete: true }),
    }
  }
}

/** Nobody who is shut out reads anything. */
async function withoutShutOut(
  dependencies: ListingDeps,
  entries: readonly WhoCanEntry[],
): Promise<readonly WhoCanEntry[]> {
  const people = entries.flatMap(({ kind, user }) => (kind === 'person' ? [user] : []))
  const out = await shutOut(dependencies, people)
  return entries.filter(({ kind, user }) => kind !== 'person' || !out.has(user))
}

interface Candidate {
  readonly user: string
  /** False: named only to see whether it is left out of everyone. */
  readonly isReached: boolean
}

function nominate(
  view: ReplicaView | undefined,
  { object, relation }: WhoCanQuestion,
  after: string | undefined,
): Nominated<Candidate> {
  if (view === undefined) return { candidates: [], complete: false }
  const target = relationFor(view, object, relation)
  const reached = subjectUpperBound(view.model, view.tuples, target, object, 'user', { usersMax })
  const names = new Set([...reached.users, ...reached.excluded])
  return {
    candidates: [...names]
      .filter((user) => after === undefined || user > after)
      .sort()
      .map((user) => ({ user, isReached: reached.users.has(user) })),
    beside: reached.everyone ? [{ user: everyone, isReached: true }] : [],
    complete: reached.complete,
  }
}

function relationFor(view: ReplicaView, object: FgaObject, relation: string): Relation {
  assertInModel(view, { user: everyone, relation, object })
  const relationDefinition = view.model.types.get(splitObject(object).type)?.get(relation)
  if (relationDefinition === undefined)
    throw new AppError('internal_error', { internal: 'the model lost a relation' })
  if (restsOnRequest(view.model, relationDefinition))
    throw invalid('relation', 'It rests on what an agent presents with its request: ask /explain about one.')
  if (!relationDefinition.strategy('user').reachable)
    throw invalid('relation', 'The model lets no person have it.')
  return relationDefinition
}

/** Whether a relation rests, by whatever rule, on tuples that only come with an agent's request. */
function restsOnRequest({ types }: Model, target: Relation): boolean {
  const found = new Set<Relation>([target])
  const add = (type: string, name: string | undefined): void => {
    const relation = types.get(type)?.get(name ?? '')
    if (relation !== undefined) found.add(relation)
  }
  // What is added while it is gone through is gone through as well.
  for (const { key, type, rewrite, restrictions } of found) {
    if (presentedKeys.has(key)) return true
    for (const leaf of leavesOf(rewrite, { subtracted: true })) {
      if (leaf.kind === 'computed') found.add(leaf.relation)
      else if (leaf.kind === 'this') for (const { type, relation } of restrictions) add(type, relation)
      else
        for (const parent of types.get(type)?.get(leaf.tupleset)?.restrictions ?? [])
          add(parent.type, leaf.computed)
    }
  }
  return false
}

function entriesOf(answers: readonly Answered<Candidate>[], isFirst: boolean): WhoCanEntry[] {
  const isForEveryone = answers.some(
    ({ candidate, verdict }) => candidate.user === everyone && verdict === 'allowed',
  )
  return answers.flatMap(({ candidate: { user, isReached }, verdict, via }): WhoCanEntry[] => {
    if (user === everyone) return isForEveryone && isFirst ? [{ kind: 'everyone', user, via: via() }] : []
    if (verdict === 'allowed') return isReached ? [{ kind: 'person', user, via: via() }] : []
    return isForEveryone && verdict === 'denied' ? [{ kind: 'excluded', user, via: undefined }] : []
  })
}
