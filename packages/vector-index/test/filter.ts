import type { InvertedLists } from '../src/inverted-lists.ts'
import { type Nominated, nominate, type ScanFilter, scanHere } from '../src/probe.ts'

export const hasBit = (bits: Uint8Array, at: number): boolean =>
  (((bits[at >> 3] ?? 0) >> (at & 7)) & 1) === 1

export function setBit(bits: Uint8Array, at: number): void {
  bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7))
}

/** These documents, which are said to have so many chunks. */
export function filterOf(docNos: Int32Array, chunks: number): ScanFilter & { has(docNo: number): boolean } {
  const bits = new Uint8Array(((docNos.at(-1) ?? 0) >> 3) + 1)
  for (const docNo of docNos) setBit(bits, docNo)
  return { chunks, bits: () => bits, has: (docNo) => hasBit(bits, docNo) }
}

/** Nominates chunks that are worth comparing; in this thread. */
export function probe(
  lists: readonly InvertedLists[],
  filter: ScanFilter,
  embedding: Float32Array,
  rows: number,
): Nominated {
  const query = { embedding, chunks: filter.chunks, bits: filter.bits(), rows }
  return nominate(lists, scanHere(lists, query), query)
}
