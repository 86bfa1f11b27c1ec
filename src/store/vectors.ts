import type { Sql } from './sql.ts'

/** A model, as it is stored with its vectors. Those of two models cannot be compared. */
export interface VectorModel {
  readonly model: string
  /** Numbers in one vector. */
  readonly dimensions: number
}

/** What is stored of the model that made the vectors. */
export interface StoredVectors {
  /** All vectors are of this model; left out as long as none was ever stored. */
  readonly pinned?: VectorModel
  /** A change to this model has begun and not ended: some passages have its vectors, the others have none. */
  readonly unfinished?: VectorModel
}

const pinKey = 'embeddings'
const unfinishedKey = 'embeddings_unfinished'

/** What is known of the stored vectors. Also answers for a database that has no tables yet. */
export async function readStoredVectors(sql: Sql): Promise<StoredVectors> {
  const [table] = await sql.query<{ found: boolean }>(`select to_regclass('settings') is not null as found`)
  if (table?.found !== true) return {}
  const rows = await sql.query<{ key: string; value: VectorModel }>(
    'select key, value from settings where key in ($1, $2)',
    [pinKey, unfinishedKey],
  )
  const pinned = rows.find(({ key }) => key === pinKey)?.value
  const unfinished = rows.find(({ key }) => key === unfinishedKey)?.value
  return { ...(pinned && { pinned }), ...(unfinished && { unfinished }) }
}

/** Whether vectors of both models can be compared. */
export const isSameModel = (a: VectorModel, b: VectorModel): boolean =>
  a.model === b.model && a.dimensions === b.dimensions

/**
 * Notes that from now on all vectors are of this model. Only where none is stored yet, or in the transaction
 * that ends a change of model.
 */
export async function pinVectors(sql: Sql, model: VectorModel): Promise<void> {
  await save(sql, pinKey, model)
  await sql.query('delete from settings where key = $1', [unfinishedKey])
}

/** Notes that a change to this model has begun. The service refuses to start until {@link pinVectors}. */
export const noteUnfinished = (sql: Sql, model: VectorModel): Promise<void> => save(sql, unfinishedKey, model)

async function save(sql: Sql, key: string, { model, dimensions }: VectorModel): Promise<void> {
  await sql.query(
    `insert into settings (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value`,
    [key, { model, dimensions }],
  )
}
