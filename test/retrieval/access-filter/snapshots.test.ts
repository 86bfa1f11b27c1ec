import { readFileSync } from 'node:fs'
import { compileModel } from '@remit/engine'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Change, StoredTuple } from '../../../src/authz/fga.ts'
import type { Question } from '../../../src/authz/gate/question.ts'
import { Reachability } from '../../../src/authz/index/reachable-acls.ts'
import { Replica } from '../../../src/authz/index/replica.ts'
import { readDsl } from '../../../src/authz/model/dsl.ts'
import { createSnapshots, type SnapshotsDeps } from '../../../src/retrieval/access-filter/snapshots.ts'
import { visibleByQuery } from '../../../src/retrieval/access-filter/visibility.ts'
import { visibleAs } from '../../../src/retrieval/access-filter/visible.ts'
import { createCorpus } from '../../../src/retrieval/corpus/corpus.ts'
import type { Database } from '../../../src/store/sql.ts'
import { openTestDatabase } from '../../support/database.ts'
import fc from '../../support/properties.ts'

const model = compileModel(readDsl(readFileSync(new URL('../../../model.fga', import.meta.url), 'utf8')))
const documents = Array.from({ length: 12 }, (_, at) => `d${at}`)
const people = ['anne', 'bob', 'carol']
const about = (name: string): Question => ({ user: `user:${name}`, relation: 'can_read', contextual: [] })
const questions = people.map(about)

const presentedAt = (nth: number) => ({ user: 'user:x', relation: 'presented', object: `grant:${nth}` })

/** Replica, doors and snapshots over a corpus; nothing of it waits for anybody. */
async function openIndex(database: Database, options: Partial<SnapshotsDeps> = {}) {
  let now = 0
  const replica = new Replica()
  const reaches = new Reachability()
  reaches.useModel(model)
  reaches.follow(replica.tuples)
  const corpus = createCorpus({
    database,
    log: () => undefined,
    pollMs: 1_000_000_000,
    staleAfterMs: 1_000_000_000,
  })
  const index: SnapshotsDeps['index'] = {
    aclOf: (documentId) => reaches.aclOf(documentId),
    onAclChange: (listener) => reaches.onAclChange(listener),
    reachableAcls: (question) => reaches.reachableAcls(question, ++now),
  }
  let made = 0
  const onMake = () => {
    made += 1
  }
  const snapshots = createSnapshots({ index, corpus, onMake, ...options })
  await corpus.refresh()
  const change = (operation: Change['operation'], lines: readonly string[]) => {
    now += 1
    reaches.note(replica.apply(lines.map((line) => ({ operation, tuple: toStored(line, now) }))))
  }
  return {
    corpus,
    snapshots,
    reaches,
    write: (...lines: readonly string[]) => change('write', lines),
    remove: (...lines: readonly string[]) => change('delete', lines),
    get made() {
      return made
    },
    get now() {
      return ++now
    },
  }
}

type Index = Awaited<ReturnType<typeof openIndex>>

const toStored = (line: string, writtenAt: number): StoredTuple => {
  const [user = '', relation = '', object = ''] = line.split(' ')
  return { user, relation, object, writtenAt } as StoredTuple
}

async function setChunks(database: Database, id: string, chunks: number): Promise<number> {
  const [row] = await database.query<{ doc_no: number }>(
    `insert into documents (id, collection, live_revision, chunk_count) values ($1, $2, $3, $4)
     on conflict (id) do update set live_revision = excluded.live_revision, chunk_count = excluded.chunk_count
     returning doc_no`,
    [id, id < 'd5' ? 'c' : 'd', chunks === 0 ? null : 1, chunks],
  )
  return row?.doc_no ?? -1
}

function seenBy(index: Index, question: Question) {
  const snapshot = index.snapshots.of(question)
  if (snapshot === undefined) throw new Error('not ready')
  const visible = visibleAs(snapshot.content, snapshot.documents.chunks, () => 1)
  const { docNos, chunks, corpusChunks } = visible
  const bits = visible.bits()
  return {
    docNos: [...docNos],
    chunks,
    corpusChunks,
    byBits: [...Array(8 * bits.length).keys()].filter(visible.has),
  }
}

describe('what is visible, bit by bit', () => {
  let database: Database
  beforeAll(async () => {
    database = await openTestDatabase()
    await database.query(`insert into collections (id, title) values ('c', 'C'), ('d', 'D')`)
  })
  beforeEach(() => database.query('delete from documents'))
  afterAll(() => database?.close())

  /** By ids from the index, and a look into the database. */
  async function lookedUp(index: Index, question: Question) {
    const ids = index.reaches.nominate(question, index.now) ?? []
    const { docNos, chunks } = await visibleByQuery({ database }, ids, {})
    const [all] = await database.query<{ chunks: number }>(
      'select coalesce(sum(chunk_count), 0)::int as chunks from documents where live_revision is not null',
    )
    return { docNos: [...docNos], chunks, corpusChunks: all?.chunks ?? 0, byBits: [...docNos] }
  }

  const tuple = fc
    .tuple(fc.constantFrom(...documents), fc.constantFrom(...people), fc.nat(4))
    .map(([id, person, kind]) => {
      if (kind === 0) return `user:${person} viewer document:${id}`
      if (kind === 1) return `folder:f${person.length % 2} parent document:${id}`
      if (kind === 2) return `user:${person} owner document:${id}`
      if (kind === 3) return `group:${id < 'd5' ? 'eng' : 'ops'}#member viewer folder:f${person.length % 2}`
      return `user:${person} member group:${id < 'd5' ? 'eng' : 'ops'}`
    })
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ write: fc.array(tuple, { minLength: 1, maxLength: 4 }) }) },
    { weight: 2, arbitrary: fc.record({ remove: fc.array(tuple, { minLength: 1, maxLength: 4 }) }) },
    {
      weight: 3,
      arbitrary: fc.record({ id: fc.constantFrom(...documents), chunks: fc.nat(3), isTold: fc.boolean() }),
    },
  )

  test('is after any changes of tuples and documents what it would be if made anew, with exact counts', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 25 }),
        fc.boolean(),
        async (steps, byDoors) => {
          await database.query('delete from documents')
          const index = await openIndex(database, { fewAcls: byDoors ? Number.POSITIVE_INFINITY : 0 })
          await using _ = index.corpus
          for (const one of steps) {
            if ('write' in one) index.write(...new Set(one.write))
            else if ('remove' in one) index.remove(...one.remove)
            else {
              const docNo = await setChunks(database, one.id, one.chunks)
              // By this process, or by another one.
              await (one.isTold ? index.corpus.changed([docNo]) : index.corpus.refresh())
            }
            // Those who were asked about before, and somebody new who sees the same as one of them.
            const stranger = { ...questions[0], contextual: [presentedAt(index.now)] } as Question
            for (const question of [...questions, stranger])
              expect(seenBy(index, question)).toEqual(await lookedUp(index, question))
          }
        },
      ),
      { numRuns: 25 },
    )
  }, 120_000)

  test.each([0, Number.POSITIVE_INFINITY])(
    'is for somebody new what there is now, of documents that came, moved, were emptied and went (few doors: %d)',
    async (fewDoors) => {
      const index = await openIndex(database, { fewAcls: fewDoors })
      await using _ = index.corpus
      const docNos = await Promise.all(['d0', 'd1', 'd2', 'd3'].map((id) => setChunks(database, id, 2)))
      index.write(...['d0', 'd1', 'd2', 'd3'].map((id) => `user:anne viewer document:${id}`))
      await index.corpus.changed(docNos)
      // To another door, to none, live without a passage, and away.
      index.write('user:bob viewer document:d0', 'user:bob viewer document:d1')
      index.remove('user:anne viewer document:d1')
      await database.query(`update documents set chunk_count = 0 where id = 'd2'`)
      await setChunks(database, 'd3', 0)
      await index.corpus.changed(docNos)
      for (const name of people) {
        const question = { ...about(name), contextual: [presentedAt(index.now)] } as Question
        expect(seenBy(index, question)).toEqual(await lookedUp(index, question))
      }
      expect(seenBy(index, about('anne')).docNos).toEqual([docNos[0]])
    },
  )

  test('is not made anew for those who read a folder into which documents are taken', async () => {
    const index = await openIndex(database)
    await using _ = index.corpus
    index.write('group:eng#member viewer folder:f', ...people.map((name) => `user:${name} member group:eng`))
    for (const question of questions) seenBy(index, question)
    expect(index.made).toBe(people.length)
    for (const id of documents) {
      // As they are taken in: tuples first, then they appear.
      index.write(`folder:f parent document:${id}`, `user:anne owner document:${id}`)
      await index.corpus.changed([await setChunks(database, id, 2)])
      for (const question of questions)
        expect(seenBy(index, question)).toMatchObject({ docNos: (await lookedUp(index, question)).docNos })
    }
    expect(seenBy(index, questions[0] as Question).chunks).toBe(2 * documents.length)
    expect(index.made).toBe(people.length)
  })

  test('keeps what was handed out as it was, whatever changes after', async () => {
    const index = await openIndex(database)
    await using _ = index.corpus
    const [question] = questions as [Question]
    index.write('user:anne viewer document:d0', 'user:anne viewer document:d1')
    const first = await setChunks(database, 'd0', 1)
    await index.corpus.changed([first])
    const before = index.snapshots.of(question)?.content
    const second = await setChunks(database, 'd1', 5)
    await index.corpus.changed([second])
    expect([...(before?.docNos() ?? [])]).toEqual([first])
    expect(before?.chunks).toBe(1)
    expect(seenBy(index, question)).toMatchObject({ docNos: [first, second], chunks: 6 })
  })

  test('holds documents that came before their tuples, and all of them when the tuples are read anew', async () => {
    const index = await openIndex(database)
    await using _ = index.corpus
    const [question] = questions as [Question]
    await index.corpus.changed([await setChunks(database, 'd0', 1)])
    expect(seenBy(index, question).docNos).toEqual([])
    index.write('user:anne viewer document:d0')
    expect(seenBy(index, question).chunks).toBe(1)
    const anew = new Replica()
    for (const id of ['d0', 'd1']) anew.put(toStored(`user:anne viewer document:${id}`, 1))
    index.reaches.follow(anew.tuples)
    await index.corpus.changed([await setChunks(database, 'd1', 1)])
    expect(seenBy(index, question).chunks).toBe(2)
  })

  test('is forgotten where there are too many, the longest unasked first', async () => {
    const index = await openIndex(database, { bytesMax: 100 })
    await using _ = index.corpus
    for (const question of [...questions, ...questions]) seenBy(index, question)
    expect(index.made).toBe(2 * people.length)
    seenBy(index, questions[2] as Question)
    expect(index.made).toBe(2 * people.length)
  })

  test('is forgotten earlier where a search engine will have publications made of it, asked for once or often', async () => {
    const docNos = await Promise.all(documents.map((id) => setChunks(database, id, 1)))
    const bits = (Math.max(...docNos) + 1 + 512) >> 3
    const bytesMax = people.length * (bits + 4 * documents.length)
    for (const byPublications of [false, true]) {
      const index = await openIndex(database, { bytesMax, byPublications })
      await using _ = index.corpus
      for (const person of people)
        index.write(...documents.map((id) => `user:${person} viewer document:${id}`))
      for (const question of [...questions, ...questions]) seenBy(index, question)
      expect(index.made).toBe(byPublications ? 2 * people.length : people.length)
    }
  })
})
