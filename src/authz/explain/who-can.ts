import { explain, type Relation, type SubjectUpperBound, subjectUpperBound } from '@remit/engine'
import { record } from '../../audit/record.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Principal } from '../../kernel/principal.ts'
import type { Sql } from '../../store/sql.ts'
import { contextAt, type Fga, type Verdict } from '../fga.ts'
import type { Limiter } from '../gate/limiter.ts'
import type { LocalReplica, LogFollower, ReplicaView } from '../permission-index.ts'
import { cursorAfter, placeOf } from './cursor.ts'
import { assertInModel, assertObject, assertRelation } from './input.ts'
import { pathOf } from './path.ts'
import { caughtUp, type ReplicaState } from './replica.ts'
import { restsOnRequest } from './request-only.ts'

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
export interface WhoCanPage {
  readonly entries: readonly WhoCanEntry[]
  /** Where the next page begins; undefined on the last one. */
  readonly cursor: string | undefined
  /**
   * False: somebody may be missing from this page or from those after it, because the replica is behind or is
   * not there, the list is longer than can be collected, or OpenFGA did not answer about somebody.
   */
  readonly complete: boolean
  readonly replica: ReplicaState
  readonly modelId: string
}

/** Lists who has a relation to an object. Does NOT check that the asker may know it: the route does. */
export type WhoCan = (
  asker: Principal,
  question: WhoCanQuestion,
  options: { readonly signal: AbortSignal },
) => Promise<WhoCanPage>

/** The replica names the candidates, OpenFGA decides each. */
export interface WhoCanDeps {
  readonly sql: Sql
  readonly fga: Fga
  readonly index: LocalReplica & LogFollower
  readonly limiter: Limiter
  readonly now: () => number
}

const everyone = 'user:*'
const usersMax = 100_000

/**
 * Which people have a relation to an object, each confirmed by OpenFGA. The replica names who could, as a
 * superset; groups are followed to their people. On record before it is given. Throws `invalid_request` for a
 * relation that no person can have without an agent's request. Does NOT check who asks.
 */
export function createWhoCan({ sql, fga, index, limiter, now }: WhoCanDeps): WhoCan {
  return async (asker, question, { signal }) => {
    const { object, relation, limit } = question
    assertObject(object)
    assertRelation(relation)
    const afterName = placeOf(question)
    const { view, ...replica } = await caughtUp(index, fga, signal)
    const nowMs = now()
    const modelId = fga.modelId
    const listed = candidates(view(), question)
    const remaining = listed.names.filter((name) => afterName === undefined || name > afterName)
    const page = remaining.slice(0, limit)
    const checkedUsers = listed.everyone ? [everyone, ...page] : page
    const { verdicts, requestIds } =
      checkedUsers.length === 0
        ? { verdicts: [], requestIds: [] }
        : await limiter.run(checkedUsers.length, signal, () =>
            fga.batchCheck(
              checkedUsers.map((user) => ({ user, relation, object })),
              { now: nowMs, signal },
            ),
          )
    const verdictByUser = new Map(
      checkedUsers.map((user, index): [string, Verdict] => [user, verdicts[index] ?? 'error']),
    )
    const entries = entriesOf(verdictByUser, afterName === undefined, listed, (user) =>
      wayTo(view(), user, question, nowMs),
    )
    const lastUser = page.at(-1)
    const cursor =
      lastUser !== undefined && remaining.length > page.length ? cursorAfter(question, lastUser) : undefined
    const isComplete =
      replica.state === 'ready' &&
      listed.complete &&
      [...verdictByUser.values()].every((verdict) => verdict !== 'error')
    await record(sql, asker, {
      event: 'who_can_listed',
      object,
      relation,
      continued: afterName !== undefined,
      listed: entries.length,
      complete: isComplete,
      model_id: modelId,
      openfga_request_ids: requestIds,
    })
    return {
      entries,
      cursor,
      complete: isComplete,
      replica: { state: replica.state, lagMs: replica.lagMs },
      modelId,
    }
  }
}

interface Candidates {
  /** In the order of pages. */
  readonly names: readonly string[]
  readonly everyone: boolean
  /** The others are named only to see whether they are left out of everyone. */
  readonly users: ReadonlySet<string>
  readonly complete: boolean
}

function candidates(view: ReplicaView | undefined, { object, relation }: WhoCanQuestion): Candidates {
  if (view === undefined) return { names: [], everyone: false, users: new Set(), complete: false }
  const relationDefinition = relationFor(view, object, relation)
  const reached: SubjectUpperBound = subjectUpperBound(
    view.model,
    view.tuples,
    relationDefinition,
    object,
    'user',
    {
      usersMax,
    },
  )
  // By code unit, as they are compared with the cursor.
  const names = [...reached.users, ...(reached.everyone ? reached.excluded : [])]
  return { ...reached, names: [...new Set(names)].sort() }
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

function entriesOf(
  verdictByUser: ReadonlyMap<string, Verdict>,
  isFirst: boolean,
  { users }: Candidates,
  pathFor: (user: string) => string | undefined,
): WhoCanEntry[] {
  const isForEveryone = verdictByUser.get(everyone) === 'allowed'
  return [...verdictByUser].flatMap(([user, verdict]): WhoCanEntry[] => {
    if (user === everyone)
      return isForEveryone && isFirst ? [{ kind: 'everyone', user, via: pathFor(user) }] : []
    if (verdict === 'allowed') return users.has(user) ? [{ kind: 'person', user, via: pathFor(user) }] : []
    return isForEveryone && verdict === 'denied' ? [{ kind: 'excluded', user, via: undefined }] : []
  })
}

function wayTo(
  view: ReplicaView | undefined,
  user: string,
  { object, relation }: WhoCanQuestion,
  nowMs: number,
): string | undefined {
  if (view === undefined) return undefined
  const { allowed, reason } = explain(
    view.model,
    view.tuples,
    { user, relation, object, context: contextAt(nowMs) },
    { exclusionMax: 1 },
  )
  return allowed ? pathOf(reason) : undefined
}
