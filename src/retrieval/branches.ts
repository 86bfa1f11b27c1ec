import type { Embedder } from '../embed/embedder.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import { reasonOf } from '../kernel/reason.ts'
import type { AccessFilter } from './access-filter/visible.ts'
import type { Branches } from './best.ts'
import type { Mode } from './candidate.ts'
import type { Question } from './question.ts'
import type { Search } from './search.ts'

/** The searches, and the model where there is one. */
export interface BranchesDeps {
  readonly search: Search
  /** Undefined: no model could be had, and every question is answered by words. */
  readonly embedder: Embedder | undefined
  readonly log: Log
}

/** The searches of one question, and the mode that the answer names. */
export interface ChosenBranches extends Branches {
  readonly modeUsed: Mode
}

/**
 * Chooses what a question is searched by, and embeds it. A model that does not answer leaves the words; a vector search has
 * nothing else: `search_unavailable`. `invalid` names `embedding` where its length is not the model's.
 */
export async function chooseBranches(
  question: Question,
  dependencies: BranchesDeps,
  signal: AbortSignal,
): Promise<ChosenBranches> {
  const { search } = dependencies
  const { query, mode } = question
  const byWords = (visible: AccessFilter, depth: number, like?: AccessFilter) =>
    search.keyword(visible, query ?? '', depth, like)
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

// Fusing only 50 of each list loses a little of what the longer ones agree on (docs/decisions/0005-ranking.md). Of one list
// only its head can be in the answer; the rest stands by for what is refused.
const fusedMin = 100
const aloneMin = 20
const aloneEach = 2

/** How many are looked for at first, where there is one list. */
export const depthOfOne = (topK: number): number => Math.max(aloneMin, topK * aloneEach)
