import { setBit } from '../../kernel/bits.ts'
import { createLru } from '../../kernel/lru.ts'
import type { Corpus } from '../corpus/corpus.ts'
import type { Documents } from '../corpus/documents.ts'
import { type Content, narrowed } from './visible.ts'

/** Which documents are filed in some collections: a bit for each, nobody's own, that turns with its document. */
export interface FiledBitmaps {
  /** Those of the content that are filed in one of these. An unknown collection has none. */
  within(content: Content, documents: Documents, collections: readonly string[]): Content
}

interface Kept {
  readonly collections: ReadonlySet<string>
  readonly bits: Buffer
}

// Room for so many documents more before a bitmap is made anew.
const initialCapacity = 4_096
// A changed document turns a bit in each; and collections may be asked for that there never were.
const entriesMax = 500

/** `bytesMax` of all bitmaps together: default 32 MB, 256 choices of collections where there are a million documents. */
export function createFiled(corpus: Pick<Corpus, 'onChange'>, bytesMax = 32_000_000): FiledBitmaps {
  const setsByKey = createLru<Kept>({
    weightMax: bytesMax,
    entriesMax,
    // The names stand in key and set, two bytes a letter at most.
    weightOf: (key, { bits }) => bits.length + 4 * key.length,
  })

  corpus.onChange((docNos, documents) => {
    for (const [, { collections, bits }] of setsByKey.entries()) {
      for (const docNo of docNos) setBit(bits, docNo, collections.has(documents.collectionOf(docNo) ?? ''))
    }
  })

  function make(documents: Documents, collections: readonly string[]): Kept {
    const bits = Buffer.alloc((documents.end + initialCapacity) >> 3)
    const isFiled = documents.filedIn(collections)
    for (let docNo = 0; docNo < documents.end; docNo++) if (isFiled(docNo)) setBit(bits, docNo)
    return { collections: new Set(collections), bits }
  }

  return {
    within(content, documents, collections) {
      const key = JSON.stringify([...collections].sort())
      let filedSet = setsByKey.get(key)
      // Beyond its end it was told of nothing.
      if (filedSet === undefined || filedSet.bits.length * 8 < documents.end) {
        filedSet = make(documents, collections)
        setsByKey.set(key, filedSet)
      }
      return narrowed(content, filedSet.bits, documents)
    },
  }
}
