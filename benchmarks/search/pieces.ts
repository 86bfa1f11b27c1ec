import { join } from 'node:path'
import { createRandom } from '../kubernetes/random.ts'
import { readLines } from '../support/lines.ts'

/**
 * Every document in pieces of at most 400 characters, and each text once: templates stand in hundreds of
 * documents.
 */
export interface Pieces {
  /** In a drawn order, so that whoever has embedded only some of them has some of every document. */
  readonly texts: readonly string[]
  /** Of each text the pieces that say it, by number. */
  readonly saidBy: readonly (readonly number[])[]
  /** Of each piece its document; a document's pieces follow each other. */
  readonly documentOf: readonly string[]
}

const charactersMax = 400
const seed = 20_261_126

export async function readPieces(kubernetes: string): Promise<Pieces> {
  const documents = await readLines<{ id: string; text: string }>(join(kubernetes, 'documents.jsonl.gz'))
  const pieces = new Map<string, number[]>()
  const documentOf: string[] = []
  for (const { id, text } of documents) {
    for (const piece of split(text)) {
      const known = pieces.get(piece)
      if (known === undefined) pieces.set(piece, [documentOf.length])
      else known.push(documentOf.length)
      documentOf.push(id)
    }
  }
  const drawn = createRandom(seed).pick([...pieces], pieces.size)
  return { texts: drawn.map(([text]) => text), saidBy: drawn.map(([, said]) => said), documentOf }
}

/**
 * Cuts at the end of a paragraph, line, sentence or word, whichever of the larger ones lies in the second
 * half.
 */
function* split(text: string): Generator<string> {
  for (let from = 0; from < text.length; ) {
    const window = text.slice(from, from + charactersMax)
    const cut = from + window.length === text.length ? window.length : endOf(window)
    const piece = window.slice(0, cut).trim()
    // Rules, brackets and rows of hashes say nothing.
    if (/\p{L}{3}/u.test(piece)) yield piece
    from += cut
  }
}

function endOf(window: string): number {
  for (const mark of ['\n\n', '\n', '. ', ' ']) {
    const at = window.lastIndexOf(mark)
    if (at > window.length / 2) return at + mark.length
  }
  return window.length
}
