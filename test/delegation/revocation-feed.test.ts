import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createAgents } from '../../src/delegation/registry/agents.ts'
import {
  denyKey,
  openRevocationFeed,
  type RevocationChange,
  type RevocationFeed,
  type RevocationFeedOptions,
} from '../../src/delegation/revocation/revocation-feed.ts'
import { createRevocations, type Revocations } from '../../src/delegation/revocation/revocations.ts'
import type { Log } from '../../src/kernel/log.ts'
import type { Database, Listener } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import { needsPostgres } from '../support/native.ts'
import { type MovableClock, movableClock, ownIssuerUrl } from './world.ts'

let database: Database
let clock: MovableClock
let revocations: Revocations
let opened: RevocationFeed[]

async function open(kind: Database['kind']): Promise<void> {
  database = await openTestDatabase(kind)
  clock = movableClock()
  revocations = createRevocations({ sql: database, clock })
  opened = []
}

/** No time passes for it: where the machine stands still for a second, what it holds is not believed. */
async function follow(options: Partial<RevocationFeedOptions> = {}): Promise<RevocationFeed> {
  const still = { database, clock, log: () => undefined, elapsed: () => 0 }
  const authority = await openRevocationFeed({ ...still, ...options })
  opened.push(authority)
  return authority
}

async function close(): Promise<void> {
  for (const authority of opened) await authority[Symbol.asyncDispose]()
  await database.close()
}

const anne = [denyKey('subject', 'user:anne')]
const revokeAnne = (until?: Date) =>
  revocations.revoke({ kind: 'subject', id: 'user:anne' }, { reason: 'tests', ...(until && { until }) })

/** Believes the list only while the process may. */
const isDenied = (authority: RevocationFeed) =>
  authority.current === undefined ? 'not known' : authority.isDenied(anne, clock.now())

describe.each(['pglite', 'postgres'] as const)('on %s', (kind) => {
  describe('what this process has heard', kind === 'postgres' ? needsPostgres : {}, () => {
    beforeEach(() => open(kind))
    afterEach(close)

    test('is the list as it stood at the start', async () => {
      await revokeAnne()
      const authority = await follow()
      expect(isDenied(authority)).toBe(true)
      expect(
        authority.isDenied([denyKey('subject', 'user:bob'), denyKey('agent', 'user:anne')], clock.now()),
      ).toBe(false)
    })

    test('is behind from the moment that a change of its own is answered, and never a no', async () => {
      const authority = await follow()
      expect(isDenied(authority)).toBe(false)
      await revokeAnne()
      expect(isDenied(authority)).not.toBe(false)
      await authority.refresh()
      expect(isDenied(authority)).toBe(true)
    })

    test('is soon whole again by itself', async () => {
      const authority = await follow()
      await revokeAnne()
      await expect.poll(() => isDenied(authority), { interval: 5 }).toBe(true)
    })

    test.each([
      ['minutes', 550_000],
      ['hours', 12 * 3_600_000],
    ])('forgets no revocation for a process whose clock is %s ahead', async (_, aheadMs) => {
      const authority = await follow()
      await revokeAnne(new Date(clock.now() + 300_000))
      await authority.refresh()
      const ahead = createRevocations({ sql: database, clock: { now: () => clock.now() + aheadMs } })
      expect(await ahead.sweep()).toBe(0)
      clock.move(aheadMs)
      await authority.sweep()
      clock.move(-aheadMs)
      await authority.refresh()
      expect(isDenied(authority)).toBe(true)
    })

    test('forgets no revocation of its own where its clock is hours behind', async () => {
      clock.move(-5 * 3_600_000)
      const authority = await follow()
      await revokeAnne(new Date(clock.now() + 300_000))
      // As an earlier version wrote it: its end is over by the database's clock.
      await database.query('update revocations set until = $1', [new Date(clock.now() + 300_000)])
      await authority.refresh()
      expect(await revocations.sweep()).toBe(0)
      await authority.sweep()
      await authority.refresh()
      expect(isDenied(authority)).toBe(true)
      expect(isDenied(await follow())).toBe(true)
    })

    test('holds a revocation by a process whose clock is behind for as long by the clocks of others', async () => {
      const authority = await follow()
      const behind = createRevocations({ sql: database, clock: { now: () => clock.now() - 5 * 3_600_000 } })
      const until = new Date(clock.now() - 5 * 3_600_000 + 300_000)
      await behind.revoke({ kind: 'subject', id: 'user:anne' }, { until, reason: 'tests' })
      expect(await revocations.sweep()).toBe(0)
      await authority.sweep()
      await authority.refresh()
      clock.move(200_000)
      expect(isDenied(authority)).toBe(true)
    })

    test('forgets a revocation an hour after it is over, by both clocks', async () => {
      await revokeAnne(new Date(clock.now()))
      const passed = (seconds: number) =>
        database.query('update revocations set until = until - make_interval(secs => $1)', [seconds])
      await passed(3_500)
      expect(await revocations.sweep()).toBe(0)
      await passed(200)
      expect(await revocations.sweep()).toBe(1)
    })

    test('lets a revocation end with its time, and when it is taken back', async () => {
      const authority = await follow()
      await revokeAnne(new Date(clock.now() + 60_000))
      await authority.refresh()
      expect(isDenied(authority)).toBe(true)
      clock.move(120_000)
      expect(isDenied(authority)).toBe(false)
      await revokeAnne()
      await authority.refresh()
      expect(isDenied(authority)).toBe(true)
      await database.query(`delete from revocations where kind = 'subject'`)
      await authority.refresh()
      expect(isDenied(authority)).toBe(false)
    })

    test('is not told of what was rolled back, and misses no number for it', async () => {
      const authority = await follow()
      const before = authority.current
      const failing = database.transaction(async (sql) => {
        await createRevocations({ sql, clock }).revoke(
          { kind: 'subject', id: 'user:anne' },
          { reason: 'tests' },
        )
        throw new Error('thought better of it')
      })
      await expect(failing).rejects.toThrow('thought better')
      expect([isDenied(authority), authority.current]).toEqual([false, before])
      await revokeAnne()
      await authority.refresh()
      expect(authority.current).toBe((before ?? 0) + 1)
    })

    test('is read anew, all of it, where changes were swept that it did not see', async () => {
      const changes: RevocationChange[] = []
      const authority = await follow()
      authority.onChange((change) => changes.push(change))
      await database.transaction(async (sql) => {
        await sql.query(`insert into revocations values ('subject', 'user:anne', null, 'tests', now())`)
        await sql.query('set constraints all immediate')
        await sql.query('delete from revocation_feed_changes')
      })
      await authority.refresh()
      expect(changes).toContainEqual({ kind: 'all', key: '' })
      expect(isDenied(authority)).toBe(true)
    })

    test('is what it is by a clock that tests put to another hour, unless they ask for a comparison', async () => {
      clock.move(5 * 3_600_000)
      const authority = await follow()
      authority.assertHeard()
      expect([isDenied(authority), authority.areClocksApart]).toEqual([false, false])
    })

    test('answers nobody once the database is older than it', async () => {
      await revokeAnne()
      const authority = await follow()
      authority.assertHeard()
      await database.query('update revocation_feed set version = 0')
      await expect(authority.refresh()).rejects.toThrow('older')
      expect(() => authority.assertHeard()).toThrow('back in time')
      expect(authority.current).toBeUndefined()
    })

    /** What `recover` leaves in a copy that counted on by itself. */
    const recoveredElsewhere = `update revocation_feed_changes set at = at + interval '1 second'`

    test.each([
      ['no more changes than it has heard of', async () => undefined],
      ['more of them', () => revokeAnne()],
      [
        'more of them, and it is told of its recovery',
        () => database.query('update epochs set tokens_from = now()'),
      ],
    ])('answers nobody, for good, once a recovered copy is in its place that has %s', async (_, more) => {
      await revokeAnne()
      const authority = await follow()
      await database.query(recoveredElsewhere)
      await more()
      await expect(authority.refresh()).rejects.toThrow('older')
      expect(() => authority.assertHeard()).toThrow('back in time')
      await database.query(`update revocation_feed_changes set at = at - interval '1 second'`)
      await authority.refresh()
      expect(authority.current).toBeUndefined()
    })

    test('answers nobody once the copy in its place was recovered and has swept that change', async () => {
      const authority = await follow()
      await database.query('alter table epochs disable trigger all')
      await database.query('update epochs set tokens_from = now()')
      await database.query('delete from revocation_feed_changes')
      await expect(authority.refresh()).rejects.toThrow('older')
    })

    test('goes on where its own database is recovered, or the changes that it has heard of are swept', async () => {
      await revokeAnne()
      const authority = await follow()
      await database.query('update epochs set tokens_from = now()')
      await authority.refresh()
      await database.query('delete from revocation_feed_changes')
      await authority.refresh()
      expect(isDenied(authority)).toBe(true)
      await database.query('update epochs set tokens_from = null')
      await authority.refresh()
      expect(isDenied(authority)).toBe(true)
    })

    test('names a change of a delegation that counted, and says nothing of lending', async () => {
      const authority = await follow()
      await createAgents({ sql: database, clock }).save({
        id: 'bot',
        owner: 'user:anne',
        purpose: 'tests',
        issuer: ownIssuerUrl,
        sub: 'bot',
      })
      await authority.refresh()
      const changes: RevocationChange[] = []
      authority.onChange((change) => changes.push(change))
      await database.query(
        `insert into delegations (id, subject, agent, sub_agents, scope, purpose, standing, expires_at, state, created_at)
         values ('d_1', 'user:anne', 'bot', '{}', '{}', 'tests', false, now(), 'lending', now())`,
      )
      await database.query(`update delegations set state = 'live'`)
      await authority.refresh()
      expect(changes).toEqual([])
      await database.query(`update delegations set state = 'revoked'`)
      await database.query('update delegations set settled_at = now()')
      await authority.refresh()
      expect(changes).toEqual([{ kind: 'delegation', key: 'd_1' }])
    })
  })
})

describe('on native Postgres', needsPostgres, () => {
  beforeEach(() => open('postgres'))
  afterEach(close)

  test('a change that is committed late is seen, however early it was made', async () => {
    const authority = await follow()
    const made = Promise.withResolvers<void>()
    const held = Promise.withResolvers<void>()
    const late = database.transaction(async (sql) => {
      await createRevocations({ sql, clock }).revoke(
        { kind: 'subject', id: 'user:anne' },
        { reason: 'tests' },
      )
      made.resolve()
      await held.promise
    })
    await made.promise
    await revocations.revoke({ kind: 'subject', id: 'user:bob' }, { reason: 'tests' })
    await authority.refresh()
    expect([authority.isDenied([denyKey('subject', 'user:bob')], clock.now()), isDenied(authority)]).toEqual([
      true,
      false,
    ])
    held.resolve()
    await late
    await authority.refresh()
    expect(isDenied(authority)).toBe(true)
  })

  test('changes of eight sessions at once are numbered without a gap and are all seen', async () => {
    const authority = await follow()
    const seen: string[] = []
    authority.onChange(({ key }) => seen.push(key))
    const ids = Array.from({ length: 80 }, (_, index) => `user:p${index}`)
    await Promise.all(ids.map((id) => revocations.revoke({ kind: 'subject', id }, { reason: 'tests' })))
    await authority.refresh()
    expect(seen.toSorted()).toEqual(ids.toSorted())
    expect(authority.isDenied([denyKey('subject', 'user:p79')], clock.now())).toBe(true)
  })

  /** An ear that can be stopped up, and a time of its own. */
  function muffled() {
    let isCut = false
    let now = 0
    const heard: { listener: (payload: string) => void }[] = []
    const options: Partial<RevocationFeedOptions> = {
      pollMs: 5,
      elapsed: () => now,
      database: {
        ...database,
        onNotice: () => undefined,
        openListener: async (listener): Promise<Listener> => {
          if (isCut) throw new Error('cut')
          heard.push({ listener })
          return {
            query: async (text, values) => {
              if (isCut) throw new Error('cut')
              return database.query(text, values)
            },
            [Symbol.asyncDispose]: async () => undefined,
          }
        },
      },
    }
    return {
      options,
      cut: (value: boolean) => {
        isCut = value
      },
      pass: (milliseconds: number) => {
        now += milliseconds
      },
    }
  }

  test('after a sleep nothing is believed, and nobody is answered, before it has heard again', async () => {
    const { options, cut } = muffled()
    const { elapsed: _, ...asleep } = { database, clock, log: () => undefined, ...options }
    const authority = await openRevocationFeed(asleep)
    opened.push(authority)
    cut(true)
    await delay(50)
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 })
    try {
      expect(isDenied(authority)).toBe('not known')
      expect(() => authority.assertHeard()).toThrow(
        expect.objectContaining({ code: 'authorization_unavailable' }),
      )
      cut(false)
      await expect.poll(() => isDenied(authority)).toBe(false)
      authority.assertHeard()
    } finally {
      vi.useRealTimers()
    }
  })

  test('what was not heard for a second is not believed without asking; after five, nobody is answered', async () => {
    const { options, cut, pass } = muffled()
    const authority = await follow(options)
    cut(true)
    await delay(50)
    pass(1_000)
    expect(isDenied(authority)).toBe(false)
    pass(1)
    expect(isDenied(authority)).toBe('not known')
    pass(3_999)
    authority.assertHeard()
    pass(1)
    expect(() => authority.assertHeard()).toThrow(
      expect.objectContaining({ code: 'authorization_unavailable' }),
    )
  })

  /** As where pg_walfile_name has it: in the hands of a superuser. */
  const promote = (timeline: number) =>
    database.query(
      `create or replace function server_timeline() returns bigint language sql as 'select ${timeline}::bigint'`,
    )

  test('a server is not heard that another one has replaced', async () => {
    await promote(7)
    const authority = await follow()
    await promote(6)
    await revokeAnne()
    await expect(authority.refresh()).rejects.toThrow('not primary any more')
    expect(authority.current).toBeUndefined()
    await promote(7)
    await authority.refresh()
    expect(isDenied(authority)).toBe(true)
  })

  test('of a server that took over all is read anew: it may have given the same numbers to other changes', async () => {
    const authority = await follow({ pollMs: 60_000 })
    await database.query(
      'alter table revocation_feed disable trigger all; alter table revocations disable trigger all',
    )
    await database.query(
      `insert into revocations (kind, key, reason, created_at) values ('subject', 'user:anne', 'tests', now())`,
    )
    await authority.refresh()
    expect(isDenied(authority)).toBe(false)
    await promote(7)
    await authority.refresh()
    expect(isDenied(authority)).toBe(true)
  })

  test('nobody is answered once another database has the same numbers in its place', async () => {
    const other = await openTestDatabase('postgres')
    let { query } = database
    const authority = await follow({
      database: { ...database, query: (...asked) => query(...asked) },
      pollMs: 60_000,
    })
    await authority.refresh()
    query = other.query
    await expect(authority.refresh()).rejects.toThrow('older')
    await other.close()
  })

  test('nobody is answered once the tables were loaded anew in its own database', async () => {
    const authority = await follow({ pollMs: 60_000 })
    await database.transaction(async (sql) => {
      await sql.query('create table loaded (like revocation_feed including all)')
      await sql.query('insert into loaded select * from revocation_feed')
      await sql.query('drop table revocation_feed')
      await sql.query('alter table loaded rename to revocation_feed')
    })
    await expect(authority.refresh()).rejects.toThrow('older')
  })

  test('it hears again by itself, and what it missed', async () => {
    const { options, cut, pass } = muffled()
    const authority = await follow(options)
    cut(true)
    await delay(50)
    pass(6_000)
    expect(() => authority.assertHeard()).toThrow()
    await revokeAnne()
    cut(false)
    await expect.poll(() => isDenied(authority), { interval: 5 }).toBe(true)
    authority.assertHeard()
  })

  test('nothing is read over the pool while the listening connection is gone: a standby could keep it waiting', async () => {
    const { options, cut } = muffled()
    let told: (payload: string) => void = () => undefined
    const overPool: string[] = []
    const events: string[] = []
    const authority = await follow({
      ...options,
      log: (event) => events.push(event),
      database: {
        ...database,
        ...options.database,
        onNotice: (listener) => {
          told = listener
        },
        query: async (text, values) => {
          overPool.push(text)
          return database.query(text, values)
        },
      },
    })
    cut(true)
    await expect.poll(() => events, { interval: 5 }).toContain('authority_unheard')
    const before = overPool.length
    await revokeAnne()
    told('lost')
    await delay(50)
    expect(overPool.slice(before)).toEqual([])
    expect(isDenied(authority)).toBe('not known')
    cut(false)
    await expect.poll(() => isDenied(authority), { interval: 5 }).toBe(true)
  })

  /**
   * Follows by a clock that goes on, but is put; compares at each `refresh` alone. `slow`: the next read
   * takes so many milliseconds by that clock.
   */
  async function comparing(startMs = 0, pollMs = 600_000) {
    const logged: Parameters<Log>[] = []
    let [putMs, slowMs] = [startMs, 0]
    const authority = await follow({
      comparesClocks: true,
      pollMs,
      clock: { now: () => Date.now() + putMs },
      log: (...line) => logged.push(line),
      database: {
        ...database,
        async query(text, values) {
          const rows = await database.query<never>(text, values)
          putMs += slowMs
          slowMs = 0
          return rows
        },
      },
    })
    return {
      authority,
      logged,
      opinion: () => [authority.isHeard, authority.areClocksApart, isDenied(authority)],
      async read(ms: number, slow = 0) {
        putMs = ms
        slowMs = slow
        await authority.refresh()
      },
    }
  }
  const together = [true, false, false]
  const apart = [false, true, 'not known']
  const saysApart = (own: string, seconds: number) => [
    'clocks_apart',
    { own, seconds: expect.closeTo(seconds, -1) },
  ]

  test.each([
    ['behind', -360_000],
    ['ahead', 360_000],
  ])(
    'a process whose clock is six minutes %s answers nobody, says so once, and mends itself',
    async (own, ms) => {
      const { authority, logged, opinion, read } = await comparing()
      expect(opinion()).toEqual(together)
      await read(ms)
      await read(ms)
      expect(opinion()).toEqual(apart)
      expect(() => authority.assertHeard()).toThrow(
        expect.objectContaining({
          code: 'authorization_unavailable',
          message: 'the clocks of this process and of the database are minutes apart',
        }),
      )
      await read(0)
      await read(0)
      expect(opinion()).toEqual(together)
      authority.assertHeard()
      expect(logged).toEqual([saysApart(own, 360), ['clocks_together']])
    },
  )

  test.each([-240_000, 240_000])('a clock that differs by four minutes is no reason (%s ms)', async (ms) => {
    const { logged, opinion, read } = await comparing()
    await read(ms)
    expect([opinion(), logged]).toEqual([together, []])
  })

  test('a process that starts with another clock than its database answers nobody until that is mended', async () => {
    const { authority, logged, opinion, read } = await comparing(600_000, 5)
    expect([opinion(), logged]).toEqual([apart, [saysApart('ahead', 600)]])
    await read(0)
    expect(opinion()).toEqual(together)
    authority.assertHeard()
  })

  test('a read that took twenty minutes makes clocks neither apart nor together: nobody knows when it compared them', async () => {
    const { logged, opinion, read } = await comparing()
    await read(-1_200_000, 1_200_000)
    expect([opinion(), logged]).toEqual([together, []])
    await read(600_000)
    expect(opinion()).toEqual(apart)
    await read(-1_200_000, 1_200_000)
    expect(opinion()).toEqual(apart)
    await read(0)
    expect([opinion(), logged.length]).toEqual([together, 2])
  })

  test('clocks that are still ten minutes apart at the end of a read of ten minutes are apart', async () => {
    const { logged, opinion, read } = await comparing()
    await read(-1_200_000, 600_000)
    expect([opinion(), logged]).toEqual([apart, [saysApart('behind', 600)]])
  })

  test('the clock of a server that another one has replaced counts for nothing', async () => {
    await promote(7)
    const { logged, opinion, read } = await comparing()
    await promote(6)
    await expect(read(600_000)).rejects.toThrow('not primary any more')
    expect([opinion(), logged]).toEqual([together, []])
    await promote(7)
    await read(600_000)
    expect(opinion()).toEqual(apart)
  })

  test('a listening connection that the server ends is opened again', async () => {
    const events: string[] = []
    const authority = await follow({ pollMs: 20, log: (event) => events.push(event) })
    await database.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid() and query not ilike '%pg_stat_activity%'`,
    )
    await expect.poll(() => events, { interval: 50 }).toContain('authority_heard')
    await revokeAnne()
    await expect.poll(() => isDenied(authority), { interval: 5 }).toBe(true)
  })
})

test('nothing is compared with a database that runs in the process, whatever its clock', async () => {
  await open('pglite')
  clock.move(5 * 3_600_000)
  const authority = await follow({ comparesClocks: true })
  authority.assertHeard()
  expect([isDenied(authority), authority.areClocksApart]).toEqual([false, false])
  await close()
})

test('every table that a token is looked up in tells its changes', async () => {
  await open('pglite')
  const statement = await readFile(
    new URL('../../src/delegation/tokens/registry-query.ts', import.meta.url),
    'utf8',
  )
  const tables = await database.query<{ name: string; told: boolean }>(
    `select relname as name, exists (
       select from pg_trigger where tgrelid = c.oid and tgdeferrable and not tgisinternal
     ) as told
     from pg_class c where relkind = 'r' and relnamespace = 'public'::regnamespace`,
  )
  const read = tables.filter(({ name }) => new RegExp(`(from|join) ${name}\\b`).test(statement))
  expect(read.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['agents', 'clients', 'delegations', 'revocations', 'services']),
  )
  expect(read.filter(({ name, told }) => !told && name !== 'revocation_feed')).toEqual([])
  await close()
})
