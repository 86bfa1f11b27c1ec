import { afterEach, expect, test, vi } from 'vitest'
import { InvertedLists } from '../src/inverted-lists.ts'
import { seededRandom } from '../src/kmeans.ts'
import { codeLength, componentCount, type IvfModel } from '../src/model.ts'
import type { ScanFilter } from '../src/probe.ts'
import { probeWithPool as findNearWaiting, ScanPool } from '../src/scan-pool.ts'
import { filterOf, probe } from './filter.ts'

const dimensions = 24
const cells = 7
const random = seededRandom(11)

const rows = (count: number) =>
  Float32Array.from(
    Array.from({ length: count }, () => {
      const vector = Float32Array.from({ length: dimensions }, () => random() - 0.5)
      return [...vector.map((value) => value / Math.hypot(...vector))]
    }).flat(),
  )

const modelOf = (): IvfModel => ({
  centroids: { numbers: rows(cells), dimensions, groups: rows(1), starts: Int32Array.of(0, cells) },
  components: rows(componentCount),
  steps: Float32Array.from({ length: componentCount }, () => random() / 1_000),
  error: 1,
})

function put(set: InvertedLists, docNo: number, chunks = 3): void {
  set.put(
    docNo,
    Uint16Array.from({ length: chunks }, () => Math.floor(random() * cells)),
    Uint8Array.from({ length: chunks * codeLength }, () => Math.floor(random() * 256)),
  )
}

function setOf(generation: number, documents: number): InvertedLists {
  const set = new InvertedLists(generation, modelOf())
  for (let docNo = 1; docNo <= documents; docNo += 1) put(set, docNo)
  return set
}

const everyOther = (documents: number, chunks: number): ScanFilter =>
  filterOf(
    Int32Array.from({ length: documents / 2 }, (_, at) => 2 * at + 1),
    chunks,
  )

const told: string[] = []
const open: ScanPool[] = []

function lookersOf(sets: Parameters<ScanPool['use']>[0], threads = 1): ScanPool {
  const lookers = new ScanPool({
    threads,
    log: (event, fields) => told.push(`${event}: ${fields?.reason}`),
    chunksMin: 0,
  })
  open.push(lookers)
  lookers.use(sets)
  return lookers
}

/** Without how long it waited. */
async function findNearBy(...asked: Parameters<typeof findNearWaiting>) {
  const { docs, ordinals } = await findNearWaiting(...asked)
  return { docs, ordinals }
}

const question = rows(1)
const wanted = 20
const lookAt = (visible: ScanFilter) => ({
  rows: wanted,
  embedding: question,
  chunks: visible.chunks,
  bits: visible.bits(),
})

/** Asks until a thread is there that answers. */
const answered = (lookers: ScanPool, sets: readonly InvertedLists[], visible: ScanFilter) =>
  vi.waitFor(
    async () => {
      const best = await lookers.scan(sets, lookAt(visible))
      if (best === undefined) throw new Error('Nobody looked.')
      return best
    },
    { timeout: 20_000, interval: 20 },
  )

/** No thread is begun anew meanwhile, however long this machine stands still. */
function timeStandsStill(): Disposable {
  const clock = vi.spyOn(performance, 'now').mockReturnValue(performance.now())
  return { [Symbol.dispose]: () => clock.mockRestore() }
}

afterEach(async () => {
  for (const lookers of open.splice(0)) await lookers[Symbol.asyncDispose]()
  told.length = 0
})

test.each([
  ['document by document', 1],
  ['cell by cell', 1_000_000],
])('a thread nominates what this one does, %s, and what came after it was started', async (_, counted) => {
  const sets = [setOf(1, 4_000), setOf(2, 400)]
  const lookers = lookersOf(sets, 2)
  await answered(lookers, sets, everyOther(4_000, counted))
  // Their memory grows, and documents come that have a larger number than any before.
  for (const docNo of [4_001, 70_001, 300_001]) put(sets[1] as InvertedLists, docNo, 9_000)
  const visible = filterOf(Int32Array.of(1, 3, 5, 4_001, 300_001), counted)
  expect(lookers.scan(sets, lookAt(visible))).toBeDefined()
  const near = await findNearBy(lookers, sets, visible, question, wanted)
  expect(near).toEqual(probe(sets, visible, question, wanted))
  expect(near.docs.length).toBeGreaterThanOrEqual(20)
  expect(told).toEqual([])
})

test('what changes while a thread looks stops no thread, and nothing is nominated that is not visible', async () => {
  const set = setOf(1, 3_000)
  const lookers = lookersOf([set], 2)
  const visible = everyOther(3_000, 1_000_000)
  const few = everyOther(3_000, 1)
  await answered(lookers, [set], visible)
  let looking = true
  let looked = 0
  const ask = async (): Promise<void> => {
    while (looking) {
      const seen = looked % 2 === 0 ? visible : few
      const { docs } = await findNearBy(lookers, [set], seen, question, wanted)
      looked += 1
      for (const docNo of docs) expect(docNo % 2).toBe(1)
    }
  }
  const asking = Array.from({ length: 4 }, ask)
  // Documents that may be seen and such that may not come and go, and take each other's slots.
  // On a machine that is busy the threads may not have had their turn by then.
  for (let round = 0; round < 100 || looked <= 30; round += 1) {
    for (let at = 0; at < 100; at += 1) {
      const docNo = 1 + Math.floor(random() * 6_000)
      if (random() < 0.4) set.remove(docNo)
      else put(set, docNo, Math.floor(random() * 30))
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  looking = false
  await Promise.all(asking)
  expect(looked).toBeGreaterThan(30)
  expect(told).toEqual([])
  // And in the end all is as if nobody had looked meanwhile.
  expect(await findNearBy(lookers, [set], visible, question, wanted)).toEqual(
    probe([set], visible, question, wanted),
  )
})

test('what came into a slot while another thread looked is not nominated unless it is visible', async () => {
  const set = setOf(1, 100)
  const lookers = lookersOf([set])
  const visible = everyOther(100, 1_000_000)
  await answered(lookers, [set], visible)
  const near = findNearBy(lookers, [set], visible, question, wanted)
  for (let docNo = 1; docNo <= 100; docNo += 1) set.remove(docNo)
  for (let docNo = 2; docNo <= 400; docNo += 2) put(set, docNo)
  expect([...(await near).docs].filter((docNo) => docNo % 2 === 0)).toEqual([])
})

test('a thread that ends is answered for in this one, told, and begun anew', async () => {
  const set = setOf(1, 400)
  const lookers = lookersOf([set])
  const visible = everyOther(400, 1_000_000)
  const expected = probe([set], visible, question, wanted)
  await answered(lookers, [set], visible)
  using still = timeStandsStill()
  // No memory that anything could be looked at in.
  lookers.use([{ ...set, generation: 2, codes: { ...set.codes, codeMemory: {} as never } }])
  const asked = Array.from({ length: 10 }, () => findNearBy(lookers, [set], visible, question, wanted))
  for (const one of asked) expect(await one).toEqual(expected)
  expect(told).toEqual([expect.stringContaining('search_thread_ended')])
  // Not at once: what ends each time would be begun without an end.
  expect(lookers.scan([set], lookAt(visible))).toBeUndefined()
  expect(await findNearBy(lookers, [set], visible, question, wanted)).toEqual(expected)
  lookers.use([set])
  still[Symbol.dispose]()
  await answered(lookers, [set], visible)
  expect(await findNearBy(lookers, [set], visible, question, wanted)).toEqual(expected)
  expect(told).toHaveLength(1)
})

test('who waits while passages move to another model is answered, too', async () => {
  const [set, next] = [setOf(1, 400), setOf(2, 400)]
  const lookers = lookersOf([set])
  const visible = everyOther(400, 1_000_000)
  await answered(lookers, [set], visible)
  const asked = Array.from({ length: 10 }, () => findNearBy(lookers, [set], visible, question, wanted))
  lookers.use([next])
  for (const one of asked) expect(await one).toEqual(probe([set], visible, question, wanted))
  expect(await findNearBy(lookers, [next], visible, question, wanted)).toEqual(
    probe([next], visible, question, wanted),
  )
  expect(told).toEqual([])
})

test('where no thread is to be had, questions are answered in this one, and it is tried again later', async () => {
  const set = setOf(1, 400)
  const visible = everyOther(400, 1_000_000)
  const expected = probe([set], visible, question, wanted)
  // What cannot be handed over is refused at once, as where the system has no thread left.
  using still = timeStandsStill()
  const lookers = lookersOf([{ ...set, codes: { ...set.codes, codeMemory: (() => undefined) as never } }])
  for (const _ of [1, 2, 3])
    expect(await findNearBy(lookers, [set], visible, question, wanted)).toEqual(expected)
  expect(told).toEqual([expect.stringContaining('search_thread_ended')])
  lookers.use([set])
  still[Symbol.dispose]()
  await answered(lookers, [set], visible)
  expect(told).toHaveLength(1)
})

test('what a thread cannot answer is answered in this one, and told', async () => {
  const [set, unknown] = [setOf(1, 400), setOf(2, 400)]
  const lookers = lookersOf([set])
  const visible = everyOther(400, 1_000_000)
  await answered(lookers, [set], visible)
  expect(await findNearBy(lookers, [unknown], visible, question, wanted)).toEqual(
    probe([unknown], visible, question, wanted),
  )
  expect(told).toEqual(['search_thread_failed: A generation that this thread does not know.'])
})

test('what cannot be handed over is told and left to this one, and those after it get their own answers', async () => {
  const set = setOf(1, 400)
  const lookers = lookersOf([set])
  const visible = everyOther(400, 1_000_000)
  await answered(lookers, [set], visible)
  const gone = rows(1)
  structuredClone(gone.buffer, { transfer: [gone.buffer] })
  const others = [rows(1), rows(1), rows(1), rows(1)]
  // More than a thread is handed at once: one is refused as it is asked, the other as an answer comes.
  const first = lookers.scan([set], { ...lookAt(visible), embedding: gone })
  const near = others.map((embedding) => findNearBy(lookers, [set], visible, embedding, wanted))
  const last = lookers.scan([set], { ...lookAt(visible), embedding: gone })
  expect([await first, await last]).toEqual([undefined, undefined])
  for (const [at, embedding] of others.entries())
    expect(await near[at]).toEqual(probe([set], visible, embedding, wanted))
  expect(told).toEqual(Array.from({ length: 2 }, () => expect.stringContaining('search_thread_failed')))
})

test('a thread that cannot be told what there is from now on ends, and whoever told it goes on', async () => {
  const [set, next] = [setOf(1, 400), setOf(2, 400)]
  const lookers = lookersOf([set])
  const visible = everyOther(400, 1_000_000)
  await answered(lookers, [set], visible)
  lookers.use([{ ...next, codes: { ...next.codes, codeMemory: (() => undefined) as never } }])
  expect(await findNearBy(lookers, [next], visible, question, wanted)).toEqual(
    probe([next], visible, question, wanted),
  )
  await expect.poll(() => told.length).toBe(2)
  expect(told).toEqual([expect.stringContaining('search_thread_failed'), 'search_thread_ended: exit code 1'])
  lookers.use([next])
  await answered(lookers, [next], visible)
  expect(told).toHaveLength(2)
})

test('there is a thread from the first question on that is worth one', async () => {
  const set = setOf(1, 400)
  const threads = () => process.getActiveResourcesInfo().filter((kind) => kind === 'MessagePort').length
  const before = threads()
  const none = new ScanPool({ threads: 0, log: () => undefined, chunksMin: 0 })
  const some = new ScanPool({ threads: 2, log: () => undefined })
  none.use([set])
  some.use([set])
  const small = everyOther(400, 600)
  expect(none.scan([set], lookAt(small))).toBeUndefined()
  expect(some.scan([set], lookAt(small))).toBeUndefined()
  expect(threads()).toBe(before)
  await none[Symbol.asyncDispose]()
  await some[Symbol.asyncDispose]()
})

test('who still waits when it is closed is answered in this thread', async () => {
  const set = setOf(1, 400)
  const lookers = lookersOf([set])
  const visible = everyOther(400, 1_000_000)
  await answered(lookers, [set], visible)
  const near = Array.from({ length: 20 }, () => findNearBy(lookers, [set], visible, question, wanted))
  await lookers[Symbol.asyncDispose]()
  for (const one of near) expect(await one).toEqual(probe([set], visible, question, wanted))
  expect(lookers.scan([set], lookAt(visible))).toBeUndefined()
  expect(told).toEqual([])
})
