import { setImmediate } from 'node:timers/promises'
import { compileModel, type Model, type TupleView } from '@remit/engine'
import { record } from '../../audit/record.ts'
import { AppError, invalid, overloaded } from '../../kernel/errors.ts'
import { documentObject, splitObject } from '../../kernel/ids.ts'
import { createSerialQueue } from '../../kernel/serial-queue.ts'
import type { Sql } from '../../store/sql.ts'
import type { AllowList } from '../allow-list/allow-list.ts'
import type { Asker, LiveDelegation } from '../compare/askers.ts'
import type { PairLimits, Verdicts } from '../compare/compare.ts'
import { type Changes, type Counted, changesOf, createTally, sideOf } from '../compare/compare.ts'
import { assertPerson } from '../explain/input.ts'
import type { Asking } from '../explain/listing.ts'
import { caughtUp, type ReplicaState } from '../explain/replica.ts'
import { contextAt, endsOf, type Fga, type Tuple } from '../fga.ts'
import { digestOf, type ModelJson } from '../model/dsl.ts'
import { refusalsOf } from '../model/invariants.ts'
import type { Texts } from '../model/texts.ts'
import type { LocalReplica, LogFollower } from '../permission-index.ts'
import { reading } from '../text-error.ts'
import { assertSupposable, type SupposedChange, unchangedBy } from './change.ts'
import { suppose } from './suppose.ts'

/** Tuples or a model that would change, and whom to look at. Left out: everybody. */
export interface WhatIfQuestion extends SupposedChange {
  /** A changed model, as text. */
  readonly model?: string
  /** Only these, `user:anne`. */
  readonly people?: readonly string[]
  /** Only these ids. */
  readonly documents?: readonly string[]
}

/** Those who gain or lose, and where the documents are filed. */
export interface Difference extends Counted {
  /** The most first, at most 50; undefined: filed nowhere. */
  readonly collections: readonly {
    readonly collection: string | undefined
    readonly count: number
    readonly documents: number
  }[]
}

/** Who would gain and lose which documents, as the replica evaluates it. Nothing is changed. */
export interface WhatIfAnswer {
  readonly changes: Changes<Difference>
  /** Why somebody may be missing; empty: nobody is. */
  readonly limitedBy: readonly ('questions' | 'time' | 'replica')[]
  /** How many were asked about, and how many questions that took. */
  readonly asked: { readonly people: number; readonly agents: number; readonly questions: number }
  /** Questions that could not be answered before or after, which denies. */
  readonly unanswered: number
  /** What of the change is so already. */
  readonly unchanged: SupposedChange
  /** Writes that the allow-list lets nobody make. */
  readonly nobodyMayWrite: SupposedChange['writes']
  readonly replica: ReplicaState
  /** Milliseconds: when the last read of the change log that reached its end began. */
  readonly readTo: number
  readonly tuples: number
  /** Milliseconds since the epoch that conditions were evaluated with. */
  readonly at: number
  /** In force, before the change. */
  readonly modelId: string
  /** sha256 of the changed model's text. */
  readonly candidate: string | undefined
}

/** Evaluates a change that is not made. Throws `invalid_request` for one that cannot be. */
export type WhatIf = Asking<WhatIfQuestion, WhatIfAnswer>

/** The replica evaluates both sides of the change. `limits` bound the work. */
export interface WhatIfDeps {
  readonly sql: Sql
  readonly fga: Pick<Fga, 'modelId'>
  readonly index: LocalReplica & LogFollower
  readonly listLiveDelegations: () => Promise<readonly LiveDelegation[]>
  readonly texts: Pick<Texts, 'read'>
  /**
   * Who may write under the model in force, or what of that fits a changed one; `authorization_unavailable`:
   * nobody.
   */
  readonly allowListOf: (changed: ModelJson | undefined) => Promise<AllowList>
  readonly now: () => number
  readonly limits?: Partial<PairLimits>
}

const defaults: PairLimits = { questions: 5_000_000, duration: 30_000 }
const samplesMax = 100
const collectionsMax = 50
// Each may take its half minute: who comes later is told to come again.
const waitingMax = 4

/**
 * Who would gain and who would lose which documents. Nothing is written, and OpenFGA is not asked: the
 * replica answers, with the change laid over its tuples. On record before it is given. One at a time. Throws
 * `invalid_request` for a change that does not fit the model, `authorization_unavailable` while there is no
 * replica, `overloaded` where too many wait. NOT looked at: what the registry of agents or a token takes
 * away besides. Does NOT check who asks.
 */
export function createWhatIf(dependencies: WhatIfDeps): WhatIf {
  const queue = createSerialQueue({
    pendingMax: waitingMax,
    full: () => overloaded(30, 'Others are waiting for what would be, too.'),
  })
  return (asker, question, { signal }) =>
    queue.run(async () => {
      const answer = await answerTo(dependencies, question, signal)
      const { can_read, can_read_delegated } = answer.changes
      await record(dependencies.sql, asker, {
        event: 'what_if_asked',
        writes: question.writes.map(toLine),
        deletes: question.deletes.map(toLine),
        ...endsOf(question.writes),
        model_digest: answer.candidate ?? null,
        people: question.people ?? null,
        documents: question.documents ?? null,
        gained: { can_read: can_read.gained.count, can_read_delegated: can_read_delegated.gained.count },
        lost: { can_read: can_read.lost.count, can_read_delegated: can_read_delegated.lost.count },
        complete: answer.limitedBy.length === 0,
        model_id: answer.modelId,
      })
      return answer
    })
}

async function answerTo(
  dependencies: WhatIfDeps,
  question: WhatIfQuestion,
  signal: AbortSignal,
): Promise<WhatIfAnswer> {
  const { fga, index, now } = dependencies
  for (const [index, person] of (question.people ?? []).entries())
    assertPerson(person, `question.people.${index}`, 'user:ID is needed.')
  const { model: dsl } = question
  const json = dsl === undefined ? undefined : await reading('model', () => dependencies.texts.read(dsl))
  const candidate = json && (await reading('model', () => readModel(json)))
  const nobodyMayWrite = await nobodys(() => dependencies.allowListOf(json), question.writes)
  const replica = await caughtUp(index, fga, signal)
  const delegations = await dependencies.listLiveDelegations()
  const view = replica.view()
  const { tailReadAt } = index.status()
  if (view === undefined || tailReadAt === undefined)
    throw new AppError('authorization_unavailable', {
      public: 'The replica of the permissions is not ready yet.',
    })
  const { model, modelId, tuples } = view
  const changedModel = candidate ?? model
  assertSupposable(question, changedModel)
  const nowMs = now()
  const found = createFound(tuples)
  const ended = await suppose({
    change: question,
    before: model,
    after: changedModel,
    tuples,
    delegations,
    people: question.people,
    documents: question.documents,
    context: contextAt(nowMs),
    now,
    pause: () => setImmediate(),
    limits: { ...defaults, ...dependencies.limits },
    take: found.take,
  })
  return {
    ...found.result(),
    limitedBy: [
      ...(replica.state === 'ready' ? [] : (['replica'] as const)),
      ...(ended.stopped === 'questions' || ended.stopped === 'time' ? [ended.stopped] : []),
    ],
    asked: { people: ended.people, agents: ended.agents, questions: ended.asked },
    unchanged: unchangedBy(question, tuples),
    nobodyMayWrite,
    replica: { state: replica.state, lagMs: replica.lagMs },
    readTo: tailReadAt,
    tuples: tuples.size,
    at: nowMs,
    modelId,
    candidate: dsl && digestOf(dsl),
  }
}

/** Of a list that cannot be used all: nobody writes then. */
async function nobodys(
  allowList: () => Promise<AllowList>,
  writes: SupposedChange['writes'],
): Promise<SupposedChange['writes']> {
  if (writes.length === 0) return []
  try {
    const list = await allowList()
    return writes.filter(
      (tuple) =>
        list.misfitOf(tuple as Tuple, 'write') !== undefined ||
        list.requirementOf(tuple as Tuple, 'write').kind === 'nobody',
    )
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'authorization_unavailable')) throw error
    return writes
  }
}

/** A model that can be compared: it compiles, and has what the service asks for. */
function readModel(json: ModelJson): Model {
  const model = compileModel(json)
  const [lacks] = refusalsOf(model).filter(
    ({ rule }) => rule === 'relation_missing' || rule === 'request_only_missing',
  )
  if (lacks !== undefined) throw invalid('model', `${lacks.relation}: ${lacks.detail}`)
  return model
}

function createFound(tuples: TupleView) {
  const tallies = changesOf(() => createFiledTally(tuples))
  let unanswered = 0
  return {
    take(asker: Asker, document: string, verdicts: Verdicts): void {
      if (verdicts.before === undefined || verdicts.after === undefined) unanswered += 1
      const side = sideOf(verdicts)
      if (side !== undefined) tallies[asker.relation][side].add(asker, document)
    },
    result: () => ({
      unanswered,
      changes: changesOf((relation, side) => tallies[relation][side].result()),
    }),
  }
}

function createFiledTally(tuples: TupleView) {
  const overallTally = createTally({ samplesMax })
  const filed = new Map<string | undefined, ReturnType<typeof createTally>>()

  function collectionOf(document: string): string | undefined {
    const node = tuples.node(documentObject(document))
    const [filedIn] = node === undefined ? [] : (tuples.at(node, 'filed_in')?.concrete ?? [])
    return filedIn && splitObject(filedIn.user.name).id
  }

  return {
    add(asker: Asker, document: string): void {
      overallTally.add(asker, document)
      const collection = collectionOf(document)
      const tally = filed.get(collection) ?? createTally({ samplesMax: 0 })
      filed.set(collection, tally)
      tally.add(asker, document)
    },
    result: (): Difference => ({
      ...overallTally.result(),
      collections: [...filed]
        .map(([collection, tally]) => {
          const { count, documents } = tally.result()
          return { collection, count, documents }
        })
        .sort((a, b) => b.count - a.count)
        .slice(0, collectionsMax),
    }),
  }
}

const toLine = ({ user, relation, object }: SupposedChange['deletes'][number]): string =>
  `${user} ${relation} ${object}`
