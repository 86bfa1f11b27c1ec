import type { Why } from '../authz/explain/why.ts'
import type { Gate } from '../authz/gate.ts'
import type { Embedder } from '../embed/embedder.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import type { Principal } from '../kernel/principal.ts'
import { reasonOf } from '../kernel/reason.ts'
import type { Timer } from '../kernel/timer.ts'
import { readPublications } from '../store/in-force.ts'
import type { Database } from '../store/sql.ts'
import type { Visibility } from './access-filter/visibility.ts'
import type { AccessFilter } from './access-filter/visible.ts'
import { type Approvals, mayAsk, type Presenting, shownGrants } from './approvals.ts'
import { type Attempt, createAttempts } from './attempts.ts'
import { type Branches, clearBest, keptPassagesMax } from './best.ts'
import type { Mode } from './candidate.ts'
import type { SearchOptions } from './chunk-index/port.ts'
import type { Corpus } from './corpus/corpus.ts'
import { type Deadline, isOver } from './deadline.ts'
import type { Answer, OnAnswer, Question } from './question.ts'
import { release } from './release.ts'
import { type Keyed, narrowedCollections } from './scope.ts'
import type { Search } from './search.ts'

/** What a question passes: visibility, searches, the gate, reading and the record. */
export interface RetrieverDeps extends BranchesDeps {
  readonly sql: Database
  readonly approvals: Approvals
  readonly presenting: Presenting
  readonly visibility: Visibility
  /** What search and gate know of what is in force. */
  readonly corpus: Pick<Corpus, 'refresh'>
  readonly gate: Gate
  readonly keyed: Keyed
  readonly why: Why
  /** Whether the record keeps what was asked, not only its digest. */
  readonly keepsQueries: boolean
  readonly now: () => number
  /** The name of a document that never was, another one each time. */
  readonly newDecoy: () => string
  readonly timer: Timer
  /** Told of each answer; must not throw. */
  readonly onAnswer?: OnAnswer
}

/** Answers one question. Throws an AppError; nothing leaves that the record does not hold. */
export type Retriever = (principal: Principal, question: Question, deadline: Deadline) => Promise<Answer>

/**
 * Answers a question with passages that the principal may read: embed → nominate → search → gate → read →
 * record. Every candidate is cleared before any text is loaded, and the record is committed before the answer
 * leaves, with the uses of the grants that it rests on. Does NOT check token scopes: the face does.
 */
export function createRetriever(dependencies: RetrieverDeps): Retriever {
  const attempts = createAttempts(dependencies)
  return async (principal, question, deadline) => {
    const [branches, begunAttempts] = await Promise.all([
      chooseBranches(question, dependencies, deadline.signal),
      attempts.begin(principal, question.approval),
    ])
    const queryHmac = dependencies.keyed.query(question)
    const askedSearch = { principal, question, queryHmac, branches, deadline }
    return begunAttempts.answer(queryHmac, (attempt) => answerWith(askedSearch, attempt, dependencies))
  }
}

interface Asked {
  readonly principal: Principal
  readonly question: Question
  readonly queryHmac: string
  readonly branches: ChosenBranches
  readonly deadline: Deadline
}

// Once: then also what no look at the corpus tells counts before it is ranked, such as a silent source.
const anewMax = 1

/** Undefined: it would have rested on a use that does not count, or lacked what could be presented. */
async function answerWith(
  askedSearch: Asked,
  attempt: Attempt,
  dependencies: RetrieverDeps,
): Promise<Answer | undefined> {
  for (let anew = 0; ; anew += 1) {
    const answer = await answerOnce(askedSearch, attempt, anew < anewMax, dependencies)
    if (answer !== 'outdated') return answer
    await dependencies.corpus.refresh()
  }
}

async function answerOnce(
  askedSearch: Asked,
  attempt: Attempt,
  mayAskAnew: boolean,
  dependencies: RetrieverDeps,
): Promise<Answer | 'outdated' | undefined> {
  const { visibility, gate, keyed, newDecoy, timer, onAnswer } = dependencies
  const { principal, question, queryHmac, branches, deadline } = askedSearch
  const { signal } = deadline
  const { modeUsed } = branches
  const grants = attempt.presented.map(({ id }) => id)
  // Also where no offer may be made any more: what is done, and how long it takes, does not tell whether
  // there is one.
  const tells = mayAsk(principal)
  const sight = await visibility.of(principal, {
    signal,
    grants,
    granted: shownGrants(attempt.presented).flatMap(({ documentIds }) => documentIds),
    tells,
    // OpenFGA takes longer about what is there: its time would make an offer of one that may not be made.
    offers: attempt.mayOffer,
    ...narrowedCollections(principal, question.collections),
    ...(question.filter && { filter: question.filter }),
  })
  const { consistency, topK, query } = question
  const telling = tells ? { chunksMax: keptPassagesMax(query), by: queryHmac } : undefined
  const clearing = gate.open(principal, { consistency, grants: shownGrants(attempt.presented), signal })
  const bestCleared = await clearBest({
    ...{ topK, sight, branches, clearing, deadline, newDecoy, timer, telling },
    // A source that is closed is out of the searches a little later. Most questions need not ask for that.
    ...(!mayAskAnew && { readableOf: (ids) => readPublications(dependencies.sql, ids) }),
  })
  const mayGoBack = mayAskAnew && !isOver(deadline)
  if (bestCleared.isOutdated && mayGoBack) return 'outdated'
  const isComplete = bestCleared.complete && sight.complete
  const releasing = {
    ...askedSearch,
    ...attempt,
    ...bestCleared,
    modeUsed,
    clearing,
    complete: isComplete,
    mayAskAnew: mayGoBack,
  }
  const released = await release(releasing, dependencies)
  if (released === undefined || released === 'outdated') return released
  const documents = new Set(released.passages.map(({ documentId }) => documentId))
  onAnswer?.({ ...clearing.counts, returned: documents.size })
  const { modelId } = clearing
  return { ...released, modeUsed, modelId, scopeKey: keyed.scope(principal, { modelId, grants }) }
}

/** The searches, and the model where there is one. */
interface BranchesDeps {
  readonly search: Search
  /** Undefined: no model could be had, and every question is answered by words. */
  readonly embedder: Embedder | undefined
  readonly log: Log
}

/** The searches of one question, and the mode that the answer names. */
interface ChosenBranches extends Branches {
  readonly modeUsed: Mode
}

/**
 * Chooses what a question is searched by, and embeds it. A model that does not answer leaves the words; a
 * vector search has nothing else: `search_unavailable`. `invalid` names `embedding` where its length is not
 * the model's.
 */
async function chooseBranches(
  question: Question,
  dependencies: BranchesDeps,
  signal: AbortSignal,
): Promise<ChosenBranches> {
  const { search } = dependencies
  const { query, mode } = question
  const byWords = (visible: AccessFilter, depth: number, options: SearchOptions = { signal }) =>
    search.keyword(visible, query ?? '', depth, options)
  const alone = depthOfOne(question.topK)
  const wordBranch: ChosenBranches = {
    modeUsed: 'keyword',
    depth: alone,
    run: async (...searchArguments) => [await byWords(...searchArguments)],
    foundAnyway: () => [],
  }
  if (mode === 'keyword') return wordBranch
  const embedding = await embed(question, dependencies, signal)
  if (embedding === undefined) {
    if (query === undefined)
      throw new AppError('search_unavailable', { public: 'There are no vectors to search by.' })
    return wordBranch
  }
  if (mode === 'vector' || query === undefined) {
    return {
      modeUsed: 'vector',
      depth: alone,
      run: async (visible, depth, options = { signal }) => [
        await search.vector(visible, embedding, depth, options),
      ],
      foundAnyway: (visible) => search.foundAnyway(visible, alone),
    }
  }
  return {
    modeUsed: 'hybrid',
    depth: Math.max(fusedMin, alone),
    foundAnyway: (visible) => search.foundAnyway(visible, alone),
    run: (visible, depth, options = { signal }) =>
      Promise.all([search.vector(visible, embedding, depth, options), byWords(visible, depth, options)]),
  }
}

async function embed(
  { query, embedding }: Question,
  { embedder, log }: BranchesDeps,
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
    log('embedding_failed', { reason: reasonOf(error) })
    return undefined
  }
}

// Fusing only 50 of each list loses a little of what the longer ones agree on
// (docs/decisions/0005-ranking.md). Of one list only its head can be in the answer; the rest stands by for
// what is refused.
const fusedMin = 100
const aloneMin = 20
const aloneEach = 2

/** How many are looked for at first, where there is one list. */
export const depthOfOne = (topK: number): number => Math.max(aloneMin, topK * aloneEach)
