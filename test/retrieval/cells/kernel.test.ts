import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import wabt from 'wabt'
import { createKernel } from '../../../src/retrieval/cells/kernel.ts'
import { createCellSet, noCell } from '../../../src/retrieval/cells/members.ts'
import {
  axesMax,
  type CellModel,
  codeLength,
  middleOf,
  placeOfAxis,
  stepOfDeviation,
} from '../../../src/retrieval/cells/model.ts'
import { findNear } from '../../../src/retrieval/cells/near.ts'
import { seeded } from '../../../src/retrieval/cells/random.ts'
import { visibleOf } from '../../../src/retrieval/visible/visible.ts'

const file = (name: string) => readFileSync(new URL(`../../../src/retrieval/cells/${name}`, import.meta.url))

test('the binary is what its text is made to', async () => {
  const { parseWat } = await wabt()
  const module = parseWat('kernel.wat', file('kernel.wat').toString(), { simd: true })
  expect(Buffer.from(module.toBinary({}).buffer)).toEqual(file('kernel.wasm'))
})

const cells = 7

function modelOf(dimensions: number, random: () => number): CellModel {
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
    axes: rows(axesMax),
    steps: Float32Array.from({ length: axesMax }, () => random() / 1_000),
    error: 1,
  }
}

const dot = (one: Float32Array, other: Float32Array) =>
  one.reduce((sum, value, at) => sum + value * (other[at] ?? 0), 0)

/** One number after the other. */
function plainScore(
  { centroids, axes, steps }: CellModel,
  question: Float32Array,
  cell: number,
  code: Uint8Array,
) {
  const row = (of: Float32Array, at: number) =>
    of.subarray(at * centroids.dimensions, (at + 1) * centroids.dimensions)
  let apart = 0
  for (let axis = 0; axis < axesMax; axis += 1) {
    const { byte, shift } = placeOfAxis(axis)
    const level = ((code[byte] ?? 0) >> shift) & 15
    apart += middleOf(level) * (steps[axis] ?? 0) * dot(row(axes, axis), question)
  }
  return dot(row(centroids.numbers, cell), question) + apart
}

const none = new Uint8Array()
/** Levels as of what is spread normally. */
const drawCode = (random: () => number) => {
  const level = () => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    return Math.max(0, Math.min(15, Math.floor(normal / stepOfDeviation) + 8))
  }
  return Uint8Array.from({ length: codeLength }, () => 16 * level() + level())
}

test.each([1, 7, 8, 24, 100])(
  'scores cells and codes as one number after the other does: %i dimensions',
  (dimensions) => {
    const random = seeded(dimensions)
    const model = modelOf(dimensions, random)
    const kernel = createKernel(model)
    const question = Float32Array.from({ length: dimensions }, () => random() - 0.5)
    const codes = Array.from({ length: 20 }, () => drawCode(random))
    for (const [at, own] of codes.entries()) kernel.put(2 * at + 1, own, 0)
    const cellScores = Array.from(kernel.ask(question))
    const backwards = codes.map((_, at) => codes.length - 1 - at)
    const expected = backwards.map((at) => plainScore(model, question, at % cells, codes[at] ?? none))
    const score = (least: number) => {
      kernel.slots.set(backwards.map((at) => 2 * at + 1))
      kernel.scores.set(backwards.map((at) => cellScores[at % cells] ?? 0))
      const kept = kernel.score(codes.length, least)
      return new Map(Array.from(kernel.slots.subarray(0, kept), (slot, at) => [slot, kernel.scores[at] ?? 0]))
    }
    const all = score(Number.NEGATIVE_INFINITY)
    expect([...all.keys()]).toEqual(backwards.map((at) => 2 * at + 1))
    for (const [at, one] of [...all.values()].entries()) expect(one).toBeCloseTo(expected[at] ?? 0, 5)
    // What is far off is dropped, and what is left scores what it did.
    const least = expected.toSorted((a, b) => b - a)[3] ?? 0
    const some = score(least)
    for (const [slot, one] of all) if (one >= least || some.has(slot)) expect(some.get(slot)).toBe(one)
    expect(score(1_000).size).toBe(0)
  },
)

test('keeps what was put into it while its memory grows', () => {
  const kernel = createKernel(modelOf(8, seeded(1)))
  const before = kernel.bytes
  const code = drawCode(seeded(2))
  kernel.put(1, code, 0)
  kernel.put(50_000, code, 0)
  expect(kernel.bytes).toBeGreaterThan(before)
  kernel.ask(new Float32Array(8).fill(0.3))
  kernel.slots.set([1, 50_000])
  kernel.scores.set([0, 0])
  expect(kernel.score(2, Number.NEGATIVE_INFINITY)).toBe(2)
  expect(kernel.scores[0]).toBe(kernel.scores[1])
  expect(kernel.scores[0]).not.toBe(0)
})

test('the same chunks are nominated as by one number after the other, whatever is visible and however it is looked at', () => {
  const model = modelOf(24, seeded(1))
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
        const random = seeded(seed)
        const set = createCellSet(1, model)
        const scored: { readonly name: string; readonly score: number }[] = []
        for (const [index, { places, isVisible }] of documents.entries()) {
          const codes = places.map(() => drawCode(random))
          const own = Uint16Array.from(places, (cell) => (cell === cells ? noCell : cell))
          set.put(index + 1, own, Buffer.concat(codes))
          for (const [ordinal, cell] of places.entries()) {
            if (cell === cells || !isVisible) continue
            const score = plainScore(model, question, cell, codes[ordinal] ?? none)
            scored.push({ name: `${index + 1}/${ordinal}`, score })
          }
        }
        const docNos = documents.flatMap(({ isVisible }, index) => (isVisible ? [index + 1] : []))
        // Counted as many, cells are gone through; as few, documents are.
        const visible = visibleOf(Int32Array.from(docNos), isMany ? 1_000_000 : 10, 1_000_000)
        const { docs, ordinals } = findNear([set], visible, question, { rows, limit: rows })
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
