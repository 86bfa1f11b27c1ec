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
 * A count as it is kept: at least 8, in steps of √2 (8, 11, 16, 23, …). What one document adds does not show but
 * where it happens to stand at a step, and what stands in a few passages only never does.
 */
export function inSteps(count: number): number {
  if (count <= fewest) return fewest
  return Math.round(fewest * step ** Math.round(Math.log(count / fewest) / Math.log(step)))
}

/**
 * BM25's weight of a word that stands in so many of the corpus' passages; never 0. A small corpus counts as one of 1,000
 * passages: it says little about its words, and must not rank below a large one for that.
 */
export function weightOf({ passages }: Corpus, withWord: number): number {
  const passageCount = Math.max(passages, passagesAtLeast)
  const passagesWithWord = Math.min(Math.max(withWord, fewest), passageCount)
  return Math.log(1 + (passageCount - passagesWithWord + 0.5) / (passagesWithWord + 0.5))
}

/** The average length as it is kept: to the next 5, and of 1,000 passages at the least, those that lack being of 90 words. */
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
