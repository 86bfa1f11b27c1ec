import {
  ConditionError,
  check,
  checkTuple,
  createMemo,
  FgaError,
  keyOf,
  type Memo,
  type Model,
  type TupleStore,
} from '@remit/engine'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { TupleKey } from '../fga.ts'
import { presentedTuples } from '../presented.ts'

export interface LiveDelegation {
  readonly id: string
  /** `user:anne` */
  readonly subject: FgaObject
  /** `research-bot` and those to which it may be passed on. */
  readonly agents: readonly string[]
}

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

export interface ImpactLimits {
  /** Questions, each asked under both models. */
  readonly questions: number
  /** Gained (who, document) pairs that are kept. */
  readonly gains: number
  /** Milliseconds. */
  readonly duration: number
}

export type Compared = 'can_read' | 'can_read_delegated'

/** relation → who → ids of documents. Who is `user:anne`, `anyone`, or `user:anne by agent:research-bot`. */
export type Gains = Readonly<Record<Compared, Readonly<Record<string, readonly string[]>>>>

export interface Side {
  readonly count: number
  readonly people: number
  readonly documents: number
  readonly samples: readonly { readonly who: string; readonly document: string }[]
}

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
const sliceMs = 10
const samplesMax = 20
// Stands for everybody for whom no tuple is stored. No id that may be written looks like this.
const stranger = 'user:!anyone'

/**
 * Evaluates both models for every person and document that the tuples name, and for every live delegation as its
 * agents would ask. In slices, so that the process goes on answering.
 */
export async function compareModels(input: ImpactInput): Promise<Impact> {
  const limits = { ...defaults, ...input.limits }
  const { people, documents } = namesIn(input.tuples)
  const askers = [
    ...[stranger, ...people].map(ownAsker),
    ...input.delegations.flatMap(({ id, subject, agents }) =>
      agents.map((agent) => delegatedAsker(subject, agent, id)),
    ),
  ]
  const tally = createTally()
  const started = input.now()
  let slice = started
  let asked = 0
  let complete = true
  for (const asker of askers) {
    let ask = questionsOf(input, asker)
    for (const document of documents) {
      if (++asked > limits.questions || tally.gained > limits.gains) complete = false
      if (asked % 16 === 0 && input.now() - slice > sliceMs) {
        await input.pause()
        slice = input.now()
        if (slice - started > limits.duration) complete = false
        // The tuples may have changed meanwhile, and a memo holds for one state of them.
        ask = questionsOf(input, asker)
      }
      if (!complete) break
      tally.add(asker, document, ask(document))
    }
    if (!complete) break
  }
  return {
    complete,
    people: people.length,
    documents: documents.length,
    delegations: input.delegations.length,
    ...tally.result(),
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

interface Asker {
  readonly who: string
  readonly user: string
  readonly relation: Compared
  readonly contextual: readonly TupleKey[]
}

const ownAsker = (user: string): Asker => ({
  who: user === stranger ? 'anyone' : user,
  user,
  relation: 'can_read',
  contextual: [],
})

const delegatedAsker = (user: FgaObject, agent: string, delegation: string): Asker => ({
  who: `${user} by agent:${agent}`,
  user,
  relation: 'can_read_delegated',
  contextual: presentedTuples({ user, agent: `agent:${agent}`, delegation }),
})

interface Verdicts {
  readonly before: boolean | undefined
  readonly after: boolean | undefined
  readonly beyondOwn: boolean
  readonly byRequest: boolean
}

function questionsOf({ base, candidate, tuples, context }: ImpactInput, asker: Asker) {
  const memos = new Map<Model, Memo>([
    [base, createMemo()],
    [candidate, createMemo()],
  ])
  const { user, relation, contextual } = asker
  const strangers = contextual.map((tuple) => ({ ...tuple, user: stranger }))
  const ask = (
    model: Model,
    question: { user: string; relation: string; object: string; contextualTuples?: readonly TupleKey[] },
  ) => allows(model, tuples, { ...question, context }, memos.get(model))
  return (document: string): Verdicts => {
    const object = `document:${document}`
    const before = ask(base, { user, relation, object, contextualTuples: contextual })
    const after = ask(candidate, { user, relation, object, contextualTuples: contextual })
    if (relation === 'can_read') return { before, after, beyondOwn: false, byRequest: false }
    return {
      before,
      after,
      beyondOwn: after === true && ask(candidate, { user, relation: 'can_read', object }) !== true,
      byRequest: ask(candidate, { user: stranger, relation, object, contextualTuples: strangers }) === true,
    }
  }
}

/** undefined: it cannot be evaluated, which is no yes. */
function allows(
  model: Model,
  tuples: TupleStore,
  request: Parameters<typeof check>[2],
  memo: Memo | undefined,
): boolean | undefined {
  try {
    return check(model, tuples, request, memo)
  } catch (error) {
    if (error instanceof ConditionError || error instanceof FgaError) return undefined
    throw error
  }
}

function namesIn(tuples: TupleStore): { readonly people: string[]; readonly documents: string[] } {
  const people = new Set<string>()
  const documents = new Set<string>()
  for (const { user, userRelation, object } of tuples.after('')) {
    if (user.type === 'user' && userRelation === '' && !user.wildcard) people.add(user.name)
    if (object.type === 'document') documents.add(splitObject(object.name).id)
  }
  return { people: [...people].sort(), documents: [...documents].sort() }
}

function createTally() {
  const gains: Record<Compared, Record<string, string[]>> = { can_read: {}, can_read_delegated: {} }
  const sides = {
    can_read: { gained: createSide(), lost: createSide() },
    can_read_delegated: { gained: createSide(), lost: createSide() },
    beyondOwn: createSide(),
    byRequest: createSide(),
    unknown: createSide(),
  }
  let unanswered = 0
  let gained = 0
  return {
    get gained() {
      return gained
    },
    add({ who, relation }: Asker, document: string, { before, after, beyondOwn, byRequest }: Verdicts): void {
      if (after === undefined) {
        unanswered += 1
        if (before === false) sides.unknown.add(who, document)
      }
      if (beyondOwn) sides.beyondOwn.add(who, document)
      if (byRequest) sides.byRequest.add(who, document)
      if ((before === true) === (after === true)) return
      const side = sides[relation]
      if (before === true) return side.lost.add(who, document)
      gained += 1
      side.gained.add(who, document)
      const documents = gains[relation][who] ?? []
      documents.push(document)
      gains[relation][who] = documents
    },
    result: () => ({
      gains,
      changes: {
        can_read: { gained: sides.can_read.gained.result(), lost: sides.can_read.lost.result() },
        can_read_delegated: {
          gained: sides.can_read_delegated.gained.result(),
          lost: sides.can_read_delegated.lost.result(),
        },
      },
      beyondOwn: sides.beyondOwn.result(),
      byRequest: sides.byRequest.result(),
      unanswered,
      unknown: sides.unknown.result(),
    }),
  }
}

function createSide() {
  const people = new Set<string>()
  const documents = new Set<string>()
  const samples: { who: string; document: string }[] = []
  let count = 0
  return {
    add(who: string, document: string): void {
      count += 1
      // One a person: twenty documents of one and the same say less than twenty people.
      if (samples.length < samplesMax && !people.has(who)) samples.push({ who, document })
      people.add(who)
      documents.add(document)
    },
    result: (): Side => ({ count, people: people.size, documents: documents.size, samples }),
  }
}

/** Gains that are not among those of another comparison. */
export function unconfirmed(now: Gains, confirmed: Gains): readonly { who: string; document: string }[] {
  return (Object.keys(now) as Compared[]).flatMap((relation) =>
    Object.entries(now[relation]).flatMap(([who, documents]) => {
      const known = new Set(Object.hasOwn(confirmed[relation], who) ? confirmed[relation][who] : [])
      return documents.filter((document) => !known.has(document)).map((document) => ({ who, document }))
    }),
  )
}
