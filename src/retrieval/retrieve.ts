import { type Released, record } from '../audit/record.ts'
import type { Cleared, Clearing, Gate } from '../authz/gate.ts'
import type { Nominator } from '../authz/nominate.ts'
import type { Embedder } from '../embed/embedder.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import type { Principal } from '../kernel/principal.ts'
import type { Sql } from '../store/sql.ts'
import type { Candidate, Mode } from './candidate.ts'
import { type Deadline, isOver } from './deadline.ts'
import type { Filter } from './filter.ts'
import { fuse } from './fuse.ts'
import { proven } from './proven.ts'
import { type Passage, readPassages } from './read.ts'
import { type Keyed, narrowedCollections } from './scope.ts'
import type { Search, Visible } from './search.ts'

/** What is asked: words, or a vector of the caller's own. */
export interface Question {
  readonly query?: string
  readonly embedding?: Float32Array
  readonly topK: number
  readonly mode: Mode
  readonly collections?: readonly string[]
  readonly filter?: Filter
  readonly consistency: 'fast' | 'strict'
}

export interface Answer {
  readonly passages: readonly Passage[]
  /** False iff the deadline, a budget or an unready index stopped the search. */
  readonly complete: boolean
  /** What was searched by in the end: `keyword` where no vectors can be had. */
  readonly modeUsed: Mode
  readonly modelId: string
  readonly scopeKey: string
}

export interface RetrieverDeps {
  readonly sql: Sql
  readonly search: Search
  readonly nominator: Nominator
  readonly gate: Gate
  /** Undefined: no model could be had, and every question is answered by words. */
  readonly embedder: Embedder | undefined
  readonly keyed: Keyed
  readonly log: Log
}

export type Retriever = (principal: Principal, question: Question, deadline: Deadline) => Promise<Answer>

interface Branches {
  readonly modeUsed: Mode
  run(visible: Visible, depth: number): Promise<Candidate[][]>
}

interface Found {
  readonly cleared: readonly Cleared<Candidate>[]
  readonly complete: boolean
}

/**
 * Answers a question with passages that the principal may read: nominate → search → gate → read → record.
 * Every candidate is cleared before any text is loaded, and the record is committed before the answer leaves.
 * Does NOT check token scopes: the face does.
 */
export function createRetriever(deps: RetrieverDeps): Retriever {
  const { sql, search, nominator, gate, keyed } = deps
  return async (principal, question, deadline) => {
    const branches = await prepare(question, deps, deadline)
    const nomination = await nominator.nominate(principal, { signal: deadline.signal })
    const visible = await search.visible(nomination.documentIds, {
      ...narrowedCollections(principal, question.collections),
      ...(question.filter && { filter: question.filter }),
    })
    const clearing = gate.open(principal, {
      consistency: question.consistency,
      passOver: true,
      signal: deadline.signal,
    })
    const found = await clearBest({ question, visible, branches, clearing, deadline })
    const passages = await readPassages(sql, found.cleared)
    // Withdrawn or replaced since it was found: another passage would stand in its place.
    const isWhole = passages.length === found.cleared.length
    const complete = found.complete && nomination.complete && isWhole
    const { considered, denied, passedOver, errors } = clearing.counts
    // Before anything is returned: an answer that nobody can account for is not given.
    await record(sql, principal, {
      event: 'retrieved',
      query_hmac: keyed.query(question),
      model_id: clearing.modelId,
      consistency: question.consistency,
      mode: branches.modeUsed,
      openfga_request_ids: clearing.requestIds,
      released: released(passages, clearing),
      considered,
      denied,
      passed_over: passedOver,
      errors,
      complete,
    })
    return {
      passages,
      complete,
      modeUsed: branches.modeUsed,
      modelId: clearing.modelId,
      scopeKey: keyed.scope(principal, clearing.modelId),
    }
  }
}

/** Chooses what to search by. A model that does not answer leaves the words; a vector search has nothing else. */
async function prepare(question: Question, deps: RetrieverDeps, { signal }: Deadline): Promise<Branches> {
  const { search } = deps
  const { query, mode } = question
  const byWords = (visible: Visible, depth: number) => search.keyword(visible, query ?? '', depth)
  const words: Branches = {
    modeUsed: 'keyword',
    run: async (visible, depth) => [await byWords(visible, depth)],
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
      run: async (visible, depth) => [await search.vector(visible, embedding, depth)],
    }
  }
  return {
    modeUsed: 'hybrid',
    run: (visible, depth) => Promise.all([search.vector(visible, embedding, depth), byWords(visible, depth)]),
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

interface ClearBestOptions {
  readonly question: Question
  readonly visible: Visible
  readonly branches: Branches
  readonly clearing: Clearing
  readonly deadline: Deadline
}

// Of each list: fusing only 50 loses a little of what the longer lists agree on (docs/decisions/0005-ranking.md).
const firstDepth = 100
const deeper = 4

/**
 * Takes the best candidates through the gate until `topK` are cleared. Where refusals leave too few, it searches
 * deeper, until that or exhaustion or the deadline.
 */
async function clearBest({
  question,
  visible,
  branches,
  clearing,
  deadline,
}: ClearBestOptions): Promise<Found> {
  let depth = Math.max(firstDepth, question.topK * deeper)
  if (isOver(deadline)) return { cleared: [], complete: false }
  for (;;) {
    const lists = await branches.run(visible, depth)
    const { cleared, stopped } = await clearing.clear(fuse(lists), question.topK)
    // Nothing proven: say that permissions cannot be checked. Something proven: only that is released.
    if (stopped !== undefined && cleared.length === 0 && !isOver(deadline)) throw stopped
    const exhausted = lists.every((list) => list.length < depth)
    const enough = cleared.length >= question.topK
    if (enough || exhausted || stopped !== undefined || isOver(deadline)) {
      // A document without a verdict may be one of those that were looked for.
      const unanswered = clearing.counts.errors > 0
      return { cleared, complete: !unanswered && (enough || (exhausted && stopped === undefined)) }
    }
    depth *= deeper
  }
}

/** What leaves, and by which of OpenFGA's yeses. */
function released(passages: readonly Passage[], clearing: Clearing): Released[] {
  const byDocument = new Map<string, string[]>()
  for (const { documentId, chunkId } of passages) {
    byDocument.set(documentId, [...(byDocument.get(documentId) ?? []), chunkId])
  }
  return [...byDocument].map(([document_id, chunk_ids]) => ({
    document_id,
    chunk_ids,
    ...proven(clearing.proofOf(document_id)),
  }))
}
