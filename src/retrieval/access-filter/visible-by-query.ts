import type { Database, Sql, SqlValue } from '../../store/sql.ts'
import type { Corpus } from '../corpus/corpus.ts'
import { type Fields, type Filter, filterSql } from '../filter.ts'
import { type AccessFilter, visibleOf } from './visible.ts'

/** Collections and a metadata filter that narrow what is visible. */
export interface Narrowing {
  readonly collections?: readonly string[]
  readonly filter?: Filter
}

/** The database, and the corpus where it is known. */
export interface VisibleByQueryDeps {
  readonly database: Database
  readonly corpus?: Pick<Corpus, 'lastKnown'>
}

/** Asks the database which of these documents are live, and how many chunks they have. */
export async function visibleByQuery(
  { database, corpus }: VisibleByQueryDeps,
  documentIds: readonly string[],
  { collections, filter }: Narrowing,
): Promise<AccessFilter> {
  const values: SqlValue[] = [documentIds]
  const conditions = ['id = any($1)', 'live_revision is not null', 'chunk_count > 0']
  if (collections !== undefined) {
    values.push(collections)
    conditions.push(`collection = any($${values.length})`)
  }
  // First of all: a wrong filter is refused the same way for those who may read nothing.
  if (filter !== undefined) conditions.push(...filterSql(filter, await readFields(database), values))
  const rows = await database.query<{ doc_no: number | null; chunk_count: number; estimate: number }>(
    `select d.doc_no, d.chunk_count, greatest(c.reltuples, 0)::float8 as estimate
     from pg_class c left join (
       select doc_no, chunk_count from documents where ${conditions.join(' and ')}
     ) d on true
     where c.oid = 'chunk_texts'::regclass order by d.doc_no`,
    values,
  )
  const docNos = rows.flatMap(({ doc_no }) => doc_no ?? [])
  const chunks = rows.reduce((sum, { chunk_count }) => sum + chunk_count, 0)
  const chunkCount = corpus?.lastKnown()?.chunks ?? rows[0]?.estimate ?? 0
  return visibleOf(Int32Array.from(docNos), chunks, Math.max(chunks, chunkCount))
}

async function readFields(sql: Sql): Promise<Fields> {
  const rows = await sql.query<{ name: string; type: 'string' | 'number' | 'boolean' | 'date' }>(
    'select name, type from fields',
  )
  return new Map(rows.map(({ name, type }) => [name, type]))
}
