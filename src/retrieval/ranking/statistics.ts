import type { Sql } from '../../store/sql.ts'
import type { WordCorpus, WordQuery } from '../chunk-index/port.ts'
import { dampeningOf, mostOften, type Scope, unknownCorpus, weightOf } from './weigh.ts'

interface Row {
  readonly lexeme: string
  readonly collection: string | null
  readonly passages: number
  readonly words_on_average: number
  readonly with_word: number | null
}

// What more there is adds to the work and next to nothing to the ranks.
const lexemesMax = 64

/** The question as an index is asked: its lexemes, rarest first, with what the newest snapshot says of them. */
export async function weighWords(sql: Sql, question: string, scope: Scope): Promise<WordQuery> {
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
