import { expect, test } from 'vitest'
import fc from '../../../test/support/properties.ts'
import { assignAll } from '../src/assign.ts'
import { InvertedLists, noPartition } from '../src/inverted-lists.ts'
import { seededRandom } from '../src/kmeans.ts'
import {
  assign,
  codeLength,
  componentCount,
  componentPosition,
  type IvfModel,
  levelMidpoint,
  modelFromBytes,
  modelToBytes,
  trainModel,
} from '../src/model.ts'
import { blockRunsMax, slotsInBlock } from '../src/quantized-codes.ts'
import { filterOf, hasBit, probe } from './filter.ts'

const dimensions = 48
const topics = 30
const documents = 600
const each = 5

const random = seededRandom(3)
const gauss = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
function near(centre: Float32Array, spread: number): Float32Array {
  const moved = centre.map((value) => value + (spread * gauss()) / Math.sqrt(dimensions))
  const length = Math.hypot(...moved)
  return moved.map((value) => value / length)
}
const centres = Array.from({ length: topics }, () => near(new Float32Array(dimensions), 1))
const about = (topic: number) => centres[topic % topics] ?? new Float32Array(dimensions)
const numbers = new Float32Array(documents * each * dimensions)
for (let docNo = 0; docNo < documents; docNo += 1) {
  const document = near(about(docNo), 0.7)
  for (let at = 0; at < each; at += 1) numbers.set(near(document, 0.5), (docNo * each + at) * dimensions)
}
const samples = { numbers, dimensions }
const model = trainModel(samples, 80, seededRandom(1))
const placed = assignAll(model, samples)
const set = setOf(model)

function setOf(of: IvfModel): InvertedLists {
  const made = new InvertedLists(1, of)
  for (let docNo = 0; docNo < documents; docNo += 1)
    made.put(
      docNo + 1,
      placed.partitions.slice(docNo * each, (docNo + 1) * each),
      placed.codes.slice(docNo * each * codeLength, (docNo + 1) * each * codeLength),
    )
  return made
}

function best(question: Float32Array, docNos: readonly number[], limit: number): string[] {
  return docNos
    .flatMap((docNo) => Array.from({ length: each }, (_, ordinal) => ({ docNo, ordinal })))
    .map(({ docNo, ordinal }) => {
      const at = ((docNo - 1) * each + ordinal) * dimensions
      return {
        name: `${docNo}/${ordinal}`,
        score: question.reduce((sum, value, index) => sum + value * (numbers[at + index] ?? 0), 0),
      }
    })
    .sort((a, b) => b.score - a.score)
    .slice(0, limit)
    .map(({ name }) => name)
}

const every = Array.from({ length: documents }, (_, index) => index + 1)

test.each([
  ['everything is visible', () => true],
  ['a tenth is visible', (docNo: number) => docNo % 10 === 0],
  ['everything but the topic of the question is visible', (docNo: number) => (docNo - 1) % topics !== 3],
  ['only the topic of the question is visible', (docNo: number) => (docNo - 1) % topics === 3],
])('nominates the best and nothing that is hidden where %s', (_, passes) => {
  const docNos = every.filter(passes)
  const visible = filterOf(Int32Array.from(docNos), docNos.length * each)
  let found = 0
  for (let round = 0; round < 20; round += 1) {
    const question = near(about(3), 0.8)
    const { docs, ordinals } = probe([set], visible, question, 60)
    const names = new Set([...docs].map((docNo, at) => `${docNo}/${ordinals[at]}`))
    expect([...docs].filter((docNo) => !visible.has(docNo))).toEqual([])
    expect(docs.length).toBeGreaterThanOrEqual(Math.min(60, visible.chunks))
    found += best(question, docNos, 10).filter((name) => names.has(name)).length
  }
  expect(found / 200).toBeGreaterThanOrEqual(0.99)
})

test('nominates what lies in an older model and in the newest one together', () => {
  const newer = new InvertedLists(2, trainModel(samples, 40, seededRandom(9)))
  const older = setOf(model)
  for (const docNo of every.filter((docNo) => docNo % 2 === 0)) {
    const own = {
      numbers: numbers.subarray((docNo - 1) * each * dimensions, docNo * each * dimensions),
      dimensions,
    }
    const { partitions: cells, codes } = assignAll(newer.model, own)
    older.remove(docNo)
    newer.put(docNo, cells, codes)
  }
  const visible = filterOf(Int32Array.from(every), documents * each)
  const question = near(about(5), 0.8)
  const { docs, ordinals } = probe([older, newer], visible, question, 100)
  const names = new Set([...docs].map((docNo, at) => `${docNo}/${ordinals[at]}`))
  expect(best(question, every, 10).filter((name) => !names.has(name))).toEqual([])
})

test('a model is the same for the same samples and numbers, and comes back from its bytes as it was', () => {
  const some = { numbers: numbers.subarray(0, 500 * dimensions), dimensions }
  const [one, other] = [trainModel(some, 20, seededRandom(5)), trainModel(some, 20, seededRandom(5))]
  expect(other).toEqual(one)
  expect(modelFromBytes(modelToBytes(one))).toEqual(one)
  expect(modelFromBytes(modelToBytes(one).subarray(0, -4))).toBeUndefined()
})

test('codes tell most of what the centroid leaves open', () => {
  let [open, left] = [0, 0]
  for (let at = 0; at < 500; at += 1) {
    const { partition: cell, code } = assign(model, numbers, at * dimensions)
    for (let offset = 0; offset < dimensions; offset += 1) {
      const rest =
        (numbers[at * dimensions + offset] ?? 0) - (model.centroids.numbers[cell * dimensions + offset] ?? 0)
      let told = 0
      for (let axis = 0; axis < componentCount; axis += 1) {
        const { byte, shift } = componentPosition(axis)
        const level = ((code[byte] ?? 0) >> shift) & 15
        told +=
          levelMidpoint(level) *
          (model.steps[axis] ?? 0) *
          (model.components[axis * dimensions + offset] ?? 0)
      }
      open += rest ** 2
      left += (rest - told) ** 2
    }
  }
  // All of its axes: only what four bits leave.
  expect(left / open).toBeLessThan(0.02)
})

test('a passage without a vector lies in no cell', () => {
  const { partitions: cells } = assignAll(model, { numbers: new Float32Array(2 * dimensions), dimensions })
  expect([...cells]).toEqual([noPartition, noPartition])
})

test('what lies where is right after any puts and removals', () => {
  const place = fc.integer({ min: 0, max: 3 })
  const act = fc.record({ docNo: fc.integer({ min: 1, max: 6 }), places: fc.array(place, { maxLength: 4 }) })
  fc.assert(
    fc.property(fc.array(act), (acts) => {
      const own = new InvertedLists(1, model)
      const expected = new Map<number, readonly number[]>()
      for (const { docNo, places } of acts) {
        if (places.length === 0) own.remove(docNo)
        else own.put(docNo, Uint16Array.from(places), codesOf(docNo, places))
        if (places.length === 0) expected.delete(docNo)
        else expected.set(docNo, places)
      }
      const held: string[] = []
      const { blocks } = own.scanner
      for (let cell = 0; cell < own.codes.partitions; cell += 1)
        for (let run = 2 * blockRunsMax * cell; blocks[run + 1] !== 0; run += 2) {
          const first = (blocks[run] ?? 0) * slotsInBlock
          for (let slot = first; slot < first + (blocks[run + 1] ?? 0) * slotsInBlock; slot += 1) {
            const docNo = own.codes.docAt(slot)
            if (docNo !== 0) held.push([docNo, own.ordinals[slot], cell, marked(own, slot)].join())
          }
        }
      const wanted = [...expected].flatMap(([docNo, places]) =>
        places.map((cell, ordinal) => [docNo, ordinal, cell, (4 * docNo + ordinal) % 16].join()),
      )
      expect(held.sort()).toEqual(wanted.sort())
      expect(own.size).toBe(wanted.length)
      for (let docNo = 1; docNo <= 6; docNo += 1) {
        expect(hasBit(own.bits(), docNo)).toBe(expected.has(docNo))
        const { slots, partitions: cells } = own.codes.slotsOf(docNo)
        expect(Array.from(slots, (slot) => own.ordinals[slot])).toEqual([
          ...(expected.get(docNo)?.keys() ?? []),
        ])
        expect([...cells]).toEqual(expected.get(docNo) ?? [])
      }
    }),
  )
})

test('where documents have their chunks is right however often these come and go', () => {
  const own = new InvertedLists(1, model)
  const random = seededRandom(8)
  const expected = new Map<number, Uint16Array>()
  for (let round = 0; round < 4_000; round += 1) {
    const docNo = 1 + Math.floor(random() * 60)
    const length = Math.floor(random() * 40)
    const cells = new Uint16Array(length).fill(round % 4)
    own.put(docNo, cells, new Uint8Array(length * codeLength))
    expected.set(docNo, cells)
  }
  const seen = new Set<number>()
  for (const [docNo, wanted] of expected) {
    const { slots, partitions: cells } = own.codes.slotsOf(docNo)
    expect(Array.from(slots, (slot) => own.ordinals[slot])).toEqual([...wanted.keys()])
    expect(cells).toEqual(wanted)
    for (const slot of slots) {
      expect(own.codes.docAt(slot)).toBe(docNo)
      seen.add(slot)
    }
  }
  expect(seen.size).toBe(own.size)
  // As much as if they had been put there once.
  expect(own.bytes).toBeLessThan(
    new InvertedLists(1, model).bytes + (6_000 * 434_176) / 4_096 + 2 * 434_176 + 100_000,
  )
})

function codesOf(docNo: number, places: readonly number[]): Uint8Array {
  const codes = new Uint8Array(places.length * codeLength)
  for (const ordinal of places.keys()) codes[ordinal * codeLength] = (4 * docNo + ordinal) % 16
  return codes
}

/** The lowest four bits of the code in a slot, by what they add to a score. */
function marked(
  { scanner: kernel, model: { components: axes, steps } }: InvertedLists,
  slot: number,
): number {
  kernel.begin(axes.subarray(0, dimensions), new Uint8Array(), 2)
  kernel.slots.set([slot, 0])
  kernel.scores.set([0, 0])
  kernel.scan(0, 2)
  const [own = 0, none = 0] = kernel.hits.scores
  return Math.round((own - none) / (steps[0] ?? 1))
}
