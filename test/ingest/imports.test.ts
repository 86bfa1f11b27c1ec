import { Readable } from 'node:stream'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type NdjsonLine, readNdjson } from '../../src/ingest/ndjson.ts'
import { ParseError } from '../../src/ingest/parse/parsed.ts'
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

describe('a snapshot', () => {
  const ids = ['snap/1', 'snap/2', 'snap/3', 'snap/4']
  const snap = (id: string) => doc(id, { collection: 'closed' })
  const snapshot = { collection: 'closed' }
  const live = async () => (await Promise.all(ids.map(async (id) => ((await isLive(id)) ? [id] : [])))).flat()
  const fill = () => world.importLines(ids.map(snap))

  test('withdraws what is no longer listed, and counts it apart', async () => {
    await fill()
    const job = await world.importLines([snap('snap/1'), snap('snap/2'), snap('snap/3'), { end: 3 }], {
      snapshot,
    })
    expect(job).toMatchObject({ done: 4, total: 4, withdrawn: 1, notes: [{ code: 'snapshot_applied' }] })
    expect(await live()).toEqual(['snap/1', 'snap/2', 'snap/3'])
    expect(await world.tuples('document:snap/4')).toEqual([])
  })

  test.each<[string, (object | string)[], object]>([
    ['the end line is missing', [snap('snap/1'), snap('snap/2'), snap('snap/3')], {}],
    ['the end line counts otherwise', [snap('snap/1'), snap('snap/2'), snap('snap/3'), { end: 4 }], {}],
    ['something follows the end line', [snap('snap/1'), snap('snap/2'), { end: 2 }, snap('snap/3')], {}],
    ['a line was refused', [snap('snap/1'), snap('snap/2'), snap('snap/3'), '{', { end: 4 }], {}],
    ['a line is of another collection', [snap('snap/1'), snap('snap/2'), doc('snap/3'), { end: 3 }], {}],
    ['more than half would go', [snap('snap/1'), { end: 1 }], {}],
    ['more than half would go and fewer are allowed', [snap('snap/1'), { end: 1 }], { allowWithdraw: 2 }],
    ['the list is empty', [{ end: 0 }], { allowWithdraw: 100 }],
    ['the list is empty, though more than half would go', [{ end: 0 }], { allowEmpty: true }],
    ['the body is empty', [], { allowEmpty: true, allowWithdraw: 100 }],
  ])('withdraws nothing and says so when %s', async (_, lines, options) => {
    await fill()
    const job = await world.importLines(lines, { snapshot: { ...snapshot, ...options } })
    expect(job).toMatchObject({ withdrawn: 0, notes: [{ code: 'snapshot_not_applied' }] })
    expect(await live()).toEqual(ids)
  })

  test('says how many would go, and with what they may', async () => {
    await fill()
    const reasonOf = async (lines: readonly object[]) =>
      (await world.importLines(lines, { snapshot })).notes[0]?.detail
    expect(await reasonOf([snap('snap/1'), { end: 1 }])).toMatch(
      /3 of the collection’s 4 documents, more than half\. .* allow_withdraw=3 \(remit import --allow-withdraw 3\)/,
    )
    expect(await reasonOf([{ end: 0 }])).toMatch(
      /all that there are\. .* allow_empty=true and allow_withdraw=4 /,
    )
  })

  test('withdraws more than half, or everything, when that is allowed', async () => {
    await fill()
    await world.importLines([snap('snap/1'), { end: 1 }], { snapshot: { ...snapshot, allowWithdraw: 3 } })
    expect(await live()).toEqual(['snap/1'])
    await world.importLines([{ end: 0 }], { snapshot: { ...snapshot, allowEmpty: true, allowWithdraw: 1 } })
    expect(await live()).toEqual([])
  })

  test('does not withdraw what somebody brought in meanwhile', async () => {
    await fill()
    async function* slow(): AsyncGenerator<Uint8Array> {
      for (const id of ids) yield Buffer.from(`${JSON.stringify(snap(id))}\n`)
      await world.putDone({ id: 'snap/meanwhile', access: { viewers: ['user:anne'] } })
      yield Buffer.from('{"end": 4}\n')
    }
    const jobId = await world.ingest.importAll(loader, {
      body: slow(),
      snapshot: { collection: 'closed', allowEmpty: false, allowWithdraw: undefined },
    })
    expect((await world.done(jobId)).notes).toMatchObject([{ code: 'snapshot_applied' }])
    expect(await isLive('snap/meanwhile')).toBe(true)
  })

  test('does not withdraw what somebody brought in while the others were withdrawn', async () => {
    const many = Array.from({ length: 51 }, (_, nth) => `snap/old/${String(nth).padStart(2, '0')}`)
    const [first, last] = [many[0] ?? '', many[50] ?? '']
    await world.importLines([...many.map(snap), { end: 51 }], {
      snapshot: { ...snapshot, allowWithdraw: 100 },
    })
    // Between what the list was compared with and the last withdrawal.
    world.onStep = async (step, id) => {
      if (step === 'withdrawn' && id === first) await world.importLines([snap(last)])
    }
    const job = await world.importLines([snap('snap/1'), { end: 1 }], {
      snapshot: { ...snapshot, allowWithdraw: 100 },
    })
    world.onStep = async () => undefined
    expect(job.notes).toMatchObject([{ code: 'snapshot_applied' }])
    expect([await isLive(first), await isLive(last)]).toEqual([false, true])
    await world.ingest.withdraw(loader, last)
  })

  describe('while the list comes in', () => {
    /** A snapshot of all but the last, during which something happens to that one. */
    const snapshotWhile = async (happens: () => Promise<unknown>, lines = ids.slice(0, 3).map(snap)) => {
      async function* slow(): AsyncGenerator<Uint8Array> {
        for (const line of lines) yield Buffer.from(`${JSON.stringify(line)}\n`)
        await happens()
        yield Buffer.from(`{"end": ${lines.length}}\n`)
      }
      const jobId = await world.ingest.importAll(loader, {
        body: slow(),
        snapshot: { collection: 'closed', allowEmpty: false, allowWithdraw: undefined },
      })
      return world.done(jobId)
    }
    const unreadable = (id: string) =>
      documentOf({
        id,
        content_base64: Buffer.from('not a pdf').toString('base64'),
        mime_type: 'application/pdf',
      })
    beforeEach(async () => {
      await world.importLines([...ids.map(snap), { end: 4 }], {
        snapshot: { ...snapshot, allowWithdraw: 100 },
      })
      expect(await live()).toEqual(ids)
    })

    test.each<[string, () => Promise<unknown>]>([
      ['another service’s line was refused', () => world.importLines([snap('snap/4')], { writer: stranger })],
      [
        'another service’s line was wrong',
        () => world.importLines([{ ...snap('snap/4'), surprise: 1 }], { writer: stranger }),
      ],
      [
        'another service’s PUT was refused',
        () => world.ingest.put(stranger, snap('snap/4')).catch(() => undefined),
      ],
      [
        'a line of another import of the same service was refused',
        () =>
          world.importLines([
            doc('snap/4', { collection: 'closed', access: { parents: ['collection:open'] } }),
          ]),
      ],
      [
        'a line of another import of the same service was wrong',
        () => world.importLines([{ ...snap('snap/4'), surprise: 1 }]),
      ],
    ])('withdraws what is not listed, though %s', async (_, happens) => {
      const job = await snapshotWhile(happens)
      expect(job).toMatchObject({ withdrawn: 1, notes: [{ code: 'snapshot_applied' }] })
      expect(await live()).toEqual(['snap/1', 'snap/2', 'snap/3'])
    })

    test('withdraws what is not listed, though another import brought an older version of it', async () => {
      await world.importLines([{ ...snap('snap/4'), version: 2 }])
      const job = await snapshotWhile(() => world.importLines([{ ...snap('snap/4'), version: 1 }]))
      expect(job).toMatchObject({ withdrawn: 1, notes: [{ code: 'snapshot_applied' }] })
      expect(await live()).toEqual(['snap/1', 'snap/2', 'snap/3'])
    })

    describe('and content that failed is retried', () => {
      const newer = { text: 'Newer.', access: { viewers: ['user:anne'] } }
      const fail = async (id: string) => {
        world.onStep = async (step, at) => {
          if (step === 'prepared' && at === id) throw new ParseError('unreadable', 'Not read here.')
        }
        expect(await world.putDone({ id, ...newer })).toMatchObject({ state: 'failed' })
        world.onStep = async () => undefined
      }
      const retry = async (id: string) => {
        const { jobId } = await world.ingest.retry(id, { by: loader, isAdministrator: false })
        expect(await world.done(jobId)).toMatchObject({ kind: 'retry', state: 'done' })
      }

      test('withdraws what is not listed, though it was retried, and retried again after it failed again', async () => {
        await fail('snap/4')
        const job = await snapshotWhile(async () => {
          world.onStep = async (step) => {
            if (step === 'prepared') throw new ParseError('unreadable', 'Not read here.')
          }
          const { jobId } = await world.ingest.retry('snap/4', { by: loader, isAdministrator: false })
          expect(await world.done(jobId)).toMatchObject({ kind: 'retry', state: 'failed' })
          world.onStep = async () => undefined
          await retry('snap/4')
          expect(await world.sees('user:anne', 'snap/4')).toBe('Newer.')
        })
        expect(job).toMatchObject({ withdrawn: 1, notes: [{ code: 'snapshot_applied' }] })
        expect(await live()).toEqual(['snap/1', 'snap/2', 'snap/3'])
        expect(await world.sees('user:anne', 'snap/4')).toBeUndefined()
      })

      test('lets stay what was listed since it began, failed then, and was retried', async () => {
        const job = await snapshotWhile(async () => {
          await fail('snap/4')
          await retry('snap/4')
        })
        expect(job).toMatchObject({ withdrawn: 0, notes: [{ code: 'snapshot_applied' }] })
        expect(await live()).toEqual(ids)
      })

      test('lets stay what was retried and then sent again', async () => {
        await fail('snap/4')
        const job = await snapshotWhile(async () => {
          await retry('snap/4')
          await world.putDone({ id: 'snap/4', ...newer })
        })
        expect(job).toMatchObject({ withdrawn: 0, notes: [{ code: 'snapshot_applied' }] })
        expect(await world.sees('user:anne', 'snap/4')).toBe('Newer.')
      })
    })

    test('withdraws nothing of what was withdrawn meanwhile a second time', async () => {
      const job = await snapshotWhile(() => world.ingest.withdraw(loader, 'snap/4'))
      expect(job).toMatchObject({ withdrawn: 0, notes: [{ code: 'snapshot_applied' }] })
      expect(await live()).toEqual(['snap/1', 'snap/2', 'snap/3'])
    })

    test.each<[string, () => Promise<unknown>]>([
      ['accepted by PUT', () => world.putDone({ id: 'snap/4', access: { viewers: ['user:anne'] } })],
      ['accepted by another import', () => world.importLines([snap('snap/4')])],
      [
        'accepted by another import and found unreadable',
        () => world.importLines([{ ...unreadable('snap/4'), access: { viewers: ['user:anne'] } }]),
      ],
      [
        'withdrawn and accepted anew',
        async () => {
          await world.ingest.withdraw(loader, 'snap/4')
          await world.importLines([snap('snap/4')])
        },
      ],
    ])('lets stay what was %s', async (_, happens) => {
      const job = await snapshotWhile(happens)
      expect(job).toMatchObject({ withdrawn: 0, notes: [{ code: 'snapshot_applied' }] })
      expect(await live()).toEqual(ids)
    })

    test('lets stay what it lists itself, in an older version or in one that cannot be read', async () => {
      await world.importLines([{ ...snap('snap/4'), version: 2 }])
      const lines = [
        snap('snap/1'),
        snap('snap/2'),
        { ...unreadable('snap/3'), access: { viewers: ['user:anne'] } },
        { ...snap('snap/4'), version: 1 },
      ]
      const allRead = async () => {
        const open = `select 1 from job_items where document_id = 'snap/3' and state = 'queued'`
        await expect.poll(() => world.database.query(open), { timeout: 10_000 }).toEqual([])
      }
      // As many lines as fill a batch, so that these are accepted, and read, before the list ends.
      const more = Array.from({ length: 46 }, (_, index) => snap(`snap/more/${index}`))
      const job = await snapshotWhile(allRead, [...lines, ...more])
      expect(job).toMatchObject({ failed: 1, withdrawn: 0 })
      expect(job.notes).toContainEqual(expect.objectContaining({ code: 'snapshot_applied' }))
      expect(await live()).toEqual(ids)
    })
  })

  test('of a collection that the service may not write to is refused before anything is read', async () => {
    const job = world.importLines([{ end: 0 }], { snapshot: { collection: 'other', allowEmpty: true } })
    await expect(job).rejects.toMatchObject({ code: 'forbidden' })
  })
})

describe('newline-delimited JSON', () => {
  const read = async (chunks: readonly Uint8Array[], lineBytesMax = 50): Promise<NdjsonLine[]> => {
    const lines: NdjsonLine[] = []
    for await (const line of readNdjson(Readable.from(chunks), { lineBytesMax, linesMax: 1_000 }))
      lines.push(line)
    return lines
  }

  test('a line that comes byte by byte takes little more memory than it is long', async () => {
    const text = JSON.stringify('x'.repeat(400_000))
    let most = 0
    const before = process.memoryUsage()
    async function* bytes() {
      for (const byte of Buffer.from(text)) yield Buffer.alloc(1, byte)
      const { heapUsed, arrayBuffers } = process.memoryUsage()
      most = heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers
    }
    const lines: NdjsonLine[] = []
    for await (const line of readNdjson(bytes(), { lineBytesMax: 1_000_000, linesMax: 1 })) lines.push(line)
    expect(lines).toEqual([{ line: 1, ok: true, value: 'x'.repeat(400_000), bytes: 400_002 }])
    expect(most).toBeLessThan(60_000_000)
  })

  test('blank lines count as well', async () => {
    await expect(read([Buffer.alloc(1_000, '\n')])).resolves.toEqual([])
    await expect(read([Buffer.alloc(1_001, '\n')])).rejects.toMatchObject({ code: 'payload_too_large' })
  })

  test('leaves behind a line of more parts than any document before it is parsed', async () => {
    expect(await read([Buffer.from(`[${'{},'.repeat(200_000)}{}]\n7`)], 1_000_000)).toEqual([
      {
        line: 1,
        ok: false,
        code: 'payload_too_large',
        detail: 'A line has at most 200000 members and elements.',
      },
      { line: 2, ok: true, value: 7, bytes: 1 },
    ])
  })

  test('is the same however the bytes are cut', async () => {
    const bytes = Buffer.from('{"a":"é😀"}\r\n\n{"b":2}\n[3]')
    const whole = await read([bytes])
    expect(whole.map((entry) => (entry.ok ? [entry.line, entry.value] : entry))).toEqual([
      [1, { a: 'é😀' }],
      [3, { b: 2 }],
      [4, [3]],
    ])
    for (let size = 1; size < 8; size++) {
      const cut: Uint8Array[] = []
      for (let from = 0; from < bytes.length; from += size) cut.push(bytes.subarray(from, from + size))
      expect(await read(cut)).toEqual(whole)
    }
  })

  test('reports a line that is too long and reads the next', async () => {
    const long = `"${'x'.repeat(200)}"\n{"ok":1}\n`
    for (const size of [1, 30, 1_000]) {
      const cut = Array.from({ length: Math.ceil(long.length / size) }, (_, i) =>
        Buffer.from(long.slice(i * size, (i + 1) * size)),
      )
      expect(await read(cut)).toMatchObject([
        { line: 1, ok: false, code: 'payload_too_large' },
        { line: 2, ok: true, value: { ok: 1 } },
      ])
    }
  })

  test('reports bytes that are not UTF-8', async () => {
    expect(await read([Buffer.from([0x22, 0xff, 0x22, 0x0a])])).toMatchObject([{ line: 1, ok: false }])
  })
})
