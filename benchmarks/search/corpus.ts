import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createRandom, type Random } from '../kubernetes/random.ts'
import { sharedData } from '../support/shared.ts'
import { readPieces } from './pieces.ts'

/** What is searched: passages of documents as vectors, and questions that none of them is. */
export interface Corpus {
  /** `seeded`, `real` or `grown`: said beside every figure. */
  readonly kind: 'seeded' | 'real' | 'grown'
  readonly count: number
  /**
   * One after the other, `dimensions` numbers each, of length 1, rounded to half precision as Postgres keeps
   * them.
   */
  readonly vectors: Float32Array
  /** Of each passage. A document's passages need not follow each other. */
  readonly documentOf: Int32Array
  readonly documents: readonly DocumentOf[]
  readonly questions: readonly Float32Array[]
}

export interface DocumentOf {
  readonly id: string
  /** Of the Kubernetes document that it is part of; absent where there is none. */
  readonly partOf?: string
}

export const dimensions = 384
// A document of the data set is a long text: its parts are the documents here, so that a share can be small.
const passagesEach = 10
const heldOut = 1_000

export const vectorAt = ({ vectors }: Pick<Corpus, 'vectors'>, at: number): Float32Array =>
  vectors.subarray(at * dimensions, (at + 1) * dimensions)

export function dot(one: Float32Array, other: Float32Array): number {
  let sum = 0
  for (let at = 0; at < dimensions; at++) sum += (one[at] as number) * (other[at] as number)
  return sum
}

/**
 * Seeded vectors with the shape of text: topics in topics in topics, documents that keep to theirs, and noise
 * that falls off over the axes. The ten nearest of a question stand in some four documents.
 */
export function seededCorpus(count: number, seed: number, questions: number): Corpus {
  const random = createRandom(seed)
  const normal = gaussian(random)
  const falling = Float32Array.from({ length: dimensions }, (_, at) => (1 + at / 12) ** -0.6)
  const draw = (weight: number): Float32Array => falling.map((scale) => weight * scale * normal())
  const branch = (of: readonly Float32Array[], each: number, weight: number): Float32Array[] =>
    of.flatMap((parent) => Array.from({ length: each }, () => plus(parent, draw(weight))))
  const topics = branch(branch(branch([draw(0.6)], 10, 1), 8, 0.8), 6, 0.6)
  const documentCount = Math.ceil(count / passagesEach)
  const documents = Array.from({ length: documentCount }, (_, at) => ({ id: `doc-${at}` }))
  const centres = documents.map(() =>
    plus(topics[Math.floor(random.next() * topics.length)] ?? draw(1), draw(0.4)),
  )
  const vectors = new Float32Array(count * dimensions)
  const documentOf = new Int32Array(count)
  for (let at = 0; at < count; at++) {
    const document = at % documentCount
    documentOf[at] = document
    vectors.set(rounded(plus(centres[document] ?? draw(1), draw(0.95))), at * dimensions)
  }
  const asked = Array.from({ length: questions }, () =>
    rounded(plus(centres[Math.floor(random.next() * documentCount)] ?? draw(1), draw(0.95))),
  )
  return { kind: 'seeded', count, vectors, documentOf, documents, questions: asked }
}

/**
 * The pieces of the Kubernetes documents whose vectors are in the folder of `vectors.ts`, and held-out ones
 * as questions.
 */
export async function realCorpus(folder: string, count: number, env: NodeJS.ProcessEnv): Promise<Corpus> {
  const bytes = await readFile(join(folder, 'vectors.f32'))
  const rows = Math.floor(bytes.length / (dimensions * Float32Array.BYTES_PER_ELEMENT))
  const stored = new Float32Array(bytes.buffer, bytes.byteOffset, rows * dimensions)
  const { saidBy, documentOf } = await readPieces(sharedData('kubernetes', env))
  const known = saidBy.slice(0, rows)
  const asked = known.flatMap((said, at) => (said.length === 1 ? [at] : [])).slice(0, heldOut)
  const isAsked = new Set(asked)
  const partOf = partsOf(documentOf)
  const places = new Map<string, number>()
  const documents: DocumentOf[] = []
  const passages: { readonly row: number; readonly document: number }[] = []
  for (const [row, said] of known.entries()) {
    if (isAsked.has(row)) continue
    for (const piece of said) {
      if (passages.length === count) break
      const id = partOf[piece] ?? ''
      let place = places.get(id)
      if (place === undefined) {
        place = documents.length
        places.set(id, place)
        documents.push({ id, partOf: documentOf[piece] ?? '' })
      }
      passages.push({ row, document: place })
    }
  }
  const row = (at: number): Float32Array => rounded(stored.slice(at * dimensions, (at + 1) * dimensions))
  const vectors = new Float32Array(passages.length * dimensions)
  for (const [at, passage] of passages.entries()) vectors.set(row(passage.row), at * dimensions)
  return {
    kind: 'real',
    count: passages.length,
    vectors,
    documentOf: Int32Array.from(passages, ({ document }) => document),
    documents,
    questions: asked.map(row),
  }
}

/** Of each piece the id of the part that it belongs to, `document@n`. */
function partsOf(documentOf: readonly string[]): string[] {
  let [before, ordinal] = ['', 0]
  return documentOf.map((id) => {
    ordinal = id === before ? ordinal + 1 : 0
    before = id
    return `${id}@${Math.floor(ordinal / passagesEach)}`
  })
}

/** Of length 1, in the numbers that a `halfvec` holds. */
export function rounded(vector: Float32Array): Float32Array {
  const length = Math.sqrt(dot(vector, vector))
  return vector.map((value) => half(value / length))
}

/**
 * Of at most 1: eleven digits, and none below 2 ** -24. Adding and taking away leaves what the larger one has
 * room for.
 */
function half(value: number): number {
  const step = 2 ** (Math.max(-14, Math.floor(Math.log2(Math.abs(value)))) - 10)
  const room = 1.5 * 2 ** 52 * step
  return value + room - room
}

export const plus = (one: Float32Array, other: Float32Array): Float32Array =>
  one.map((value, at) => value + (other[at] as number))

export function gaussian(random: Random): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())
}
