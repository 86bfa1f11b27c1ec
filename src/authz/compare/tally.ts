import type { Asker } from './askers.ts'

/** Those who gain, or those who lose. */
export interface Counted {
  /** Pairs of somebody and a document. */
  readonly count: number
  /** Different `who`. */
  readonly people: number
  readonly documents: number
  readonly samples: readonly Sample[]
}

/** One difference, as an example. */
export interface Sample {
  readonly asker: Asker
  readonly document: string
}

/** Counts differences, and keeps some as examples. */
export interface Tally {
  add(asker: Asker, document: string): void
  result(): Counted
}

/**
 * Counts, and keeps some: one a person first, since twenty documents of one and the same say less than twenty people; as
 * long as there is room then a second of each, and so on.
 */
export function createTally({ samplesMax }: { samplesMax: number }): Tally {
  const people = new Set<string>()
  const documents = new Set<string>()
  const rounds = new Map<string, Sample[]>()
  let count = 0
  return {
    add(asker, document) {
      count += 1
      people.add(asker.who)
      documents.add(document)
      const rowsOfAsker = rounds.get(asker.who)
      if (rowsOfAsker === undefined && rounds.size < samplesMax) rounds.set(asker.who, [{ asker, document }])
      if (rowsOfAsker !== undefined && rowsOfAsker.length < samplesMax) rowsOfAsker.push({ asker, document })
    },
    result: () => ({
      count,
      people: people.size,
      documents: documents.size,
      samples: Array.from({ length: samplesMax }, (_, round) =>
        [...rounds.values()].flatMap((rowsOfRound) => rowsOfRound[round] ?? []),
      )
        .flat()
        .slice(0, samplesMax),
    }),
  }
}
