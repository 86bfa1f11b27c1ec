import type { Candidate } from './candidate.ts'
import { fuse, merge } from './fuse.ts'

type Lists = readonly (readonly Candidate[])[]

// So many at a time, whether there is any of which the agent may be told or not.
const asked = 8

/**
 * Of which documents OpenFGA is asked whether the agent may be told of them: those kept from it that would be among the best
 * `topK`. Of no other, for which no offer would be made: its time would tell of them as often as one likes. Always as many;
 * where there are fewer, others fill up, and then names that no document has: it must not take longer where there is something
 * to be told of.
 */
export function choose(
  lists: Lists,
  kept: Lists,
  { topK, newDecoy }: { readonly topK: number; readonly newDecoy: () => string },
): readonly string[] {
  const isKept = new Set(kept.flat().map(({ documentId }) => documentId))
  const ranked = documentsOf(together(lists, kept).slice(0, topK))
  const chosen = ranked.filter((id) => isKept.has(id)).slice(0, asked)
  const others = documentsOf(fuse(lists)).filter((id) => !isKept.has(id))
  return [...chosen, ...others, ...Array.from({ length: asked }, newDecoy)].slice(0, asked)
}

/** Those of the documents that would be among the best `topK` passages, were they the agent's to read. */
export function within(
  lists: Lists,
  kept: Lists,
  topK: number,
  documentIds: readonly string[],
): readonly string[] {
  const isKept = new Set(kept.flat().map(({ documentId }) => documentId))
  const best = new Set(documentsOf(together(lists, kept).slice(0, topK)))
  return documentIds.filter((id) => isKept.has(id) && best.has(id))
}

const together = (lists: Lists, kept: Lists): readonly Candidate[] =>
  fuse(lists.map((list, at) => merge(list, kept[at] ?? [])))

const documentsOf = (candidates: readonly Candidate[]): string[] => [
  ...new Set(candidates.map(({ documentId }) => documentId)),
]
