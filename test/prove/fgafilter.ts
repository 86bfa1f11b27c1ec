import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Adapter } from '../../packages/prove/src/adapter.ts'
import type { Readers } from './readers.ts'
import { personOf } from './small.ts'

export interface FgaFilterOptions {
  /** Where `@auth0/ai` is installed. */
  readonly folder: string
  readonly readers: Readers
  /** So many are taken from the search, and filtered then. */
  readonly fetched: number
  /** Left out: the filter's own, HIGHER_CONSISTENCY. */
  readonly consistency?: 'MINIMIZE_LATENCY'
}

interface Found {
  readonly id: string
  readonly document: string
  readonly text: string
  readonly score: number
}
interface Auth0 {
  readonly FGAFilter: {
    create(
      options: { buildQuery(found: Found): object; consistency?: string },
      client: { apiUrl: string; storeId: string; credentials: object },
    ): { filter(found: readonly Found[]): Promise<Found[]> }
  }
}

/** As its examples have it: a search in memory, here by words, and FGAFilter over what that found. */
export function fgaFilterAdapter(options: FgaFilterOptions): Adapter {
  const { folder, readers, fetched, consistency } = options
  // Its ESM build does not load in Node.
  const { FGAFilter } = createRequire(join(folder, 'package.json'))('@auth0/ai') as Auth0
  const texts = new Map<string, readonly string[]>()
  const search = (query: string): Found[] => {
    const asked = wordsOf(query)
    return [...texts]
      .map(([id, words]) => {
        const score = words.filter((word) => asked.includes(word)).length / Math.sqrt(words.length)
        return { id, document: id, text: words.join(' '), score }
      })
      .filter(({ score }) => score > 0)
      .sort((a, b) => b.score - a.score)
      .slice(0, fetched)
  }
  return {
    name: 'FGAFilter',
    async retrieve({ token, query, k }) {
      const person = personOf(token)
      if (person === undefined) return { status: 401, bytes: 2, raw: '{}', passages: [] }
      const filter = FGAFilter.create(
        {
          buildQuery: ({ document }) => ({
            user: `user:${person}`,
            relation: 'viewer',
            object: `document:${document}`,
          }),
          ...(consistency && { consistency }),
        },
        { apiUrl: readers.url, storeId: readers.store, credentials: { method: 'none', config: {} } },
      )
      const passages = (await filter.filter(search(query))).slice(0, Math.max(k, 0))
      const raw = JSON.stringify({ passages })
      return { status: 200, bytes: raw.length, raw, passages }
    },
    canary: readers.canaryOf({
      put: (id, text) => void texts.set(id, wordsOf(text)),
      remove: (id) => void texts.delete(id),
    }),
  }
}

const wordsOf = (text: string): readonly string[] => text.toLowerCase().match(/[a-z0-9]+/g) ?? []
