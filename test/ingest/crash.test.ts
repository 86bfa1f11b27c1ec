import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Step } from '../../src/ingest/deps.ts'
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

    /** What somebody could see that was never theirs. Collected: a throw in the worker would only be tried again. */
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
      expect.poll(() => world.sees('user:bob', id), { timeout: 10_000, interval: 50 }).toBe('new words')

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
          'select 1 from staged_chunks union all select 1 from revisions union all select 1 from unsettled',
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
        await expect.poll(() => world.sees('user:anne', id), { timeout: 10_000 }).toContain(`All about ${id}`)
        expect(early).toEqual([])
      }
    })

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

    test('content that ends the process again and again is given up, and the rest goes on', async () => {
      world.onStep = async (step, id) => {
        // What a killed process leaves: the count of its beginning, without that of its end.
        if (id === 'deadly' && step === 'prepared') {
          await world.database.query('update revisions set deaths = deaths + 2')
          throw new Killed('killed')
        }
      }
      const jobId = await world.put({ id: 'deadly' })
      const job = await world.done(jobId)
      expect(job).toMatchObject({
        state: 'failed',
        failed: 1,
        errors: [{ id: 'deadly', code: 'unreadable' }],
      })
      world.onStep = async () => undefined
      expect(await world.putDone({ id: 'harmless' })).toMatchObject({ state: 'done' })
    })
  })
