import type { Database, Sql, SqlValue } from '../../store/sql.ts'
import type { Corpus } from '../corpus/corpus.ts'
import type { Documents } from '../corpus/documents.ts'
import { type Fields, type Filter, filterSql } from '../filter.ts'
import { type Content, contentOf, type Visible, visibleOf } from './visible.ts'

export interface Narrowing {
  readonly collections?: readonly string[]
  readonly filter?: Filter
}

export interface LookUpDeps {
  readonly database: Database
  readonly corpus?: Pick<Corpus, 'lastKnown'>
}

/** Asks the database which of these documents are live, and how many chunks they have. */
export async function lookUpVisible(
  { database, corpus }: LookUpDeps,
  documentIds: readonly string[],
  { collections, filter }: Narrowing,
): Promise<Visible> {
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
     where c.oid = 'chunks'::regclass order by d.doc_no`,
    values,
  )
  const docNos = rows.flatMap(({ doc_no }) => doc_no ?? [])
  const chunks = rows.reduce((sum, { chunk_count }) => sum + chunk_count, 0)
  const all = corpus?.lastKnown()?.chunks ?? rows[0]?.estimate ?? 0
  return visibleOf(Int32Array.from(docNos), chunks, Math.max(chunks, all))
}

// Above this part of all numbers, rows are read one after the other and a bit tells whether one counts.
const sparse = 1 / 8

/** Asks the database which of these match. Two statements whatever there is. Throws where the filter is wrong. */
export async function withinFilter(
  database: Database,
  content: Content,
  documents: Documents,
  filter: Filter,
): Promise<Content> {
  const fields = await readFields(database)
  const isSparse = content.docNos().length <= documents.end * sparse
  const values: SqlValue[] = [isSparse ? content.docNos() : content.bits()]
  // `{}` is a filter, too.
  const conditions = ['true', ...filterSql(filter, fields, values)].join(' and ')
  const rows = await database.query<{ doc_no: number }>(
    isSparse
      ? `select doc_no from documents where doc_no = any($1::int[]) and ${conditions} order by doc_no`
      : `select doc_no from documents
         where case when doc_no < 8 * length($1::bytea) then get_bit($1::bytea, doc_no) = 1 else false end
           and ${conditions} order by doc_no`,
    values,
  )
  // Some may be gone since.
  const docNos = Int32Array.from(rows, ({ doc_no }) => doc_no).filter(
    (docNo) => documents.chunksOf(docNo) > 0,
  )
  let chunks = 0
  for (const docNo of docNos) chunks += documents.chunksOf(docNo)
  return contentOf(docNos, chunks)
}

async function readFields(sql: Sql): Promise<Fields> {
  const rows = await sql.query<{ name: string; type: 'string' | 'number' | 'boolean' | 'date' }>(
    'select name, type from fields',
  )
  return new Map(rows.map(({ name, type }) => [name, type]))
}
