import type { ChunkId } from '../../../kernel/ids.ts'
import type { Database } from '../../../store/sql.ts'
import type { AccessFilter } from '../../access-filter/visible.ts'
import type { Candidate } from '../../candidate.ts'
import { type Word, type Words, weighWords } from '../../ranking/statistics.ts'
import { dampeningOf, mostOften, type Scope, unknownCorpus } from '../../ranking/weigh.ts'

interface Row {
  readonly chunk_id: string
  readonly document_id: string
  readonly ordinal: number
  readonly score: number
}

export interface KeywordOptions {
  readonly scope: Scope
  /** Whether rare words may be looked up first, and all after that. Defaults to true; the ranks are the same. */
  readonly rareFirst?: boolean
}

/**
 * The best passages by BM25 among those of the visible documents, best first, ties by chunk id. How much a word
 * weighs comes from the newest snapshot: nothing that is stored since then moves a rank but by being in the list.
 */
export async function byWords(
  database: Database,
  visible: AccessFilter,
  question: string,
  limit: number,
  { scope, rareFirst = true }: KeywordOptions,
): Promise<Candidate[]> {
  const weighed = await weighWords(database, question, scope)
  const { words } = weighed
  if (words.length === 0) return []
  const first = rareFirst ? rarest(words, visible, limit, weighed) : words.length
  const found = await rank(database, visible, weighed, first, limit)
  // A passage without any of those words has only what the others can add. Where that is too little, all is found.
  const worst = found.length < limit ? 0 : (found.at(-1)?.score ?? 0)
  const needed = enoughFor(words, worst)
  return needed <= first ? found : rank(database, visible, weighed, needed, limit)
}

/** How many of the words, rarest first, a passage must have one of to reach that score. */
function enoughFor(words: readonly Word[], score: number): number {
  let rest = 0
  let needed = words.length
  // A little more than the sum: Postgres may add in another order.
  for (const { most } of words.toReversed()) {
    rest += most * 1.000_001
    if (rest >= score) break
    needed -= 1
  }
  return Math.max(needed, 1)
}

// So many times more passages than are wanted hold the best of them, nearly always.
const ampleTimes = 3
// Up to so many times more, ranking all of them costs less than looking twice.
const fewTimes = 20

function rarest(words: readonly Word[], visible: AccessFilter, limit: number, { corpora }: Words): number {
  if (visible.chunks <= fewTimes * limit) return words.length
  const all = corpora.reduce((sum, { passages }) => sum + passages, 0)
  const share = all === 0 ? 1 : Math.min(1, visible.chunks / all)
  let seen = 0
  let count = 0
  for (const { passages } of words) {
    if (seen * share >= ampleTimes * limit) break
    seen += passages
    count += 1
  }
  return count
}

const indexed = 'p.tsv @@ $1::tsquery'
// The index on words serves no such test: the visible documents' own is what is left.
const unindexed = `(${indexed}) is true`

// `ts_rank` of one word is Σ 1/i² over its places, divided by π²/6: turned round, how often it stands there.
async function rank(
  database: Database,
  visible: AccessFilter,
  { words, corpora }: Words,
  needed: number,
  limit: number,
): Promise<Candidate[]> {
  const lexemes = words.map(({ lexeme }) => quoted(lexeme))
  const postings = words.slice(0, needed).reduce((sum, { passages }) => sum + passages, 0)
  // Fewer are visible than have such a word: to walk the postings first takes longer than all the rest.
  const hasAWord = visible.chunks <= postings ? unindexed : indexed
  const dampenings = [unknownCorpus, ...corpora].map(dampeningOf)
  const rows = await database.query<Row>(
    `select p.chunk_id, d.id as document_id, p.ordinal, s.score
     from chunk_words p join documents d using (doc_no)
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
     where p.doc_no = any($2::int[]) and ${hasAWord}
     order by s.score desc, p.chunk_id
     limit $3`,
    [
      lexemes.slice(0, needed).join(' | '),
      visible.docNos,
      limit,
      lexemes,
      [unknownCorpus, ...corpora].flatMap((_, at) => words.map(({ weights }) => weights[at] ?? 0)),
      dampenings[0]?.base ?? 0,
      corpora.map(({ collection }) => collection),
      corpora.some(({ collection }) => collection === ''),
      words.length,
      mostOften,
      dampenings.map(({ perWord }) => perWord),
    ],
  )
  return rows.map(({ chunk_id, document_id, ordinal, score }) => ({
    chunkId: chunk_id as ChunkId,
    documentId: document_id,
    ordinal,
    score,
  }))
}

/** As a tsquery takes a word whatever it is made of. */
const quoted = (lexeme: string): string => `'${lexeme.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
