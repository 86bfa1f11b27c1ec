import type { Sql } from '../store/sql.ts'

/** A collection as an operator sees it. */
export interface CollectionRow {
  readonly id: string
  readonly title: string
  /** Whether documents in it may be readable by everyone. */
  readonly publicAllowed: boolean
}

/** Every collection, for the operator: whoever asks over HTTP sees those in which they may read something. */
export const allCollections = (sql: Sql): Promise<CollectionRow[]> =>
  sql.query<CollectionRow>('select id, title, public_allowed as "publicAllowed" from collections order by id')
