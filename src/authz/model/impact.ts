import { checkTuple, keyOf, type Model, type TupleStore } from '@remit/engine'
import { type Asker, askersOf, type Compared, namesIn, strangerUser } from '../compare/askers.ts'
import {
  type Changes,
  type ComparisonInput,
  type Counted,
  changesOf,
  comparePairs,
  createSlices,
  createTally,
  type PairLimits,
  sideOf,
  type Tally,
  type Verdicts,
} from '../compare/compare.ts'

/** Two models over the same tuples. */
export interface ImpactInput extends ComparisonInput {
  readonly base: Model
  readonly candidate: Model
  readonly limits?: Partial<ImpactLimits>
}

/** Where the comparison stops; the result is then not complete. */
export interface ImpactLimits extends PairLimits {
  /** Gained (who, document) pairs that are kept. */
  readonly gains: number
}

/** relation → who → ids of documents. Who is `user:anne`, `anyone`, or `user:anne by agent:research-bot`. */
export type Gains = Readonly<Record<Compared, Readonly<Record<string, readonly string[]>>>>

/** What is gained or lost for one relation, with some samples. */
export interface Side extends Omit<Counted, 'samples'> {
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
  readonly changes: Changes<Side>
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

/**
 * Evaluates both models for every person and document that the tuples name, and for every live delegation.
 */
export async function compareModels(input: ImpactInput): Promise<Impact> {
  const { base, candidate, tuples, delegations, context } = input
  const limits = { ...defaults, ...input.limits }
  const { people, documents } = namesIn(tuples)
  const found = createFound()
  const { stopped } = await comparePairs({
    sides: () => ({ before: { model: base, tuples }, after: { model: candidate, tuples } }),
    groups: askersOf(people, delegations).map((asker) => ({ asker, documents })),
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

/** Of a model that lacks what is asked for: it has no answers to compare. */
export const notCompared = (): Impact => ({
  complete: false,
  people: 0,
  documents: 0,
  delegations: 0,
  ...createFound().result(),
})

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
  const newTally = () => createTally({ samplesMax })
  const gains: Record<Compared, Record<string, string[]>> = { can_read: {}, can_read_delegated: {} }
  const changes = changesOf(newTally)
  const [beyondOwn, byRequest, unknown] = [newTally(), newTally(), newTally()]
  let unanswered = 0
  let gained = 0
  return {
    get gained() {
      return gained
    },
    add(asker: Asker, document: string, verdicts: Verdicts): void {
      const { who: userName, relation } = asker
      if (verdicts.after === undefined) {
        unanswered += 1
        if (verdicts.before === false) unknown.add(asker, document)
      }
      if (relation === 'can_read_delegated') {
        if (isBeyondOwn(asker, verdicts)) beyondOwn.add(asker, document)
        if (isByRequest(asker, verdicts)) byRequest.add(asker, document)
      }
      const side = sideOf(verdicts)
      if (side === undefined) return
      changes[relation][side].add(asker, document)
      if (side === 'lost') return
      gained += 1
      const documents = gains[relation][userName] ?? []
      documents.push(document)
      gains[relation][userName] = documents
    },
    result: () => ({
      gains,
      changes: changesOf((relation, side) => shownSide(changes[relation][side])),
      beyondOwn: shownSide(beyondOwn),
      byRequest: shownSide(byRequest),
      unanswered,
      unknown: shownSide(unknown),
    }),
  }
}

function shownSide(tally: Tally): Side {
  const { samples, ...counts } = tally.result()
  return { ...counts, samples: samples.map(({ asker, document }) => ({ who: asker.who, document })) }
}
