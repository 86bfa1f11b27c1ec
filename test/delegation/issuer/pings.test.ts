import { randomBytes } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  type BackchannelRequests,
  createBackchannelRequests,
  createPingHandler,
  startPings,
} from '../../../src/delegation/oauth/ciba/requests.ts'
import { type Clients, createClients } from '../../../src/delegation/registry/clients.ts'
import { type Boss, createBoss } from '../../../src/jobs/boss.ts'
import { createPgBossQueue } from '../../../src/jobs/pgboss.ts'
import { createGuardedFetch } from '../../../src/outbound/guarded-fetch.ts'
import { createSeal } from '../../../src/store/encryption.ts'
import type { Database } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { drain, lapse, makeDue, tasksOf } from '../../support/tasks.ts'
import { movableClock } from '../world.ts'
import { type Notified, openNotified } from './notified.ts'

const token = 'the-clients-own-token'

/** One process of the service, as far as telling clients goes. */
interface PingProcess extends AsyncDisposable {
  /** Hands over all that is due, and waits until each was tried. */
  run(): Promise<void>
  /** Hands over all that is due, begins it, and does not look again. */
  dispatch(): Promise<void>
  wake(approval: string): void
}

describeDatabases('a ping', (kind) => {
  let database: Database
  let notified: Notified
  let clock: ReturnType<typeof movableClock>
  let requests: BackchannelRequests
  let seal: ReturnType<typeof createSeal>
  const logged: unknown[] = []
  const opened: PingProcess[] = []
  const starting: Promise<unknown>[] = []
  let boss: Boss
  /** Of this test's queue. */
  let name: string
  let count = 0

  beforeAll(async () => {
    database = await openTestDatabase(kind)
    notified = await openNotified()
    boss = createBoss({ database, onError: (error) => logged.push(error.message) })
    await database.query(
      `insert into agents (id, owner, title, purpose, issuer, sub) values ('bot', 'user:dan', 'Bot', 'tests', 'i', 'bot')`,
    )
    await database.query(
      `insert into delegations (id, subject, agent, sub_agents, scope, purpose, standing, expires_at, state, created_at)
       values ('d', 'user:anne', 'bot', '{}', '{}', 'tests', false, now() + interval '9 hours', 'live', now())`,
    )
  })
  afterAll(async () => {
    await notified?.[Symbol.asyncDispose]()
    await boss?.[Symbol.asyncDispose]()
    await database?.close()
  })
  beforeEach(async () => {
    count += 1
    name = `pings-${count}`
    clock = movableClock()
    seal = createSeal(randomBytes(32))
    requests = createBackchannelRequests({ sql: database, seal, clock, log: (...line) => logged.push(line) })
    await registered(notified.url)
  })
  afterEach(async () => {
    starting.length = 0
    for (const one of opened.splice(0)) await one[Symbol.asyncDispose]()
    notified.answer = { status: 204 }
    notified.told.length = 0
    logged.length = 0
    for (const table of ['backchannel_requests', 'approvals', 'clients'])
      await database.query(`delete from ${table}`)
  })

  const registered = (notificationEndpoint: string) =>
    createClients({ sql: database }).register(
      { clientId: 'app', kind: 'agent', agent: 'bot' },
      { title: 'App', redirectUris: [], jwks: { keys: [{ kty: 'EC' }] }, notificationEndpoint },
    )

  /** Nothing is done by its timers here. */
  function aProcess(
    allowedOrigins: readonly string[] = [notified.origin],
    clients: Pick<Clients, 'registered'> = createClients({ sql: database }),
  ): PingProcess {
    const lookup = async () => [{ address: '127.0.0.1', family: 4 }]
    const log = (...line: unknown[]) => void logged.push(line)
    const queue = createPgBossQueue({
      database,
      boss,
      name,
      pollSeconds: 3_600,
      onError: (error) => logged.push(error.message),
    })
    const fetch = createGuardedFetch({ lookup, allowedOrigins })
    const started = queue
      .start(createPingHandler({ requests, clients, fetch, clock, log }))
      .then(() => startPings({ database, queue, requests, log, everyMs: 3_600_000 }))
    starting.push(started)
    const process: PingProcess = {
      async run() {
        // Where one begins on PGlite it takes what another one runs.
        await Promise.all(starting)
        await (await started).dispatch()
        await drain(database, name, queue)
      },
      async dispatch() {
        await Promise.all(starting)
        await (await started).dispatch()
      },
      wake: (approval) => void started.then((pings) => pings.wake(approval)),
      async [Symbol.asyncDispose]() {
        await (await started)[Symbol.asyncDispose]()
        await queue.close()
      },
    }
    opened.push(process)
    return process
  }

  /** A question, and an auth_req_id that stands for it. */
  async function asked(id: string, state = 'approved', { isTold = true } = {}) {
    const approval = `ap_${id}`
    const at = new Date(clock.now())
    await database.query(
      `insert into approvals (id, subject, agent, client, delegation, front, asked, digest, state, created_at, expires_at,
         decided_at, answer, txn)
       values ($1, 'user:anne', 'bot', 'app', 'd', 'ciba', '{}', $1, $2, $3, $3, $4, $5, 't')`,
      [
        approval,
        state,
        at,
        state === 'approved' || state === 'denied' ? at : null,
        state === 'approved' ? {} : null,
      ],
    )
    const about = {
      subject: 'user:anne',
      agent: 'bot',
      client: 'app',
      delegation: 'd',
      expiresAt: at,
    } as const
    await requests.save(id, { approval, ...about }, isTold ? token : undefined)
  }

  const told = () =>
    notified.told.map(({ body }) => (JSON.parse(body) as { auth_req_id: string }).auth_req_id)
  const left = () => database.query('select 1 from backchannel_requests where ping is not null')

  test.each(['approved', 'denied'])(
    'of an answer (%s) is one request that says which, and no more',
    async (state) => {
      await asked('one', state)
      const pings = aProcess()
      for (let run = 0; run < 3; run += 1) await pings.run()
      expect(notified.told).toMatchObject([
        {
          method: 'POST',
          path: '/ciba',
          headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
          body: '{"auth_req_id":"one"}',
        },
      ])
      expect(await left()).toEqual([])
    },
  )

  test('is for answers: not while it is asked, not when its time is over, not for clients that poll', async () => {
    for (const state of ['pending', 'info_requested', 'expired']) await asked(state, state)
    await asked('polled', 'approved', { isTold: false })
    await aProcess().run()
    expect(notified.told).toEqual([])
  })

  test.each([301, 307, 400, 401, 403, 404, 410])(
    'that is answered %i is not sent again, nor anywhere else',
    async (status) => {
      notified.answer = { status, headers: { location: `${notified.origin}/elsewhere` } }
      await asked('one')
      const pings = aProcess()
      await pings.run()
      await makeDue(database, name)
      await pings.run()
      expect(notified.told.map(({ path }) => path)).toEqual(['/ciba'])
      expect(logged).toEqual([['ping_refused', { client: 'app', status }]])
    },
  )

  test('that fails for a while is tried five times within seven minutes, and then given up', async () => {
    notified.answer = { status: 503 }
    await asked('one')
    const pings = aProcess()
    const waited: number[] = []
    for (let run = 0; run < 8; run += 1) {
      await pings.run()
      for (const { state, waits } of await tasksOf(database, name))
        if (state === 'created') waited.push(waits)
      await makeDue(database, name)
    }
    expect(waited).toEqual([2, 10, 60, 300])
    expect(told()).toEqual(['one', 'one', 'one', 'one', 'one'])
    expect(await left()).toEqual([])
  })

  test('to an address inside, or one that is not https, asks nobody and is not tried again', async () => {
    for (const url of [
      notified.url,
      'https://inside.test/ciba',
      'https://127.0.0.1/ciba',
      'https://[::1]/ciba',
    ]) {
      await registered(url)
      await asked(url)
      await aProcess([]).run()
    }
    expect(notified.told).toEqual([])
    expect(logged.map((line) => JSON.stringify(line))).toEqual([
      expect.stringContaining('ping_failed'),
      ...Array.from({ length: 3 }, () => expect.stringContaining('ping_failed')),
    ])
    expect(await left()).toEqual([])
    for (const secret of [token, 'inside.test', '127.0.0.1'])
      expect(JSON.stringify(logged)).not.toContain(secret)
  })

  test('of twenty answers is sent once each, whoever of five processes looks', async () => {
    const ids = Array.from({ length: 20 }, (_, index) => `id-${String(index).padStart(2, '0')}`)
    for (const id of ids) await asked(id)
    await Promise.all(Array.from({ length: 5 }, () => aProcess().run()))
    await aProcess().run()
    expect(told().sort()).toEqual(ids)
  })

  /**
   * Stands still with the first client that it is asked for. Not with another: its look at the start may come
   * late, and take the same task again.
   */
  function standingOnce(
    stopped: PromiseWithResolvers<void>,
    goesOn: PromiseWithResolvers<void>,
  ): Clients['registered'] {
    let isFirst = true
    return async (id) => {
      if (isFirst) {
        isFirst = false
        stopped.resolve()
        await goesOn.promise
      }
      return createClients({ sql: database }).registered(id)
    }
  }

  test('that a process took and stood still with is left to who took it since', async () => {
    await asked('one')
    const [stopped, slow] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const registered = standingOnce(stopped, slow)
    const standing = aProcess([notified.origin], { registered })
    await standing.dispatch()
    await stopped.promise
    clock.move(30_000)
    await lapse(database, name)
    await aProcess().run()
    slow.resolve()
    await expect.poll(() => logged).toContain('This process stood still: others tell it.')
    await standing[Symbol.asyncDispose]()
    await aProcess().run()
    expect(told()).toEqual(['one'])
  })

  test('that a process took and stood still with is not tried sooner than who took it since says', async () => {
    await asked('one')
    const [stopped, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const registered = standingOnce(stopped, goesOn)
    notified.answer = { status: 503 }
    const standing = aProcess([notified.origin], { registered })
    await standing.dispatch()
    await stopped.promise
    await lapse(database, name)
    await aProcess().run()
    goesOn.resolve()
    await expect.poll(() => told().length).toBe(2)
    await expect.poll(() => logged.length).toBe(2)
    await standing[Symbol.asyncDispose]()
    expect(await tasksOf(database, name)).toEqual([
      { state: 'completed', waits: expect.any(Number) },
      { state: 'created', waits: 2 },
    ])
  })

  test('that a process took and died with is taken up once it is not heard of', async () => {
    await asked('one')
    const [begun, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<undefined>()]
    const dead = aProcess([notified.origin], {
      registered: () => {
        begun.resolve()
        return ended.promise
      },
    })
    await dead.dispatch()
    await begun.promise
    expect(told()).toEqual([])
    await lapse(database, name)
    await aProcess().run()
    ended.resolve(undefined)
    expect(told()).toEqual(['one'])
  })

  test('is kept so that a copy of the database tells nobody: no id, no token, nothing that opens in another row', async () => {
    await asked('first-id')
    await asked('second-id')
    const rows = await database.query<{ kept: string }>(
      'select (id_hash, ping)::text as kept from backchannel_requests',
    )
    // All that the queue is given of them.
    const tasks = await database.transaction((sql) => requests.takePings(sql))
    await database.query('update backchannel_requests set ping_queued = false')
    for (const secret of ['first-id', 'second-id', token])
      for (const form of ['utf8', 'hex', 'base64url'] as const)
        expect(JSON.stringify([rows, tasks])).not.toContain(Buffer.from(secret).toString(form))
    // Swapped by whoever may write there: neither client hears of the other's.
    await database.query(
      `update backchannel_requests a set ping = b.ping from backchannel_requests b where a.id_hash <> b.id_hash`,
    )
    await aProcess().run()
    expect(told()).toEqual([])
    expect(logged).toEqual([
      ['pings_unreadable', { count: 1 }],
      ['pings_unreadable', { count: 1 }],
    ])
  })

  test('that does not open any more takes none of the others along, and is given up', async () => {
    await asked('one')
    await database.query(`update backchannel_requests set ping = decode('00', 'hex')`)
    await asked('two')
    await aProcess().run()
    expect(told()).toEqual(['two'])
    expect(await left()).toEqual([])
    expect(logged).toEqual([['pings_unreadable', { count: 1 }]])
  })

  test('is not begun once the service stops, and what is under way is waited for', async () => {
    await asked('one')
    const pings = aProcess()
    const running = pings.dispatch()
    await pings[Symbol.asyncDispose]()
    await running
    await asked('two')
    pings.wake('ap_two')
    expect(told()).not.toContain('two')
  })

  test('goes with its request, an hour after that is over', async () => {
    await asked('one')
    // Not for a process whose clock is hours ahead.
    clock.move(12 * 3_600_000)
    expect(await requests.sweep()).toBe(0)
    const overFor = (seconds: number) =>
      database.query('update backchannel_requests set expires_at = now() - make_interval(secs => $1)', [
        seconds,
      ])
    await overFor(3_500)
    expect(await requests.sweep()).toBe(0)
    await overFor(3_601)
    expect(await requests.sweep()).toBe(1)
    await aProcess().run()
    expect(told()).toEqual([])
  })

  test('stays while its request lasts by the clock of a process that is hours behind', async () => {
    clock.move(-5 * 3_600_000)
    await asked('one')
    await database.query('update backchannel_requests set expires_at = $1', [new Date(clock.now())])
    expect(await requests.sweep()).toBe(0)
  })
})
