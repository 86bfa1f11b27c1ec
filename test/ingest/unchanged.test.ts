import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'

import { type IngestWorld, loader, machine, openIngestWorld, type Sketch, stranger } from './world.ts'

describe('a document that is sent again', () => {
  let world: IngestWorld
  let steps: string[]
  beforeAll(async () => {
    world = await openIngestWorld()
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(() => {
    steps = []
    world.onStep = async (step, id) => void steps.push(`${step} ${id}`)
  })

  const bob = { viewers: ['user:bob'] }
  const rowOf = async (id: string) =>
    (
      await world.database.query<{ accepted_revision: number; live_revision: number; chunks: string[] }>(
        `select accepted_revision, live_revision, source_version,
           (select array_agg(chunk_id order by ordinal) from chunks c where c.doc_no = d.doc_no) as chunks
         from documents d where id = $1`,
        [id],
      )
    )[0]
  /** Sends it, and says what was noted and whether it was read. */
  async function send(sketch: Sketch) {
    steps.length = 0
    const { state, notes } = await world.putDone({ access: bob, ...sketch })
    return { state, notes: notes.map(({ code }) => code), read: steps.includes(`prepared ${sketch.id}`) }
  }
  const done = { state: 'done', notes: ['unchanged'], read: false }
  const anew = { state: 'done', notes: [], read: true }

  test('with the same content and access keeps its revision and its passages, and is not read', async () => {
    const metadata = { year: 2026, tags: ['a'] }
    expect(await send({ id: 'same', metadata })).toEqual(anew)
    const before = await rowOf('same')
    expect(await send({ id: 'same', metadata: { tags: ['a'], year: 2026 }, version: 7 })).toEqual(done)
    expect(await rowOf('same')).toEqual({ ...before, source_version: 7 })
    expect(await world.sees('user:bob', 'same')).toBe('All about same.')
    expect((await send({ id: 'same', metadata, version: 6 })).notes).toEqual(['stale_version'])
  })

  test('costs fifteen statements and nothing of the queue, however long it is', async () => {
    await send({ id: 'cheap', text: 'Long. '.repeat(5_000) })
    const asked: string[] = []
    world.isAway = (statement) => {
      asked.push(statement)
      return false
    }
    expect(await send({ id: 'cheap', text: 'Long. '.repeat(5_000) })).toEqual(done)
    world.isAway = () => false
    expect(asked.filter((statement) => /insert into pgboss/i.test(statement))).toEqual([])
    // The queue's own looks come by the clock.
    expect(asked.filter((statement) => !/pgboss/i.test(statement)).length).toBeLessThanOrEqual(15)
  })

  test.each([
    ['content', { text: 'Else.' }],
    ['title', { title: 'Else' }],
    ['address', { uri: 'https://else.example' }],
    ['metadata', { metadata: { year: 2027 } }],
    ['type of content', { mime_type: 'text/plain' }],
    ['readers', { access: { viewers: ['user:carol'] } }],
    ['owner', { access: { ...bob, owner: 'user:carol' } }],
    ['block', { access: { ...bob, blocked: ['user:dan'] } }],
    ['parent', { access: { ...bob, parents: ['folder:new'] } }],
    ['mark as sensitive', { access: { ...bob, sensitive: true } }],
    ['end of a reader', { access: { viewers: [{ user: 'user:bob', expires_at: '2099-01-01T00:00:00Z' }] } }],
  ])('is taken in anew for another %s', async (what, change) => {
    const id = `other-${what.replaceAll(' ', '-')}`
    await send({ id })
    expect(await send({ id, ...change })).toMatchObject({ state: 'done', read: true })
    expect((await send({ id, ...change })).read).toBe(false)
  })

  test('says so where the content is as before and only what is said of it, or who may read it, is not', async () => {
    const metadata = { year: 2026 }
    const first = { id: 'told', uri: 'https://docs.example/told', metadata }
    expect(await send(first)).toEqual(anew)
    const told = { state: 'done', notes: ['same_content'], read: true }
    expect(await send({ id: 'told', metadata })).toEqual(told)
    expect(await send(first)).toEqual(told)
    expect(await send({ ...first, access: { viewers: ['user:carol'] } })).toEqual(told)
    expect(await send({ ...first, title: 'Else' })).toEqual(told)
    expect(await send({ ...first, title: 'Else' })).toMatchObject({ notes: ['unchanged'] })
    expect(await send({ ...first, text: 'Else.' })).toEqual(anew)
  })

  test('tells nobody else that the content is as before', async () => {
    const writers = ['service:loader', 'service:stranger']
    await world.ingest.saveCollection(machine, { id: 'both', title: 'Both', writers })
    await send({ id: 'theirs', collection: 'both' })
    const sketch = { id: 'theirs', collection: 'both', access: { viewers: [] } }
    expect((await world.putDone(sketch, stranger)).notes).toEqual([])
  })

  test('by another service is taken in anew: a citation names who sent it', async () => {
    const writers = ['service:loader', 'service:stranger']
    await world.ingest.saveCollection(machine, { id: 'shared', title: 'Shared', writers })
    await send({ id: 'sent', collection: 'shared' })
    steps.length = 0
    await world.putDone({ id: 'sent', collection: 'shared', access: bob }, stranger)
    expect(steps).toContain('prepared sent')
  })

  test('is taken in anew where its access was changed meanwhile, and then has what was sent', async () => {
    await send({ id: 'retagged' })
    await world.ingest.retag(loader, 'retagged', { viewers: [] })
    expect(await world.sees('user:bob', 'retagged')).toBeUndefined()
    expect(await send({ id: 'retagged' })).toEqual({ ...anew, notes: ['same_content'] })
    expect(await world.sees('user:bob', 'retagged')).toBe('All about retagged.')
  })

  test('is taken in anew after it was withdrawn', async () => {
    await send({ id: 'gone' })
    await world.done(await world.ingest.withdraw(loader, 'gone'))
    expect(await send({ id: 'gone' })).toEqual(anew)
    expect(await world.sees('user:bob', 'gone')).toBe('All about gone.')
  })

  test('is tried again where it failed, also with what was there before that', async () => {
    const bad = { mime_type: 'application/json', text: '{' }
    await send({ id: 'failed' })
    expect(await send({ id: 'failed', ...bad })).toMatchObject({ state: 'failed', read: false })
    const tried = await world.putDone({ id: 'failed', access: bob, ...bad })
    expect(tried.errors.map(({ code }) => code)).toEqual(['unreadable'])
    expect(await send({ id: 'failed' })).toEqual(anew)
    expect(await world.sees('user:bob', 'failed')).toBe('All about failed.')
  })

  test('overtakes what still waits, however like the live one it is', async () => {
    await send({ id: 'waiting' })
    const held = Promise.withResolvers<void>()
    world.onStep = async (step) => (step === 'prepared' ? held.promise : undefined)
    const other = await world.put({ id: 'waiting', access: bob, text: 'Never shown.' })
    const back = await world.put({ id: 'waiting', access: bob })
    held.resolve()
    await world.done(other)
    expect((await world.done(back)).notes).toEqual([])
    expect(await world.sees('user:bob', 'waiting')).toBe('All about waiting.')
  })

  test('is taken in anew where a passage lacks its vector, and where an older version accepted it last', async () => {
    await send({ id: 'vector' })
    await world.database.query(
      `update chunks set embedding = null where doc_no = (select doc_no from documents where id = 'vector')`,
    )
    expect(await send({ id: 'vector' })).toEqual(anew)
    // As a process of an older version leaves it: a revision more, and the digest of the one before.
    await world.database.query(
      `update documents set accepted_revision = accepted_revision + 1, live_revision = live_revision + 1 where id = 'vector'`,
    )
    expect(await send({ id: 'vector' })).toEqual(anew)
  })

  test('stays sensitive, and is told so, where the same was sent without the mark', async () => {
    await send({ id: 'marked', access: { ...bob, sensitive: true } })
    expect(await send({ id: 'marked' })).toEqual({ state: 'done', notes: ['sensitivity_kept'], read: false })
    expect(await world.check('user:bob', 'can_read', 'document:marked')).toBe(true)
    expect(await world.tuples('document:marked')).toContain('user:* sensitive')
  })

  test('counts as listed by a snapshot, which does not name it', async () => {
    const lines = ['a', 'b', 'c'].map((id) => ({
      id: `list-${id}`,
      collection: 'open',
      title: id,
      text: id,
      access: bob,
    }))
    const snapshot = { collection: 'open' }
    await world.importLines([...lines, { end: 3 }], { snapshot })
    steps.length = 0
    const again = await world.importLines([...lines.slice(1), { end: 2 }], { snapshot })
    expect(again).toMatchObject({ state: 'done', done: 3, withdrawn: 1 })
    expect(again.notes.map(({ code }) => code)).toEqual(['snapshot_applied'])
    expect(steps.filter((step) => step.startsWith('prepared'))).toEqual([])
    expect(await world.sees('user:bob', 'list-b')).toBe('b')
  })
})
