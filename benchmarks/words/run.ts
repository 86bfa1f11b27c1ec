import { visibleByQuery } from '../../src/retrieval/access-filter/visibility.ts'
import type { AccessFilter } from '../../src/retrieval/access-filter/visible.ts'
import { createPostgresIndex } from '../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import { createWordSampler } from '../../src/retrieval/chunk-index/postgres/words.ts'
import { createRankingStatistics } from '../../src/retrieval/ranking/renew.ts'
import { createSearch } from '../../src/retrieval/search.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Sql } from '../../src/store/sql.ts'
import { readCollection } from '../quality/collection.ts'
import { sharedData } from '../support/shared.ts'

/**
 * Ranking by words over some 100,000 passages: BM25 as the service does it against `ts_rank` over a table
 * with the vectors, as it was before, in turn on the same rows. Needs DATABASE_URL (an empty database, which
 * is filled) and the shared data. `QUESTIONS` (default 40) may be set.
 */
const { DATABASE_URL, QUESTIONS = '40' } = process.env
if (DATABASE_URL === undefined) throw new Error('Set DATABASE_URL.')
const copies = 20
const wanted = 100

const { documents, queries } = await readCollection('scifact', sharedData('scifact', process.env))
await using database = await openPostgres({ url: DATABASE_URL, poolSize: 2 })
await migrate(database, { dir: new URL('../../migrations/', import.meta.url), dimensions: 384 })
await database.transaction(fill)
await using statistics = createRankingStatistics({
  database,
  sampler: createWordSampler(database),
  scope: 'deployment',
  now: Date.now,
  log: () => undefined,
})
const started = performance.now()
const search = createSearch({ sql: database, index: createPostgresIndex({ database }) })
await statistics.renew()
console.log(`counted in ${((performance.now() - started) / 1_000).toFixed(1)} s`)

console.log('visible    passages   p50 of before   mean of before   (1: as long)')
for (const share of [1, 0.1, 0.01]) {
  const ids = Array.from({ length: documents.length * copies }, (_, at) => at)
    .filter((at) => ((at * 2_654_435_761) % 2 ** 32) / 2 ** 32 < share)
    .map(String)
  const visible = await visibleByQuery({ database }, ids, {})
  const before: number[] = []
  const now: number[] = []
  for (const { text } of queries.slice(0, Number(QUESTIONS))) {
    before.push(await timed(() => rankAsBefore(visible, text)))
    now.push(await timed(() => search.keyword(visible, text, wanted)))
  }
  const ratio = (of: (times: number[]) => number): string => (of(now) / of(before)).toFixed(2)
  console.log(
    `${String(100 * share).padStart(5)} %   ${String(visible.chunks).padStart(8)}   ${ratio(median)}            ${ratio(mean)}`,
  )
}

async function fill(sql: Sql): Promise<void> {
  await sql.query('set local statement_timeout = 0')
  await sql.query(`insert into collections (id, title) values ('c', 'c')`)
  await sql.query('create table texts (title text, body text)')
  await sql.query('insert into texts select * from unnest($1::text[], $2::text[])', [
    documents.map(({ title }) => title),
    documents.map(({ text }) => text),
  ])
  await sql.query(
    `insert into documents (id, collection, live_revision, chunk_count)
     select n, 'c', 1, 1 from generate_series(0, $1::int) n`,
    [documents.length * copies - 1],
  )
  await sql.query(
    `create table before as
     with numbers as materialized (select array_agg(random())::real[] as r from generate_series(1, 400)),
     words as materialized (
       select row_number() over () as at,
         setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', body), 'D') as tsv
       from texts
     )
     select 'c_' || md5(n::text) as chunk_id, d.doc_no, 0 as ordinal,
       (r[1 + n % 16: 384 + n % 16])::halfvec(384) as embedding, tsv
     from generate_series(0, $1::int) n join documents d on d.id = n::text
     join words on words.at = 1 + n % $2::int, numbers
     order by md5(n::text)`,
    [documents.length * copies - 1, documents.length],
  )
  await sql.query(
    'insert into chunks (chunk_id, doc_no, ordinal) select chunk_id, doc_no, ordinal from before',
  )
  await sql.query(
    `insert into chunk_words (chunk_id, doc_no, ordinal, words, tsv)
     select chunk_id, doc_no, ordinal, (select coalesce(sum(cardinality(positions)), 0) from unnest(tsv)), tsv
     from before`,
  )
  await sql.query('create index on before (doc_no)')
  await sql.query('create index on before using gin (tsv)')
  await sql.query('analyze')
}

/** The statement of docs/decisions/0005-ranking.md. */
function rankAsBefore({ docNos }: AccessFilter, question: string) {
  return database.query(
    `with words as (
       select coalesce(string_agg(quote_literal(lexeme), ' | '), '')::tsquery as query
       from unnest(to_tsvector('english', $1))
     )
     select c.chunk_id, d.id as document_id, c.ordinal, ts_rank('{0.8, 0.8, 0.8, 1}', c.tsv, words.query) as score
     from words, before c join documents d using (doc_no)
     where c.doc_no = any($2::int[]) and c.tsv @@ words.query
     order by score desc, c.chunk_id
     limit $3`,
    [question, docNos, wanted],
  )
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const from = performance.now()
  await work()
  return performance.now() - from
}

function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN
}

function mean(times: readonly number[]): number {
  return times.reduce((sum, time) => sum + time, 0) / times.length
}
