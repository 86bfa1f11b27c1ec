import { checkTuple, keyOf, type Model, type TupleStore } from '@remit/engine'
import {
  type Asker,
  type Compared,
  delegatedAskers,
  type LiveDelegation,
  ownAsker,
  strangerUser,
} from '../compare/askers.ts'
import { comparePairs, createSlices, type Verdicts } from '../compare/compare.ts'
import { namesIn } from '../compare/names.ts'
import { createTally, type Tally } from '../compare/tally.ts'

/** Two models over the same tuples. */
export interface ImpactInput {
  readonly base: Model
  readonly candidate: Model
  /** Changes in place while this runs: what comes in meanwhile may be in the result or not. */
  readonly tuples: TupleStore
  readonly delegations: readonly LiveDelegation[]
  /** Context of every question. */
  readonly context: { readonly current_time: string }
  /** Milliseconds, for slices. */
  readonly now: () => number
  /** Lets everything else in the process have a turn. */
  readonly pause: () => Promise<void>
  readonly limits?: Partial<ImpactLimits>
}

/** Where the comparison stops; the result is then not complete. */
export interface ImpactLimits {
  /** Questions, each asked under both models. */
  readonly questions: number
  /** Gained (who, document) pairs that are kept. */
  readonly gains: number
  /** Milliseconds. */
  readonly duration: number
}

/** relation → who → ids of documents. Who is `user:anne`, `anyone`, or `user:anne by agent:research-bot`. */
export type Gains = Readonly<Record<Compared, Readonly<Record<string, readonly string[]>>>>

/** What is gained or lost for one relation, with some samples. */
export interface Side {
  readonly count: number
  readonly people: number
  readonly documents: number
  readonly samples: readonly { readonly who: string; readonly document: string }[]
}

/** Who gains and loses what by a change of the model. */
export interface Impact {
  /** False: a limit stopped it; what is not listed may be gained all the same. */
  readonly complete: boolean
  readonly people: number
  readonly documents: number
  readonly delegations: number
  readonly gains: Gains
  readonly changes: Readonly<Record<Compared, { readonly gained: Side; readonly lost: Side }>>
  /** An agent is told what its person may not read. */
  readonly beyondOwn: Side
  /** Somebody for whom nothing is stored gets something by what a request brings. */
  readonly byRequest: Side
  /** Questions that the candidate could not answer: denied, as the gate would. */
  readonly unanswered: number
  /** Those of them that today's model denies: whether somebody gains there, nobody can say. */
  readonly unknown: Side
}

const defaults: ImpactLimits = { questions: 5_000_000, gains: 200_000, duration: 300_000 }
const samplesMax = 20

/** Evaluates both models for every person and document that the tuples name, and for every live delegation. */
export async function compareModels(input: ImpactInput): Promise<Impact> {
  const { base, candidate, tuples, delegations, context } = input
  const limits = { ...defaults, ...input.limits }
  const { people, documents } = namesIn(tuples)
  const askers = [...[strangerUser, ...people].map(ownAsker), ...delegations.flatMap(delegatedAskers)]
  const found = createFound()
  const { stopped } = await comparePairs({
    sides: () => ({ before: { model: base, tuples }, after: { model: candidate, tuples } }),
    groups: askers.map((asker) => ({ asker, documents })),
    context,
    slices: createSlices(input.now, input.pause),
    limits,
    take(asker, document, verdicts) {
      found.add(asker, document, verdicts)
      return found.gained <= limits.gains
    },
  })
  return {
    complete: stopped === undefined,
    people: people.length,
    documents: documents.length,
    delegations: delegations.length,
    ...found.result(),
  }
}

/** Stored tuples that fit the one model and not the other. */
export function invalidTuples(base: Model, candidate: Model, tuples: TupleStore) {
  let count = 0
  const samples: { readonly tuple: string; readonly reason: string }[] = []
  for (const tuple of tuples.after('')) {
    const key = keyOf(tuple)
    const misfit = checkTuple(candidate, key)
    if (misfit === undefined || checkTuple(base, key) !== undefined) continue
    count += 1
    if (samples.length < samplesMax)
      samples.push({ tuple: `${key.user} ${key.relation} ${key.object}`, reason: misfit.reason })
  }
  return { count, samples }
}

const isBeyondOwn = ({ user }: Asker, { after: allowedAfter, askAfter }: Verdicts): boolean =>
  allowedAfter === true && askAfter({ user, relation: 'can_read', contextual: [] }) !== true

const isByRequest = ({ relation, contextual }: Asker, { askAfter }: Verdicts): boolean =>
  askAfter({
    user: strangerUser,
    relation,
    contextual: contextual.map((tuple) => ({ ...tuple, user: strangerUser })),
  }) === true

function createFound() {
  const gains: Record<Compared, Record<string, string[]>> = { can_read: {}, can_read_delegated: {} }
  const changesByRelation = {
    can_read: { gained: createTally({ samplesMax }), lost: createTally({ samplesMax }) },
    can_read_delegated: { gained: createTally({ samplesMax }), lost: createTally({ samplesMax }) },
    beyondOwn: createTally({ samplesMax }),
    byRequest: createTally({ samplesMax }),
    unknown: createTally({ samplesMax }),
  }
  let unanswered = 0
  let gained = 0
  return {
    get gained() {
      return gained
    },
    add(asker: Asker, document: string, verdicts: Verdicts): void {
      const { who: userName, relation } = asker
      const { before: allowedBefore, after: allowedAfter } = verdicts
      if (allowedAfter === undefined) {
        unanswered += 1
        if (allowedBefore === false) changesByRelation.unknown.add(asker, document)
      }
      if (relation === 'can_read_delegated') {
        if (isBeyondOwn(asker, verdicts)) changesByRelation.beyondOwn.add(asker, document)
        if (isByRequest(asker, verdicts)) changesByRelation.byRequest.add(asker, document)
      }
      if ((allowedBefore === true) === (allowedAfter === true)) return
      const changes = changesByRelation[relation]
      if (allowedBefore === true) return changes.lost.add(asker, document)
      gained += 1
      changes.gained.add(asker, document)
      const documents = gains[relation][userName] ?? []
      documents.push(document)
      gains[relation][userName] = documents
    },
    result: () => ({
      gains,
      changes: {
        can_read: {
          gained: sideOf(changesByRelation.can_read.gained),
          lost: sideOf(changesByRelation.can_read.lost),
        },
        can_read_delegated: {
          gained: sideOf(changesByRelation.can_read_delegated.gained),
          lost: sideOf(changesByRelation.can_read_delegated.lost),
        },
      },
      beyondOwn: sideOf(changesByRelation.beyondOwn),
      byRequest: sideOf(changesByRelation.byRequest),
      unanswered,
      unknown: sideOf(changesByRelation.unknown),
    }),
  }
}

function sideOf(tally: Tally): Side {
  const { samples, ...counts } = tally.result()
  return { ...counts, samples: samples.map(({ asker, document }) => ({ who: asker.who, document })) }
}

/** Gains that are not among those of another comparison. */
export function unconfirmed(now: Gains, confirmed: Gains): readonly { who: string; document: string }[] {
  return (Object.keys(now) as Compared[]).flatMap((relation) =>
    Object.entries(now[relation]).flatMap(([userName, documents]) => {
      const confirmedDocuments = new Set(
        Object.hasOwn(confirmed[relation], userName) ? confirmed[relation][userName] : [],
      )
      return documents
        .filter((document) => !confirmedDocuments.has(document))
        .map((document) => ({ who: userName, document }))
    }),
  )
}
