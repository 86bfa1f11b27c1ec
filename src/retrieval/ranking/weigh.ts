import type { Sql } from '../../store/sql.ts'
import type { WordCorpus, WordQuery } from '../chunk-index/port.ts'

/** Whose words are counted together: all that is stored, or each collection by itself. */
export type Scope = 'deployment' | 'collection'

/** A corpus as a snapshot knows it, roughly. */
export interface Corpus {
  readonly passages: number
  /** Words in a passage on average. */
  readonly wordsOnAverage: number
}

/** What is not counted yet ranks as if it were this: every word weighs alike. */
export const unknownCorpus: Corpus = { passages: 0, wordsOnAverage: 90 }

// Robertson and Walker's usual values, as in the floors of docs/decisions/0005-ranking.md; nothing is tuned.
const k1 = 1.2
const b = 0.75

/** The most that a word's weight is multiplied by, however often it stands in a passage. */
export const mostOften = k1 + 1

const fewest = 8
const step = Math.SQRT2
const passagesAtLeast = 1_000

/**
 * A count as it is kept: at least 8, in steps of √2 (8, 11, 16, 23, …). What one document adds does not show
 * but where it happens to stand at a step, and what stands in a few passages only never does.
 */
export function inSteps(count: number): number {
  if (count <= fewest) return fewest
  return Math.round(fewest * step ** Math.round(Math.log(count / fewest) / Math.log(step)))
}

/**
 * BM25's weight of a word that stands in so many of the corpus' passages; never 0. A small corpus counts as
 * one of 1,000 passages: it says little about its words, and must not rank below a large one for that.
 */
export function weightOf({ passages }: Corpus, withWord: number): number {
  const passageCount = Math.max(passages, passagesAtLeast)
  const passagesWithWord = Math.min(Math.max(withWord, fewest), passageCount)
  return Math.log(1 + (passageCount - passagesWithWord + 0.5) / (passagesWithWord + 0.5))
}

/**
 * The average length as it is kept: to the next 5, and of 1,000 passages at the least, those that lack being
 * of 90 words.
 */
export function averageOf(wordCount: number, passages: number): number {
  const lacking = Math.max(0, passagesAtLeast - passages)
  return Math.max(
    5,
    5 * Math.round((wordCount + lacking * unknownCorpus.wordsOnAverage) / (passages + lacking) / 5),
  )
}

/**
 * How a passage's length dampens repetition: a word that stands there `n` times counts
 * `mostOften × n / (n + base + perWord × words)` times its weight.
 */
export const dampeningOf = ({
  wordsOnAverage,
}: Corpus): { readonly base: number; readonly perWord: number } => ({
  base: k1 * (1 - b),
  perWord: (k1 * b) / wordsOnAverage,
})

interface Row {
  readonly lexeme: string
  readonly collection: string | null
  readonly passages: number
  readonly words_on_average: number
  readonly with_word: number | null
}

/** How many lexemes of a question count. More add to the work, and next to nothing to the ranks. */
export const lexemesMax = 64

/**
 * The question as an index is asked: at most 64 lexemes, rarest first, with what the newest snapshot says of
 * them. Of more the rarest are taken; by collections the first ones of the question, so that which are taken
 * says nothing of a collection, and the rows are no more than 64 for each.
 */
export async function weighWords(sql: Sql, question: string, scope: Scope): Promise<WordQuery> {
  const rows = await sql.query<Row>(
    `select w.lexeme, c.collection, c.passages, c.words_on_average, r.passages as with_word
     from (select lexeme from unnest(to_tsvector('english', $1)) order by positions[1], lexeme limit $3) w
     left join ranking_corpora c
       on c.snapshot = (select max(snapshot) from ranking_snapshots where per = $2)
     left join ranking_words r
       on r.snapshot = c.snapshot and r.collection = c.collection and r.lexeme = w.lexeme
     order by c.collection, w.lexeme`,
    [question, scope, scope === 'collection' ? lexemesMax : null],
  )
  const corpora = new Map<string, WordCorpus>()
  const byLexeme = new Map<string, { weights: number[]; frequency: number }>()
  for (const { lexeme, collection, passages, words_on_average, with_word } of rows) {
    const lexemeWeights = byLexeme.get(lexeme) ?? { weights: [weightOf(unknownCorpus, 0)], frequency: 0 }
    byLexeme.set(lexeme, lexemeWeights)
    if (collection === null) continue
    const corpus = { passages, wordsOnAverage: words_on_average }
    corpora.set(collection, { collection, chunks: passages, perWord: dampeningOf(corpus).perWord })
    const weight = weightOf(corpus, with_word ?? 0)
    lexemeWeights.weights.push(weight)
    // Nothing is outside of the whole deployment.
    if (collection === '') lexemeWeights.weights[0] = weight
    lexemeWeights.frequency += with_word ?? 0
  }
  return {
    lexemes: [...byLexeme]
      .map(([lexeme, lexemeWeights]) => ({
        lexeme,
        ...lexemeWeights,
        scoreMax: mostOften * Math.max(...lexemeWeights.weights),
      }))
      .sort((a, b) => b.scoreMax - a.scoreMax || (a.lexeme < b.lexeme ? -1 : 1))
      .slice(0, lexemesMax),
    repetitionMax: mostOften,
    ...dampeningOf(unknownCorpus),
    corpora: [...corpora.values()],
  }
}
