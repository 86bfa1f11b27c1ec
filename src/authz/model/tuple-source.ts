import type { TupleStore } from '@remit/engine'

/** The tuples to try a model on. */
export interface TupleSource {
  /** Resolves when everything that OpenFGA held when this was called is in. */
  catchUp(): Promise<void>
  /** undefined while there is nothing to try on. */
  view(): { readonly tuples: TupleStore } | undefined
  /** When the last read that reached the end began, in milliseconds. */
  status(): { readonly tailReadAt: number | undefined }
}
