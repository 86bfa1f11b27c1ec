import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { describeBackends } from '../support/backends.ts'
import { documentOf, type IngestWorld, loader, openIngestWorld } from './world.ts'

const mendEveryMs = 200
const line = (id: string): Buffer => Buffer.from(`${JSON.stringify(documentOf({ id }))}\n`)
const silent = (world: IngestWorld, seconds: number): Promise<unknown> =>
  world.database.query(
    `update jobs set heard_at = now() - make_interval(secs => $1) where state = 'receiving'`,
    [seconds],
  )
const states = (world: IngestWorld) =>
  world.database.query<{ state: string; idempotency_key: string | null }>(
    'select state, idempotency_key from jobs order by id',
  )

/** The row that a killed process leaves. */
const left = (world: IngestWorld, id: string): Promise<unknown> =>
  world.database.query(
    `insert into jobs (id, owner, kind, state, idempotency_key) values ($1, 'service:loader', 'import', 'receiving', $1)`,
    [id],
  )

describeBackends('an import that comes in', (backend) => {
  test('and whose process died is over after two minutes of silence, and its key is free', async () => {
    await using world = await openIngestWorld(backend, { mendEveryMs })
    await left(world, 'nightly')
    await silent(world, 100)
    await pause(4 * mendEveryMs)
    await expect(world.importLines([documentOf({ id: 'again' })], { key: 'nightly' })).rejects.toMatchObject({
      code: 'conflict',
    })
    await silent(world, 121)
    await expect
      .poll(() => states(world), { timeout: 15_000 })
      .toEqual([{ state: 'broken', idempotency_key: null }])
    expect(await world.ingest.job('nightly', loader.subject)).toMatchObject({ state: 'failed' })
    expect(await world.importLines([documentOf({ id: 'again' })], { key: 'nightly' })).toMatchObject({
      state: 'done',
      done: 1,
    })
  })

  test('slowly gives signs of life, and ends well', async () => {
    await using world = await openIngestWorld(backend, { mendEveryMs })
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield line('slow/1')
      for (let turn = 0; turn < 3; turn++) {
        await silent(world, 100)
        const age = async () => {
          const [row] = await world.database.query<{ age: number }>(
            'select extract(epoch from now() - heard_at)::float8 as age from jobs',
          )
          return row?.age
        }
        await expect.poll(age).toBeLessThan(50)
      }
      yield line('slow/2')
    }
    const jobId = await world.ingest.importAll(loader, { body: slow() })
    expect(await world.done(jobId)).toMatchObject({ state: 'done', done: 2 })
  })

  test('from a process that stood still takes nothing more in once it was given up', async () => {
    await using world = await openIngestWorld(backend, { mendEveryMs: 60_000 })
    async function* halting(): AsyncGenerator<Uint8Array> {
      for (let index = 0; index < 50; index++) yield line(`before/${index}`)
      // What another process does meanwhile.
      await world.database.query(`update jobs set state = 'broken', idempotency_key = null`)
      for (let index = 0; index < 60; index++) yield line(`after/${index}`)
    }
    await expect(
      world.ingest.importAll(loader, { body: halting(), idempotencyKey: 'halting' }),
    ).rejects.toMatchObject({ code: 'conflict' })
    const rows = await world.database.query<{ id: string }>(
      `select id from documents where id like 'after/%'`,
    )
    expect(rows).toEqual([])
    expect(await states(world)).toEqual([{ state: 'broken', idempotency_key: null }])
  })
})
