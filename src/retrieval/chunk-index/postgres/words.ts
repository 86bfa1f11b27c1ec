import type { Database, SqlValue } from '../../../store/sql.ts'
import type { AccessFilter } from '../../access-filter/visible.ts'
import type { FoundChunk, WeightedLexeme, WordQuery, WordSampler } from '../port.ts'

/** How many chunks to find, and whether rare lexemes go first. */
export interface WordSearchOptions {
  /** The most chunks to find. */
  readonly limit: number
  /**
   * Whether rare lexemes may be looked up first, and all after that: the ranks are the same, in up to two
   * statements.
   */
  readonly rareFirst: boolean
}

/**
 * The best chunks of the filter by BM25, best first, ties by chunk id. A question without lexemes finds
 * nothing.
 */
export async function searchWords(
  database: Database,
  query: WordQuery,
  filter: AccessFilter,
  { limit, rareFirst }: WordSearchOptions,
): Promise<FoundChunk[]> {
  const { lexemes } = query
  if (lexemes.length === 0) return []
  const rarest = rareFirst ? countRarest(query, filter, limit) : lexemes.length
  const found = await rank(database, filter, query, rarest, limit)
  // A chunk without any of those has only what the other lexemes can add. Where that is too little, all is
  // found.
  const worst = found.length < limit ? 0 : (found.at(-1)?.score ?? 0)
  const needed = countNeeded(lexemes, worst)
  return needed <= rarest ? found : rank(database, filter, query, needed, limit)
}

/**
 * The best of the chunks that stand in those places of documents, as {@link searchWords} ranks them. A place
 * where nothing stands is passed over.
 */
export const rankPlaces = (
  database: Database,
  query: WordQuery,
  { docs, ordinals }: { readonly docs: Int32Array; readonly ordinals: Int32Array },
  limit: number,
): Promise<FoundChunk[]> =>
  database.query<FoundChunk>(rankingOf(amongPlaces, unindexed), [
    ...rankingValues(query, query.lexemes.length, docs, limit),
    ordinals,
  ])

/** How many of the lexemes, rarest first, a chunk must have one of to reach that score. */
export function countNeeded(lexemes: readonly WeightedLexeme[], score: number): number {
  let reachable = 0
  let needed = lexemes.length
  // A little more than the sum: Postgres may add in another order.
  for (const { scoreMax } of lexemes.toReversed()) {
    reachable += scoreMax * 1.000_001
    if (reachable >= score) break
    needed -= 1
  }
  return Math.max(needed, 1)
}

// So many times more chunks than are wanted hold the best of them, nearly always.
const ampleTimes = 3
// Up to so many times more, ranking all of them costs less than looking twice.
const fewTimes = 20

/** How many of the lexemes, rarest first, to look up first: nearly always they find the best. */
export function countRarest({ lexemes, corpora }: WordQuery, filter: AccessFilter, limit: number): number {
  if (filter.chunks <= fewTimes * limit) return lexemes.length
  const total = corpora.reduce((sum, { chunks }) => sum + chunks, 0)
  const share = total === 0 ? 1 : Math.min(1, filter.chunks / total)
  let postings = 0
  let count = 0
  for (const { frequency } of lexemes) {
    if (postings * share >= ampleTimes * limit) break
    postings += frequency
    count += 1
  }
  return count
}

const indexed = 'p.tsv @@ $1::tsquery'
// The index on words serves no such test: the visible documents' own is what is left.
const unindexed = `(${indexed}) is true`

// Each with what it is narrowed by.
const amongDocuments = { from: 'chunk_words p', where: 'p.doc_no = any($2::int[])' } as const
const amongPlaces = {
  from: `(select p.* from unnest($2::int[], $12::int[]) as place (doc_no, ordinal)
       join chunks c using (doc_no, ordinal) join chunk_words p on p.chunk_id = c.chunk_id) p`,
  where: 'true',
} as const

function rank(
  database: Database,
  filter: AccessFilter,
  query: WordQuery,
  needed: number,
  limit: number,
): Promise<FoundChunk[]> {
  const postings = query.lexemes.slice(0, needed).reduce((sum, { frequency }) => sum + frequency, 0)
  // Fewer are visible than have such a word: to walk the postings first takes longer than all the rest.
  const hasALexeme = filter.chunks <= postings ? unindexed : indexed
  return database.query<FoundChunk>(
    rankingOf(amongDocuments, hasALexeme),
    rankingValues(query, needed, filter.docNos, limit),
  )
}

// `ts_rank` of one word is Σ 1/i² over its places, divided by π²/6: turned round, how often it stands there.
const rankingOf = (
  { from, where }: typeof amongDocuments | typeof amongPlaces,
  hasALexeme: typeof indexed | typeof unindexed,
): string =>
  `select p.chunk_id as "chunkId", p.doc_no as "docNo", p.ordinal, s.score
   from ${from} join documents d using (doc_no)
   left join unnest($7::text[]) with ordinality as corpus (collection, no)
     on corpus.collection = case when $8::boolean then '' else d.collection end
   cross join lateral (
     select sum(($5::float8[])[$9::int * coalesce(corpus.no, 0)::int + word.no] * $10::float8 * times.n
       / (times.n + $6::float8 + ($11::float8[])[coalesce(corpus.no, 0)::int + 1] * p.words)) as score
     from unnest($4::tsquery[]) with ordinality as word (query, no)
     cross join lateral (
       select round(1 / (1.6449340668 * (1 - ts_rank('{1,1,1,1}', p.tsv, word.query))) - 0.5) as n offset 0
     ) times
   ) s
   where ${where} and ${hasALexeme}
   order by s.score desc, p.chunk_id
   limit $3`

function rankingValues(
  { lexemes, corpora, base, perWord, repetitionMax }: WordQuery,
  needed: number,
  docNos: Int32Array,
  limit: number,
): readonly SqlValue[] {
  const queries = lexemes.map(({ lexeme }) => quoted(lexeme))
  const perWords = [perWord, ...corpora.map((corpus) => corpus.perWord)]
  return [
    queries.slice(0, needed).join(' | '),
    docNos,
    limit,
    queries,
    perWords.flatMap((_, corpusIndex) => lexemes.map(({ weights }) => weights[corpusIndex] ?? 0)),
    base,
    corpora.map(({ collection }) => collection),
    corpora.some(({ collection }) => collection === ''),
    lexemes.length,
    repetitionMax,
    perWords,
  ]
}

/** As a tsquery and a tsvector take a lexeme whatever it is made of. */
export const quoted = (lexeme: string): string => `'${lexeme.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`

/** Counts the words of the chunks in Postgres. */
export const createWordSampler = (database: Database): WordSampler => ({
  async sample(afterId, limit, collection) {
    const rows = await database.query<{ chunk_id: string; words: number }>(
      `select p.chunk_id, p.words from chunk_words p
       where p.chunk_id > $1 and ($2::text is null
         or p.doc_no in (select doc_no from documents where collection = $2))
       order by p.chunk_id limit $3`,
      [afterId, collection, limit],
    )
    const chunkIds = rows.map(({ chunk_id }) => chunk_id)
    // ts_stat takes a query as text: only the digests of passages are put into it, as a literal.
    const counted = await database.query<{ word: string; ndoc: number }>(
      `select word, ndoc
       from ts_stat(format('select tsv from chunk_words where chunk_id = any(%L::text[])', $1::text[]))`,
      [chunkIds],
    )
    return {
      chunkIds,
      words: rows.reduce((sum, { words }) => sum + words, 0),
      chunksByLexeme: new Map(counted.map(({ word, ndoc }) => [word, ndoc])),
    }
  },
})
