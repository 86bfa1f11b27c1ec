import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { markUnsettled, unmark } from '../../src/ingest/desired-tuples.ts'
import { turnOf, turnsMax } from '../../src/ingest/fences.ts'
import { needsOpenfga, needsPostgres } from '../support/native.ts'
import { type IngestWorld, loader, openIngestWorld } from './world.ts'

describe('what a process held that died, on PGlite beside an OpenFGA of its own', needsOpenfga, () => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld({ database: 'pglite', openfga: 'server' })
    await world.putDone({ id: 'held', text: 'one', access: {} })
  }, 60_000)
  afterAll(() => world?.[Symbol.asyncDispose]())

  test('is free at once for the next, after all that it may still be about to write is kept out', async () => {
    await world.database.query(
      `insert into leases (object, holder, until) values ('document:held', 'dead', now() + interval '1 hour')`,
    )
    await world.ingest.retag(loader, 'held', { viewers: ['user:bob'] })
    expect(await world.check('user:bob', 'can_read', 'document:held')).toBe(true)
    expect(await world.tuples(turnOf('dead', 1).object)).toHaveLength(turnsMax)
    expect(await world.database.query('select holder from leases')).toEqual([])
  })

  test('is marked as unsettled until the mark that was read is taken away, not one that was set since', async () => {
    const first = await markUnsettled(world.database, 'document:held', true)
    const second = await markUnsettled(world.database, 'document:held', false)
    await unmark(world.database, [first])
    expect(await world.database.query('select object, purge from unreconciled')).toEqual([
      { object: 'document:held', purge: true },
    ])
    await unmark(world.database, [second])
    expect(await world.database.query('select object from unreconciled')).toEqual([])
  })
})

describe('what a process holds that stands still inside a transaction', needsPostgres, () => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld({ database: 'postgres', openfga: 'engine' })
  }, 60_000)
  afterAll(() => world?.[Symbol.asyncDispose]())

  test('keeps who wants it waiting, but no connection to the database', async () => {
    const ids = Array.from({ length: 6 }, (_, nth) => `still/${nth}`)
    for (const id of ids) await world.putDone({ id, text: 'one', access: {} })
    await world.database.query(
      `insert into leases (object, holder, until) select 'document:' || id, 'still', now() - interval '1 s'
       from unnest($1::text[]) id`,
      [ids],
    )
    const goesOn = Promise.withResolvers<void>()
    const locked = Promise.withResolvers<void>()
    const standing = world.database.transaction(async (sql) => {
      await sql.query(`select 1 from leases where holder = 'still' for update`)
      locked.resolve()
      await goesOn.promise
    })
    await locked.promise
    const asked = Promise.all(ids.map((id) => world.ingest.retag(loader, id, { viewers: ['user:bob'] })))
    await sleep(500)
    const answer = world.database.query(
      `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    )
    expect(await Promise.race([answer, sleep(20_000, 'no answer')])).toEqual([])
    goesOn.resolve()
    await Promise.all([standing, asked])
    expect(await world.check('user:bob', 'can_read', 'document:still/5')).toBe(true)
  }, 60_000)
})
