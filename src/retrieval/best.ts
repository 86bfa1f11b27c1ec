import type { Clearance, Cleared, Clearing, Guarded } from '../authz/gate.ts'
import { assertNotAborted } from '../kernel/assert-not-aborted.ts'
import { AppError } from '../kernel/errors.ts'
import type { Timer } from '../kernel/timer.ts'
import type { Sight } from './access-filter/visibility.ts'
import type { AccessFilter, Drawing } from './access-filter/visible.ts'
import type { Candidate } from './candidate.ts'
import type { SearchOptions } from './chunk-index/port.ts'
import { type Deadline, isOver } from './deadline.ts'
import { lexemesMax } from './ranking/weigh.ts'

/** What a question is searched by: a list for each of words and vectors. */
export interface Branches {
  /** How many of each list at first. */
  readonly depth: number
  run(visible: AccessFilter, depth: number, options?: SearchOptions): Promise<Candidate[][]>
  /** Documents that are found whatever is asked. */
  foundAnyway(visible: AccessFilter): readonly Guarded[]
}

/** `topK` is how many passages are wanted at most. */
export interface ClearBestOptions {
  readonly topK: number
  readonly sight: Sight
  readonly branches: Branches
  readonly clearing: Clearing
  readonly deadline: Deadline
  /** Undefined: it is not to be said of what the agent could be told. */
  readonly telling: Drawing | undefined
  /** The name of a document that never was. */
  readonly newDecoy: () => string
  readonly timer: Timer
  /** What of these documents reading would give; all else is as refused. Left out: reading decides alone. */
  readonly readableOf?: (documentIds: readonly string[]) => Promise<Pick<ReadonlySet<string>, 'has'>>
}

/** The best passages that the gate cleared. */
export interface ClearedBest {
  readonly cleared: readonly Cleared<Candidate>[]
  /** False: the deadline, or OpenFGA, ended it early, or left a document without a verdict. */
  readonly complete: boolean
  /**
   * Documents that would be in the answer were the agent given them, and of which OpenFGA says that it may be
   * told.
   */
  readonly tellable: readonly string[]
  /**
   * A document was replaced between the two searches: what the earlier found of it is in force no more, and
   * what it would find now is missing.
   */
  readonly isOutdated?: boolean
}

// Reciprocal ranks (Cormack, Clarke, Büttcher, SIGIR 2009). Their k of 60 is for many lists; of these two,
// each good by itself, the heads say more: docs/decisions/0020-bm25.md.
const rankOffset = 10

const deeper = 4

/**
 * Takes the best candidates through the gate until `topK` are cleared. What OpenFGA refuses, although the
 * replica let it through, is taken out, and the rest is searched and ranked anew as if it were not there;
 * what was asked is not asked again. Where it refuses time and again, it is asked ahead of that, ever
 * further: much may be taken away at once. Where too little is left it searches deeper, until exhaustion or
 * the deadline. Whoever sees little waits for OpenFGA, hardly for the search: what is found whatever was
 * asked is asked about meanwhile.
 */
export async function clearBest(options: ClearBestOptions): Promise<ClearedBest> {
  const { topK, sight, branches, clearing, deadline, telling: drawing } = options
  let { visible } = sight
  let { depth } = branches
  // The answer where the time ends a search.
  let soFar: ClearedBest = { cleared: [], complete: false, tellable: [] }
  if (isOver(deadline)) return soFar
  const refusedIds = new Set<string>()
  let refusals = 0
  // So many times its own depth: what is found there is only asked about.
  let ahead = 1
  // Together with the first that are ranked it is asked of which the agent may be told.
  let early = clearEarly(drawing ? [] : branches.foundAnyway(visible), clearing)
  let untold: Candidate[][] | undefined
  for (;;) {
    const startedAt = deadline.now()
    const searched = await unlessEnded([early, branches.run(visible, depth * ahead)])
    if (searched === undefined) return soFar
    const [clearedBefore, found] = searched
    const readable = await options.readableOf?.(documentsOf(found.flat()))
    const lists = found.map((list) => list.filter(({ documentId }) => readable?.has(documentId) ?? true))
    const telling: string[] = []
    if (drawing !== undefined && untold === undefined) {
      untold = await searchKept(options, drawing, { lists, tookMs: deadline.now() - startedAt })
      telling.push(...choose(lists, untold, options))
    }
    early = undefined
    const { cleared, stopped = clearedBefore?.stopped } = await clearing.clear(fuse(lists), topK, telling)
    // Nothing proven: say that permissions cannot be checked. Something proven: only that is released.
    if (stopped !== undefined && cleared.length === 0 && !isOver(deadline)) throw stopped
    const remainingLists = lists.map((list) =>
      list.filter(({ documentId }) => !clearing.isRefused(documentId)),
    )
    const isOut = stopped !== undefined || isOver(deadline)
    const exhausted = found.every((list) => list.length < depth * ahead)
    const isRefusing = remainingLists.some((list, listIndex) => list.length < (found[listIndex]?.length ?? 0))
    const isRanked = !isRefusing && ahead === 1
    soFar = {
      cleared: inOrder(cleared, fuse(remainingLists)),
      complete: false,
      tellable: untold === undefined ? [] : staysWithin(remainingLists, untold, topK, clearing.tellable),
    }
    if (!isOut && !isRanked) {
      const remaining = new Set(documentsOf(remainingLists.flat()))
      for (const id of documentsOf(found.flat())) if (!remaining.has(id)) refusedIds.add(id)
      if (isRefusing) visible = await sight.without(refusedIds)
      ahead = isRefusing && !exhausted ? deeper ** refusals++ : 1
      continue
    }
    const enough = cleared.length >= topK
    if (enough || exhausted || isOut) {
      // A document without a verdict may be one of those that were looked for.
      const unanswered = clearing.counts.errors > 0
      const isOutdated = isOfTwoMoments(remainingLists)
      const isComplete = !unanswered && !isOutdated && isRanked && (enough || (exhausted && !isOut))
      return { ...soFar, complete: isComplete, isOutdated }
    }
    depth *= deeper
  }
}

/** All of it, or undefined where the request's end ended a search. */
async function unlessEnded<T extends readonly unknown[]>(searches: readonly [...T]) {
  try {
    return await Promise.all(searches)
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'deadline_exceeded')) throw error
    return undefined
  }
}

// See docs/decisions/0083-what-is-kept-takes-no-time.md.
const [patience, allowanceMs] = [2, 100]
// The answer keeps its turn while it waits, and nothing is done for it.
const patienceMaxMs = 300
// Of the time that is left: an offer is worth less than what the agent may read.
const shareMax = 0.25
// What takes a sixth of the allowance on a quiet machine, where each of the words stands in each passage.
const [passagesMax, passagesTimesWordsMax] = [3_000, 32_000]
// A word of two with a hyphen is looked up as both, and as itself.
const lexemesPerWord = 1.5

/** How many passages are searched, at most, of what is kept from an agent. */
export function keptPassagesMax(query = ''): number {
  const lexemes = Math.min(lexemesMax, lexemesPerWord * (query.match(/[\p{L}\p{N}]+/gu)?.length ?? 0))
  return Math.min(passagesMax, Math.floor(passagesTimesWordsMax / Math.max(1, lexemes)))
}

/**
 * What is kept from the agent, searched as the question was, once that is done: on a database of one session
 * each would keep the other waiting. It has twice as long as the question's own search took, 300 ms at most,
 * and an allowance. That is waited for whatever it does: how long an answer takes must not tell what is kept.
 * What it has not found by then, it did not find, and whatever fails fails unheard. Of the time that is left
 * it takes a quarter at most.
 */
async function searchKept(
  { sight, branches, deadline: { signal, at, now }, timer }: ClearBestOptions,
  drawing: Drawing,
  { lists, tookMs }: { readonly lists: Lists; readonly tookMs: number },
): Promise<Candidate[][]> {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  const tooLate = new AbortController()
  let found: Candidate[][] = lists.map(() => [])
  async function search(): Promise<void> {
    const kept = await sight.untold(drawing, tooLate.signal)
    // The narrowing has statements that no signal ends: none of the search follows where it was late.
    assertNotAborted(tooLate.signal)
    found = await branches.run(kept, branches.depth, { like: sight.visible, signal: tooLate.signal })
  }
  const patienceMs = Math.min(patience * Math.max(0, tookMs), patienceMaxMs)
  const longestMs = shareMax * Math.max(0, at - now())
  const cancel = timer(Math.min(patienceMs + allowanceMs, longestMs), end)
  signal.addEventListener('abort', () => end(), { once: true, signal: tooLate.signal })
  if (signal.aborted) end()
  search().catch(() => undefined)
  await ended
  cancel()
  tooLate.abort()
  return found
}

/** What it is told the clearing does not ask again, so that only why it was stopped is of use. */
const clearEarly = (
  candidates: readonly Guarded[],
  clearing: Clearing,
): Promise<Clearance<Guarded>> | undefined =>
  candidates.length === 0 ? undefined : clearing.clear(candidates)

/** Those that were cleared, in the order of what is left when the refused are gone. */
function inOrder(
  cleared: readonly Cleared<Candidate>[],
  ranked: readonly Candidate[],
): readonly Cleared<Candidate>[] {
  const rankByChunk = new Map(ranked.map(({ chunkId }, rank) => [chunkId, rank]))
  const placeOf = ({ chunkId }: Candidate): number => rankByChunk.get(chunkId) ?? ranked.length
  return cleared.toSorted((a, b) => placeOf(a) - placeOf(b))
}

type Lists = readonly (readonly Candidate[])[]

/** Whether a document was found in two publications. */
function isOfTwoMoments(lists: Lists): boolean {
  const found = new Map<string, number | undefined>()
  return lists.flat().some(({ documentId, publication }) => {
    const isOther = found.has(documentId) && found.get(documentId) !== publication
    found.set(documentId, publication)
    return isOther
  })
}

// So many at a time, whether there is any of which the agent may be told or not.
const decoysMax = 8

/**
 * Of which documents OpenFGA is asked whether the agent may be told of them: those kept from it that would be
 * among the best `topK`. Of no other, for which no offer would be made: its time would tell of them as often
 * as one likes. Always as many; where there are fewer, others fill up, and then names that no document has:
 * it must not take longer where there is something to be told of.
 */
function choose(
  lists: Lists,
  keptLists: Lists,
  { topK, newDecoy }: { readonly topK: number; readonly newDecoy: () => string },
): readonly string[] {
  const isKept = new Set(keptLists.flat().map(({ documentId }) => documentId))
  const ranked = documentsOf(together(lists, keptLists).slice(0, topK))
  const chosen = ranked.filter((id) => isKept.has(id)).slice(0, decoysMax)
  const otherDocuments = documentsOf(fuse(lists)).filter((id) => !isKept.has(id))
  return [...chosen, ...otherDocuments, ...Array.from({ length: decoysMax }, newDecoy)].slice(0, decoysMax)
}

/** Those of the documents that would be among the best `topK` passages, were they the agent's to read. */
function staysWithin(
  lists: Lists,
  keptLists: Lists,
  topK: number,
  documentIds: readonly string[],
): readonly string[] {
  const isKept = new Set(keptLists.flat().map(({ documentId }) => documentId))
  const bestDocuments = new Set(documentsOf(together(lists, keptLists).slice(0, topK)))
  return documentIds.filter((id) => isKept.has(id) && bestDocuments.has(id))
}

const together = (lists: Lists, keptLists: Lists): readonly Candidate[] =>
  fuse(lists.map((list, listIndex) => merge(list, keptLists[listIndex] ?? [])))

const documentsOf = (candidates: readonly Candidate[]): string[] => [
  ...new Set(candidates.map(({ documentId }) => documentId)),
]

/** What is in either of two lists, best first, as if both had been searched as one. */
const merge = (nearer: readonly Candidate[], farther: readonly Candidate[]): readonly Candidate[] =>
  [...nearer, ...farther].sort(byScore)

type Scored = Pick<Candidate, 'chunkId' | 'score'>

const byScore = (a: Scored, b: Scored): number => b.score - a.score || (a.chunkId < b.chunkId ? -1 : 1)

/**
 * Merges ranked lists by reciprocal rank: score = Σ 1 / (10 + rank). Ties fall to the chunk id, a digest,
 * so that the order never depends on what else is stored. One list alone stays as it is.
 */
export function fuse<Ranked extends Scored>(lists: readonly (readonly Ranked[])[]): readonly Ranked[] {
  const [firstList, ...otherLists] = lists
  if (firstList !== undefined && otherLists.length === 0) return firstList
  const fused = new Map<string, Ranked>()
  for (const list of lists) {
    for (const [index, candidate] of list.entries()) {
      const score = (fused.get(candidate.chunkId)?.score ?? 0) + 1 / (rankOffset + index + 1)
      fused.set(candidate.chunkId, { ...candidate, score })
    }
  }
  return [...fused.values()].sort(byScore)
}
