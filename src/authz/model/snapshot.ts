import { createTupleStore, type TupleKey, type TupleStore } from '@remit/engine'
import type { Fga } from '../fga.ts'

/** The tuples to try a model on. */
export interface TupleSource {
  /** Resolves when everything that OpenFGA held when this was called is in. */
  catchUp(): Promise<void>
  /** undefined while there is nothing to try on. */
  view(): { readonly tuples: TupleStore } | undefined
  /** When the last read that reached the end began, in milliseconds. */
  status(): { readonly tailReadAt: number | undefined }
}

/** Reads all tuples from OpenFGA at each `catchUp`: right without a replica, and slow where there are millions. */
export function createSnapshot(fga: Pick<Fga, 'readAll'>, now: () => number): TupleSource {
  let tuples: TupleStore | undefined
  let tailReadAt: number | undefined
  return {
    view: () => (tuples === undefined ? undefined : { tuples }),
    status: () => ({ tailReadAt }),
    async catchUp() {
      const began = now()
      const read = createTupleStore()
      let count = 0
      for await (const page of fga.readAll()) {
        for (const { user, relation, object, condition } of page) {
          const key = { user, relation, object, condition: condition as TupleKey['condition'] }
          // Deleted and written again while the pages were read: it comes twice.
          if (read.get(key) !== undefined) continue
          count += 1
          read.add(key, String(count).padStart(12, '0'))
        }
      }
      tuples = read
      tailReadAt = began
    },
  }
}
