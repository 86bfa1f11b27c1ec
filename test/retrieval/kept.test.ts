import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Cleared, Clearing, Guarded } from '../../src/authz/gate.ts'
import type { ChunkId } from '../../src/kernel/ids.ts'
import type { Sight } from '../../src/retrieval/access-filter/visibility.ts'
import { contentOf, draw, visibleAs } from '../../src/retrieval/access-filter/visible.ts'
import { clearBest, keptPassagesMax } from '../../src/retrieval/best.ts'
import type { ChunkSearch, FoundChunk } from '../../src/retrieval/chunk-index/port.ts'
import { DocumentTable } from '../../src/retrieval/corpus/documents.ts'
import { createSearch } from '../../src/retrieval/search.ts'
import { steeredClock } from '../support/steered-clock.ts'

// One document may be read, another is kept from the agent and would be the best passage. How long the index
// takes is told to it, on a clock that goes on only when told to.

const readable = 1
const keptDocNo = 2
const readingMs = 7

const documents = new DocumentTable({ newForMs: 0, elapsed: () => 0 })
for (const [docNo, id] of [
  [readable, 'open'],
  [keptDocNo, 'kept'],
] as const)
  documents.put({ docNo, id, collection: 'handbook', chunks: 1, publication: docNo })

const found = (docNo: number): FoundChunk => ({
  chunkId: `c${docNo}` as ChunkId,
  docNo,
  ordinal: 0,
  score: docNo,
})

/** How long what is kept takes: the narrowing and the search each. */
interface Kept {
  readonly isThere: boolean
  readonly narrowingMs?: number
  readonly searchMs?: number
  readonly fails?: boolean
  /** How long the question's own search takes. */
  readonly ownMs?: number
  /** How long the question has. */
  readonly deadlineMs?: number
}

/** What an agent's question comes to, and after how long on that clock. */
async function ask({
  isThere,
  narrowingMs = 0,
  searchMs = 0,
  fails = false,
  ownMs = readingMs,
  deadlineMs = Number.POSITIVE_INFINITY,
}: Kept) {
  const clock = steeredClock()
  const { now, timer } = clock.options
  const wait = (ms: number) =>
    ms === 0 ? Promise.resolve() : new Promise<void>((resolve) => timer(ms, resolve))
  const searches: string[] = []
  const signals: (AbortSignal | undefined)[] = []
  const index: Pick<ChunkSearch, 'nearest'> = {
    async nearest(_vector, filter, _limit, options) {
      const isKept = options?.like !== undefined
      searches.push(isKept ? 'begins' : 'asked')
      if (isKept) signals.push(options.signal)
      await wait(isKept ? searchMs : ownMs)
      searches.push(isKept ? 'ends' : 'answered')
      if (isKept && fails) throw new Error('down')
      return [readable, keptDocNo].filter((docNo) => filter.has(docNo)).map(found)
    },
  }
  const search = createSearch({
    sql: { query: () => Promise.reject(new Error('Nothing is asked of the database.')) },
    index: index as ChunkSearch,
    corpus: { lastKnown: () => documents },
  })
  const filterOf = (...docNos: number[]) =>
    visibleAs(contentOf(Int32Array.from(docNos), docNos.length), 2, (docNo) => docNo)
  const sight: Sight = {
    visible: filterOf(readable),
    async untold() {
      await wait(narrowingMs)
      return filterOf(...(isThere ? [keptDocNo] : []))
    },
    complete: true,
    without: () => Promise.reject(new Error('Nothing is refused.')),
  }
  const told: string[][] = []
  const clearing = {
    counts: { errors: 0 },
    isRefused: () => false,
    get tellable() {
      return told.flat().filter((id) => id === 'kept')
    },
    clear: async (items: readonly Guarded[], _enough?: number, telling: readonly string[] = []) => {
      told.push([...telling])
      return { cleared: items as readonly Cleared<Guarded>[], stopped: undefined }
    },
  } as unknown as Clearing
  const vector = new Float32Array(3)
  const asking = clearBest({
    topK: 5,
    sight,
    branches: {
      depth: 20,
      run: async (visible, depth, options) => [await search.vector(visible, vector, depth, options)],
      foundAnyway: () => [],
    },
    clearing,
    deadline: { at: now() + deadlineMs, now, signal: new AbortController().signal },
    telling: { chunksMax: 10, by: '' },
    newDecoy: () => 'decoy',
    timer,
  })
  let isOver = false
  const over = asking.finally(() => {
    isOver = true
  })
  const startedAt = now()
  const settle = async () => {
    for (let turn = 0; turn < 5; turn += 1) await setImmediate()
  }
  await settle()
  while (!isOver) {
    clock.advance(1)
    await settle()
  }
  const tookMs = now() - startedAt
  const { cleared, tellable, complete } = await over
  const atTheAnswer = [...searches]
  // What is late comes to its end, too.
  clock.advance(100_000)
  await settle()
  clock.advance(100_000)
  await settle()
  return {
    tookMs,
    answer: {
      ids: cleared.map(({ documentId }) => documentId),
      complete,
      asked: told.map((ids) => ids.length),
    },
    tellable,
    searches: atTheAnswer,
    signals,
    late: searches.slice(atTheAnswer.length),
  }
}

test('an answer takes as long whatever is kept from the agent, and however long what searches it takes or fails', async () => {
  const nothing = await ask({ isThere: false })
  expect(nothing.tellable).toEqual([])
  // Twice as long again as its own search, and the allowance.
  expect(nothing.tookMs).toBe(3 * readingMs + 100)
  for (const kept of [
    { isThere: true },
    { isThere: true, searchMs: readingMs },
    { isThere: true, searchMs: 10_000 },
    { isThere: true, narrowingMs: 10_000 },
    { isThere: true, fails: true },
    { isThere: true, searchMs: 10_000, fails: true },
    { isThere: false, searchMs: 10_000 },
  ]) {
    const { tookMs, answer } = await ask(kept)
    expect({ tookMs, answer }, JSON.stringify(kept)).toEqual({
      tookMs: nothing.tookMs,
      answer: nothing.answer,
    })
  }
})

test('what is found by then is told of, and what comes later is not', async () => {
  for (const searchMs of [0, readingMs, 2 * readingMs + 99])
    expect((await ask({ isThere: true, searchMs })).tellable, `${searchMs}`).toEqual(['kept'])
  for (const kept of [{ searchMs: 10_000 }, { narrowingMs: 10_000 }, { fails: true }])
    expect((await ask({ isThere: true, ...kept })).tellable, JSON.stringify(kept)).toEqual([])
})

test('no more than a quarter of the time that is left is waited for what is kept', async () => {
  for (const searchMs of [0, 10_000]) {
    const { tookMs, answer } = await ask({ isThere: true, searchMs, deadlineMs: readingMs + 80 })
    expect({ tookMs, answer }).toMatchObject({ tookMs: readingMs + 20, answer: { ids: ['open'] } })
  }
})

test('however slow its own search is, an answer waits for what is kept for 400 ms at most', async () => {
  for (const [ownMs, waitMs] of [
    [100, 300],
    [150, 400],
    [400, 400],
  ] as const)
    for (const kept of [{ isThere: false }, { isThere: true }, { isThere: true, searchMs: 10_000 }])
      expect((await ask({ ...kept, ownMs })).tookMs, JSON.stringify({ ...kept, ownMs })).toBe(ownMs + waitMs)
  expect((await ask({ isThere: true, searchMs: 399, ownMs: 400 })).tellable).toEqual(['kept'])
})

test('what is kept is searched once the question’s own search is done, and is told when nobody waits for it any more', async () => {
  const seen = await ask({ isThere: true, searchMs: 10_000 })
  expect(seen.searches).toEqual(['asked', 'answered', 'begins'])
  expect(seen.late).toEqual(['ends'])
  expect(seen.signals.map((signal) => signal?.aborted)).toEqual([true])
})

test('what is kept is not searched at all where its narrowing was late', async () => {
  const seen = await ask({ isThere: true, narrowingMs: 10_000 })
  expect(seen.searches).toEqual(['asked', 'answered'])
  expect(seen.late).toEqual([])
})

test('of what is kept no more is searched than so many passages, from a place that only the digest names', () => {
  const sizes = new Map(Array.from({ length: 500 }, (_, at) => [at + 1, 1 + (at % 9)]))
  sizes.set(501, 5_000)
  const chunksOf = (docNo: number) => sizes.get(docNo) ?? 0
  const total = [...sizes.values()].reduce((sum, size) => sum + size, 0)
  const content = contentOf(Int32Array.from(sizes.keys()), total)
  expect(draw(content, { chunksOf }, { chunksMax: total, by: 'a' })).toBe(content)
  const drawn = ['a', 'b', 'c', 'd', ''].map((by) => draw(content, { chunksOf }, { chunksMax: 1_000, by }))
  for (const some of drawn) {
    const docNos = [...some.docNos()]
    expect(some.chunks).toBe(docNos.reduce((sum, docNo) => sum + chunksOf(docNo), 0))
    expect(some.chunks).toBeGreaterThan(990)
    expect(some.chunks).toBeLessThanOrEqual(1_000)
    expect(docNos).toEqual([...new Set(docNos)].sort((a, b) => a - b))
    expect(docNos).not.toContain(501)
  }
  expect(new Set(drawn.map((some) => `${some.docNos()}`)).size).toBe(drawn.length)
  const again = draw(content, { chunksOf }, { chunksMax: 1_000, by: 'a' })
  expect(again.docNos()).toEqual(drawn[0]?.docNos())
})

test('the more words a question has, the fewer passages of what is kept are searched for them: 32,000 words at most', () => {
  expect([undefined, '', '?!', 'travel'].map((query) => keptPassagesMax(query))).toEqual(
    Array.from({ length: 4 }, () => 3_000),
  )
  expect(keptPassagesMax('what did the board say of the budget for 2026')).toBe(2_133)
  for (const query of ['a '.repeat(64), 'well-known '.repeat(700), '1,2,'.repeat(2_000)])
    expect(keptPassagesMax(query)).toBe(500)
})
