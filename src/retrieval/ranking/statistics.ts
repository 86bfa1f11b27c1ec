import type { Sql } from '../../store/sql.ts'
import { type Corpus, mostOften, type Scope, unknownCorpus, weightOf } from './weigh.ts'

/** A word of a question, as Postgres' text search knows it. */
export interface Word {
  readonly lexeme: string
  /** Its weight in passages of a corpus that nobody counted yet, then in those of each {@link Words.corpora}. */
  readonly weights: readonly number[]
  /** The most that it can add to a passage's score. */
  readonly most: number
  /** Passages that have it, roughly: says what is cheap to look up, never how to rank. */
  readonly passages: number
}

/** A question's words, rarest first, with what the newest snapshot says of them. */
export interface Words {
  readonly words: readonly Word[]
  /** Empty name: the whole deployment. */
  readonly corpora: readonly (Corpus & { readonly collection: string })[]
}

interface Row {
  readonly lexeme: string
  readonly collection: string | null
  readonly passages: number
  readonly words_on_average: number
  readonly with_word: number | null
}

// What more there is adds to the work and next to nothing to the ranks.
const wordsMax = 64

export async function weighWords(sql: Sql, question: string, scope: Scope): Promise<Words> {
  const rows = await sql.query<Row>(
    `select w.lexeme, c.collection, c.passages, c.words_on_average, r.passages as with_word
     from unnest(to_tsvector('english', $1)) w
     left join ranking_corpora c
       on c.snapshot = (select max(snapshot) from ranking_snapshots where per = $2)
     left join ranking_words r
       on r.snapshot = c.snapshot and r.collection = c.collection and r.lexeme = w.lexeme
     order by c.collection, w.lexeme`,
    [question, scope],
  )
  const corpora = new Map<string, Corpus & { readonly collection: string }>()
  const words = new Map<string, { weights: number[]; passages: number }>()
  for (const { lexeme, collection, passages, words_on_average, with_word } of rows) {
    const word = words.get(lexeme) ?? { weights: [weightOf(unknownCorpus, 0)], passages: 0 }
    words.set(lexeme, word)
    if (collection === null) continue
    const corpus = { collection, passages, wordsOnAverage: words_on_average }
    corpora.set(collection, corpus)
    const weight = weightOf(corpus, with_word ?? 0)
    word.weights.push(weight)
    // Nothing is outside of the whole deployment.
    if (collection === '') word.weights[0] = weight
    word.passages += with_word ?? 0
  }
  return {
    words: [...words]
      .map(([lexeme, word]) => ({ lexeme, ...word, most: mostOften * Math.max(...word.weights) }))
      .sort((a, b) => b.most - a.most || (a.lexeme < b.lexeme ? -1 : 1))
      .slice(0, wordsMax),
    corpora: [...corpora.values()],
  }
}
