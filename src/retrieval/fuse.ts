import type { Candidate } from './candidate.ts'

// Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009) with a smaller k than their 60, so that the heads
// of the lists count for more: better on both judged collections (docs/decisions/0005-ranking.md).
const k = 20

/**
 * Merges ranked lists by reciprocal rank: score = Σ 1 / (20 + rank). Ties fall to the chunk id, a digest,
 * so that the order never depends on what else is stored.
 */
export function fuse(lists: readonly (readonly Candidate[])[]): Candidate[] {
  const fused = new Map<string, Candidate>()
  for (const list of lists) {
    for (const [index, candidate] of list.entries()) {
      const score = (fused.get(candidate.chunkId)?.score ?? 0) + 1 / (k + index + 1)
      fused.set(candidate.chunkId, { ...candidate, score })
    }
  }
  return [...fused.values()].sort((a, b) => b.score - a.score || (a.chunkId < b.chunkId ? -1 : 1))
}
