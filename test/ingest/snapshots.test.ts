import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ParseError } from '../../src/ingest/parse/parsed.ts'
import { needsPostgres } from '../support/native.ts'
import { documentOf, type IngestWorld, loader, openIngestWorld, stranger } from './world.ts'

let world: IngestWorld
beforeAll(async () => {
  world = await openIngestWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const doc = (id: string, more: object = {}) =>
  documentOf({ id, collection: 'open', access: { viewers: ['user:anne'] }, ...more })
const isLive = async (id: string) => (await world.sees('user:anne', id)) !== undefined

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

describe('a snapshot beside another import', needsPostgres, () => {
  let shared: IngestWorld
  beforeAll(async () => {
    shared = await openIngestWorld({ database: 'postgres', openfga: 'engine' })
  }, 60_000)
  afterAll(() => shared?.[Symbol.asyncDispose]())

  test('does not withdraw what was on its way as it began, and came in after that', async () => {
    const snap = (id: string, text: string) => documentOf({ id, collection: 'closed', text })
    const [first = '', second = '', ...others] = ['a', 'b', 'c', 'd', 'e'].map((name) => `way/${name}`)
    const all = [first, second, ...others].map((id) => snap(id, 'old'))
    await shared.importLines(all)
    const released = Promise.withResolvers<void>()
    const locked = Promise.withResolvers<void>()
    const locking = shared.database.transaction(async (sql) => {
      await sql.query('select from documents where id = $1 for update', [second])
      locked.resolve()
      await released.promise
    })
    await locked.promise
    // Has its numbers, and waits.
    const onItsWay = shared.importLines([first, second].map((id) => snap(id, 'new')))
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
    await expect
      .poll(async () => (await shared.database.query(waiting)).length, { timeout: 10_000 })
      .toBeGreaterThan(0)
    await shared.put({ id: 'way/later' })
    async function* list(): AsyncGenerator<Uint8Array> {
      for (const id of others) yield Buffer.from(`${JSON.stringify(snap(id, 'old'))}\n`)
      released.resolve()
      await Promise.all([locking, onItsWay])
      yield Buffer.from('{"end": 3}\n')
    }
    const jobId = await shared.ingest.importAll(loader, {
      body: list(),
      snapshot: { collection: 'closed', allowEmpty: false, allowWithdraw: undefined },
    })
    // Only what came before it and stands in no list.
    expect(await shared.done(jobId)).toMatchObject({
      withdrawn: 1,
      notes: [{ code: 'snapshot_applied' }],
    })
  }, 60_000)
})
