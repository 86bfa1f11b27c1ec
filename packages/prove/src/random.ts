/** The same seed draws the same run. */
export interface Random {
  /** At least 0, below 1. */
  next(): number
  below(bound: number): number
  shuffled<T>(values: readonly T[]): T[]
  /** A word that no text has, of this many syllables. */
  word(syllables?: number): string
}

const consonants = 'bdfgklmnprstvz'
const vowels = 'aeiou'

export function createRandom(seed: number): Random {
  let state = seed >>> 0
  // mulberry32: small, and good enough to draw lots.
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (bound: number) => Math.floor(next() * bound)
  return {
    next,
    below,
    shuffled(values) {
      const drawn = [...values]
      for (let index = drawn.length - 1; index > 0; index -= 1) {
        const other = below(index + 1)
        const kept = drawn[index] as (typeof drawn)[number]
        drawn[index] = drawn[other] as (typeof drawn)[number]
        drawn[other] = kept
      }
      return drawn
    },
    word: (syllables = 5) =>
      Array.from(
        { length: syllables },
        () => `${consonants[below(consonants.length)]}${vowels[below(vowels.length)]}`,
      ).join(''),
  }
}
