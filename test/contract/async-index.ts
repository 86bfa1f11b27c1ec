import type { ChunkId } from '../../src/kernel/ids.ts'
import {
  type ChunkIndex,
  type FoundChunk,
  type IndexedChunk,
  NotFound,
  type Publication,
  type WordQuery,
} from '../../src/retrieval/chunk-index/port.ts'
import type { Sql } from '../../src/store/sql.ts'
import type { Subject } from './chunk-index.ts'

/** What a wrong engine does. */
export type Lie =
  /** Finds what was hidden. */
  | 'forgets a hide'
  /** Finds a chunk of a document that is not in the filter. */
  | 'returns a foreign chunk'
  /** Finds nine of ten. */
  | 'loses one of ten'
  /** Says that it has what it would not find yet. */
  | 'shows what it would not find'
  /** Weighs words by what it holds. */
  | 'weighs words itself'
  /** Keeps what a rolled back transaction did. */
  | 'ignores a rollback'

interface State {
  /** By document: what Postgres says is in force. */
  readonly shown: Map<number, number>
  /** Numbers whose end is known. */
  readonly ended: Set<number>
}

interface Held {
  readonly publication: Publication
  readonly chunks: readonly IndexedChunk[]
}

/**
 * An engine apart from the database: puts and removals wait in an outbox, and it finds them late. What is in
 * force is the database's to say, so that it is asked for publications by number, and forgets when it comes
 * to it.
 */
export function createAsyncSubject(lie?: Lie): Subject {
  let state: State = { shown: new Map(), ended: new Set() }
  const staged = new Map<number, Held>()
  const found = new Map<number, Held>()
  const hiddenEarlier = new Map<number, number>()
  let documents = 0

  /** One turn later, as an engine that has to refresh first. */
  const later = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

  async function transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    const before: State = { shown: new Map(state.shown), ended: new Set(state.ended) }
    try {
      return await work(noSql)
    } catch (error) {
      if (lie !== 'ignores a rollback') state = before
      throw error
    }
  }

  /** Chunks of what is in force in the filter, with their documents. */
  function inForce(has: (docNo: number) => boolean): readonly Candidate[] {
    const numbers = [...state.shown].filter(([docNo]) => has(docNo)).map(([, number]) => number)
    if (lie === 'forgets a hide')
      for (const [docNo, number] of hiddenEarlier)
        if (has(docNo) && !state.shown.has(docNo)) numbers.push(number)
    if (lie === 'returns a foreign chunk')
      for (const [docNo, number] of state.shown) if (!has(docNo)) numbers.push(number)
    return numbers
      .flatMap((number) => found.get(number) ?? [])
      .flatMap(({ publication: { docNo }, chunks }) => chunks.map((chunk) => ({ docNo, chunk })))
      .filter(({ chunk }) => lie !== 'loses one of ten' || digit(chunk.chunkId) !== 0)
  }

  const index: ChunkIndex = {
    async stage(publications) {
      const fresh = publications.filter(({ number }) => ![...state.shown.values()].includes(number))
      for (const { chunks, ...publication } of fresh) staged.set(publication.number, { publication, chunks })
      await later()
      for (const { chunks, ...publication } of fresh) found.set(publication.number, { publication, chunks })
    },
    async show(_, publications) {
      return publications.map(({ number, docNo }) => {
        if (state.shown.get(docNo) === number) return found.get(number)?.chunks.length ?? 0
        const held = state.ended.has(number) ? undefined : found.get(number)
        if (held === undefined && lie !== 'shows what it would not find') throw new NotFound(number)
        end(docNo)
        state.shown.set(docNo, number)
        return held?.chunks.length ?? 0
      })
    },
    async hide(_, docNos) {
      for (const docNo of docNos) end(docNo)
    },
    async forget(_, { number, docNo }) {
      if (state.shown.get(docNo) !== number) state.ended.add(number)
    },
    async listed(after, limit) {
      return [...found.keys()]
        .filter((number) => number > after)
        .sort((a, b) => a - b)
        .slice(0, limit)
    },
    async lacksVector(_, docNo) {
      const held = found.get(state.shown.get(docNo) ?? -1)
      return held?.chunks.some(({ vector }) => vector === undefined) ?? false
    },
    async nearest(vector, filter, limit) {
      await later()
      const candidates = inForce((docNo) => filter.has(docNo)).filter(
        ({ chunk }) => chunk.vector !== undefined,
      )
      return best(candidates, ({ chunk }) => dot(chunk.vector ?? new Float32Array(), vector), limit)
    },
    async words(query, filter, limit) {
      await later()
      const candidates = inForce((docNo) => filter.has(docNo))
      const held = [...found.values()].flatMap(({ chunks }) => chunks)
      const weigh = (lexeme: string): number =>
        Math.log(held.length / (1 + held.filter((chunk) => countOf(chunk, lexeme) > 0).length))
      const own = lie === 'weighs words itself' ? weigh : undefined
      return best(candidates, ({ chunk }) => bm25(query, chunk, own), limit).filter(
        ({ score }) => score !== 0,
      )
    },
  }

  function end(docNo: number): void {
    const number = state.shown.get(docNo)
    if (number === undefined) return
    state.shown.delete(docNo)
    state.ended.add(number)
    hiddenEarlier.set(docNo, number)
  }

  return {
    index,
    dimensions: 16,
    recallMin: 1,
    newDocument: async () => {
      documents += 1
      return documents
    },
    noteLive: async () => undefined,
    noteHidden: async () => undefined,
    transaction,
    async settle() {
      await later()
      if (lie === 'forgets a hide') return
      for (const number of state.ended) found.delete(number)
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}

interface Candidate {
  readonly docNo: number
  readonly chunk: IndexedChunk
}

function best(
  candidates: readonly Candidate[],
  scoreOf: (candidate: Candidate) => number,
  limit: number,
): readonly FoundChunk[] {
  return candidates
    .map((candidate) => ({
      chunkId: candidate.chunk.chunkId as ChunkId,
      docNo: candidate.docNo,
      ordinal: candidate.chunk.ordinal,
      score: scoreOf(candidate),
    }))
    .filter(({ score }) => score !== 0)
    .sort((a, b) => b.score - a.score || (a.chunkId < b.chunkId ? -1 : 1))
    .slice(0, limit)
}

function bm25(
  { lexemes, repetitionMax, base, corpora }: WordQuery,
  chunk: IndexedChunk,
  own: ((lexeme: string) => number) | undefined,
): number {
  const words = chunk.lexemes.reduce((sum, { count }) => sum + count, 0)
  return lexemes.reduce((sum, { lexeme, weights }) => {
    const count = countOf(chunk, lexeme)
    const weight = own?.(lexeme) ?? weights[1] ?? 0
    return sum + (weight * repetitionMax * count) / (count + base + (corpora[0]?.perWord ?? 0) * words)
  }, 0)
}

const countOf = ({ lexemes }: IndexedChunk, lexeme: string): number =>
  lexemes.find((one) => one.lexeme === lexeme)?.count ?? 0

const dot = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0)

const digit = (chunkId: string): number => Number(chunkId[2] ?? 1) % 10

const noSql: Sql = { query: () => Promise.reject(new Error('This engine is not in the database.')) }
