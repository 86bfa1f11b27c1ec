import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { openRevocationFeed, type RevocationFeed } from '../../src/delegation/revocation/revocation-feed.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Database } from '../../src/store/sql.ts'
import { startCommand } from '../e2e/process.ts'
import { administer } from '../support/administer.ts'
import { needsPatroni } from '../support/patroni.ts'
import { needsPostgresProgram, type OwnPostgres, startPostgres } from '../support/postgres.ts'

// Minutes, and the whole machine: `npm run full` alone.
if (process.env['FAILOVERS'] !== undefined)
  test('nothing acknowledged is lost or back where the primary is killed or frozen under load', {
    ...needsPatroni,
    timeout: 900_000,
  }, async () => {
    const { OPENFGA_PATH, POSTGRES_PATH, POSTGRES_USER, PATRONI_PATH, TEST_DATABASE_URL } = process.env
    const given = { OPENFGA_PATH, POSTGRES_PATH, POSTGRES_USER, PATRONI_PATH, TEST_DATABASE_URL }
    const env = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))
    await using driver = startCommand([], Object.fromEntries(env), 'benchmarks/failover/run.ts')
    const { code } = await driver.exit
    expect(code, driver.stdout() + driver.stderr()).toBe(0)
  })

describe('a commit that no standby has acknowledged, whatever the role is told', needsPostgresProgram, () => {
  let server: OwnPostgres
  let database: Database
  let feed: RevocationFeed
  beforeAll(async () => {
    server = await startPostgres()
    await administer(server.url, 'alter role postgres set client_min_messages = error')
    await administer(server.url, 'alter database postgres set client_min_messages = error')
    database = await openPostgres({ url: server.url })
    await migrate(database, { dir: new URL('../../migrations/', import.meta.url), dimensions: 384 })
    await database.query('create table notes (id int)')
    feed = await openRevocationFeed({
      database,
      clock: { now: Date.now },
      log: () => undefined,
      pollMs: 20,
      deafAfterMs: 3_000,
    })
    feed.assertHeard()
    await administer(server.url, `alter system set synchronous_standby_names = 'nobody'`)
    await administer(server.url, 'select pg_reload_conf()')
    // Commits wait once the checkpointer has read the setting, which each backend may have read before it:
    // a heartbeat that waits says so.
    const waiting = `select 1 from pg_stat_activity where wait_event = 'SyncRep'`
    await vi.waitUntil(async () => (await database.query(waiting)).length > 0, { timeout: 10_000 })
  })
  afterAll(async () => {
    await feed?.[Symbol.asyncDispose]()
    await database?.close()
    await server?.[Symbol.asyncDispose]()
  })

  const insert = (id: number) => `insert into notes values (${id}) returning id`

  test.each([
    ['of a statement', 1, () => database.query(insert(1))],
    ['of a prepared one', 2, () => database.queryFixedPlan({ name: 'insert', text: insert(2) }, [])],
    ['of a transaction', 3, () => database.transaction((sql) => sql.query(insert(3)))],
  ] as const)('%s is not acknowledged where Postgres gives up waiting', async (_, id, commit) => {
    const committed = commit().then(
      () => 'acknowledged',
      (error: unknown) => error,
    )
    const cancel = `select pg_cancel_backend(pid) as cancelled from pg_stat_activity
      where wait_event = 'SyncRep' and query not like '%heartbeats%'`
    await expect.poll(() => database.query(cancel)).toEqual([{ cancelled: true }])
    expect(await committed).toMatchObject({ code: 'storage_unavailable' })
    // It is in all the same, on this server: nobody knows what became of it.
    expect(await database.query('select id from notes where id = $1', [id])).toEqual([{ id }])
  })

  test('leaves no session on the server once nobody waits for it any more', async () => {
    await using impatient = await openPostgres({ url: server.url, poolSize: 1, statementMsMax: 300 })
    await expect(impatient.query(insert(4))).rejects.toMatchObject({ code: 'storage_unavailable' })
    const waiting = `select 1 from pg_stat_activity where wait_event = 'SyncRep' and query like '%notes%'`
    await expect.poll(() => database.query(waiting)).toEqual([])
    // The ear asks twice a second, for two seconds each time.
    const ears = `select 1 from pg_stat_activity where wait_event = 'SyncRep' and query like '%heartbeats%'`
    expect((await database.query(ears)).length).toBeLessThanOrEqual(2)
  }, 30_000)

  test('leaves the connection usable for what commits nothing', async () => {
    expect(await database.query('select 1 as n')).toEqual([{ n: 1 }])
  })

  test('is no sign of life: a process that cannot commit has not heard who may not act', async () => {
    await expect.poll(() => feed.isHeard).toBe(false)
    expect(() => feed.assertHeard()).toThrow(expect.objectContaining({ code: 'authorization_unavailable' }))
  })
})
