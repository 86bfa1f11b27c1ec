import type { Why } from '../authz/explain/why.ts'
import type { Gate, GateCounts } from '../authz/gate.ts'
import type { Embedder } from '../embed/embedder.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import type { Principal } from '../kernel/principal.ts'
import type { Database } from '../store/sql.ts'
import { type Approvals, mayAsk, namedBy, type Presented, type Presenting, shown } from './approvals.ts'
import { type Branches, clearBest } from './best.ts'
import type { Mode } from './candidate.ts'
import type { Deadline } from './deadline.ts'
import type { Filter } from './filter.ts'
import { createPlainHolders, type PlainHolders } from './plain.ts'
import type { Passage } from './read.ts'
import { release } from './release.ts'
import { type Keyed, narrowedCollections } from './scope.ts'
import type { Search } from './search.ts'
import type { Visibility } from './visible/visibility.ts'
import type { Visible } from './visible/visible.ts'

/** What is asked: words, or a vector of the caller's own. */
export interface Question {
  readonly query?: string
  readonly embedding?: Float32Array
  readonly topK: number
  readonly mode: Mode
  readonly collections?: readonly string[]
  readonly filter?: Filter
  readonly consistency: 'fast' | 'strict'
  /** A grant that the agent presents, `g_…`. No part of what is asked: its digest is the same with and without. */
  readonly approval?: string
}

export interface Answer {
  readonly passages: readonly Passage[]
  /** False iff the deadline, a budget or an unready index stopped the search. */
  readonly complete: boolean
  /** What was searched by in the end: `keyword` where no vectors can be had. */
  readonly modeUsed: Mode
  readonly modelId: string
  readonly scopeKey: string
  /** The person could be asked for more than the agent was given: `o_…`. */
  readonly offer?: string
}

/** What one answer took of OpenFGA, and what it brought: documents, each once. Tells neither who asked nor what. */
export interface AnswerEvent extends GateCounts {
  readonly returned: number
}

export type OnAnswer = (event: AnswerEvent) => void

export interface RetrieverDeps {
  readonly sql: Database
  readonly approvals: Approvals
  readonly presenting: Presenting
  readonly search: Search
  readonly visibility: Visibility
  readonly gate: Gate
  /** Undefined: no model could be had, and every question is answered by words. */
  readonly embedder: Embedder | undefined
  readonly keyed: Keyed
  readonly why: Why
  /** Whether the record keeps what was asked, not only its digest. */
  readonly keepsQueries: boolean
  readonly log: Log
  readonly now: () => number
  /** The name of a document that never was, another one each time. */
  readonly newDecoy: () => string
  /** Told of each answer; must not throw. */
  readonly onAnswer?: OnAnswer
}

export type Retriever = (principal: Principal, question: Question, deadline: Deadline) => Promise<Answer>

interface Prepared extends Branches {
  readonly modeUsed: Mode
}

/**
 * Answers a question with passages that the principal may read: nominate → search → gate → read → record.
 * Every candidate is cleared before any text is loaded, and the record is committed before the answer leaves, with
 * the uses of the grants that it rests on. Does NOT check token scopes: the face does.
 */
export function createRetriever(deps: RetrieverDeps): Retriever {
  const { keyed, approvals, presenting, now } = deps
  const plain = createPlainHolders(now)
  return async (principal, question, deadline) => {
    const named = namedBy(principal, question.approval)
    const isPlain = named.length === 0 && plain.has(principal)
    const [branches, mayOffer] = await Promise.all([
      prepare(question, deps, deadline),
      isPlain ? mayAsk(principal) : approvals.mayOffer(principal),
    ])
    const queryHmac = keyed.query(question)
    const asked = { principal, question, queryHmac, branches, deadline, mayOffer, plain }
    if (isPlain) {
      const answer = await answerWith({ ...asked, unlooked: true }, [], deps)
      if (answer !== undefined) return answer
      plain.forget(principal)
    }
    return presenting.answer(principal, { named, queryHmac }, (presented) => {
      if (named.length === 0 && presented.length === 0 && mayOffer === mayAsk(principal))
        plain.note(principal)
      return answerWith({ ...asked, unlooked: false }, presented, deps)
    })
  }
}

interface Asked {
  readonly principal: Principal
  readonly question: Question
  readonly queryHmac: string
  readonly branches: Prepared
  readonly deadline: Deadline
  readonly mayOffer: boolean
  readonly plain: PlainHolders
  /** Nobody looked whether something could be presented: what records the answer does. */
  readonly unlooked: boolean
}

/** Undefined: it would have rested on a use that does not count, or lacked what could be presented. */
async function answerWith(
  asked: Asked,
  presented: readonly Presented[],
  deps: RetrieverDeps,
): Promise<Answer | undefined> {
  const { visibility, gate, keyed, onAnswer } = deps
  const { principal, question, queryHmac, branches, deadline, mayOffer, unlooked, plain } = asked
  const grants = presented.map(({ id }) => id)
  // Also where no offer may be made any more: what is done, and how long it takes, does not tell whether there is one.
  const tells = mayAsk(principal)
  const sight = await visibility.of(principal, {
    signal: deadline.signal,
    grants,
    granted: shown(presented).flatMap(({ documentIds }) => documentIds),
    tells,
    // OpenFGA takes longer about what is there: its time would make an offer of one that may not be made.
    offers: mayOffer,
    ...narrowedCollections(principal, question.collections),
    ...(question.filter && { filter: question.filter }),
  })
  const clearing = gate.open(principal, {
    consistency: question.consistency,
    grants: shown(presented),
    signal: deadline.signal,
  })
  const found = await clearBest({
    topK: question.topK,
    sight,
    branches,
    clearing,
    deadline,
    newDecoy: deps.newDecoy,
    tells,
  })
  const complete = found.complete && sight.complete
  const left = { principal, question, queryHmac, modeUsed: branches.modeUsed, unlooked, plain }
  const released = await release(
    { ...left, presented, clearing, cleared: found.cleared, tellable: found.tellable, complete },
    deps,
  )
  if (released === undefined) return undefined
  const documents = new Set(released.passages.map(({ documentId }) => documentId))
  onAnswer?.({ ...clearing.counts, returned: documents.size })
  return {
    ...released,
    modeUsed: branches.modeUsed,
    modelId: clearing.modelId,
    scopeKey: keyed.scope(principal, { modelId: clearing.modelId, grants }),
  }
}

/** Chooses what to search by. A model that does not answer leaves the words; a vector search has nothing else. */
async function prepare(question: Question, deps: RetrieverDeps, { signal }: Deadline): Promise<Prepared> {
  const { search } = deps
  const { query, mode } = question
  const byWords = (visible: Visible, depth: number, like?: Visible) =>
    search.keyword(visible, query ?? '', depth, like)
  const alone = depthOfOne(question.topK)
  const words: Prepared = {
    modeUsed: 'keyword',
    depth: alone,
    run: async (...asked) => [await byWords(...asked)],
    foundAnyway: () => [],
  }
  if (mode === 'keyword') return words
  const embedding = await embed(question, deps, signal)
  if (embedding === undefined) {
    if (query === undefined)
      throw new AppError('search_unavailable', { public: 'There are no vectors to search by.' })
    return words
  }
  if (mode === 'vector' || query === undefined) {
    return {
      modeUsed: 'vector',
      depth: alone,
      run: async (visible, depth, like) => [await search.vector(visible, embedding, depth, like)],
      foundAnyway: (visible) => search.foundAnyway(visible, alone),
    }
  }
  return {
    modeUsed: 'hybrid',
    depth: Math.max(fusedMin, alone),
    foundAnyway: (visible) => search.foundAnyway(visible, alone),
    run: (visible, depth, like) =>
      Promise.all([search.vector(visible, embedding, depth, like), byWords(visible, depth, like)]),
  }
}

async function embed(
  { query, embedding }: Question,
  { embedder, log }: RetrieverDeps,
  signal: AbortSignal,
): Promise<Float32Array | undefined> {
  if (embedder === undefined) return undefined
  if (embedding !== undefined) {
    if (embedding.length !== embedder.dimensions) {
      throw invalid('embedding', `Vectors here have ${embedder.dimensions} numbers.`)
    }
    return embedding
  }
  if (query === undefined) return undefined
  try {
    return await embedder.embedQuery(query, { signal })
  } catch (error) {
    // Words still answer, and `mode_used` says so; the operator has to hear of it as well.
    log('embedding_failed', { reason: error instanceof Error ? error.message : 'thrown value' })
    return undefined
  }
}

// Fusing only 50 of each list loses a little of what the longer ones agree on (docs/decisions/0005-ranking.md). Of one list
// only its head can be in the answer; the rest stands by for what is refused.
const fusedMin = 100
const aloneMin = 20
const aloneEach = 2

/** How many are looked for at first, where there is one list. */
export const depthOfOne = (topK: number): number => Math.max(aloneMin, topK * aloneEach)
