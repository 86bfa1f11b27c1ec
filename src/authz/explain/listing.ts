import { explain, type Reason, type Step } from '@remit/engine'
import { cursorAt, positionIn } from '../../kernel/cursor.ts'
import type { Principal } from '../../kernel/principal.ts'
import type { Sql } from '../../store/sql.ts'
import { type Check, contextAt, type Fga, type Verdict } from '../fga.ts'
import type { Limiter } from '../gate/limiter.ts'
import type { LocalReplica, LogFollower, ReplicaView } from '../permission-index.ts'
import { caughtUp, type ReplicaState } from './replica.ts'

/** A question of somebody, and its answer. */
export type Asking<Question, Answer> = (
  asker: Principal,
  question: Question,
  options: { readonly signal: AbortSignal },
) => Promise<Answer>

/** The replica names the candidates, OpenFGA decides each. */
export interface ListingDeps {
  readonly sql: Sql
  readonly fga: Fga
  readonly index: LocalReplica & LogFollower
  readonly limiter: Limiter
  readonly now: () => number
}

/** What every page says of itself. */
export interface ListedPage {
  /** Where the next page begins; undefined on the last one. */
  readonly cursor: string | undefined
  /**
   * False: something may be missing, here or on a later page, for another reason than paging: the replica is
   * behind or is not there, there is more than can be collected, or OpenFGA did not answer about some.
   */
  readonly complete: boolean
  readonly replica: ReplicaState
  readonly modelId: string
}

/** A page of a list that the replica nominates and OpenFGA confirms. */
interface Listing<Candidate> {
  /** Names the list: a cursor of another one is refused. */
  readonly named: readonly [of: string, what: string]
  readonly cursor: string | undefined
  /** Most candidates asked about for the page. */
  readonly limit: number
  /** Who or what could be in the list, a superset: of those whose name comes after this one. */
  readonly nominate: (
    view: ReplicaView | undefined,
    after: string | undefined,
  ) => Nominated<Candidate> | Promise<Nominated<Candidate>>
  readonly nameOf: (candidate: Candidate) => string
  readonly checkOf: (candidate: Candidate) => Check
}

/** Candidates of a page. */
export interface Nominated<Candidate> {
  /**
   * In the order of their names, by code unit, as they are compared with the cursor. More than the limit: a
   * page follows.
   */
  readonly candidates: readonly Candidate[]
  /** Asked about with every page, before the others. */
  readonly beside?: readonly Candidate[]
  /** False: they may not be all. */
  readonly complete: boolean
  /** What leaves others out; undefined: nothing does. */
  readonly limitedBy?: string | undefined
}

/** A candidate with OpenFGA's word about it now. */
export interface Answered<Candidate> {
  readonly candidate: Candidate
  readonly verdict: Verdict
  /**
   * `member of group:eng, viewer of folder:plans`; undefined where the replica shows none. Ask it before the
   * next `await`.
   */
  readonly via: () => string | undefined
}

/**
 * Answers about a page's candidates, in the order asked, what the page says of itself, and what of it goes on
 * record.
 */
interface Listed<Candidate> {
  readonly answers: readonly Answered<Candidate>[]
  readonly page: ListedPage
  readonly limitedBy: string | undefined
  readonly facts: {
    readonly continued: boolean
    readonly complete: boolean
    readonly model_id: string
    readonly openfga_request_ids: readonly string[]
  }
}

/**
 * Asks about a page of candidates at once. Throws `invalid_request` for another list's cursor. Puts nothing
 * on record.
 */
export async function listPage<Candidate>(
  { fga, index, limiter, now }: ListingDeps,
  { named, cursor, limit, nominate, nameOf, checkOf }: Listing<Candidate>,
  signal: AbortSignal,
): Promise<Listed<Candidate>> {
  const after = placeOf(named, cursor)
  const { view, ...replica } = await caughtUp(index, fga, signal)
  const { candidates, beside = [], complete, limitedBy } = await nominate(view(), after)
  const modelId = fga.modelId
  const nowMs = now()
  const askedCandidates = [...beside, ...candidates.slice(0, limit)]
  const checks = askedCandidates.map(checkOf)
  const { verdicts, requestIds } =
    checks.length === 0
      ? { verdicts: [], requestIds: [] }
      : await limiter.run(checks.length, signal, () => fga.batchCheck(checks, { now: nowMs, signal }))
  const answers = askedCandidates.map((candidate, place) => ({
    candidate,
    verdict: verdicts[place] ?? 'error',
    via: () => wayTo(view(), checkOf(candidate), nowMs),
  }))
  const isComplete =
    replica.state === 'ready' && complete && answers.every(({ verdict }) => verdict !== 'error')
  const last = candidates.length > limit ? candidates[limit - 1] : undefined
  return {
    answers,
    limitedBy,
    page: {
      cursor: last === undefined ? undefined : cursorAt([...named, nameOf(last)]),
      complete: isComplete,
      replica,
      modelId,
    },
    facts: {
      continued: after !== undefined,
      complete: isComplete,
      model_id: modelId,
      openfga_request_ids: requestIds,
    },
  }
}

function placeOf([of, what]: Listing<unknown>['named'], cursor: string | undefined): string | undefined {
  return positionIn(cursor, ([itsOf, itsWhat, name, ...extraParts]) =>
    itsOf === of && itsWhat === what && typeof name === 'string' && extraParts.length === 0
      ? name
      : undefined,
  )
}

function wayTo(view: ReplicaView | undefined, check: Check, nowMs: number): string | undefined {
  if (view === undefined) return undefined
  const { user, relation, object, contextual } = check
  const { allowed, reason } = explain(
    view.model,
    view.tuples,
    { user, relation, object, contextualTuples: contextual, context: contextAt(nowMs) },
    { exclusionMax: 1 },
  )
  return allowed ? pathOf(reason) : undefined
}

/**
 * How a subject gets what it has, in one line, from itself outwards:
 * `member of group:eng, viewer of folder:plans, parent of document:plan`. Where a rule has several sides, the
 * first that rests on tuples.
 */
function pathOf(reason: Reason): string | undefined {
  const steps = stepsOf(reason)
  if (steps === undefined || steps.length === 0) return undefined
  return steps
    .map(({ tuple, condition }) => `${tuple.relation} of ${tuple.object}${endOf(condition)}`)
    .toReversed()
    .join(', ')
}

/** Steps from the object down to the subject. */
function stepsOf(reason: Reason): readonly Step[] | undefined {
  if (reason.holds !== 'yes' || reason.kind === 'not') return undefined
  const children = 'because' in reason ? reason.because : []
  const below = children.map(stepsOf).find((steps) => steps !== undefined)
  if (reason.kind === 'tuple') return [reason, ...(below ?? [])]
  return below
}

function endOf(condition: Step['condition']): string {
  const expiry = condition?.parameters['expires_at']
  return typeof expiry === 'string' ? ` until ${expiry}` : ''
}
