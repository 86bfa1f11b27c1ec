import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Step } from '../../src/ingest/context.ts'
import { backends } from '../support/backends.ts'
import { type IngestWorld, loader, openIngestWorld } from './world.ts'

// Everything embedded, and nothing embedded: the two in between add minutes and no other code.
const extremes = backends.filter(
  ({ database, openfga }) => (database === 'pglite') === (openfga === 'engine'),
)

for (const backend of extremes)
  describe(`ingestion on ${backend.name}`, backend.options, () => {
    let world: IngestWorld
    beforeAll(async () => {
      world = await openIngestWorld(backend)
    })
    afterAll(() => world[Symbol.asyncDispose]())

    class Killed extends Error {}

    /** Old text for anne and carol; new text for anne and bob. */
    async function replaceWhile(id: string, hook: (step: Step) => Promise<void>): Promise<void> {
      await world.putDone({ id, text: 'old words', access: { viewers: ['user:anne', 'user:carol'] } })
      world.onStep = (step) => hook(step)
      const next = { id, text: 'new words', access: { viewers: ['user:anne', 'user:bob'] } }
      await world.put(next).catch((error: unknown) => {
        if (!(error instanceof Killed)) throw error
      })
    }

    /**
     * What somebody could see that was never theirs. Collected: a throw in the worker would only be tried
     * again.
     */
    async function leaksOf(id: string): Promise<string[]> {
      const seen = {
        bob: (await world.sees('user:bob', id)) ?? '',
        carol: (await world.sees('user:carol', id)) ?? '',
        dan: (await world.sees('user:dan', id)) ?? '',
      }
      return [
        ...(seen.bob.includes('old') ? ['bob sees what was there before he was added'] : []),
        ...(seen.carol.includes('new') ? ['carol sees what came after she was removed'] : []),
        ...(seen.dan === '' ? [] : ['dan sees something']),
      ]
    }

    const published = (id: string) =>
      expect.poll(() => world.sees('user:bob', id), { timeout: 20_000, interval: 50 }).toBe('new words')

    describe('a replacement that is killed', () => {
      const steps: readonly Step[] = [
        'accepted',
        'narrowed',
        'prepared',
        'embedded',
        'staged',
        'hidden',
        'tuples',
        'published',
      ]
      test.each(steps)('after "%s" leaks nothing, and a restart completes it', async (fatal) => {
        const id = `crash/${fatal}`
        const leaks: string[] = []
        let killed = false
        await replaceWhile(id, async (step) => {
          leaks.push(...(await leaksOf(id)).map((leak) => `${step}: ${leak}`))
          if (step !== fatal || killed) return
          killed = true
          throw new Killed('killed')
        })
        await expect.poll(() => killed, { timeout: 10_000 }).toBe(true)
        leaks.push(...(await leaksOf(id)))
        await world.restart()
        await published(id)
        expect(leaks).toEqual([])
        expect(await world.sees('user:anne', id)).toBe('new words')
        expect(await world.sees('user:carol', id)).toBeUndefined()
        expect(await world.tuples(`document:${id}`)).toEqual([
          'collection:closed filed_in',
          'user:anne viewer',
          'user:bob viewer',
        ])
        const left = await world.database.query(
          'select 1 from staged_chunks union all select 1 from revisions union all select 1 from unreconciled',
        )
        expect(left).toEqual([])
      })
    })

    test('a first version that is killed is visible to nobody before it is published', async () => {
      for (const fatal of ['prepared', 'staged', 'hidden', 'tuples'] as const) {
        const id = `first/${fatal}`
        let killed = false
        const early: Step[] = []
        world.onStep = async (step) => {
          if (step !== 'published' && (await world.sees('user:anne', id)) !== undefined) early.push(step)
          if (step !== fatal || killed) return
          killed = true
          throw new Killed('killed')
        }
        await world.put({ id, access: { viewers: ['user:anne'] } })
        await expect.poll(() => killed, { timeout: 10_000 }).toBe(true)
        expect(await world.sees('user:anne', id)).toBeUndefined()
        await world.restart()
        await expect.poll(() => world.sees('user:anne', id), { timeout: 20_000 }).toContain(`All about ${id}`)
        expect(early).toEqual([])
      }
    })

    test('a start waits for nothing that a killed process still holds, and mends it once its lease is over', async () => {
      await world.putDone({ id: 'held', access: { viewers: ['user:anne'] } })
      const object = 'document:held'
      await world.fga.write({ writes: [{ user: 'user:mallory', relation: 'viewer', object }] })
      await world.database.query('insert into unreconciled (object, purge) values ($1, false)', [object])
      await world.database.query(
        `insert into leases (object, holder, until) values ($1, 'killed', now() + interval '1 hour')`,
        [object],
      )
      const beganAt = performance.now()
      await world.restart()
      expect(performance.now() - beganAt).toBeLessThan(15_000)
      // The embedded database has no other process: all leases end with its own.
      if (backend.database === 'postgres') expect(await world.tuples(object)).toContain('user:mallory viewer')
      await world.database.query(`update leases set until = now() where holder = 'killed'`)
      await expect
        .poll(() => world.tuples(object), { timeout: 60_000 })
        .toEqual(['collection:closed filed_in', 'user:anne viewer'])
    }, 120_000)

    test('a withdrawal that is killed is hidden already, and a restart removes its tuples', async () => {
      await world.putDone({ id: 'gone', access: { viewers: ['user:anne'] } })
      world.onStep = async (step) => {
        if (step === 'withdrawn') throw new Killed('killed')
      }
      await expect(world.ingest.withdraw(loader, 'gone')).rejects.toThrow(Killed)
      expect(await world.sees('user:anne', 'gone')).toBeUndefined()
      expect(await world.tuples('document:gone')).toContain('user:anne viewer')
      await world.restart()
      expect(await world.tuples('document:gone')).toEqual([])
    })

    test('content that ends the process alone again and again is given up; what was beside it goes in', async () => {
      const innocent = ['beside-1', 'beside-2', 'beside-3']
      const all = [...innocent, 'deadly'].sort()
      let at: string[] = []
      const deaths: string[][] = []
      let next = Promise.withResolvers<void>()
      world.onStep = async (step, id) => {
        if (step !== 'prepared' || !all.includes(id)) return
        const death = next.promise
        at.push(id)
        if (id !== 'deadly') {
          // The first time all are at it together; later each is slow.
          await Promise.race(deaths.length === 0 ? [death] : [death, pause(100)])
          at = at.filter((other) => other !== id)
          return
        }
        if (deaths.length === 0) await expect.poll(() => [...at].sort(), { timeout: 10_000 }).toEqual(all)
        deaths.push([...at].sort())
        at = []
        void world.kill()
        next.resolve()
        next = Promise.withResolvers()
      }
      // Who waits for a job waits in one process, and these are ended by others.
      const ended = async (id: string) => {
        for (;;) {
          const job = await world.ingest.job(id, loader.subject).catch(() => undefined)
          if (job?.state === 'done' || job?.state === 'failed') return job
          await pause(50)
        }
      }
      const jobs = await Promise.all(all.map((id) => world.put({ id })))
      const states = await Promise.all(jobs.map((id) => ended(id)))
      expect(deaths).toEqual([all, ['deadly'], ['deadly'], ['deadly']])
      expect(states.map(({ state, errors }) => [state, errors[0]?.code])).toEqual([
        ...innocent.map(() => ['done', undefined]),
        ['failed', 'unreadable'],
      ])
    })
  })
