import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import wabt from 'wabt'
import fc from '../../../test/support/properties.ts'
import { InvertedLists, noPartition } from '../src/inverted-lists.ts'
import { seededRandom } from '../src/kmeans.ts'
import {
  codeLength,
  componentCount,
  componentPosition,
  type IvfModel,
  levelMidpoint,
  stepPerDeviation,
} from '../src/model.ts'
import { QuantizedCodes } from '../src/quantized-codes.ts'
import { scoreSteps } from '../src/scratch-memory.ts'
import { SimdScanner, scoreStepOf } from '../src/simd.ts'
import { filterOf, probe, setBit } from './filter.ts'

const file = (name: string) => readFileSync(new URL(`../src/${name}`, import.meta.url))

// Not all of them are in its types.
const features = { simd: true, relaxed_simd: true, multi_memory: true, threads: true }

test('the binary is what its text is made to', async () => {
  const { parseWat } = await wabt()
  const module = parseWat('simd.wat', file('simd.wat').toString(), features)
  expect(Buffer.from(module.toBinary({}).buffer)).toEqual(file('simd.wasm'))
})

const cells = 7

function modelOf(dimensions: number, random: () => number): IvfModel {
  const unit = () => {
    const vector = Float32Array.from({ length: dimensions }, () => random() - 0.5)
    return vector.map((value) => value / Math.hypot(...vector))
  }
  const rows = (count: number) => Float32Array.from(Array.from({ length: count }, () => [...unit()]).flat())
  return {
    centroids: {
      numbers: rows(cells),
      dimensions,
      groups: rows(1),
      starts: Int32Array.of(0, cells),
    },
    components: rows(componentCount),
    steps: Float32Array.from({ length: componentCount }, () => random() / 1_000),
    error: 1,
  }
}

const dot = (one: Float32Array, other: Float32Array) =>
  one.reduce((sum, value, at) => sum + value * (other[at] ?? 0), 0)

/** One number after the other. */
function plainScore(
  { centroids, components: axes, steps }: IvfModel,
  question: Float32Array,
  cell: number,
  code: Uint8Array,
) {
  const row = (of: Float32Array, at: number) =>
    of.subarray(at * centroids.dimensions, (at + 1) * centroids.dimensions)
  let apart = 0
  for (let axis = 0; axis < componentCount; axis += 1) {
    const { byte, shift } = componentPosition(axis)
    const level = ((code[byte] ?? 0) >> shift) & 15
    apart += levelMidpoint(level) * (steps[axis] ?? 0) * dot(row(axes, axis), question)
  }
  return dot(row(centroids.numbers, cell), question) + apart
}

const none = new Uint8Array()
/** Levels as of what is spread normally. */
const drawCode = (random: () => number) => {
  const level = () => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    return Math.max(0, Math.min(15, Math.floor(normal / stepPerDeviation) + 8))
  }
  return Uint8Array.from({ length: codeLength }, () => 16 * level() + level())
}

const everyone = new Uint8Array(64).fill(255)

test.each([1, 7, 8, 24, 100])(
  'scores cells and codes as one number after the other does: %i dimensions',
  (dimensions) => {
    const random = seededRandom(dimensions)
    const model = modelOf(dimensions, random)
    const written = new QuantizedCodes(model)
    const kernel = new SimdScanner(written)
    const drawn = Float32Array.from({ length: dimensions }, () => random() - 0.5)
    const question = drawn.map((value) => value / Math.hypot(...drawn))
    const codes = Array.from({ length: 20 }, () => drawCode(random))
    written.reserve(50)
    for (const [at, own] of codes.entries()) written.put(2 * at + 1, at + 1, own, 0)
    const backwards = codes.map((_, at) => codes.length - 1 - at)
    const expected = backwards.map((at) => plainScore(model, question, at % cells, codes[at] ?? none))
    const score = (rows: number) => {
      const cellScores = kernel.begin(question, everyone, rows)
      kernel.slots.set(backwards.map((at) => 2 * at + 1))
      kernel.scores.set(backwards.map((at) => cellScores[at % cells] ?? 0))
      kernel.scan(0, codes.length)
      const { size, slots, scores } = kernel.hits
      return new Map(Array.from(slots.subarray(0, size), (slot, at) => [slot, scores[at] ?? 0]))
    }
    const all = score(codes.length)
    expect([...all.keys()]).toEqual(backwards.map((at) => 2 * at + 1))
    for (const [at, one] of [...all.values()].entries()) expect(one).toBeCloseTo(expected[at] ?? 0, 3)
    // What is far off is dropped, and what is left scores what it did.
    const some = score(4)
    const least = [...all.values()].toSorted((a, b) => b - a)[3] ?? 0
    for (const [slot, one] of all) if (one >= least || some.has(slot)) expect(some.get(slot)).toBe(one)
  },
)

test.each([true, false])('gathers of blocks what is visible, in its order: dense %s', (isDense) => {
  const written = new QuantizedCodes(modelOf(8, seededRandom(1)))
  const kernel = new SimdScanner(written)
  written.reserve(128)
  const code = drawCode(seededRandom(2))
  for (let at = 0; at < 16; at += 1) if (at !== 9) written.put(32 + at, 10 * at + 1, code, 0)
  for (const slot of [48, 63, 64, 96]) written.put(slot, 31, code, 0)
  const bits = new Uint8Array(16)
  for (const docNo of [1, 31, 91, 111, 150]) setBit(bits, docNo)
  const question = new Float32Array(8).fill(0.3)
  kernel.begin(question, bits, 10)
  kernel.queueBlocks(2, 1, 0.5)
  expect(kernel.queuedSlots).toBe(16)
  kernel.queueBlocks(3, 2, 0.25)
  expect(kernel.queuedSlots).toBe(48)
  expect(kernel.gather(isDense)).toBe(6)
  expect([...kernel.slots.subarray(0, 6)]).toEqual([32, 35, 43, 48, 63, 64])
  expect([...kernel.scores.subarray(0, 6)]).toEqual([0.5, 0.5, 0.5, 0.25, 0.25, 0.25])
  expect(kernel.gather(isDense)).toBe(0)
  // Bits of one question are not those of the next.
  kernel.queueBlocks(2, 1, 0.5)
  kernel.begin(question, bits.subarray(0, 2), 10)
  kernel.queueBlocks(2, 1, 0.5)
  expect(kernel.gather(isDense)).toBe(1)
})

test('a score is in the step here that the kernel counts it in, at the edge of a step, too', () => {
  // As the kernel has it: every number between is a float32.
  const counted = (score: number): number =>
    Math.trunc(Math.min(scoreSteps - 1, Math.max(0, Math.fround(Math.fround(score + 2) * (scoreSteps / 4)))))
  for (let step = 0; step < scoreSteps; step += 1) {
    const edge = Math.fround((4 * step) / scoreSteps - 2)
    for (const score of [edge, ...[1e-8, 3e-8, 1e-7].flatMap((by) => [edge - by, edge + by])].map(
      Math.fround,
    ))
      expect(scoreStepOf(score)).toBe(counted(score))
  }
})

test('chooses of the visible documents the chunks whose cells score most, however many were counted', () => {
  const model = modelOf(8, seededRandom(1))
  const random = seededRandom(3)
  const set = new InvertedLists(1, model)
  const { scanner: kernel } = set
  // One of them lies in more than two segments.
  const lengths = [3, 9_000, 1, 8, 17, 0, 300]
  const filed = lengths.map((length) =>
    Uint16Array.from({ length }, () => Math.floor(random() * (cells + 1))),
  )
  for (const [at, own] of filed.entries())
    set.put(
      at + 1,
      Uint16Array.from(own, (cell) => (cell === cells ? noPartition : cell)),
      new Uint8Array(96 * own.length),
    )
  const bits = new Uint8Array(16)
  for (const docNo of [2, 4, 5, 6, 7, 90]) setBit(bits, docNo)
  const cellScores = kernel.begin(new Float32Array(8).fill(0.3), bits, 10).slice()
  const scores = [2, 4, 5, 6, 7]
    .flatMap((docNo) => [...(filed[docNo - 1] ?? [])].filter((cell) => cell < cells))
    .map((cell) => cellScores[cell] ?? 0)
    .toSorted((a, b) => b - a)
  for (const counted of [1, scores.length, 100_000])
    for (const most of [1, 50, 2_000, Number.POSITIVE_INFINITY]) {
      const count = kernel.chooseNearest(counted, most)
      expect(count).toBe(Math.min(most, scores.length))
      for (const [at, score] of kernel.scores.subarray(0, count).entries())
        expect(Math.abs(score - (scores[at] ?? 0))).toBeLessThan(1e-3)
      const slots = [...kernel.slots.subarray(0, count)]
      expect(new Set(slots).size).toBe(count)
      expect(slots.every((slot) => [2, 4, 5, 6, 7].includes(set.codes.docAt(slot)))).toBe(true)
    }
})

test('keeps what was put into it while its memory grows', () => {
  const written = new QuantizedCodes(modelOf(8, seededRandom(1)))
  const kernel = new SimdScanner(written)
  const before = written.bytes
  const code = drawCode(seededRandom(2))
  written.reserve(2)
  written.put(1, 1, code, 0)
  written.reserve(50_001)
  // With room for the bits of so many documents.
  written.put(50_000, 1_000_000, code, 0)
  expect(written.bytes).toBeGreaterThan(before)
  expect([1, 2, 50_000].map((slot) => written.docAt(slot))).toEqual([1, 0, 1_000_000])
  // And for more chunks than are usually wanted.
  kernel.begin(new Float32Array(8).fill(0.3), everyone, 30_000)
  kernel.slots.set([1, 50_000])
  kernel.scores.set([0, 0])
  kernel.scan(0, 2)
  const { size, scores } = kernel.hits
  expect(size).toBe(2)
  expect(scores[0]).toBe(scores[1])
  expect(scores[0]).not.toBe(0)
})

const manyOf = (count: number, codeOf: (at: number) => Uint8Array) => {
  const model = modelOf(24, seededRandom(1))
  const set = new InvertedLists(1, model)
  const own = Array.from({ length: count }, (_, at) => codeOf(at))
  for (const [at, code] of own.entries()) set.put(at + 1, Uint16Array.of(at % cells), code)
  const question = model.centroids.numbers.slice(0, 24)
  return { set, question, scoreOf: (at: number) => plainScore(model, question, at % cells, own[at] ?? none) }
}

test.each([
  ['document by document', 1],
  ['cell by cell', 1_000_000],
])('nominates the best of thousands, %s', (_, counted) => {
  const random = seededRandom(5)
  const { set, question, scoreOf } = manyOf(6_000, () => drawCode(random))
  const docNos = Int32Array.from({ length: 3_000 }, (__, at) => 2 * at + 1)
  const visible = filterOf(docNos, counted)
  const scores = new Map([...docNos].map((docNo) => [docNo, scoreOf(docNo - 1)]))
  const sorted = [...scores.values()].toSorted((a, b) => b - a)
  for (const rows of [1, 20, 300]) {
    const { docs } = probe([set], visible, question, rows)
    expect(docs).toHaveLength(rows)
    const worst = Math.min(...[...docs].map((docNo) => scores.get(docNo) ?? -1))
    expect(worst).toBeGreaterThan((sorted[rows - 1] ?? 0) - 2e-3)
  }
})

test('nominates as many as are wanted, the best first seen among them, of more that are equally good than are kept', () => {
  const model = modelOf(24, seededRandom(1))
  const question = model.centroids.numbers.slice(0, 24)
  const set = new InvertedLists(1, model)
  const codes = [drawCode(seededRandom(3)), drawCode(seededRandom(4))].toSorted(
    (a, b) => plainScore(model, question, 0, b) - plainScore(model, question, 0, a),
  )
  for (let docNo = 1; docNo <= 20_000; docNo += 1)
    set.put(docNo, Uint16Array.of(0), codes[docNo <= 5 ? 0 : 1] ?? none)
  const docNos = Int32Array.from({ length: 20_000 }, (_, at) => at + 1)
  for (const rows of [10, 9_000]) {
    const { docs } = probe([set], filterOf(docNos, 20_000), question, rows)
    expect(new Set(docs).size).toBe(rows)
    expect([...docs.subarray(0, 5)]).toEqual([1, 2, 3, 4, 5])
  }
})

test('the same chunks are nominated as by one number after the other, whatever is visible and however it is looked at', () => {
  const model = modelOf(24, seededRandom(1))
  const question = model.centroids.numbers.slice(0, 24)
  const place = fc.integer({ min: 0, max: cells })
  const document = fc.record({
    places: fc.array(place, { minLength: 1, maxLength: 4 }),
    isVisible: fc.boolean(),
  })
  fc.assert(
    fc.property(
      fc.array(document, { minLength: 1, maxLength: 30 }),
      fc.integer(),
      fc.integer({ min: 1, max: 20 }),
      fc.boolean(),
      (documents, seed, rows, isMany) => {
        const random = seededRandom(seed)
        const set = new InvertedLists(1, model)
        const scored: { readonly name: string; readonly score: number }[] = []
        for (const [index, { places, isVisible }] of documents.entries()) {
          const codes = places.map(() => drawCode(random))
          const own = Uint16Array.from(places, (cell) => (cell === cells ? noPartition : cell))
          set.put(index + 1, own, Buffer.concat(codes))
          for (const [ordinal, cell] of places.entries()) {
            if (cell === cells || !isVisible) continue
            const score = plainScore(model, question, cell, codes[ordinal] ?? none)
            scored.push({ name: `${index + 1}/${ordinal}`, score })
          }
        }
        const docNos = documents.flatMap(({ isVisible }, index) => (isVisible ? [index + 1] : []))
        // Counted as many, cells are gone through; as few, documents are.
        const visible = filterOf(Int32Array.from(docNos), isMany ? 1_000_000 : 10)
        const { docs, ordinals } = probe([set], visible, question, rows)
        const names = [...docs].map((docNo, at) => `${docNo}/${ordinals[at]}`)
        const sorted = scored.toSorted((a, b) => b.score - a.score)
        const last = sorted[Math.min(rows, sorted.length) - 1]?.score ?? 0
        const namesOf = (least: number) => sorted.filter(({ score }) => score > least).map(({ name }) => name)
        // Within a step any may be taken.
        expect(names).toEqual(expect.arrayContaining(namesOf(last + 1e-3)))
        expect(namesOf(last - 1e-3)).toEqual(expect.arrayContaining(names))
        expect(names).toHaveLength(Math.min(rows, scored.length))
      },
    ),
  )
})
