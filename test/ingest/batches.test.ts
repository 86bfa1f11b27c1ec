import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openTelemetry } from '../../src/compose/telemetry.ts'
import { EmbeddingError } from '../../src/embed/embedder.ts'
import { ParseError } from '../../src/ingest/parse/parsed.ts'
import { traced } from '../../src/kernel/trace.ts'
import { backends } from '../support/backends.ts'
import { documentOf, type IngestWorld, openIngestWorld } from './world.ts'

const anne = { viewers: ['user:anne'] }
/** In the service 30 seconds. */
const calmMsMax = 4_000

for (const backend of backends.filter(
  ({ database, openfga }) => (database === 'pglite') === (openfga === 'engine'),
))
  describe(`documents that come in together, on ${backend.name}`, backend.options, () => {
    let world: IngestWorld
    /** Documents whose staging fails, as with content that the database does not take. */
    const poisoned = new Set<string>()
    let [atOnce, most, slowMs] = [0, 0, 0]
    /** Least milliseconds between the end of one staging and the beginning of the next; where one is slow. */
    let leastRest = Infinity
    let endedAt = -Infinity
    let mayStage = Promise.resolve()
    beforeAll(async () => {
      world = await openIngestWorld(backend, {
        retryPauseSecondsMax: 0,
        lineBytesMax: 6_000_000,
        calmMsMax,
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
            leastRest = Math.min(leastRest, performance.now() - endedAt)
            try {
              await pause(slowMs)
              await mayStage
              return await index.stage(publications)
            } finally {
              atOnce -= 1
              endedAt = performance.now()
            }
          },
        }),
      })
    })
    afterAll(() => world[Symbol.asyncDispose]())
    beforeEach(() => {
      world.onStep = async () => undefined
      world.onEmbed = () => undefined
      world.onPrepared = () => undefined
      world.onRead = async () => undefined
      world.isAway = () => false
      poisoned.clear()
      mayStage = Promise.resolve()
    })

    const named = (of: string, count: number): string[] =>
      Array.from({ length: count }, (_, nth) => `${of}/${nth}`)
    const bring = (ids: readonly string[], text = 'new') =>
      world.importLines(ids.map((id) => documentOf({ id, text, access: anne })))
    const seenOf = async (ids: readonly string[]): Promise<string[]> => {
      const seen = await Promise.all(ids.map((id) => world.sees('user:anne', id)))
      return ids.filter((_, nth) => seen[nth] !== undefined)
    }

    test('are asked for side by side, so that they share calls of the model, and all found', async () => {
      const calls: (readonly string[])[] = []
      let [turns, turn] = [0, 0]
      world.onEmbed = (texts) => {
        calls.push(texts)
        // As the model's queue does: whoever asks in one turn of the event loop shares a call.
        if (turn === turns) {
          turn += 1
          setImmediate(() => {
            turns += 1
          })
        }
      }
      const ids = named('few', 40)
      expect(await bring(ids)).toMatchObject({ done: 40, failed: 0 })
      expect(calls).toHaveLength(40)
      // One by one it would be forty: who is read late, on a busy machine, asks in a turn of its own.
      expect(turn).toBeLessThanOrEqual(20)
      expect(await seenOf(ids)).toEqual(ids)
    })

    test('go in without the one of which the model refuses a passage, and are embedded once', async () => {
      const ids = named('refused', 8)
      const times = new Map<string, number>()
      world.onEmbed = (texts) => {
        const asked = ids.filter((id) => texts.join('\n').includes(`about ${id}.`))
        for (const id of asked) times.set(id, (times.get(id) ?? 0) + 1)
        if (asked.includes('refused/3') && times.get('refused/3') === 1)
          throw new EmbeddingError('refused', 'not this one')
      }
      const lines = ids.map((id) => documentOf({ id, text: `All about ${id}.`, access: anne }))
      expect(await world.importLines(lines)).toMatchObject({ done: 8, failed: 0 })
      expect(ids.map((id) => times.get(id))).toEqual(ids.map((id) => (id === 'refused/3' ? 2 : 1)))
      expect(await seenOf(ids)).toEqual(ids)
    })

    test('are not all held in memory, however small they were sent', async () => {
      const ids = named('swollen', 64)
      const blocked = Promise.withResolvers<void>()
      mayStage = blocked.promise
      let reads = 0
      const swollen = ' '.repeat(8_000_000)
      world.onPrepared = (prepared) => {
        reads += 1
        return {
          ...prepared,
          chunks: prepared.chunks.map((chunk) => ({ ...chunk, embedText: swollen })),
        }
      }
      const importing = bring(ids)
      try {
        await expect.poll(() => reads, { timeout: 20_000 }).toBeGreaterThan(0)
        await pause(2_000)
        // Six begin before the first shows how large they are; each of seven places may hold one.
        expect(reads).toBeLessThanOrEqual(13)
      } finally {
        blocked.resolve()
      }
      const { id } = await importing
      expect(await world.done(id)).toMatchObject({ done: 64, failed: 0 })
    }, 60_000)

    test('are held one at a time where their bytes alone fill the memory', async () => {
      let [held, heldMost] = [0, 0]
      world.onRead = async () => {
        held += 1
        heldMost = Math.max(heldMost, held)
        await pause(300)
        held -= 1
        throw new ParseError('unreadable', 'Not read here.')
      }
      const text = 'x'.repeat(4_200_000)
      const jobs: string[] = []
      for (const id of named('huge', 8)) jobs.push(await world.put({ id, text }))
      for (const job of jobs) expect(await world.done(job)).toMatchObject({ failed: 1 })
      expect(heldMost).toBe(1)
    }, 60_000)

    test('go in though they are large, and a small one before them is read slowly', async () => {
      const slow = documentOf({ id: 'large/slow', text: 'slow', access: anne })
      const ids = named('large', 3)
      const held = Promise.withResolvers<void>()
      world.onStep = async (step, id) => {
        if (step === 'prepared' && id === slow.id) await held.promise
      }
      world.onPrepared = ({ text, chunks }) => ({ text, chunks: chunks.slice(0, 1) })
      const lines = ids.map((id) => documentOf({ id, text: 'word '.repeat(280_000), access: anne }))
      const importing = world.importLines([slow, ...lines])
      try {
        await expect.poll(() => seenOf([slow.id, ...ids]), { timeout: 30_000 }).toEqual(ids)
      } finally {
        held.resolve()
      }
      const { id } = await importing
      expect(await world.done(id)).toMatchObject({ done: 4 })
    }, 60_000)

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

    test('stay what they were, in sight, while somebody else holds their folder', async () => {
      const ids = named('filed', 4)
      const access = { viewers: ['user:anne', 'user:bob'], parents: ['folder:busy'] }
      const linesOf = (text: string, to: object) => ids.map((id) => documentOf({ id, text, access: to }))
      await world.importLines(linesOf('old', anne))
      let isHolding = false
      world.onStep = async (step) => {
        if (step !== 'prepared' || isHolding) return
        isHolding = true
        await world.database.query(
          `insert into unreconciled (object, purge) values ('folder:busy', false) on conflict do nothing`,
        )
        await world.database.query(
          `insert into leases (object, holder, until) values ('folder:busy', 'other', now() + interval '1 hour')`,
        )
      }
      const importing = world.importLines(linesOf('new', access))
      try {
        if (backend.openfga === 'server') {
          await expect.poll(() => isHolding, { timeout: 20_000 }).toBe(true)
          await pause(2_000)
          expect(await seenOf(ids)).toEqual(ids)
          expect(await world.sees('user:anne', 'filed/0')).toBe('old')
        }
      } finally {
        await world.database.query(`delete from leases where holder = 'other'`)
      }
      const { id } = await importing
      expect(await world.done(id)).toMatchObject({ done: 4 })
      expect(await world.sees('user:bob', 'filed/0')).toBe('new')
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

    test('wait while others wait for their answers, for so long at most, and go in', async () => {
      world.isOverloaded = true
      try {
        const [first, second] = [named('waits', 2), named('goes-on', 1)]
        const waiting = await Promise.all(first.map((id) => world.put({ id, access: anne })))
        await pause(1_000)
        expect(await seenOf(first)).toEqual([])
        world.isOverloaded = false
        for (const job of waiting) expect(await world.done(job)).toMatchObject({ done: 1 })
        world.isOverloaded = true
        const [id = ''] = second
        const beganAt = performance.now()
        expect(await world.done(await world.put({ id, access: anne }))).toMatchObject({ done: 1 })
        // The timer may be a millisecond early.
        expect(performance.now() - beganAt).toBeGreaterThanOrEqual(calmMsMax - 5)
        expect(await seenOf(second)).toEqual(second)
      } finally {
        world.isOverloaded = false
      }
    }, 60_000)

    test.each([
      ['two at a time', false, 2, 0],
      ['one at a time while anybody asks, with as long a rest after each as it took', true, 1, 400],
    ])(
      'are written %s',
      async (how, isBeingAsked, expected, rest) => {
        const ids = named(how.replaceAll(/[ ,]+/g, '-'), 5)
        world.isBeingAsked = isBeingAsked
        slowMs = 400
        most = 0
        leastRest = Infinity
        endedAt = -Infinity
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
        // The timer may be a millisecond early.
        expect(leastRest).toBeGreaterThanOrEqual(rest - 5)
        expect(await seenOf(ids)).toEqual(ids)
      },
      60_000,
    )

    test('are each on record under the trace in which it was accepted', async () => {
      await using _telemetry = await openTelemetry({ endpoint: undefined, version: 'test' })
      const free = Promise.withResolvers<void>()
      let [reading, shown] = [0, 0]
      world.onStep = async (step, id) => {
        if (step !== 'prepared' || !id.startsWith('busy/')) return
        reading += 1
        await free.promise
      }
      // All places that one service gets are taken: what comes now goes in together.
      const jobs: string[] = []
      for (const id of named('busy', 7)) jobs.push(await world.put({ id }))
      await expect.poll(() => reading, { timeout: 20_000 }).toBe(7)
      const ids = named('traced', 4)
      const traceOf = (nth: number): string => String(nth + 1).repeat(32)
      for (const [nth, id] of ids.entries()) {
        const carrier: Record<string, string> =
          nth === 3 ? {} : { traceparent: `00-${traceOf(nth)}-00f067aa0ba902b7-01` }
        await traced('test', { kind: 'internal', attributes: {}, carrier }, async () => {
          jobs.push(await world.put({ id, access: anne }))
        })
      }
      world.isAway = (statement) => {
        shown += statement.includes('set live_revision = r.revision') ? 1 : 0
        return false
      }
      free.resolve()
      for (const job of jobs) expect(await world.done(job)).toMatchObject({ done: 1 })
      expect(shown).toBeLessThan(11)
      const recorded = await world.database.query(
        `select detail->>'document_id' as id, trace_id from decision_records
         where event = 'document_published' and detail->>'document_id' like 'traced/%' order by 1`,
      )
      expect(recorded).toEqual(ids.map((id, nth) => ({ id, trace_id: nth === 3 ? null : traceOf(nth) })))
    }, 60_000)

    test('leave nothing behind', async () => {
      const left = await world.database.query(
        'select 1 from staged_chunks union all select 1 from revisions union all select 1 from unreconciled',
      )
      expect(left).toEqual([])
    })
  })
