import { fileURLToPath } from 'node:url'
import { toSql } from 'pgvector'
import { describe, expect, test } from 'vitest'
import { admitModel, refuseUnfinished } from '../../src/compose/embeddings.ts'
import { type Embedder, normalize } from '../../src/embed/embedder.ts'
import { chunk } from '../../src/ingest/chunk.ts'
import { embedTextOf } from '../../src/ingest/embed-text.ts'
import { parseMarkdown } from '../../src/ingest/parse/document.ts'
import { reembed } from '../../src/ingest/reembed.ts'
import { createChunkVectors } from '../../src/retrieval/chunk-index/postgres/vectors.ts'
import { loadSample } from '../../src/sample/load.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Database } from '../../src/store/sql.ts'
import { readStoredVectors } from '../../src/store/vectors.ts'
import { openTestDatabase } from '../support/database.ts'
import { answer, endpoint } from '../support/embeddings-endpoint.ts'
import { native, needsPostgres } from '../support/native.ts'
import { steeredClock } from '../support/steered-clock.ts'

const passagesInAll = 10

interface TestEmbedder extends Embedder {
  readonly seen: string[]
}

/**
 * A model of its own name and size, whose vectors are told apart; `dies` ends it once so many texts were
 * asked.
 */
function model(name: string, dimensions: number, dies = Number.POSITIVE_INFINITY): TestEmbedder {
  const seen: string[] = []
  const embed = (text: string): Float32Array =>
    normalize(
      Float32Array.from(
        { length: dimensions },
        (_, at) => name.length + (text.charCodeAt(at % text.length) || 1),
      ),
    )
  return {
    model: name,
    dimensions,
    seen,
    tokensMax: 256,
    countTokens: (text) => Math.ceil(text.length / 4) + 2,
    counting: { kind: 'estimate', of: 'characters', perToken: 4, marks: 2 },
    embedQuery: async (text) => embed(text),
    async embedPassages(texts, options) {
      if (seen.length + texts.length > dies) throw new Error('killed')
      seen.push(...texts)
      options?.onProgress?.(texts.length)
      return texts.map(embed)
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}

const run = (database: Database, embedder: Embedder) =>
  reembed({ database, vectors: createChunkVectors(database), embedder, newTxn: () => 't_test', batchSize: 4 })

/** Published passages, with vectors of the model if one is given, by which the database is pinned then. */
async function publish(
  database: Database,
  embedder: Embedder | undefined,
  total = passagesInAll,
): Promise<void> {
  await database.query(`insert into collections (id, title) values ('handbook', 'Handbook')`)
  await database.query(
    `insert into documents (id, collection, live_revision, title, chunk_count) values ('a.md', 'handbook', 1, 'Leave', $1)`,
    [total],
  )
  for (let at = 0; at < total; at++) {
    const id = `c_${String(at).padStart(3, '0')}`
    await database.query(
      `insert into chunks (chunk_id, doc_no, ordinal) select $1, doc_no, $2 from documents`,
      [id, at],
    )
    await database.query(
      `insert into chunk_texts (chunk_id, doc_no, ordinal, text, headings, start_offset, end_offset)
       select $1, doc_no, $2, $3, $4, 0, 9 from documents`,
      [id, at, `Passage ${at} says so.`, ['Rules', 'Holidays']],
    )
  }
  if (embedder === undefined) return
  await admit(database, embedder)
  await run(database, embedder)
}

const admit = async (database: Database, embedder: Embedder) =>
  admitModel(database, await readStoredVectors(database), embedder)

const textOf = (at: number): string => `Leave > Rules > Holidays\nPassage ${at} says so.`

/** Ids of the passages whose vector is not exactly this model's. */
async function foreign(database: Database, embedder: Embedder): Promise<string[]> {
  const rows = await database.query<{ chunk_id: string; ordinal: number; embedding: string | null }>(
    'select chunk_id, ordinal, embedding::text as embedding from chunks order by chunk_id',
  )
  const texts = rows.map(({ ordinal }) => textOf(ordinal))
  const expected = await embedder.embedPassages(texts)
  const stored = await Promise.all(
    expected.map(async (vector) => {
      const [row] = await database.query<{ text: string }>(
        `select $1::${database.vectorType}::text as text`,
        [toSql([...vector])],
      )
      return row?.text
    }),
  )
  return rows.filter(({ embedding }, at) => embedding !== stored[at]).map(({ chunk_id }) => chunk_id)
}

const withVector = async (database: Database): Promise<number> => {
  const [row] = await database.query<{ count: number }>('select count(embedding) from chunks')
  return row?.count ?? -1
}

const indexes = async (database: Database): Promise<string[]> =>
  (
    await database.query<{ indexdef: string }>(
      `select indexdef from pg_indexes where indexname = 'chunks_embedding'`,
    )
  ).map(({ indexdef }) => indexdef)

const kinds = [
  { kind: 'pglite', options: {} },
  { kind: 'postgres', options: needsPostgres },
] as const

describe.each(kinds)('vectors of another model on $kind', ({ kind, options }) => {
  describe('are', options, () => {
    test.each([
      { of: 'the same size', dimensions: 384 },
      { of: 'another size', dimensions: 8 },
    ])('replaced by those of the new one, of $of, whole and indexed', async ({ dimensions }) => {
      await using database = await openTestDatabase(kind)
      await publish(database, model('old', 384))
      const before = await indexes(database)
      const next = model('next', dimensions)
      expect(await run(database, next)).toEqual({ model: 'next', passages: passagesInAll, replaced: true })
      expect(next.seen).toEqual(Array.from({ length: passagesInAll }, (_, at) => textOf(at)))
      expect(await foreign(database, model('next', dimensions))).toEqual([])
      expect(await foreign(database, model('older', dimensions))).toHaveLength(passagesInAll)
      expect(await indexes(database)).toEqual(before)
      expect(await readStoredVectors(database)).toEqual({ pinned: { model: 'next', dimensions } })
      await expect(admit(database, next)).resolves.toBeUndefined()
    })

    test('never beside new ones after a kill; the service refuses until the next run, which goes on', async () => {
      await using database = await openTestDatabase(kind)
      await publish(database, model('old', 384))
      await expect(run(database, model('next', 8, 5))).rejects.toThrow('killed')
      expect(await withVector(database)).toBe(4)
      expect(await foreign(database, model('next', 8))).toHaveLength(passagesInAll - 4)
      const stored = await readStoredVectors(database)
      expect(() => refuseUnfinished(stored)).toThrow('npm run remit -- reembed')

      const again = model('next', 8)
      expect(await run(database, again)).toMatchObject({ passages: passagesInAll - 4 })
      expect(again.seen).toHaveLength(passagesInAll - 4)
      expect(await foreign(database, model('next', 8))).toEqual([])
      refuseUnfinished(await readStoredVectors(database))
    })

    test.each(['third', 'old'])(
      'after a kill, replaced from the beginning where the model is now %s',
      async (name) => {
        await using database = await openTestDatabase(kind)
        await publish(database, model('old', 384))
        await expect(run(database, model('next', 384, 5))).rejects.toThrow('killed')
        const other = model(name, 384)
        expect(await run(database, other)).toMatchObject({ passages: passagesInAll, replaced: true })
        expect(await foreign(database, model(name, 384))).toEqual([])
      },
    )

    test('a reason to refuse to start, which names both models and the command', async () => {
      await using database = await openTestDatabase(kind)
      await publish(database, model('old', 384))
      await expect(admit(database, model('next', 8))).rejects.toThrow(
        /of old \(384 numbers\).* is next \(8\).*npm run remit -- reembed/s,
      )
      await expect(admit(database, model('old', 8))).rejects.toThrow('reembed')
    })
  })

  describe('or none', options, () => {
    test('are added where passages lack them, and the others are left alone', async () => {
      await using database = await openTestDatabase(kind)
      const only = model('only', 384)
      await publish(database, only)
      await database.query(`update chunks set embedding = null where ordinal in (2, 7)`)
      expect(await createChunkVectors(database).countMissing(database)).toBe(2)
      const again = model('only', 384)
      expect(await run(database, again)).toEqual({ model: 'only', passages: 2, replaced: false })
      expect(again.seen).toEqual([textOf(2), textOf(7)])
      expect(await foreign(database, model('only', 384))).toEqual([])
      expect(await run(database, again)).toMatchObject({ passages: 0, replaced: false })
    })

    test('a first model is admitted beside passages without vectors, whatever its size, and then completed', async () => {
      await using database = await openTestDatabase(kind)
      await publish(database, undefined)
      const first = model('first', 8)
      await admit(database, first)
      expect(await createChunkVectors(database).dimensions(database)).toBe(8)
      expect(await indexes(database)).toHaveLength(1)
      expect(await createChunkVectors(database).countMissing(database)).toBe(passagesInAll)
      expect(await run(database, first)).toMatchObject({ passages: passagesInAll, replaced: false })
      expect(await foreign(database, model('first', 8))).toEqual([])
    })

    test('what was staged without them is prepared anew, not published without', async () => {
      await using database = await openTestDatabase(kind)
      await publish(database, model('old', 384))
      await database.query(`insert into jobs (id, owner, kind) values ('j', 'service:s', 'document')`)
      await database.query(`insert into job_items (job_id, state) values ('j', 'queued')`)
      await database.query(
        `insert into revisions (doc_no, revision, item_no, source, title, mime_type, content, metadata, access, creates, staged_text)
         select doc_no, 2, item_no, '', '', 'text/plain', '', '{}', '[]', false, 'staged' from documents, job_items`,
      )
      await database.query(
        `insert into staged_chunks (doc_no, revision, ordinal, chunk_id, embedding, tsv)
         select doc_no, 2, 0, 'c_staged', embedding, '' from chunks where ordinal = 0`,
      )
      await run(database, model('old', 384))
      const staged = () => database.query('select staged_text from revisions')
      expect(await staged()).toEqual([{ staged_text: 'staged' }])
      await run(database, model('next', 8))
      expect(await staged()).toEqual([{ staged_text: null }])
    })

    test('the command is on record before anything is dropped', async () => {
      await using database = await openTestDatabase(kind)
      await publish(database, model('old', 384))
      await expect(run(database, model('next', 8, 0))).rejects.toThrow('killed')
      const rows = await database.query<{ detail: object }>(
        `select detail from decision_records where event = 'command' order by record_no desc limit 1`,
      )
      expect(rows).toEqual([
        { detail: { command: 'reembed', arguments: { model: 'next', dimensions: 8, replaced: true } } },
      ])
    })
  })
})

/** Another process's connections to the same database. */
async function openNeighbour(database: Database): Promise<Database> {
  const [row] = await database.query<{ name: string }>('select current_database() as name')
  const url = new URL(native.databaseUrl ?? '')
  url.pathname = `/${row?.name}`
  return openPostgres({ url: url.href, poolSize: 1 })
}

describe('on native Postgres', needsPostgres, () => {
  test('nothing is dropped while another service uses the same database', async () => {
    await using database = await openTestDatabase('postgres')
    await publish(database, model('old', 384))
    await using other = await openNeighbour(database)
    await other.query('select 1')
    await expect(run(database, model('next', 8))).rejects.toThrow('Another Remit service')
    expect(await withVector(database)).toBe(passagesInAll)
    expect(await readStoredVectors(database)).toEqual({ pinned: { model: 'old', dimensions: 384 } })
  })
})

test.each([64, 256])(
  'a stored passage of %i tokens is read by the model as when it was made, but for the head of a table that was split',
  async (tokensMax) => {
    const dir = fileURLToPath(new URL('../../sample', import.meta.url))
    const { documents } = await loadSample(dir, new Date('2026-11-01'))
    const reader = { tokensMax, countTokens: (text: string) => Math.ceil(text.length / 4) + 2 }
    let same = 0
    for (const { title, text: document } of documents) {
      for (const made of chunk(parseMarkdown(document), { ...reader, overlapTokens: 8, title })) {
        const { headings, text, embedText } = made
        const again = embedTextOf({ title, headings, text }, reader)
        if (again === embedText) {
          same++
          continue
        }
        const place = again.slice(0, again.length - text.length)
        expect(embedText.startsWith(place) && embedText.endsWith(text)).toBe(true)
        const head = embedText.slice(place.length, embedText.length - text.length)
        expect(head).toMatch(/^(\|.*\n)+$/)
      }
    }
    expect(same).toBeGreaterThan(150)
  },
)

test('headings that were stored before they were bounded are counted and embedded as they are today', () => {
  const counted: number[] = []
  const countTokens = (text: string): number => {
    counted.push(text.length)
    return Math.ceil(text.length / 4)
  }
  const long = (of: string): string => `${of}${' word'.repeat(200_000)}`
  const passage = { title: 'T', headings: [long('One'), long('Two')], text: 'Says so.' }
  const embedText = embedTextOf(passage, { countTokens, tokensMax: 256 })
  expect(Math.max(...counted)).toBeLessThan(500)
  const cut = (of: string): string => long(of).slice(0, 200)
  expect(embedText).toBe(
    embedTextOf({ ...passage, headings: [cut('One'), cut('Two')] }, { countTokens, tokensMax: 256 }),
  )
  expect(embedText).toContain('Two word')
})

test('passages of several pages share calls, and each keeps its own vector', async () => {
  await using database = await openTestDatabase('pglite')
  await publish(database, undefined, 40)
  const ends = await endpoint(
    (body, response) =>
      void setTimeout(
        () =>
          answer(
            response,
            body.input.map((text) => [text.length, text.charCodeAt(text.length - 10), 4]),
          ),
        300,
      ),
    { limits: { inputs: 16 }, ...steeredClock().options },
  )
  await run(database, ends.embedder)
  // Ten pages of four, of which four are under way at a time.
  expect(ends.bodies.length).toBeLessThanOrEqual(6)
  expect(await foreign(database, ends.embedder)).toEqual([])
})
