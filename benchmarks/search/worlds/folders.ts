import type { Tuple } from '../../../src/authz/fga.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import type { Corpus } from '../corpus.ts'

/** Folders in folders in folders over a line of documents; each holds a stretch of it. */
export interface FolderTree {
  readonly tuples: readonly Tuple[]
  /** The fewest folders, and documents at the ends, that hold this stretch of the line and nothing else. */
  cover(from: number, to: number): readonly FgaObject[]
}

const depth = 3
const branches = 10

export function createFolderTree({ documents }: Corpus, order: readonly number[], name: string): FolderTree {
  const leaf = Math.max(1, Math.ceil(order.length / branches ** depth))
  // Of each storey, the length of the stretch that a folder holds, the highest first.
  const lengths = Array.from({ length: depth + 1 }, (_, storey) => leaf * branches ** (depth - storey))
  const folder = (storey: number, at: number): FgaObject =>
    `folder:${name}/${storey}/${Math.floor(at / (lengths[storey] ?? 1))}`
  const document = (at: number): FgaObject => `document:${documents[order[at] ?? 0]?.id}`
  const tuples: Tuple[] = []
  for (let storey = 1; storey <= depth; storey++) {
    for (let at = 0; at < order.length; at += lengths[storey] ?? 1)
      tuples.push({ user: folder(storey - 1, at), relation: 'parent', object: folder(storey, at) })
  }
  for (let at = 0; at < order.length; at++)
    tuples.push({ user: folder(depth, at), relation: 'parent', object: document(at) })

  function cover(from: number, to: number, storey = 0): FgaObject[] {
    const length = lengths[storey]
    if (length === undefined) return stretch(from, to, 1).map(document)
    const first = Math.ceil(from / length) * length
    // The last folder may hold less than the others.
    const last = to === order.length ? to : Math.floor(to / length) * length
    if (first >= last) return cover(from, to, storey + 1)
    return [
      ...(from < first ? cover(from, first, storey + 1) : []),
      ...stretch(first, last, length).map((at) => folder(storey, at)),
      ...(last < to ? cover(last, to, storey + 1) : []),
    ]
  }

  return { tuples, cover: (from, to) => cover(from, to) }
}

const stretch = (from: number, to: number, step: number): number[] =>
  Array.from({ length: Math.ceil((to - from) / step) }, (_, index) => from + index * step)
