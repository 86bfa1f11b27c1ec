import { AsyncResource } from 'node:async_hooks'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { inBackground } from '../../src/kernel/background.ts'
import { OperatorError } from '../../src/kernel/operator-error.ts'
import { version } from '../../src/kernel/version.ts'
import { withTimeout } from '../../src/kernel/with-timeout.ts'
import { openSnapshots, openWriteBarrier } from '../../src/store/barrier.ts'
import { connectOwn } from '../../src/store/client.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPglite } from '../../src/store/pglite.ts'
import { openPostgres, openReading } from '../../src/store/postgres.ts'
import type { Database, Sql } from '../../src/store/sql.ts'
import { startBetween } from '../support/between.ts'
import { openTestDatabase } from '../support/database.ts'
import { native, needsPostgres } from '../support/native.ts'

const outside = AsyncResource.bind((work: () => void) => work())
const unavailable = expect.objectContaining({ code: 'storage_unavailable', status: 503 })

describe.each([
  { kind: 'pglite', options: {} },
  { kind: 'postgres', options: needsPostgres },
] as const)('the database', ({ kind, options }) => {
  describe(`on ${kind}`, options, () => {
    let database: Database

    beforeAll(async () => {
      database = await openTestDatabase(kind)
      await database.query('create table notes (id int primary key, text text)')
    })
    afterAll(() => database?.close())

    const ids = async (): Promise<number[]> =>
      (await database.query<{ id: number }>('select id from notes order by id')).map(({ id }) => id)

    test('keeps what a transaction wrote, and gives what it returned', async () => {
      const answer = await database.transaction(async (sql) => {
        await sql.query('insert into notes values ($1, $2)', [1, 'kept'])
        return 'done'
      })
      expect(answer).toBe('done')
      expect(await ids()).toContain(1)
    })

    test('rolls back everything when the work throws, and passes the error on', async () => {
      const failure = new Error('changed my mind')
      const work = database.transaction(async (sql) => {
        await sql.query('insert into notes values (2)')
        throw failure
      })
      await expect(work).rejects.toBe(failure)
      expect(await ids()).not.toContain(2)
    })

    test('rolls back when a statement fails inside, and stays usable', async () => {
      const work = database.transaction(async (sql) => {
        await sql.query('insert into notes values (3)')
        await sql.query('select 1 / 0')
      })
      await expect(work).rejects.toThrow('division by zero')
      expect(await ids()).not.toContain(3)
    })

    test('stays usable after a statement that fails outside of a transaction', async () => {
      await expect(database.query('select from nowhere')).rejects.toThrow('does not exist')
      await expect(database.query('select $1::int as n', ['seven'])).rejects.toThrow('22P02')
      expect(await database.query('select 1 as n')).toEqual([{ n: 1 }])
    })

    test('leaves no transaction behind when a text of several statements fails in the middle', async () => {
      const work = database.query('begin; insert into notes values (5); select 1 / 0; commit')
      await expect(work).rejects.toThrow('division by zero')
      expect(await ids()).not.toContain(5)
    })

    test('gives storage_unavailable where a primary has become a standby, and is read only', async () => {
      const work = database.query('begin; set transaction read only; insert into notes values (6)')
      await expect(work).rejects.toEqual(unavailable)
    })

    test('refuses its own use inside a transaction at once, instead of waiting for ever', async () => {
      const query = database.transaction(() => database.query('select 1'))
      await expect(query).rejects.toThrow('Inside a transaction only its own Sql may be used')
      const nested = database.transaction(() => database.transaction(async () => 1))
      await expect(nested).rejects.toThrow('may not open another one')
      expect(await database.query('select 1 as n')).toEqual([{ n: 1 }])
    })

    test('lets others wait for a transaction, not fail', async () => {
      const long = database.transaction(async (sql) => {
        await sql.query('insert into notes values (4)')
        await sql.query('select pg_sleep(0.1)')
      })
      const [, meanwhile] = await Promise.all([long, database.query('select 1 as n')])
      expect(meanwhile).toEqual([{ n: 1 }])
      expect(await ids()).toContain(4)
    })

    test('gives int8 and count(*) as numbers', async () => {
      const [row] = await database.query(
        'select count(*) as counted, 9007199254740991::int8 as large from notes',
      )
      expect(row).toEqual({ counted: expect.any(Number), large: 9_007_199_254_740_991 })
    })

    test('sends arrays as arrays, objects as JSON and bytes as bytes', async () => {
      const [row] = await database.query('select $1::text[] as list, $2::jsonb as json, $3::bytea as bytes', [
        ['a', "b'; drop table notes; --"],
        { a: [1, null] },
        new Uint8Array([0, 255]),
      ])
      expect(row).toEqual({
        list: ['a', "b'; drop table notes; --"],
        json: { a: [1, null] },
        bytes: Buffer.from([0, 255]),
      })
    })

    test('leaks no session setting from one transaction to the next', async () => {
      await database.transaction((sql) => sql.query(`select set_config('hnsw.ef_search', '77', true)`))
      const [row] = await database.query(`select current_setting('hnsw.ef_search', true) as value`)
      expect(row).not.toEqual({ value: '77' })
    })

    test('migrated twice applies nothing the second time', async () => {
      const dir = new URL('../../migrations/', import.meta.url)
      expect(await migrate(database, { dir, dimensions: 384 })).toEqual([])
    })

    if (kind === 'postgres')
      test('a start with nothing to apply waits for none that migrates', async () => {
        const dir = new URL('../../migrations/', import.meta.url)
        await database.transaction(async (sql) => {
          await sql.query('lock table migrations in exclusive mode')
          let applied: Promise<readonly string[]> | undefined
          outside(() => {
            applied = migrate(database, { dir, dimensions: 384 })
          })
          expect(await withTimeout(10_000, Promise.resolve(applied), 'waits')).toEqual([])
        })
      })

    test('refuses a version that lacks a migration which was applied, names the one to start, and changes nothing', async () => {
      const older = await mkdtemp(join(tmpdir(), 'remit-test-'))
      try {
        await writeFile(join(older, '0001_corpus.sql'), '')
        await writeFile(join(older, '9998_own.sql'), 'create table own (id int)')
        const start = () => migrate(database, { dir: pathToFileURL(`${older}/`), dimensions: 384 })
        await expect(start()).rejects.toThrow(OperatorError)
        await expect(start()).rejects.toThrow(
          `The database belongs to Remit ${version}: its tables were changed by `,
        )
        await expect(start()).rejects.toThrow(/ \d{4}_\w+\.sql, .*Start Remit .*docs\/recovery\.md/)
        // Before 0.9.0 none was noted.
        await database.query('update migrations set version = null')
        await expect(start()).rejects.toThrow(/belongs to a newer version of Remit.*Start that version/)
        await database.query('update migrations set version = $1', [version])
        expect(await database.query(`select to_regclass('own') as own`)).toEqual([{ own: null }])
      } finally {
        await rm(older, { recursive: true })
      }
    })

    test('leaves a restored copy of an earlier version as it is until it is told to change it, and no other database unless it is said to be a copy', async () => {
      const later = await mkdtemp(join(tmpdir(), 'remit-test-'))
      try {
        // Of this version, and of one to come.
        for (const { name } of await database.query<{ name: string }>('select name from migrations'))
          await writeFile(join(later, name), '')
        await writeFile(join(later, '9998_coming.sql'), 'create table coming (id int)')
        const logged: unknown[] = []
        const log = (...line: readonly unknown[]) => logged.push(line)
        const come = (upgradesCopy?: boolean) =>
          migrate(database, { dir: pathToFileURL(`${later}/`), dimensions: 384, upgradesCopy, log })
        const isThere = async () => (await database.query(`select to_regclass('coming') as it`))[0]
        await database.query('update migrations set version = $1', ['0.9.7'])
        await expect(come(false)).rejects.toThrow(
          /^The tables are those of Remit 0\.9\.7, and nothing .* `remit recover --upgrade`/,
        )
        await database.query(`update epochs set restored = '{}'`)
        for (const refused of [undefined, false]) await expect(come(refused)).rejects.toThrow(OperatorError)
        expect(await isThere()).toEqual({ it: null })
        expect(logged).toEqual([])
        expect(await come(true)).toEqual(['9998_coming.sql'])
        // What is of this version is no matter of going back.
        for (const said of [undefined, false, true]) expect(await come(said)).toEqual([])
        expect(logged).toEqual([['database_upgraded', { from: '0.9.7', to: version, files: 1 }]])
        await database.query(`delete from migrations where name = '9998_coming.sql'`)
        await database.query('drop table coming')
        await database.query('update epochs set restored = null')
        expect(await come()).toEqual(['9998_coming.sql'])
      } finally {
        await database.query(`delete from migrations where name = '9998_coming.sql'`)
        await database.query('drop table if exists coming')
        await database.query('update epochs set restored = null')
        await database.query('update migrations set version = $1', [version])
        await rm(later, { recursive: true })
      }
    })

    test('a start that fails half way says which version’s tables it changed, and one that changes none says nothing', async () => {
      const later = await mkdtemp(join(tmpdir(), 'remit-test-'))
      try {
        for (const { name } of await database.query<{ name: string }>('select name from migrations'))
          await writeFile(join(later, name), '')
        await writeFile(join(later, '9998_coming.sql'), 'create table coming (id int)')
        await writeFile(join(later, '9999_fails.sql'), 'select 1 / 0')
        await database.query('update migrations set version = $1', ['0.9.7'])
        const logged: unknown[] = []
        const log = (...line: readonly unknown[]) => logged.push(line)
        const start = () => migrate(database, { dir: pathToFileURL(`${later}/`), dimensions: 384, log })
        for (const _ of [1, 2]) await expect(start()).rejects.toThrow('division by zero')
        expect(logged).toEqual([['database_upgraded', { from: '0.9.7', to: version, files: 1 }]])
      } finally {
        await database.query(`delete from migrations where name = '9998_coming.sql'`)
        await database.query('drop table if exists coming')
        await database.query('update migrations set version = $1', [version])
        await rm(later, { recursive: true })
      }
    })

    test('answers storage_unavailable once it is closed, and closing twice is one', async () => {
      const closed = await openTestDatabase(kind)
      await closed.close()
      await closed.close()
      await expect(closed.query('select 1')).rejects.toEqual(unavailable)
      await expect(closed.transaction(async () => 1)).rejects.toEqual(unavailable)
    })
  })
})

test(
  'a date without a zone is its midnight in UTC whatever the database’s own zone: by the pool, in a transaction, on the connections of fixed plans and on the ear',
  needsPostgres,
  async () => {
    const seen = `select current_setting('timezone') as zone, '2025-05-01'::timestamptz as at`
    const utc = [{ zone: 'UTC', at: new Date('2025-05-01T00:00:00Z') }]
    await using owner = await openTestDatabase('postgres')
    const [{ name = '' } = {}] = await owner.query<{ name: string }>('select current_database() as name')
    await owner.query(`alter database ${name} set timezone to 'Asia/Tokyo'`)
    const url = new URL(native.databaseUrl ?? '')
    url.pathname = `/${name}`
    await using database = await openPostgres({ url: url.href })
    expect(await database.query(seen)).toEqual(utc)
    expect(await database.transaction((sql) => sql.query(seen))).toEqual(utc)
    expect(await database.queryFixedPlan({ name: 'seen', text: seen }, [])).toEqual(utc)
    await using ear = await database.openListener?.(() => undefined)
    expect(await ear?.query(seen)).toEqual(utc)
  },
)

describe('a database that goes away', () => {
  test('gives storage_unavailable when the embedded one dies, in a query and ever after', async () => {
    const socketDir = await mkdtemp(join(tmpdir(), 'remit-test-'))
    const { database, worker } = await openWithWorker(socketDir)
    try {
      const running = database.query('select pg_sleep(60)')
      await Promise.all([expect(running).rejects.toEqual(unavailable), killSoon(worker)])
      await expect(database.query('select 1')).rejects.toEqual(unavailable)
      await expect(database.transaction((sql) => sql.query('select 1'))).rejects.toEqual(unavailable)
    } finally {
      await database.close()
      await rm(socketDir, { recursive: true, force: true })
    }
  })

  test(
    'gives storage_unavailable when the server ends the connection, and the next query works',
    needsPostgres,
    async () => {
      await using database = await openTestDatabase('postgres')
      const work = database.transaction(async (sql) => {
        const [row] = await sql.query<{ pid: number }>('select pg_backend_pid() as pid')
        const ended = sql.query('select pg_sleep(20)')
        await Promise.all([expect(ended).rejects.toEqual(unavailable), terminate(row?.pid ?? 0)])
        await ended
      })
      await expect(work).rejects.toEqual(unavailable)
      expect(await database.query('select 1 as n')).toEqual([{ n: 1 }])
    },
  )

  test('does not end the process when an idle connection breaks', needsPostgres, async () => {
    await using database = await openTestDatabase('postgres')
    const [row] = await database.query<{ pid: number }>('select pg_backend_pid() as pid')
    await terminate(row?.pid ?? 0)
    const answer = () => database.query('select 1 as n').catch(() => undefined)
    await expect.poll(answer, { timeout: 10_000 }).toEqual([{ n: 1 }])
  })

  test(
    'keeps nobody waiting for who stands still inside a transaction, and commits nothing of it',
    needsPostgres,
    async () => {
      await using database = await openTestDatabase('postgres')
      await database.query('create table held (id int primary key, n int)')
      await database.query('insert into held values (1, 0)')
      const [row] = await database.query<{ name: string }>('select current_database() as name')
      const url = new URL(native.databaseUrl ?? '')
      url.pathname = `/${row?.name}`
      await using standing = await openPostgres({ url: url.href, idleMsMax: 300 })
      const [holds, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      const work = standing.transaction(async (sql) => {
        await sql.query('update held set n = 1 where id = 1')
        holds.resolve()
        await goesOn.promise
        await sql.query('update held set n = 2 where id = 1')
      })
      await holds.promise
      await database.query('update held set n = n + 10 where id = 1')
      goesOn.resolve()
      await expect(work).rejects.toEqual(unavailable)
      expect(await database.query('select n from held')).toEqual([{ n: 10 }])
    },
  )

  test('gives up connections on which no answer comes, and works on with others', {
    ...needsPostgres,
    timeout: 30_000,
  }, async () => {
    const real = new URL(native.databaseUrl ?? '')
    await using between = await startBetween(Number(real.port))
    real.hostname = '127.0.0.1'
    real.port = String(between.port)
    await using database = await openPostgres({ url: real.href, poolSize: 2, statementMsMax: 300 })
    const told: string[] = []
    database.onNotice((payload) => told.push(payload))
    const look = () => database.query<{ pid: number }>('select pg_backend_pid() as pid, pg_sleep(0.05)')
    const fixed = { name: 'silent', text: 'select 1 as one' }
    await Promise.all([look(), look(), database.queryFixedPlan(fixed, [])])
    between.hush()
    const unanswered = [
      look(),
      database.transaction((sql) => sql.query('select 1')),
      database.queryFixedPlan(fixed, []),
    ]
    await Promise.all(unanswered.map((one) => expect(one).rejects.toEqual(unavailable)))
    expect(told).toContain('lost')
    expect(await Promise.all([look(), look()])).toHaveLength(2)
  })

  test('lets the statements of a transaction take longer than any other, or less, and only those', {
    ...needsPostgres,
    timeout: 30_000,
  }, async () => {
    await using database = await openPostgres({
      url: native.databaseUrl ?? '',
      poolSize: 1,
      statementMsMax: 300,
    })
    const sleep = (seconds: number) => (sql: Sql) =>
      sql.query<{ took: number }>(`select 1 as took from pg_sleep(${seconds})`)
    expect(await database.transaction(sleep(5.6), { msMax: Infinity })).toEqual([{ took: 1 }])
    await expect(database.transaction(sleep(0.25), { msMax: 100 })).rejects.toEqual(unavailable)
    expect(await sleep(0.25)(database)).toEqual([{ took: 1 }])
    await expect(sleep(5)(database)).rejects.toEqual(unavailable)
  })

  test('gives up the barrier of backups where no answer comes, and lets through whoever writes after that', {
    ...needsPostgres,
    timeout: 30_000,
  }, async () => {
    const real = new URL(native.databaseUrl ?? '')
    await using between = await startBetween(Number(real.port))
    real.port = String(between.port)
    await using barrier = openWriteBarrier(real.href, 100)
    const write = async () => 'written'
    expect(await barrier.pass(write)).toBe('written')
    between.hush()
    await expect(barrier.pass(write)).rejects.toEqual(unavailable)
    expect(await barrier.pass(write)).toBe('written')
  })

  test('gives up a backup, and every connection beside the pool, where no answer comes', {
    ...needsPostgres,
    timeout: 30_000,
  }, async () => {
    const real = new URL(native.databaseUrl ?? '')
    await using between = await startBetween(Number(real.port))
    real.port = String(between.port)
    const databaseUrl = real.href
    const step = async () => between.hush()
    await expect(
      openSnapshots({ databaseUrl, openfgaUrl: undefined, waitMs: 100, holdMs: 100, step }),
    ).rejects.toThrow('Nothing was backed up')
    const own = await connectOwn({ url: databaseUrl, answerMsMax: 100 })
    between.hush()
    await expect(own.client.query('select 1')).rejects.toThrow('timeout')
    await own[Symbol.asyncDispose]()
  })

  test('is not opened where nobody listens', async () => {
    await expect(openPostgres({ url: 'postgres://nobody@127.0.0.1:1/none' })).rejects.toThrow('ECONNREFUSED')
  })

  test.each([
    ['nobody listens', '127.0.0.1:1'],
    ['the system opens no connection', '255.255.255.255:1'],
  ])('gives storage_unavailable where %s', async (_, host) => {
    await using database = openReading(`postgres://nobody@${host}/none`)
    await expect(database.query('select 1')).rejects.toEqual(unavailable)
  })
})

/** The worker is the database's own: Node tells of each one that is started. */
async function openWithWorker(socketDir: string): Promise<{ database: Database; worker: Worker }> {
  const started = new Promise<Worker>((resolve) => process.once('worker', resolve))
  const database = await openPglite({ socketDir })
  return { database, worker: await started }
}

async function killSoon(worker: Worker): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 200))
  await worker.terminate()
}

async function terminate(pid: number): Promise<void> {
  await using other = await openPostgres({ url: native.databaseUrl ?? '', poolSize: 1 })
  for (let tries = 0; tries < 50; tries += 1) {
    const [row] = await other.query<{ wait: boolean }>(
      `select wait_event = 'PgSleep' or state = 'idle' as wait from pg_stat_activity where pid = $1`,
      [pid],
    )
    if (row?.wait === true) break
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  await other.query('select pg_terminate_backend($1)', [pid])
}

test('the embedded database’s one connection goes to a question before all that is done patiently', async () => {
  await using database = await openTestDatabase('pglite')
  const order: string[] = []
  const noted = async (name: string) => {
    await database.query('select 1')
    order.push(name)
  }
  let waiting: Promise<unknown>[] = []
  await database.transaction(async (sql) => {
    // As from elsewhere: inside the transaction nobody else may ask.
    await new Promise<void>((resolve) =>
      outside(() => {
        waiting = [
          inBackground(() => noted('document')),
          inBackground(() =>
            database.transaction((own) => own.query('select 2')).then(() => order.push('transaction')),
          ),
          noted('question'),
        ]
        resolve()
      }),
    )
    await sql.query('select 3')
  })
  await Promise.all(waiting)
  expect(order).toEqual(['question', 'document', 'transaction'])
})

test('the embedded database shares at most 32 MB with itself: all of it is resident from its start', async () => {
  await using database = await openTestDatabase('pglite')
  const [shared] = await database.query<{ mb: number }>(
    'select (sum(allocated_size) / 1048576)::float8 as mb from pg_shmem_allocations',
  )
  expect(shared?.mb).toBeGreaterThan(1)
  expect(shared?.mb).toBeLessThan(32)
})
