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

export interface Sample {
  readonly asker: Asker
  readonly document: string
}

export interface Tally {
  add(asker: Asker, document: string): void
  result(): Counted
}

/**
 * Counts, and keeps some: one a person first, since twenty documents of one and the same say less than twenty people.
 * `fill`: then more of them, as long as there is room.
 */
export function createTally({ samplesMax, fill = false }: { samplesMax: number; fill?: boolean }): Tally {
  const people = new Set<string>()
  const documents = new Set<string>()
  const firsts: Sample[] = []
  const others: Sample[] = []
  let count = 0
  return {
    add(asker, document) {
      count += 1
      const list = people.has(asker.who) ? others : firsts
      if (list.length < samplesMax && (list === firsts || fill)) list.push({ asker, document })
      people.add(asker.who)
      documents.add(document)
    },
    result: () => ({
      count,
      people: people.size,
      documents: documents.size,
      samples: [...firsts, ...others].slice(0, samplesMax),
    }),
  }
}
