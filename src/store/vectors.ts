import type { Database, Sql } from './sql.ts'

/** A model, as it is stored with its vectors. Those of two models cannot be compared. */
export interface VectorModel {
  readonly model: string
  /** Numbers in one vector. */
  readonly dimensions: number
}

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

export const isSameModel = (one: VectorModel, other: VectorModel): boolean =>
  one.model === other.model && one.dimensions === other.dimensions

/**
 * Notes that from now on all vectors are of this model. Only where none is stored yet, or in the transaction
 * that ends a change of model.
 */
export async function pinVectors(sql: Sql, model: VectorModel): Promise<void> {
  await save(sql, pinKey, model)
  await sql.query('delete from settings where key = $1', [unfinishedKey])
}

/**
 * Drops every vector, live or staged, and makes room for the model's, in the caller's transaction. The service
 * refuses to start until {@link pinVectors}.
 */
export async function dropVectors(
  sql: Sql,
  vectorType: Database['vectorType'],
  model: VectorModel,
): Promise<void> {
  await save(sql, unfinishedKey, model)
  await shapeVectors(sql, vectorType, model.dimensions)
}

/** Fits the columns to vectors of this size and empties them. The index waits for {@link indexVectors}. */
export async function shapeVectors(
  sql: Sql,
  vectorType: Database['vectorType'],
  dimensions: number,
): Promise<void> {
  const type = `${vectorType}(${dimensions})`
  // Rewriting a large table takes longer than a request may.
  await sql.query('set local statement_timeout = 0')
  await sql.query('drop index if exists chunks_embedding')
  // Where the old vectors lay says nothing of the new ones.
  await sql.query('delete from document_codes')
  await sql.query('delete from ivf_models')
  for (const table of ['chunks', 'staged_chunks']) {
    await sql.query(`alter table ${table} alter column embedding type ${type} using null::${type}`)
  }
}

/** Makes the index that a change of model dropped, in the caller's transaction. As in migration 0001. */
export async function indexVectors(sql: Sql, vectorType: Database['vectorType']): Promise<void> {
  await sql.query('set local statement_timeout = 0')
  await sql.query(
    `create index if not exists chunks_embedding on chunks using hnsw (embedding ${vectorType}_ip_ops)`,
  )
}

/** Has the next start prepare anew what was staged without vectors: it would be published without them. */
export async function restageWithoutVector(sql: Sql): Promise<void> {
  await sql.query(
    `update revisions r set staged_text = null
     where exists (select from staged_chunks s
                   where s.doc_no = r.doc_no and s.revision = r.revision and s.embedding is null)`,
  )
}

/** Numbers in the vectors that the columns take. */
export async function vectorDimensions(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ dimensions: number }>(
    `select atttypmod as dimensions from pg_attribute
     where attrelid = 'chunks'::regclass and attname = 'embedding'`,
  )
  return row?.dimensions ?? 0
}

/** Live passages that only their words can find. */
export async function countWithoutVector(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ count: number }>('select count(*) from chunks where embedding is null')
  return row?.count ?? 0
}

async function save(sql: Sql, key: string, { model, dimensions }: VectorModel): Promise<void> {
  await sql.query(
    `insert into settings (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value`,
    [key, { model, dimensions }],
  )
}
