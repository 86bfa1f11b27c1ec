import { setTimeout as pause } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Prepared } from '../../src/ingest/context.ts'
import { ThreadError } from '../../src/ingest/parse/parsed.ts'
import { type IngestWorld, openIngestWorld } from './world.ts'

describe('a document that is being taken in', () => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld(undefined, { retryPauseSecondsMax: 0 })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  const counted = () =>
    world.database.query<{ deaths: number; deaths_alone: number }>(
      'select deaths, deaths_alone from revisions',
    )

  test('is held in memory no longer once it is in', async () => {
    const prepared: WeakRef<Prepared>[] = []
    world.onPrepared = (one) => void prepared.push(new WeakRef(one))
    for (const id of ['first', 'second', 'third']) await world.putDone({ id })
    setFlagsFromString('--expose-gc')
    const collect: () => void = runInNewContext('gc')
    const held = () => prepared.map((one) => one.deref()?.text)
    // What the queue's own last step holds goes a moment later.
    for (let round = 0; round < 10 && held().some((text) => text !== undefined); round++) {
      await pause(100)
      collect()
    }
    expect(held()).toEqual([undefined, undefined, undefined])
  }, 60_000)

  test('while the database goes away, again and again, is not taken for one that ends the process', async () => {
    let outages = 0
    let isAway = false
    world.onStep = async (step) => {
      if (step !== 'embedded' || outages === 5) return
      outages += 1
      isAway = true
    }
    // Until the task that failed is over: neither its passages nor its end are written.
    world.isAway = (statement) => {
      const isRefused = isAway && (statement === 'transaction' || statement.includes('deaths'))
      if (isRefused && statement !== 'transaction') isAway = false
      return isRefused
    }
    const job = await world.putDone({ id: 'innocent' })
    expect(job).toMatchObject({ state: 'done', errors: [] })
    expect(outages).toBe(5)
  }, 20_000)

  test('while its content cannot be loaded, again and again, is not taken for one that ends the process', async () => {
    let outages = 0
    world.isAway = (statement) => statement.includes('r.content from unnest') && ++outages <= 5
    const job = await world.putDone({ id: 'unloaded' })
    expect(job).toMatchObject({ state: 'done', errors: [] })
    expect(outages).toBe(6)
  }, 20_000)

  test('and fails for another reason stays suspected of an earlier death, and of no more', async () => {
    const seen: unknown[] = []
    world.onRead = async () => {
      // What a process left that ended twice at it, once alone.
      if (seen.length === 0) await world.database.query('update revisions set deaths = 3, deaths_alone = 1')
      seen.push(...(await counted()))
      if (seen.length <= 3) throw new ThreadError('EAGAIN')
    }
    expect(await world.putDone({ id: 'suspected' })).toMatchObject({ state: 'done' })
    const left = { deaths: 3, deaths_alone: 2 }
    expect(seen).toEqual([{ deaths: 3, deaths_alone: 1 }, left, left, left])
  }, 20_000)

  test('when the service stops is let go at once, and none of it counts as a death', async () => {
    const reading = Promise.withResolvers<void>()
    world.onRead = async (signal) => {
      reading.resolve()
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    }
    const jobId = await world.put({ id: 'slow' })
    await reading.promise
    expect(await counted()).toEqual([{ deaths: 1, deaths_alone: 0 }])
    await world.ingest.close()
    expect(await counted()).toEqual([{ deaths: 0, deaths_alone: 0 }])
    await world.restart()
    expect(await world.done(jobId)).toMatchObject({ state: 'done' })
  }, 30_000)
})
