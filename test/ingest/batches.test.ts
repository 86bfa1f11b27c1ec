import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ParseError } from '../../src/ingest/parse/parsed.ts'
import { backends } from '../support/backends.ts'
import { documentOf, type IngestWorld, openIngestWorld } from './world.ts'

const anne = { viewers: ['user:anne'] }

for (const backend of backends.filter(
  ({ database, openfga }) => (database === 'pglite') === (openfga === 'engine'),
))
  describe(`documents that come in together, on ${backend.name}`, backend.options, () => {
    let world: IngestWorld
    /** Documents whose staging fails, as with content that the database does not take. */
    const poisoned = new Set<string>()
    let [atOnce, most, slowMs] = [0, 0, 0]
    beforeAll(async () => {
      world = await openIngestWorld(backend, {
        retryPauseSecondsMax: 0,
        index: (index) => ({
          ...index,
          async stage(publications) {
            const rows = await world.database.query<{ id: string }>(
              'select id from documents where doc_no = any($1::int[])',
              [publications.map(({ docNo }) => docNo)],
            )
            if (rows.some(({ id }) => poisoned.has(id)))
              throw Object.assign(new Error('of the data'), { code: '22021' })
            atOnce += 1
            most = Math.max(most, atOnce)
            try {
              await pause(slowMs)
              return await index.stage(publications)
            } finally {
              atOnce -= 1
            }
          },
        }),
      })
    })
    afterAll(() => world[Symbol.asyncDispose]())
    beforeEach(() => {
      world.onStep = async () => undefined
      world.onEmbed = () => undefined
      poisoned.clear()
    })

    const named = (of: string, count: number): string[] =>
      Array.from({ length: count }, (_, nth) => `${of}/${nth}`)
    const bring = (ids: readonly string[], text = 'new') =>
      world.importLines(ids.map((id) => documentOf({ id, text, access: anne })))
    const seenOf = async (ids: readonly string[]): Promise<string[]> => {
      const seen = await Promise.all(ids.map((id) => world.sees('user:anne', id)))
      return ids.filter((_, nth) => seen[nth] !== undefined)
    }

    test('are embedded by few calls, and all found', async () => {
      const calls: number[] = []
      world.onEmbed = (texts) => void calls.push(texts)
      const ids = named('few', 40)
      expect(await bring(ids)).toMatchObject({ done: 40, failed: 0 })
      expect(calls.reduce((sum, texts) => sum + texts, 0)).toBe(40)
      expect(calls.length).toBeLessThanOrEqual(10)
      expect(await seenOf(ids)).toEqual(ids)
    })

    test('go in without the one that cannot be read, which is a failed item', async () => {
      const ids = named('unreadable', 12)
      world.onStep = async (step, id) => {
        if (step === 'prepared' && id === 'unreadable/7') throw new ParseError('unreadable', 'Not read here.')
      }
      const job = await bring(ids)
      expect(job).toMatchObject({ done: 11, failed: 1, errors: [{ id: 'unreadable/7', code: 'unreadable' }] })
      expect(await seenOf(ids)).toEqual(ids.filter((id) => id !== 'unreadable/7'))
    })

    test('go in without the one that cannot be stored, which is given up alone', async () => {
      const ids = named('poisoned', 12)
      poisoned.add('poisoned/3')
      const job = await bring(ids)
      expect(job).toMatchObject({ done: 11, failed: 1, errors: [{ id: 'poisoned/3', code: 'unreadable' }] })
      expect(await seenOf(ids)).toEqual(ids.filter((id) => id !== 'poisoned/3'))
    }, 60_000)

    test('do not wait for the one that is read slowly', async () => {
      const ids = named('slow', 6)
      const held = Promise.withResolvers<void>()
      world.onStep = async (step, id) => {
        if (step === 'prepared' && id === 'slow/2') await held.promise
      }
      const importing = bring(ids)
      const others = ids.filter((id) => id !== 'slow/2')
      await expect.poll(() => seenOf(ids), { timeout: 20_000 }).toEqual(others)
      // Their tasks are over, too: a newer revision of one is not kept waiting.
      await world.putDone({ id: 'slow/4', text: 'newer', access: anne })
      expect(await world.sees('user:anne', 'slow/4')).toBe('newer')
      held.resolve()
      expect(await importing).toMatchObject({ done: 6 })
      expect(await seenOf(ids)).toEqual(ids)
    }, 60_000)

    test('do not wait for the one that somebody else holds', async () => {
      const ids = named('held', 6)
      await bring(ids, 'old')
      let isHolding = false
      world.onStep = async (step, id) => {
        if (step !== 'prepared' || id !== 'held/0' || isHolding) return
        isHolding = true
        // As another process that stands still while it changes this one.
        await world.database.query(
          `insert into leases (object, holder, until) values ('document:held/2', 'other', now() + interval '1 hour')`,
        )
      }
      const isApart = backend.openfga === 'server'
      const importing = bring(ids)
      if (isApart) {
        const others = ids.filter((id) => id !== 'held/2')
        const texts = () => Promise.all(others.map((id) => world.sees('user:anne', id)))
        await expect.poll(texts, { timeout: 20_000 }).toEqual(others.map(() => 'new'))
        expect(await world.sees('user:anne', 'held/2')).toBe('old')
      }
      await world.database.query(`delete from leases where holder = 'other'`)
      expect(await importing).toMatchObject({ done: 6 })
    }, 60_000)

    test('of which one is sent again meanwhile go in, that one with its newest content', async () => {
      const ids = named('again', 6)
      let isSent = false
      world.onStep = async (step, id) => {
        if (step !== 'staged' || id !== 'again/0' || isSent) return
        isSent = true
        await world.put({ id: 'again/3', text: 'newest', access: anne })
      }
      const job = await bring(ids)
      expect(job).toMatchObject({ done: 6, failed: 0, notes: [{ id: 'again/3', code: 'superseded' }] })
      await expect.poll(() => world.sees('user:anne', 'again/3'), { timeout: 20_000 }).toBe('newest')
      expect(await seenOf(ids)).toEqual(ids)
    }, 60_000)

    test.each([
      ['two at a time', false, 2],
      ['one at a time while anybody asks', true, 1],
    ])(
      'are written %s',
      async (how, isBeingAsked, expected) => {
        const ids = named(how.replaceAll(' ', '-'), 5)
        world.isBeingAsked = isBeingAsked
        slowMs = 400
        most = 0
        try {
          const jobs: string[] = []
          // Each is there before the next one comes: a batch of its own.
          for (const id of ids) jobs.push(await world.put({ id, access: anne }))
          for (const job of jobs) expect(await world.done(job)).toMatchObject({ done: 1 })
        } finally {
          world.isBeingAsked = false
          slowMs = 0
        }
        expect(most).toBe(expected)
        expect(await seenOf(ids)).toEqual(ids)
      },
      60_000,
    )

    test('leave nothing behind', async () => {
      const left = await world.database.query(
        'select 1 from staged_chunks union all select 1 from revisions union all select 1 from unreconciled',
      )
      expect(left).toEqual([])
    })
  })
