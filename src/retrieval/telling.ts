import type { Candidate } from './candidate.ts'
import { fuse, merge } from './fuse.ts'

type Lists = readonly (readonly Candidate[])[]

// So many at a time, whether there is any of which the agent may be told or not.
const decoysMax = 8

/**
 * Of which documents OpenFGA is asked whether the agent may be told of them: those kept from it that would be among the best
 * `topK`. Of no other, for which no offer would be made: its time would tell of them as often as one likes. Always as many;
 * where there are fewer, others fill up, and then names that no document has: it must not take longer where there is something
 * to be told of.
 */
export function choose(
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
export function staysWithin(
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
