import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  denyKey,
  openRevocationFeed,
  type RevocationFeed,
  type RevocationFeedOptions,
} from '../../src/delegation/revocation/revocation-feed.ts'
import type { Log } from '../../src/kernel/log.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'

// The feed step by step, on a database that is in the process. With other processes: revocation-feed.test.ts.

let database: Database
let opened: RevocationFeed[]
let logged: Parameters<Log>[]
/** Changes as they are told, and what is `current` by then. */
let told: unknown[]
/** The statements of feeds, each by what answers: the connection that listens, or the pool. */
let asked: ('connection' | 'pool')[]
let failure: Error | undefined
/** Milliseconds that feeds are told have passed. */
let passed: number

beforeAll(async () => {
  database = await openTestDatabase('pglite')
})
afterAll(() => database?.close())
beforeEach(async () => {
  opened = []
  logged = []
  told = []
  asked = []
  failure = undefined
  passed = 0
  // Changes first, whose numbers a test may have left ahead; and those of the lifting.
  for (const table of ['revocation_feed_changes', 'revocations', 'revocation_feed_changes'])
    await database.query(`delete from ${table}`)
  await promote(null)
})
afterEach(async () => {
  for (const feed of opened) await feed[Symbol.asyncDispose]()
})

const anne = denyKey('subject', 'user:anne')
const bob = denyKey('subject', 'user:bob')
const deny = (key: string, until: Date | null = null) =>
  database.query(
    `insert into revocations (kind, key, until, reason, created_at) values ('subject', $1, $2, 'tests', now())
     on conflict (kind, key) do update set until = excluded.until`,
    [key, until],
  )
const lift = (key: string) => database.query('delete from revocations where key = $1', [key])
const number = async (): Promise<number> => {
  const [row] = await database.query<{ version: number }>('select version from revocation_feed')
  return row?.version ?? -1
}
/** Which server answers from now on. */
async function promote(timeline: number | null): Promise<void> {
  await database.query(
    `create or replace function server_timeline() returns bigint language sql as 'select ${timeline}::bigint'`,
  )
}

async function follow(options: Partial<RevocationFeedOptions> = {}): Promise<RevocationFeed> {
  // One that did not open goes on hearing what later tests notify.
  const [toldNow, loggedNow] = [told, logged]
  const feed = await openRevocationFeed({
    database: asking(),
    clock: { now: () => Date.now() },
    log: (...line) => loggedNow.push(line),
    elapsed: () => passed,
    pollMs: 600_000,
    ...options,
  })
  opened.push(feed)
  feed.onChange(({ kind, key }) => toldNow.push([kind, key, feed.current]))
  return feed
}

function asking(by: 'connection' | 'pool' = 'pool'): Database {
  const askedNow = asked
  return {
    ...database,
    async query<Row extends object>(...statement: Parameters<Database['query']>) {
      askedNow.push(by)
      if (failure !== undefined) throw failure
      return database.query<Row>(...statement)
    },
  }
}

describe('a feed that is alone with its database', () => {
  /** Told by the test of what changed, in place of its database. */
  async function followTold() {
    const { promise, resolve } = Promise.withResolvers<(payload: string) => void>()
    const feed = await follow({ database: { ...asking(), onNotice: resolve } })
    return { feed, notice: await promise }
  }

  test('reads the list once as it opens, and takes nothing in it for a change', async () => {
    await deny('user:anne')
    await deny('user:bob', new Date(5_000))
    const effects: number[] = []
    const feed = await follow({ onEffect: (seconds) => effects.push(seconds) })
    expect([asked, effects, feed.current]).toEqual([['pool'], [], await number()])
    expect([feed.isDenied([anne], Number.MAX_SAFE_INTEGER), feed.isDenied([bob], 4_999)]).toEqual([
      true,
      true,
    ])
    expect(feed.isDenied([bob], 5_000)).toBe(false)
    const strangers = [denyKey('subject', 'user:x'), denyKey('agent', 'user:anne')]
    expect([feed.isDenied([], 0), feed.isDenied(strangers, 0)]).toEqual([false, false])
    expect(feed.isDenied([...strangers, anne], 0)).toBe(true)
  })

  test('tells each change in its order, before it is current, and how long it took', async () => {
    const effects: number[] = []
    const feed = await follow({ onEffect: (seconds) => effects.push(seconds) })
    const before = await number()
    await database.transaction(async (sql) => {
      await sql.query(`insert into revocations values ('subject', 'user:bob', null, 'tests', now())`)
      await sql.query(`insert into revocations values ('agent', 'bot', null, 'tests', now())`)
      await sql.query(`insert into clients (client_id, kind) values ($1, 'person')`, [crypto.randomUUID()])
      await sql.query(`delete from revocations where key = 'user:bob'`)
    })
    expect(feed.current).toBeUndefined()
    await feed.refresh()
    expect(told).toEqual([
      ['subject', 'user:bob', undefined],
      ['agent', 'bot', undefined],
      ['registry', 'clients', undefined],
      ['subject', 'user:bob', undefined],
    ])
    expect([feed.current, effects.length]).toEqual([before + 4, 4])
    for (const seconds of effects) expect(seconds).toSatisfy((s) => s >= 0 && s < 600)
    const keys = [denyKey('agent', 'bot'), bob, denyKey('registry', 'clients')]
    expect(keys.map((key) => feed.isDenied([key], 0))).toEqual([true, false, false])
  })

  test('takes a change of a delegation for none of the list', async () => {
    const feed = await follow()
    await database.query(`select revocation_feed_changed('delegation', 'd_1', null, false)`)
    await feed.refresh()
    expect(told).toEqual([['delegation', 'd_1', undefined]])
    expect(feed.isDenied([denyKey('delegation', 'd_1')], 0)).toBe(false)
  })

  test('is not made to look by what it knows already, and is by whatever else it is told', async () => {
    const { feed, notice } = await followTold()
    const known = await number()
    for (const payload of [known, known - 1]) notice(`${payload}`)
    expect([feed.current, asked.length]).toEqual([known, 1])
    for (const payload of [`${known + 1}`, 'what']) {
      notice(payload)
      expect(feed.current).toBeUndefined()
      await expect.poll(() => feed.current).toBe(known)
    }
  })

  test('believes nothing that it was told of while it read', async () => {
    const { feed, notice } = await followTold()
    const reading = feed.refresh()
    await Promise.resolve()
    notice('what')
    expect(feed.current).toBeUndefined()
    await reading
    expect(feed.current).toBeUndefined()
    await expect.poll(() => feed.current).toBe(await number())
  })

  test('looks again by itself where a look failed, says so once, and never for nothing', async () => {
    const feed = await follow({ pollMs: 5 })
    failure = new Error('gone')
    await deny('user:anne')
    await expect.poll(() => asked.length).toBeGreaterThan(5)
    expect(feed.current).toBeUndefined()
    expect(logged).toEqual([['authority_unheard', { reason: 'gone' }]])
    failure = undefined
    await expect.poll(() => logged).toHaveLength(2)
    expect(logged[1]).toEqual(['authority_heard'])
    expect([feed.current, feed.isDenied([anne], 0)]).toEqual([await number(), true])
    const looks = asked.length
    await delay(50)
    expect(asked).toHaveLength(looks)
    // Nobody else can have changed anything.
    passed += 3_600_000
    expect([feed.isHeard, feed.current]).toEqual([true, await number()])
    feed.assertHeard()
  })

  test('looks no more once it is over', async () => {
    const feed = await follow({ pollMs: 5 })
    failure = new Error('gone')
    await deny('user:anne')
    await expect.poll(() => asked.length).toBeGreaterThan(3)
    await feed[Symbol.asyncDispose]()
    const looks = asked.length
    await delay(50)
    expect(asked).toHaveLength(looks)
  })

  test.each([
    ['before all others', 0],
    ['between two', 1],
    ['after all others', 2],
  ])('reads all anew where a change is missing %s', async (_, missing) => {
    await deny('user:anne')
    await deny('user:bob', new Date(5_000))
    const feed = await follow()
    const before = await number()
    await database.transaction(async (sql) => {
      await sql.query(`delete from revocations where key = 'user:anne'`)
      await sql.query(`insert into revocations values ('agent', 'bot', null, 'tests', now())`)
      await sql.query(`update revocations set until = null where key = 'user:bob'`)
      await sql.query('set constraints all immediate')
      await sql.query('delete from revocation_feed_changes where version = $1', [before + 1 + missing])
    })
    await feed.refresh()
    expect(told).toEqual([['all', '', undefined]])
    expect([feed.current, await number()]).toEqual([before + 3, before + 3])
    const keys = [anne, denyKey('agent', 'bot'), bob]
    expect(keys.map((key) => feed.isDenied([key], Date.now()))).toEqual([false, true, true])
  })

  test('reads all anew where as many changes have other numbers', async () => {
    const feed = await follow()
    await database.transaction(async (sql) => {
      for (const key of ['user:anne', 'user:bob'])
        await sql.query(`insert into revocations values ('subject', $1, null, 'tests', now())`, [key])
      await sql.query('set constraints all immediate')
      await sql.query(
        `update revocation_feed_changes set version = version + 1, key = 'user:x' where key = 'user:bob'`,
      )
    })
    await feed.refresh()
    expect([told[0], feed.isDenied([bob], 0)]).toEqual([['all', '', undefined], true])
    await database.query('update revocation_feed set version = version + 1')
  })

  test('answers nobody from when its database is older than it, for good', async () => {
    await deny('user:anne')
    const feed = await follow()
    await database.query('update revocation_feed set version = version - 1')
    await expect(feed.refresh()).rejects.toThrow('older')
    await database.query('update revocation_feed set version = version + 1')
    await feed.refresh()
    expect([feed.isHeard, feed.current, feed.areClocksApart]).toEqual([false, undefined, false])
    expect(() => feed.assertHeard()).toThrow('the database went back in time')
  })

  test('does not open where the database has no row to say what counts', async () => {
    await expect(follow({ database: { ...asking(), query: async () => [] } })).rejects.toThrow(
      'no row of authority',
    )
  })

  test('compares no clocks', async () => {
    const clock = { now: () => Date.now() + 36_000_000 }
    const feed = await follow({ clock, comparesClocks: true })
    expect([feed.isHeard, feed.areClocksApart]).toEqual([true, false])
  })

  test.each([
    ['of the database', 36_000_000, 0],
    ['of this process', -36_000_000, -36_000_000],
  ])('forgets what is over for an hour by the clock %s where that is the one behind', async (_, ms, by) => {
    const now = Date.now()
    const hour = 3_600_000
    const ends = [hour + 60_000, hour, hour - 60_000].map((ago) => now + by - ago)
    for (const [index, end] of ends.entries()) await deny(`user:${index}`, new Date(end))
    const feed = await follow({ clock: { now: () => now + ms } })
    await feed.sweep()
    const isKept = ends.map((end, index) => feed.isDenied([denyKey('subject', `user:${index}`)], end - 1))
    expect(isKept).toEqual([false, false, true])
  })

  test('forgets changes after an hour, and says how many', async () => {
    for (const key of ['user:anne', 'user:bob', 'user:eve']) await deny(key)
    await database.query(
      `update revocation_feed_changes set at = now() - interval '61 minutes' where key <> 'user:eve'`,
    )
    await database.query(
      `update revocation_feed_changes set at = now() - interval '59 minutes' where key = 'user:eve'`,
    )
    const feed = await follow()
    expect([await feed.sweep(), await feed.sweep()]).toEqual([2, 0])
    expect(await database.query('select key from revocation_feed_changes')).toEqual([{ key: 'user:eve' }])
  })
})

describe('a feed that other processes share the database of', () => {
  let connections: { readonly heard: (payload: string) => void; readonly on: unknown; isClosed: boolean }[]
  beforeEach(() => {
    connections = []
  })

  /** As native Postgres does it; of what this process commits it tells nothing by itself. */
  const followOthers = (options: Partial<RevocationFeedOptions> = {}) => {
    const opening = connections
    return follow({
      database: {
        ...asking(),
        onNotice: () => undefined,
        async openListener(heard, on) {
          const connection = { heard, on, isClosed: false }
          opening.push(connection)
          const close = async () => {
            connection.isClosed = true
          }
          return { query: asking('connection').query, [Symbol.asyncDispose]: close }
        },
      },
      ...options,
    })
  }
  const hear = async () => connections.at(-1)?.heard(`${await number()}`)

  test('reads by a connection that listens, once by the pool as it opens, and closes it in the end', async () => {
    const feed = await followOthers()
    expect(connections).toMatchObject([{ on: undefined, isClosed: false }])
    expect(asked.splice(0)).toEqual(['connection', 'pool'])
    await deny('user:anne')
    await hear()
    expect(feed.current).toBeUndefined()
    await expect.poll(() => feed.current).toBe(await number())
    expect([asked.splice(0), feed.isDenied([anne], 0)]).toEqual([['connection'], true])
    await feed.refresh()
    expect(asked).toEqual(['pool'])
    await feed[Symbol.asyncDispose]()
    expect(connections).toMatchObject([{ isClosed: true }])
  })

  test('finds what it was not told by looking all the time, and by another connection after a failure', async () => {
    const feed = await followOthers({ pollMs: 5 })
    await deny('user:anne')
    await expect.poll(() => feed.isDenied([anne], 0)).toBe(true)
    failure = new Error('gone')
    await expect.poll(() => connections.length).toBeGreaterThan(3)
    expect(logged).toEqual([['authority_unheard', { reason: 'gone' }]])
    await lift('user:anne')
    failure = undefined
    await expect.poll(() => feed.isDenied([anne], 0)).toBe(false)
    await expect.poll(() => logged.length).toBe(2)
    expect(logged[1]).toEqual(['authority_heard'])
    expect(connections.filter(({ isClosed }) => !isClosed)).toHaveLength(1)
  })

  test('believes what it holds for a second, and answers for five', async () => {
    const feed = await followOthers()
    const known = await number()
    passed = 1_000
    expect([feed.current, feed.isHeard]).toEqual([known, true])
    passed = 1_001
    expect([feed.current, feed.isHeard]).toEqual([undefined, true])
    passed = 5_000
    feed.assertHeard()
    expect(feed.isHeard).toBe(true)
    passed = 5_001
    expect(feed.isHeard).toBe(false)
    expect(() => feed.assertHeard()).toThrow(
      expect.objectContaining({
        code: 'authorization_unavailable',
        headers: { 'retry-after': '5' },
        message: 'changes of authority were not heard for long',
      }),
    )
    await feed.refresh()
    feed.assertHeard()
    expect([feed.current, feed.areClocksApart]).toEqual([known, false])
  })

  test('hears no server that another one has replaced, and any that does not tell', async () => {
    await promote(7)
    const feed = await followOthers()
    const known = await number()
    await deny('user:anne')
    await promote(6)
    await expect(feed.refresh()).rejects.toThrow('not primary any more')
    expect([told, feed.isDenied([anne], 0)]).toEqual([[], false])
    await promote(null)
    await feed.refresh()
    expect([told.splice(0), feed.current]).toEqual([[['subject', 'user:anne', known]], known + 1])
    // Also where all of the list came from one that does not tell.
    await database.query('update revocation_feed set version = version + 1')
    await feed.refresh()
    expect(told).toEqual([['all', '', known + 1]])
    await promote(6)
    await expect(feed.refresh()).rejects.toThrow('not primary any more')
    await promote(7)
    await feed.refresh()
    expect(told).toHaveLength(1)
  })

  test('reads all anew of a server that took over', async () => {
    await promote(7)
    const feed = await followOthers()
    const known = await number()
    await promote(8)
    await feed.refresh()
    await feed.refresh()
    expect(told).toEqual([['all', '', known]])
    await promote(7)
    await expect(feed.refresh()).rejects.toThrow('not primary any more')
  })

  /** As an administrator of the machine sets it. */
  function settable() {
    let ms = 0
    return {
      clock: { now: () => Date.now() + ms },
      set: (to: number) => {
        ms = to
      },
    }
  }

  test('answers nobody while its clock and the database’s are apart, and says so', async () => {
    const { clock, set } = settable()
    const feed = await followOthers({ clock, comparesClocks: true })
    feed.assertHeard()
    for (const [ms, own] of [
      [3_600_000, 'ahead'],
      [-3_600_000, 'behind'],
    ] as const) {
      set(ms)
      await feed.refresh()
      expect([feed.isHeard, feed.areClocksApart, feed.current]).toEqual([false, true, undefined])
      expect(() => feed.assertHeard()).toThrow(
        'the clocks of this process and of the database are minutes apart',
      )
      expect(logged.pop()).toEqual(['clocks_apart', { own, seconds: expect.closeTo(3_600, -2) }])
      set(0)
      await feed.refresh()
      expect([feed.isHeard, feed.areClocksApart, logged.pop()]).toEqual([true, false, ['clocks_together']])
    }
  })

  test('compares clocks as it reads all, too', async () => {
    const { clock, set } = settable()
    set(3_600_000)
    const feed = await followOthers({ clock, comparesClocks: true })
    expect([feed.isHeard, feed.areClocksApart]).toEqual([false, true])
  })

  test('compares none of a server that another one has replaced, and none unless it is asked to', async () => {
    const { clock, set } = settable()
    await promote(7)
    const [feed, other] = [await followOthers({ clock, comparesClocks: true }), await followOthers({ clock })]
    await promote(6)
    set(3_600_000)
    await expect(feed.refresh()).rejects.toThrow('not primary any more')
    await promote(7)
    await other.refresh()
    expect([feed.areClocksApart, other.areClocksApart, other.isHeard]).toEqual([false, false, true])
  })
})
