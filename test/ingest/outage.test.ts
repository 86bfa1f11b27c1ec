import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createFailures, isOutage, SharedOutage } from '../../src/ingest/failures.ts'
import { Lost } from '../../src/ingest/hold.ts'
import { StayedLocked } from '../../src/ingest/locks.ts'
import { AppError } from '../../src/kernel/errors.ts'
import { backends } from '../support/backends.ts'
import { documentOf, type IngestWorld, loader, openIngestWorld } from './world.ts'

const outageMs = 3_000
const retryPauseSecondsMax = 1
const named = (of: string, count: number): string[] =>
  Array.from({ length: count }, (_, nth) => `${of}/${nth}`)

for (const backend of backends.filter(({ name }) => name === 'Postgres × OpenFGA'))
  describe(`documents that wait while an outage lasts, on ${backend.name}`, backend.options, () => {
    let world: IngestWorld
    beforeAll(async () => {
      world = await openIngestWorld(backend, { retryPauseSecondsMax })
    })
    afterAll(() => world[Symbol.asyncDispose]())
    beforeEach(() => {
      world.isAway = () => false
      world.onWrite = () => undefined
    })

    test.each([
      { of: 'OpenFGA', code: 'authorization_unavailable' as const },
      { of: 'the database', code: 'storage_unavailable' as const },
    ])(
      'of $of go in by batches again',
      async ({ of, code }) => {
        let beganAt = 0
        const [accepted, waiting] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
        world.onStep = async (step) => {
          if (step === 'prepared') await accepted.promise
          // After the outage all places are taken until whatever failed may be tried again.
          if (step === 'prepared' || step === 'hidden') await (isOver() ? waiting.promise : undefined)
        }
        let [shown, refused] = [0, 0]
        const isNow = (): boolean => beganAt > 0 && performance.now() - beganAt < outageMs
        const isOver = (): boolean => beganAt > 0 && !isNow()
        world.isAway = (statement) => {
          if (!isNow()) shown += statement.includes('set live_revision = r.revision') ? 1 : 0
          else if (code === 'storage_unavailable') refused += 1
          return isNow() && code === 'storage_unavailable'
        }
        world.onWrite = () => {
          beganAt ||= performance.now()
          if (!isNow() || code === 'storage_unavailable') return
          refused += 1
          throw new AppError(code)
        }
        const ids = named(of.replaceAll(' ', '-'), 96)
        const lines = ids.map((id) => `${JSON.stringify(documentOf({ id }))}\n`)
        const id = await world.ingest.importAll(loader, {
          body: Readable.from(lines.map((line) => Buffer.from(line))),
        })
        accepted.resolve()
        await expect.poll(isOver, { timeout: 60_000 }).toBe(true)
        // By then the time of each has come again. Not until each is taken: a place may hold one alone.
        await delay(retryPauseSecondsMax * 1_000 + 500)
        waiting.resolve()
        const job = () => world.database.query('select done, failed from jobs where id = $1', [id])
        await expect.poll(job, { timeout: 100_000 }).toEqual([{ done: 96, failed: 0 }])
        expect(refused).toBeGreaterThan(3)
        // Seven places with what came first, of which each may be one document alone, and batches of eight.
        expect(shown).toBeLessThanOrEqual(40)
        const deaths = await world.database.query('select 1 from revisions where deaths > 0')
        expect(deaths).toEqual([])
      },
      120_000,
    )
  })

describe('an outage of what all share', () => {
  const away = new AppError('storage_unavailable')

  test('is nobody’s fault, however long it lasts', () => {
    const failures = createFailures()
    failures.published()
    expect(Array.from({ length: 50 }, () => failures.isShared(['a', 'b'], away))).not.toContain(false)
    expect(isOutage(new SharedOutage(away))).toBe(true)
  })

  test('may be the fault of one that fails so each time that others went in', () => {
    const failures = createFailures()
    const tried = Array.from({ length: 5 }, () => {
      failures.published()
      return failures.isShared(['a', 'b'], away)
    })
    expect(tried).toEqual([true, true, true, false, false])
    expect(failures.isShared(['b', 'c'], away)).toBe(false)
    expect(failures.isShared(['c'], away)).toBe(true)
    failures.ended('a')
    expect(failures.isShared(['a'], away)).toBe(true)
  })

  test('leaves documents locked for a while, which is no fault of theirs either', () => {
    const failures = createFailures()
    const locked = new StayedLocked('storage_unavailable')
    expect(failures.isShared(['a', 'b'], away)).toBe(true)
    const tried = Array.from({ length: 8 }, () => failures.isShared(['a', 'b'], locked))
    expect(tried).toEqual([true, true, true, true, true, true, false, false])
    expect(failures.isShared(['a', 'c'], locked)).toBe(false)
  })

  test.each([
    new StayedLocked('storage_unavailable'),
    new Lost('storage_unavailable'),
    new AppError('conflict'),
    new Error('of ours'),
  ])('is nothing that one document may have alone: $constructor.name $message', (error) => {
    expect(createFailures().isShared(['a'], error)).toBe(false)
  })
})
