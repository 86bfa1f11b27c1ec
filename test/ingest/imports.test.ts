import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { documentOf, type IngestWorld, loader, openIngestWorld, stranger } from './world.ts'

let world: IngestWorld
beforeAll(async () => {
  world = await openIngestWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const doc = (id: string, more: object = {}) =>
  documentOf({ id, collection: 'open', access: { viewers: ['user:anne'] }, ...more })
const isLive = async (id: string) => (await world.sees('user:anne', id)) !== undefined

describe('an import', () => {
  test('with a broken line 7 of 10 takes nine in and reports line 7', async () => {
    const lines: (object | string)[] = Array.from({ length: 10 }, (_, index) => doc(`ten/${index + 1}`))
    lines[6] = '{"id": "ten/7", '
    const job = await world.importLines(lines)
    expect(job).toMatchObject({ state: 'done', done: 9, failed: 1, total: 10 })
    expect(job.errors).toEqual([{ line: 7, code: 'malformed_body', detail: 'The line is not JSON.' }])
    for (const number of [1, 6, 8, 10]) expect(await isLive(`ten/${number}`)).toBe(true)
    expect(await isLive('ten/7')).toBe(false)
  })

  test('names line, id and field of each line that it refuses, and takes the others in', async () => {
    const job = await world.importLines([
      { ...doc('bad/1'), surprise: 1, title: undefined },
      { ...doc('bad/2'), id: 'a/../b' },
      doc('bad/3', { collection: 'other' }),
      doc('bad/4', { access: { parents: ['folder:new', 'collection:closed'] } }),
      '',
      doc('bad/6'),
      { ...doc('bad/7'), title: 'nul \0' },
      '{"id":"\xff"}',
      { ...doc('bad/9'), 'nul\0': 1 },
    ])
    expect(job.errors.map(({ line, id, code, field }) => [line, id, code, field])).toEqual([
      [1, 'bad/1', 'invalid_request', 'surprise'],
      [2, undefined, 'invalid_request', 'id'],
      [3, 'bad/3', 'forbidden', 'collection'],
      [4, 'bad/4', 'forbidden', 'access.parents.1'],
      [7, 'bad/7', 'invalid_request', 'title'],
      [8, undefined, 'invalid_request', 'id'],
      [9, 'bad/9', 'invalid_request', 'nul⟨U+0000⟩'],
    ])
    expect(job).toMatchObject({ state: 'done', done: 1, failed: 7 })
  })

  test('with a date that Postgres does not take notes that line and takes the others in', async () => {
    const job = await world.importLines([
      { ...doc('dates/1'), updated_at: '0000-01-01T00:00:00Z' },
      { ...doc('dates/2'), updated_at: '2026-01-01T00:00:00+23:59' },
      {
        ...doc('dates/3'),
        access: { viewers: [{ user: 'user:anne', expires_at: '9999-12-31T23:59:59-14:00' }] },
      },
      { ...doc('dates/4'), updated_at: `2026-01-01T00:00:00.${'0'.repeat(200)}Z` },
      { ...doc('dates/5'), updated_at: '2026-01-01T00:00:00+14:00' },
    ])
    expect(job.errors.map(({ line, field }) => [line, field])).toEqual([
      [1, 'updated_at'],
      [2, 'updated_at'],
      [3, 'access.viewers.0.expires_at'],
      [4, 'updated_at'],
    ])
    expect(job).toMatchObject({ state: 'done', done: 1 })
  })

  test('with the same id twice ends with the later line', async () => {
    await world.importLines([doc('twice', { text: 'one' }), doc('twice', { text: 'two' })])
    expect(await world.sees('user:anne', 'twice')).toBe('two')
  })

  test('of nothing but bad lines has failed', async () => {
    expect(await world.importLines(['[]', '7'])).toMatchObject({ state: 'failed', done: 0, failed: 2 })
  })

  test('keeps a thousand refused lines and counts the rest, whatever they were refused for', async () => {
    const kept = async (jobId: string) => {
      const [row] = await world.database.query<{ rows: number }>(
        'select count(*)::int as rows from job_items where job_id = $1',
        [jobId],
      )
      return row?.rows
    }
    const bad = await world.importLines([
      ...Array.from({ length: 998 }, () => '['),
      doc('bounded/1'),
      ...Array.from({ length: 4 }, (_, index) => doc(`bounded/no/${index}`, { collection: 'other' })),
    ])
    expect(bad).toMatchObject({ state: 'done', done: 1, failed: 1_002, total: 1_003 })
    expect([bad.errors.length, bad.errors.at(-1)?.line, await kept(bad.id)]).toEqual([1_000, 1_001, 1_001])
    const anything = await world.importLines(Array.from({ length: 2_300 }, () => '['))
    expect(anything).toMatchObject({ state: 'failed', failed: 2_300, total: 2_300 })
    expect(await kept(anything.id)).toBe(1_000)
  })

  test('is refused while eight of its service come in, and taken once one of them has ended', async () => {
    const gate = Promise.withResolvers<void>()
    async function* waiting(): AsyncGenerator<Uint8Array> {
      await gate.promise
      yield Buffer.from(`${JSON.stringify(doc('open/late'))}\n`)
    }
    const open = Array.from({ length: 8 }, () => world.ingest.importAll(loader, { body: waiting() }))
    await expect(world.importLines([doc('open/1')])).rejects.toMatchObject({
      code: 'rate_limited',
      headers: { 'retry-after': '10' },
    })
    const other = doc('open/2', { collection: 'other' })
    expect(await world.importLines([other], { writer: stranger })).toMatchObject({ state: 'done' })
    gate.resolve()
    await Promise.all(open)
    expect(await world.importLines([doc('open/1')])).toMatchObject({ state: 'done', done: 1 })
  })

  test('files the folders that it mentions, each once', async () => {
    const inFolder = (id: string, folder: string) => doc(id, { access: { parents: [`folder:${folder}`] } })
    const job = await world.importLines([
      inFolder('f/1', 'shared'),
      inFolder('f/2', 'shared'),
      doc('f/3', { collection: 'closed', access: { parents: ['folder:shared'] } }),
    ])
    expect(job.errors).toMatchObject([{ line: 3, id: 'f/3', code: 'forbidden', field: 'access.parents.0' }])
    expect(await world.tuples('folder:shared')).toEqual(['collection:open filed_in'])
    expect(await world.tuples('document:f/2')).toEqual(['collection:open filed_in', 'folder:shared parent'])
  })

  test('that breaks off is a failed job whose good lines went in, and its key is free again', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      for (let index = 0; index < 60; index++) yield Buffer.from(`${JSON.stringify(doc(`cut/${index}`))}\n`)
      throw new Error('the client went away')
    }
    const request = { body: broken(), idempotencyKey: 'cut' }
    await expect(world.ingest.importAll(loader, request)).rejects.toThrow('the client went away')
    const [job] = await world.database.query<{ id: string }>(`select id from jobs where state = 'broken'`)
    expect(await world.ingest.job(job?.id ?? '', loader.subject)).toMatchObject({
      state: 'failed',
      total: 50,
    })
    await expect.poll(() => isLive('cut/49'), { timeout: 10_000 }).toBe(true)
    expect(await world.importLines([doc('cut/50')], { key: 'cut' })).toMatchObject({ state: 'done' })
  })

  describe('that is accepted faster than it is published', () => {
    // Looks at what waits, and batches that are accepted, in their order.
    const said: string[] = []
    const lines = (of: string, count: number) =>
      Array.from({ length: count }, (_, nth) => doc(`${of}/${nth}`))
    async function* behind(documents: readonly object[]): AsyncGenerator<Uint8Array> {
      // As if so many of it waited that nobody takes up.
      await world.database.query(`update jobs set total = total + 10000 where state = 'receiving'`)
      world.isAway = (statement) => {
        if (statement.startsWith('select total - done - failed as waiting')) said.push('look')
        if (statement.includes('insert into job_items') && said.at(-1) !== 'batch') said.push('batch')
        return false
      }
      for (const line of documents) yield Buffer.from(`${JSON.stringify(line)}\n`)
    }
    const bring = async (documents: readonly object[]) => {
      said.splice(0)
      await world.ingest.importAll(loader, { body: behind(documents) })
      world.isAway = () => false
      return said.join(' ')
    }

    test('waits for nothing where it added nothing', async () => {
      await world.importLines(lines('calm', 150))
      expect(await bring(lines('calm', 150))).toBe('batch')
    })

    test('goes on after one rest where publishing stands still, and what it takes away is gone by then', async () => {
      await world.importLines([doc('stuck/known')])
      const letGo = Promise.withResolvers<void>()
      world.onRead = async () => letGo.promise
      try {
        const narrowed = doc('stuck/known', { access: { viewers: [] } })
        expect(await bring([...lines('stuck', 200), narrowed])).toMatch(
          /^batch( look){2,11} batch look batch look batch look batch$/,
        )
        expect(await world.check('user:anne', 'viewer', 'document:stuck/known')).toBe(false)
      } finally {
        world.onRead = async () => undefined
        letGo.resolve()
      }
    })
  })

  test('takes access away from all whose tuples can be read where those of one cannot', async () => {
    const ids = Array.from({ length: 20 }, (_, nth) => `narrow/${nth}`)
    await world.importLines(ids.map((id) => doc(id)))
    world.onTuples = (object) => {
      if (object === 'document:narrow/3') throw new Error('not read')
    }
    const narrowing = world.importLines(ids.map((id) => doc(id, { access: { viewers: [] } })))
    await expect(narrowing).rejects.toThrow('not read')
    world.onTuples = () => undefined
    const left = ids.map(async (id) =>
      (await world.check('user:anne', 'viewer', `document:${id}`)) ? [id] : [],
    )
    expect((await Promise.all(left)).flat()).toEqual(['narrow/3'])
    const marked = `select object from unreconciled where object like 'document:narrow/%'`
    expect(await world.database.query(marked)).toEqual([{ object: 'document:narrow/3' }])
  })

  test('with a key that was used gives the same job for the same body, and refuses another body', async () => {
    const first = await world.importLines([doc('key/1')], { key: 'k1' })
    expect((await world.importLines([doc('key/1')], { key: 'k1' })).id).toBe(first.id)
    await expect(world.importLines([doc('key/2')], { key: 'k1' })).rejects.toMatchObject({
      code: 'idempotency_mismatch',
    })
    await expect(
      world.importLines([doc('key/1')], { key: 'k1', snapshot: { collection: 'open' } }),
    ).rejects.toMatchObject({ code: 'idempotency_mismatch' })
    expect(await isLive('key/2')).toBe(false)
  })
})
