import type { Candidate } from './candidate.ts'

// Reciprocal ranks (Cormack, Clarke, Büttcher, SIGIR 2009). Their k of 60 is for many lists; of these two,
// each good by itself, the heads say more: docs/decisions/0020-bm25.md.
const k = 10

/** What is in either of two lists, best first, as if both had been searched as one. */
export const merge = (nearer: readonly Candidate[], farther: readonly Candidate[]): readonly Candidate[] =>
  [...nearer, ...farther].sort(byScore)

const byScore = (a: Candidate, b: Candidate): number => b.score - a.score || (a.chunkId < b.chunkId ? -1 : 1)

/**
 * Merges ranked lists by reciprocal rank: score = Σ 1 / (10 + rank). Ties fall to the chunk id, a digest,
 * so that the order never depends on what else is stored. One list alone stays as it is.
 */
export function fuse(lists: readonly (readonly Candidate[])[]): readonly Candidate[] {
  const [firstList, ...otherLists] = lists
  if (firstList !== undefined && otherLists.length === 0) return firstList
  const fused = new Map<string, Candidate>()
  for (const list of lists) {
    for (const [index, candidate] of list.entries()) {
      const score = (fused.get(candidate.chunkId)?.score ?? 0) + 1 / (k + index + 1)
      fused.set(candidate.chunkId, { ...candidate, score })
    }
  }
  return [...fused.values()].sort(byScore)
}
