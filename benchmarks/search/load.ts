import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { createIvfIndex } from '../../src/retrieval/chunk-index/ivf/ivf-index.ts'
import type { Database, Sql } from '../../src/store/sql.ts'
import { type Corpus, vectorAt } from './corpus.ts'
import type { Place } from './servers.ts'

/** Numbers of passages are in their ids, so that an answer can be compared with the oracle's. */
export const chunkId = (passage: number): string => `c_${String(passage).padStart(9, '0')}`
export const passageOf = (id: string): number => Number(id.slice(2))

/** Fields by which every tenth and every hundredth document can be asked for. */
export const metadataOf = (document: number) => ({
  tenth: spread(document) % 10,
  hundredth: Math.floor(spread(document) / 10) % 100,
})

// Documents beside each other are of one text: not every tenth of them, but a tenth drawn.
const spread = (document: number): number => Math.imul(document + 1, 0x9e3779b1) >>> 8

/**
 * Puts the passages where ingestion would, without its jobs: documents, chunks, a word of text each; then the
 * indexes.
 */
export async function loadCorpus(place: Place, corpus: Corpus): Promise<void> {
  const { database } = place
  await database.query(`insert into collections (id, title) values ('bench', 'bench')`)
  await database.query(`insert into fields (name, type) values ('tenth', 'number'), ('hundredth', 'number')`)
  const counts = new Int32Array(corpus.documents.length)
  for (const document of corpus.documentOf) counts[document] = (counts[document] ?? 0) + 1
  for (const slice of slices(corpus.documents.length, 10_000)) {
    await database.query(
      `insert into documents
         (doc_no, id, collection, live_revision, accepted_revision, publication, title, chunk_count, metadata)
       overriding system value
       select no, id, 'bench', 1, 1, no, id, count, metadata
       from unnest($1::int[], $2::text[], $3::int[], $4::jsonb[]) as d (no, id, count, metadata)`,
      [
        slice.map((at) => at + 1),
        slice.map((at) => corpus.documents[at]?.id ?? ''),
        slice.map((at) => counts[at] ?? 0),
        slice.map((at) => JSON.stringify(metadataOf(at))),
      ],
    )
  }
  const indexes = await database.query<{ name: string; definition: string }>(
    `select indexname as name, indexdef as definition from pg_indexes
     where tablename = 'chunks' and indexname <> 'chunks_pkey'`,
  )
  for (const { name } of indexes) await database.query(`drop index ${name}`)
  const ordinals = new Int32Array(corpus.documents.length)
  const fields = (at: number) => {
    const document = corpus.documentOf[at] ?? 0
    const ordinal = ordinals[document] ?? 0
    ordinals[document] = ordinal + 1
    return { id: chunkId(at), docNo: document + 1, ordinal, embedding: literal(vectorAt(corpus, at)) }
  }
  if (place.url === undefined) await insertRows(database, corpus.count, fields)
  else await copyRows(place.url, corpus.count, fields)
  await long(database, [
    `insert into index_publications (publication, doc_no, chunks, is_shown)
     select publication, doc_no, chunk_count, true from documents`,
    `select setval('publication_numbers', max(publication)) from documents`,
    `insert into chunk_texts (chunk_id, doc_no, ordinal, text, headings, start_offset, end_offset)
     select chunk_id, doc_no, ordinal, 'Passage ' || chunk_id, '{}', 0, 0 from chunks`,
    ...indexes.map(({ definition }) => definition),
    'analyze',
  ])
}

/** What lies near what, as the service finds it out in the background; nothing where the corpus is small. */
export async function renewIvf({ database }: Place): Promise<void> {
  await using ivf = createIvfIndex({ database, log: () => undefined })
  await ivf.renew()
}

/** As text, in which Postgres takes a vector; the numbers are few enough digits to come back as they are. */
export const literal = (vector: Float32Array): string => `[${vector.join(',')}]`

interface Row {
  readonly id: string
  readonly docNo: number
  readonly ordinal: number
  readonly embedding: string
}

async function copyRows(url: string, count: number, row: (at: number) => Row): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    function* lines(): Generator<string> {
      for (const slice of slices(count, 200))
        yield slice
          .map(row)
          .map(({ id, docNo, ordinal, embedding }) => `${id}\t${docNo}\t${ordinal}\t${embedding}\n`)
          .join('')
    }
    const copy = client.query(copyFrom('copy chunks (chunk_id, doc_no, ordinal, embedding) from stdin'))
    await pipeline(Readable.from(lines()), copy)
  } finally {
    await client.end()
  }
}

async function insertRows(database: Database, count: number, row: (at: number) => Row): Promise<void> {
  for (const slice of slices(count, 500)) {
    const rows = slice.map(row)
    await database.query(
      `insert into chunks (chunk_id, doc_no, ordinal, embedding)
       select id, no, ordinal, embedding::${database.vectorType}
       from unnest($1::text[], $2::int[], $3::int[], $4::text[]) as c (id, no, ordinal, embedding)`,
      [
        rows.map(({ id }) => id),
        rows.map(({ docNo }) => docNo),
        rows.map(({ ordinal }) => ordinal),
        rows.map(({ embedding }) => embedding),
      ],
    )
  }
}

/** Statements that take longer than a request may. */
export async function long(database: Database, statements: readonly string[]): Promise<void> {
  await database.transaction(async (sql: Sql) => {
    await sql.query('set local statement_timeout = 0')
    await sql.query(`set local maintenance_work_mem = '${database.kind === 'pglite' ? '256MB' : '3GB'}'`)
    for (const statement of statements) await sql.query(statement)
  })
}

export function* slices(count: number, size: number): Generator<number[]> {
  for (let from = 0; from < count; from += size)
    yield Array.from({ length: Math.min(size, count - from) }, (_, at) => from + at)
}
