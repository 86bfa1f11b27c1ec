import { type AccessFilter, visibleOf } from '../../src/retrieval/access-filter/visible.ts'
import {
  type ChunkIndex,
  type FoundChunk,
  type IndexedChunk,
  NotFound,
  type Publication,
  type WordQuery,
} from '../../src/retrieval/chunk-index/port.ts'
import type { Sql } from '../../src/store/sql.ts'

/** An implementation of the chunk index, with what stands around it. Empty when it is opened. */
export interface Subject extends AsyncDisposable {
  readonly index: ChunkIndex
  /** Numbers in a vector. */
  readonly dimensions: number
  /**
   * The part of the nearest that an approximate search finds on average, at least. 1: it compares everything.
   */
  readonly recallMin: number
  /** Makes a document, and says its number. */
  newDocument(): Promise<number>
  /** Notes in the caller's transaction, as ingestion does, how many chunks of a document are in force. */
  noteLive(sql: Sql, publication: Publication, chunks: number): Promise<void>
  noteHidden(sql: Sql, docNo: number): Promise<void>
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T>
  /** Resolves when the index has heard of everything that was committed. */
  settle(): Promise<void>
}

/** What an implementation promises: each a title and a trial, which throws where the promise is broken. */
export const promises: readonly (readonly [title: string, trial: (world: World) => Promise<void>])[] = [
  ['nothing is found that is only staged', stagedIsHidden],
  ['what is shown is found, and what is hidden is not, from the commit on', shownThenHidden],
  ['a new revision stands in the place of the old one, whole', replaced],
  ['a transaction that is rolled back shows and hides nothing', rolledBack],
  ['what was never staged, or was forgotten, cannot be shown', refusesToShow],
  ['several are staged, shown and hidden together, or none of them', severalAtOnce],
  ['a publication that is shown is changed by no late stage and no forget', shownStays],
  ['what the index holds is listed in order, page by page', listsItsNumbers],
  ['words rank the same whatever is stored outside of the filter', blindToOthers],
  ['equal chunks come in the order of their ids', tiesById],
  ['random worlds are searched as by comparing everything', randomWorlds],
]

interface Stored extends IndexedChunk {
  readonly vector: Float32Array
}

/** The same corpus twice: in the index, and here, to be compared with. */
export class World {
  readonly #subject: Subject
  readonly #random: () => number
  readonly #shown = new Map<number, readonly Stored[]>()
  /** Publication numbers by document. */
  readonly #inForce = new Map<number, number>()
  readonly #topics: readonly Float32Array[]
  #number = 0
  #revision = 0
  #recalls: number[] = []

  /** `random`: 0 to 1, from a seed that the test names where it fails. */
  constructor(subject: Subject, random: () => number) {
    this.#subject = subject
    this.#random = random
    this.#topics = Array.from({ length: 8 }, () => this.#near(new Float32Array(subject.dimensions), 1))
  }

  get index(): ChunkIndex {
    return this.#subject.index
  }

  get documents(): readonly number[] {
    return [...this.#shown.keys()]
  }

  /** 0 to `end - 1`. */
  draw(end: number): number {
    return Math.floor(this.#random() * end)
  }

  newDocument(): Promise<number> {
    return this.#subject.newDocument()
  }

  nextPublication(docNo: number): Publication {
    this.#number += 1
    this.#revision += 1
    return { number: this.#number, docNo, revision: this.#revision }
  }

  /** Chunks near a topic, some of which say the same. */
  chunks(publication: Publication, count = 1 + this.draw(4)): readonly Stored[] {
    const topic = this.#topics[this.draw(this.#topics.length)] ?? new Float32Array()
    const repeated = this.#near(topic, 0.5)
    return Array.from({ length: count }, (_, ordinal) => ({
      chunkId: `c_${String(this.draw(1e9)).padStart(9, '0')}_${publication.number}_${ordinal}`,
      ordinal,
      vector: this.draw(4) === 0 ? repeated : this.#near(topic, 0.5),
      lexemes: vocabulary
        .filter((_, at) => this.draw(at + 2) === 0)
        .map((lexeme) => ({ lexeme, count: 1 + this.draw(3), inTitle: this.draw(2) })),
    }))
  }

  async stage(publication: Publication, chunks = this.chunks(publication)): Promise<readonly Stored[]> {
    await this.stageAll([publication], [chunks])
    return chunks
  }

  async stageAll(
    publications: readonly Publication[],
    chunks: readonly (readonly Stored[])[],
  ): Promise<void> {
    await this.index.stage(
      publications.map((publication, nth) => ({ ...publication, chunks: chunks[nth] ?? [] })),
    )
  }

  show(publication: Publication, chunks: readonly Stored[]): Promise<void> {
    return this.showAll([publication], [chunks])
  }

  async showAll(publications: readonly Publication[], chunks: readonly (readonly Stored[])[]): Promise<void> {
    await this.#subject.transaction(async (sql) => {
      const counts = await this.index.show(sql, publications)
      for (const [nth, publication] of publications.entries()) {
        equal(counts[nth] ?? Number.NaN, chunks[nth]?.length ?? 0, 'the chunks of what was shown')
        await this.#subject.noteLive(sql, publication, counts[nth] ?? 0)
      }
    })
    for (const [nth, { docNo, number }] of publications.entries()) {
      this.#shown.set(docNo, chunks[nth] ?? [])
      this.#inForce.set(docNo, number)
    }
    await this.#subject.settle()
  }

  async publish(docNo: number, count?: number): Promise<Publication> {
    const publication = this.nextPublication(docNo)
    await this.show(publication, await this.stage(publication, this.chunks(publication, count)))
    return publication
  }

  hide(docNo: number): Promise<void> {
    return this.hideAll([docNo])
  }

  async hideAll(docNos: readonly number[]): Promise<void> {
    await this.transaction(async (sql) => {
      await this.index.hide(sql, docNos)
      for (const docNo of docNos) await this.#subject.noteHidden(sql, docNo)
    })
    for (const docNo of docNos) {
      this.#shown.delete(docNo)
      this.#inForce.delete(docNo)
    }
    await this.#subject.settle()
  }

  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    return this.#subject.transaction(work)
  }

  question(): Float32Array {
    return this.#near(this.#topics[this.draw(this.#topics.length)] ?? new Float32Array(), 0.4)
  }

  /** A question of these words, of all that there are by default. */
  words(lexemes: readonly string[] = vocabulary): WordQuery {
    return wordQuery(lexemes)
  }

  /** Of these documents, whether they are in force or not. */
  filter(docNos: readonly number[]): AccessFilter {
    const chunks = docNos.reduce((sum, docNo) => sum + (this.#shown.get(docNo)?.length ?? 0), 0)
    const all = [...this.#shown.values()].reduce((sum, { length }) => sum + length, 0)
    const numbers = Int32Array.from(docNos.toSorted((a, b) => a - b))
    return visibleOf(numbers, chunks, all, (docNo) => this.#inForce.get(docNo) ?? 0)
  }

  /** Searches by both ways, and compares with what comparing everything here finds. */
  async compare(docNos: readonly number[], limit: number): Promise<void> {
    const filter = this.filter(docNos)
    const question = this.question()
    const nearest = await this.index.nearest(question, filter, limit)
    const scored = this.#scored(docNos, ({ vector }) => dot(vector, question))
    this.#assertFound(nearest, scored, filter, 2e-3)
    equal(nearest.length, Math.min(limit, scored.length), 'how many are nearest')
    const worst = (scored[nearest.length - 1]?.score ?? 0) - 2e-3
    if (nearest.length > 0)
      this.#recalls.push(nearest.filter(({ score }) => score >= worst).length / nearest.length)
    const query = wordQuery(vocabulary.filter(() => this.draw(3) === 0))
    const words = await this.index.words(query, filter, limit)
    const ranked = this.#scored(docNos, (chunk) => bm25(query, chunk)).filter(({ score }) => score > 0)
    this.#assertFound(words, ranked, filter, 1e-6)
    equal(words.length, Math.min(limit, ranked.length), 'how many have one of the words')
    for (const [at, { score }] of words.entries())
      near(score, ranked[at]?.score ?? 0, 1e-6, 'the score at a rank by words')
  }

  /** Whether enough of the nearest was found, over all comparisons. */
  assertRecall(): void {
    const mean = this.#recalls.reduce((sum, recall) => sum + recall, 0) / Math.max(1, this.#recalls.length)
    if (mean < this.#subject.recallMin) fail(`recall is ${mean}`)
  }

  /** Everything in force in these documents. */
  chunkIds(docNos: readonly number[]): readonly string[] {
    return docNos.flatMap((docNo) => (this.#shown.get(docNo) ?? []).map(({ chunkId }) => chunkId)).sort()
  }

  #scored(docNos: readonly number[], scoreOf: (chunk: Stored) => number): readonly FoundOf[] {
    return docNos
      .flatMap((docNo) =>
        (this.#shown.get(docNo) ?? []).map((chunk) => ({
          chunkId: chunk.chunkId,
          docNo,
          ordinal: chunk.ordinal,
          score: scoreOf(chunk),
        })),
      )
      .sort((a, b) => b.score - a.score || (a.chunkId < b.chunkId ? -1 : 1))
  }

  #assertFound(
    found: readonly FoundChunk[],
    scored: readonly FoundOf[],
    filter: AccessFilter,
    tolerance: number,
  ): void {
    const byId = new Map(scored.map((chunk) => [chunk.chunkId, chunk]))
    equal(new Set(found.map(({ chunkId }) => chunkId)).size, found.length, 'each chunk once')
    for (const [at, chunk] of found.entries()) {
      const known = byId.get(chunk.chunkId)
      if (!filter.has(chunk.docNo)) fail(`document ${chunk.docNo} is not in the filter`)
      if (known === undefined) fail(`chunk ${chunk.chunkId} is not in force in the filter`)
      equal(chunk.docNo, known?.docNo, 'the document of a chunk')
      equal(chunk.ordinal, known?.ordinal, 'the place of a chunk')
      near(chunk.score, known?.score ?? 0, tolerance, 'the score of a chunk')
      const before = found[at - 1]
      if (before !== undefined && !isOrdered(before, chunk)) fail('the best are not first')
    }
  }

  #near(centre: Float32Array, spread: number): Float32Array {
    const gauss = () => Math.sqrt(-2 * Math.log(1 - this.#random())) * Math.cos(2 * Math.PI * this.#random())
    const scale = spread / Math.sqrt(this.#subject.dimensions)
    const vector = centre.map((value) => value + scale * gauss())
    const length = Math.sqrt(dot(vector, vector))
    return vector.map((value) => value / length)
  }
}

type FoundOf = Omit<FoundChunk, 'chunkId'> & { readonly chunkId: string }

const isOrdered = (a: FoundChunk, b: FoundChunk): boolean =>
  a.score > b.score || (a.score === b.score && a.chunkId < b.chunkId)

// With what a query has to quote.
const vocabulary = ['amber', 'basalt', "o'brien", 'cedar', 'a\\b', 'delta', 'ember', 'fjord']

/** Weights that no statistics gave: rarer words weigh more. */
function wordQuery(lexemes: readonly string[]): WordQuery {
  return {
    lexemes: lexemes
      .map((lexeme) => ({ lexeme, weight: 1 + vocabulary.indexOf(lexeme) / 3 }))
      .map(({ lexeme, weight }) => ({
        lexeme,
        weights: [weight, weight],
        scoreMax: 2.2 * weight,
        frequency: 100,
      }))
      .sort((a, b) => b.scoreMax - a.scoreMax),
    repetitionMax: 2.2,
    base: 0.3,
    perWord: 0.01,
    corpora: [{ collection: '', chunks: 1_000, perWord: 0.02 }],
  }
}

function bm25({ lexemes, repetitionMax, base, corpora, perWord }: WordQuery, chunk: Stored): number {
  const words = chunk.lexemes.reduce((sum, { count }) => sum + count, 0)
  const length = base + (corpora[0]?.perWord ?? perWord) * words
  return lexemes.reduce((sum, { lexeme, weights }) => {
    const count = chunk.lexemes.find((one) => one.lexeme === lexeme)?.count ?? 0
    return sum + (((weights[1] ?? 0) * repetitionMax * count) / (count + length) || 0)
  }, 0)
}

const dot = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0)

/** What breaks a promise, in words. */
export class Broken extends Error {}

function fail(what: string): void {
  throw new Broken(what)
}

function equal(is: unknown, expected: unknown, what: string): void {
  if (JSON.stringify(is) !== JSON.stringify(expected))
    fail(`${what}: ${JSON.stringify(is)}, not ${JSON.stringify(expected)}`)
}

function near(is: number, expected: number, tolerance: number, what: string): void {
  if (Math.abs(is - expected) > tolerance) fail(`${what}: ${is}, not ${expected}`)
}

async function refuses(
  world: World,
  publication: Publication,
  others: readonly Publication[] = [],
): Promise<void> {
  const refusal = await world
    .transaction((sql) => world.index.show(sql, [...others, publication]))
    .then(
      () => undefined,
      (error: unknown) => error,
    )
  if (!(refusal instanceof NotFound)) fail(`publication ${publication.number} was shown: ${refusal}`)
}

async function stagedIsHidden(world: World): Promise<void> {
  const docNo = await world.newDocument()
  await world.stage(world.nextPublication(docNo))
  await world.compare([docNo], 10)
}

async function shownThenHidden(world: World): Promise<void> {
  const [docNo, other] = [await world.newDocument(), await world.newDocument()]
  await world.publish(docNo)
  await world.publish(other)
  await world.compare([docNo, other], 10)
  await world.hide(docNo)
  await world.compare([docNo, other], 10)
  await world.hide(docNo)
  await world.compare([docNo, other], 1)
}

async function replaced(world: World): Promise<void> {
  const docNo = await world.newDocument()
  await world.publish(docNo, 4)
  await world.publish(docNo, 2)
  await world.compare([docNo], 10)
  await world.publish(docNo, 0)
  await world.compare([docNo], 10)
}

async function rolledBack(world: World): Promise<void> {
  const docNo = await world.newDocument()
  await world.publish(docNo)
  const next = world.nextPublication(docNo)
  const staged = await world.stage(next)
  const undone = new Error('undone')
  const undo = (work: (sql: Sql) => Promise<unknown>) =>
    world
      .transaction(async (sql) => {
        await work(sql)
        throw undone
      })
      .catch((error: unknown) => {
        if (error !== undone) throw error
      })
  await undo((sql) => world.index.show(sql, [next]))
  await world.compare([docNo], 10)
  await undo((sql) => world.index.hide(sql, [docNo]))
  await world.compare([docNo], 10)
  await undo((sql) => world.index.forget(sql, next))
  await world.show(next, staged)
  await world.compare([docNo], 10)
}

async function refusesToShow(world: World): Promise<void> {
  const docNo = await world.newDocument()
  await world.publish(docNo)
  await refuses(world, world.nextPublication(docNo))
  const forgotten = world.nextPublication(docNo)
  await world.stage(forgotten)
  await world.transaction((sql) => world.index.forget(sql, forgotten))
  await refuses(world, forgotten)
  await world.compare([docNo], 10)
}

async function severalAtOnce(world: World): Promise<void> {
  const docNos = [await world.newDocument(), await world.newDocument(), await world.newDocument()]
  const [shown] = docNos
  if (shown !== undefined) await world.publish(shown)
  const missing = world.nextPublication(await world.newDocument())
  const publications = docNos.map((docNo) => world.nextPublication(docNo))
  const chunks = publications.map((publication, nth) => world.chunks(publication, nth + 1))
  await world.stageAll(publications, chunks)
  await refuses(world, missing, publications)
  await world.compare(docNos, 10)
  await world.showAll(publications, chunks)
  await world.compare(docNos, 10)
  await world.hideAll(docNos)
  await world.compare(docNos, 10)
}

async function shownStays(world: World): Promise<void> {
  const docNo = await world.newDocument()
  const publication = await world.publish(docNo)
  await world.index.stage([{ ...publication, chunks: world.chunks(publication) }])
  await world.transaction((sql) => world.index.forget(sql, publication))
  await world.compare([docNo], 10)
}

async function listsItsNumbers(world: World): Promise<void> {
  const [docNo, hidden] = [await world.newDocument(), await world.newDocument()]
  const old = await world.publish(docNo)
  const gone = await world.publish(hidden)
  const live = await world.publish(docNo)
  await world.hide(hidden)
  const staged = world.nextPublication(hidden)
  await world.stage(staged)
  const listed: number[] = []
  for (let after = 0; ; ) {
    const page = await world.index.listed(after, 1)
    listed.push(...page)
    const last = page.at(-1)
    if (last === undefined) break
    if (last <= after) fail('the list goes back')
    after = last
  }
  for (const { number } of [live, staged]) if (!listed.includes(number)) fail(`${number} is not listed`)
  for (const { number } of [old, gone]) if (listed.includes(number)) fail(`${number} is listed, and gone`)
}

async function blindToOthers(world: World): Promise<void> {
  const docNo = await world.newDocument()
  await world.publish(docNo, 4)
  const query = wordQuery(vocabulary)
  const search = () => world.index.words(query, world.filter([docNo]), 10)
  const before = await search()
  const others: number[] = []
  for (let count = 0; count < 20; count += 1) {
    const other = await world.newDocument()
    others.push(other)
    await world.publish(other, 4)
  }
  equal(await search(), before, 'words beside others')
  for (const other of others) await world.hide(other)
  equal(await search(), before, 'words after others')
}

async function tiesById(world: World): Promise<void> {
  const docNo = await world.newDocument()
  const publication = world.nextPublication(docNo)
  const [chunk] = world.chunks(publication, 1)
  if (chunk === undefined) return
  const lexemes = [{ lexeme: 'amber', count: 2, inTitle: 0 }]
  const same = [7, 3, 9, 1, 5].map((id, ordinal) => ({ ...chunk, lexemes, chunkId: `c_tie_${id}`, ordinal }))
  await world.show(publication, await world.stage(publication, same))
  const ids = world.chunkIds([docNo])
  const nearest = await world.index.nearest(chunk.vector, world.filter([docNo]), 3)
  equal(
    nearest.map(({ chunkId }) => chunkId),
    ids.slice(0, 3),
    'equally near chunks',
  )
  const words = await world.index.words(wordQuery(['amber']), world.filter([docNo]), 3)
  equal(
    words.map(({ chunkId }) => chunkId),
    ids.slice(0, 3),
    'chunks with equal words',
  )
}

/**
 * Documents that come, change and go, and filters of every size, those of documents that are gone included.
 */
async function randomWorlds(world: World): Promise<void> {
  const documents: number[] = []
  for (let count = 0; count < 60; count += 1) {
    documents.push(await world.newDocument())
    await world.publish(documents[count] ?? 0)
  }
  for (let step = 0; step < 40; step += 1) {
    const docNo = documents[world.draw(documents.length)] ?? 0
    const kind = world.draw(4)
    if (kind === 0) await world.hide(docNo)
    else if (kind === 1) await world.stage(world.nextPublication(docNo))
    else await world.publish(docNo)
    const share = [0, 0.05, 0.3, 0.7, 1][world.draw(5)] ?? 0
    const docNos = documents.filter(() => world.draw(1_000) < 1_000 * share)
    await world.compare(docNos, [1, 10, 100][world.draw(3)] ?? 10)
  }
  world.assertRecall()
}
