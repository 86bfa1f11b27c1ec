import { isId } from '@remit/contract/id'
import { explain } from '@remit/engine'
import { record } from '../../audit/record.ts'
import { invalid } from '../../kernel/errors.ts'
import { documentObject, type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Principal } from '../../kernel/principal.ts'
import type { Sql } from '../../store/sql.ts'
import { type Check, contextAt, type Fga, type Verdict } from '../fga.ts'
import type { Limiter } from '../gate/limiter.ts'
import type { Question } from '../gate/question.ts'
import type { DocumentNominator, LocalReplica, LogFollower } from '../permission-index.ts'
import { cursorAfter, placeOf } from './cursor.ts'
import { checkOf } from './input.ts'
import { pathOf } from './path.ts'
import type { LimitedAgent } from './registry.ts'
import { caughtUp, type ReplicaState } from './replica.ts'

/** Whose view is asked for, and through which agent and delegation. */
export interface ViewAsQuestion {
  /** `user:anne` */
  readonly user: FgaObject
  /** Id of the agent that reads for them; with it comes the delegation. */
  readonly agent?: string
  readonly delegation?: string
  /** Only what is filed there. */
  readonly collection?: string
  readonly cursor?: string
  /** Most documents asked about for one page. */
  readonly limit: number
}

/** A document that they may read; never its text. */
export interface ViewedDocument {
  readonly id: string
  readonly collection: string
  /** `member of group:eng, viewer of folder:plans`; undefined where the replica shows none. */
  readonly via: string | undefined
}

/** A page of documents, in the order of their ids. */
export interface ViewAsPage {
  readonly documents: readonly ViewedDocument[]
  /** Where the next page begins; undefined on the last one. */
  readonly cursor: string | undefined
  /** False: something may be missing, here or on a later page, for another reason than paging. */
  readonly complete: boolean
  /** Why an agent is given nothing, or less than OpenFGA would let it have; undefined: nothing takes anything away. */
  readonly limitedBy: string | undefined
  readonly replica: ReplicaState
  readonly modelId: string
}

/** Lists what somebody may read. Does NOT check that the asker may know it: the route does. */
export type ViewAs = (
  asker: Principal,
  question: ViewAsQuestion,
  options: { readonly signal: AbortSignal },
) => Promise<ViewAsPage>

/** The replica names the candidates, OpenFGA decides each. */
export interface ViewAsDeps {
  readonly sql: Sql
  readonly fga: Fga
  readonly index: LocalReplica & LogFollower & Pick<DocumentNominator, 'nominate'>
  readonly limiter: Limiter
  /** From the registry of agents. */
  readonly agentOf: (id: string) => Promise<LimitedAgent | undefined>
  /** Whether a delegation may be used now. */
  readonly isLive: (delegation: string) => Promise<boolean>
  readonly now: () => number
}

/**
 * Which documents somebody would be given, by themselves or through an agent: ids alone. The index nominates, a
 * superset; each is confirmed by OpenFGA past its caches, and held to what a request is held to beside it, the row of
 * the delegation and the registry of agents. On record before it is given. NOT looked at: approvals, and what narrows
 * one token. Does NOT check who asks, and opens nothing to them.
 */
export function createViewAs(dependencies: ViewAsDeps): ViewAs {
  const { sql, fga, index, limiter, now } = dependencies
  return async (asker, question, { signal }) => {
    const { user, agent, delegation, collection, limit } = question
    assertPerson(user)
    const key = listOf(question)
    const afterName = placeOf({ ...key, ...(question.cursor !== undefined && { cursor: question.cursor }) })
    const relation = agent === undefined ? 'can_read' : 'can_read_delegated'
    const readCheckOf = (object: FgaObject): Check =>
      checkOf({
        user,
        relation,
        object,
        ...(agent !== undefined && { agent }),
        ...(delegation !== undefined && { delegation }),
      })
    const { contextual = [] } = readCheckOf('document:x' as FgaObject)
    const { view, ...replica } = await caughtUp(index, fga, signal)
    const limits = await limitsOf(dependencies, question)
    const modelId = fga.modelId
    const nowMs = now()
    const nominated = limits.nothing ? [] : index.nominate({ user, relation, contextual } satisfies Question)
    const rows = await sql.query<{ id: string; collection: string }>(
      `select id, collection from documents
       where id = any($1) and live_revision is not null and ($2::text is null or id > $2)
         and ($3::text is null or collection = $3) and ($4::text[] is null or collection = any($4))
       order by id limit $5`,
      [nominated ?? [], afterName ?? null, collection ?? null, limits.collections ?? null, limit + 1],
    )
    const page = rows.slice(0, limit)
    const checks = page.map(({ id }) => readCheckOf(documentObject(id)))
    const { verdicts, requestIds } =
      checks.length === 0
        ? { verdicts: [], requestIds: [] }
        : await limiter.run(checks.length, signal, () => fga.batchCheck(checks, { now: nowMs, signal }))
    const pageVerdicts = page.map((_, index): Verdict => verdicts[index] ?? 'error')
    const documents = page
      .filter((_, index) => pageVerdicts[index] === 'allowed')
      .map((row): ViewedDocument => ({ ...row, via: wayTo(readCheckOf(documentObject(row.id))) }))
    const lastDocument = page.at(-1)
    const cursor =
      lastDocument !== undefined && rows.length > limit ? cursorAfter(key, lastDocument.id) : undefined
    const isComplete =
      replica.state === 'ready' &&
      nominated !== undefined &&
      pageVerdicts.every((verdict) => verdict !== 'error')
    await record(sql, asker, {
      event: 'viewed_as',
      user,
      ...(agent !== undefined && { agent }),
      ...(delegation !== undefined && { delegation }),
      ...(collection !== undefined && { collection }),
      continued: afterName !== undefined,
      listed: documents.length,
      complete: isComplete,
      model_id: modelId,
      openfga_request_ids: requestIds,
    })
    return {
      documents,
      cursor,
      complete: isComplete,
      limitedBy: limits.inWords,
      replica: { state: replica.state, lagMs: replica.lagMs },
      modelId,
    }

    function wayTo({ object, contextual: brought }: Check): string | undefined {
      const current = view()
      if (current === undefined) return undefined
      const { allowed, reason } = explain(
        current.model,
        current.tuples,
        { user, relation, object, ...(brought && { contextualTuples: brought }), context: contextAt(nowMs) },
        { exclusionMax: 1 },
      )
      return allowed ? pathOf(reason) : undefined
    }
  }
}

function assertPerson(user: string): void {
  const { type, id } = splitObject(user)
  if (type !== 'user' || !isId(id)) throw invalid('user', 'Choose a person: user:ID.')
}

/** A cursor is of one list: of this person, through this agent, in this collection. */
const listOf = ({ user, agent, delegation, collection }: ViewAsQuestion) => ({
  object: user,
  relation: JSON.stringify([agent ?? null, delegation ?? null, collection ?? null]),
})

interface Limits {
  readonly nothing: boolean
  readonly collections: readonly string[] | undefined
  readonly inWords: string | undefined
}

async function limitsOf(
  { agentOf, isLive }: ViewAsDeps,
  { agent: id, delegation }: ViewAsQuestion,
): Promise<Limits> {
  if (id === undefined || delegation === undefined)
    return { nothing: false, collections: undefined, inWords: undefined }
  const nothing = (reason: string): Limits => ({ nothing: true, collections: undefined, inWords: reason })
  const agent = await agentOf(id)
  if (agent === undefined) return nothing(`agent:${id} is not registered, and is given nothing.`)
  if (agent.disabledAt !== undefined) return nothing(`agent:${id} is disabled, and is given nothing.`)
  if (!(await isLive(delegation)))
    return nothing(`delegation:${delegation} is not in force: it gives nothing.`)
  const { collections } = agent.limits
  if (collections === undefined) return { nothing: false, collections, inWords: undefined }
  return {
    nothing: false,
    collections,
    inWords: `The registry limits agent:${id} to ${collections.join(', ') || 'no collection'}.`,
  }
}
