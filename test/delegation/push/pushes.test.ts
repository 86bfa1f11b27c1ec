import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createNotices } from '../../../src/delegation/notify/notices.ts'
import { OutboundError } from '../../../src/outbound/error.ts'
import { createGuardedFetch, createSystemFetch } from '../../../src/outbound/guarded-fetch.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openPushWorld, type PushWorld } from './world.ts'

describeDatabases('a notice', (kind) => {
  let world: PushWorld
  beforeAll(async () => {
    world = await openPushWorld(kind)
  })
  afterEach(() => world.endProcesses())
  afterAll(() => world?.[Symbol.asyncDispose]())

  let count = 0
  const somebody = () => {
    count += 1
    return `somebody-${count}`
  }

  /** Once: where the same process takes its task back, it goes on. Tells whether it stood still. */
  function standingStill() {
    const [stopped, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let hasStood = false
    async function standStill(): Promise<boolean> {
      if (hasStood) return false
      hasStood = true
      stopped.resolve()
      await goesOn.promise
      return true
    }
    return { stopped, goesOn, standStill }
  }

  test('is sent once, however many processes look for it at once, and however often', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    const processes = [world.process(), world.process(), world.process()]
    const approval = await world.ask(person)
    await Promise.all([...processes, ...processes].map((one) => one.run()))
    await Promise.all(processes.map((one) => one.run(approval)))
    world.clock.move(60_000)
    await Promise.all(processes.map((one) => one.run()))
    expect(browser.messages).toHaveLength(1)
    expect(await world.tasks(approval)).toEqual([{ state: 'completed', waits: 0 }])
  })

  test('reaches everybody else, where what one browser left is sealed by a key that is gone', async () => {
    const [lost, person] = [somebody(), somebody()]
    await world.browser(lost)
    await world.database.query(`update push_subscriptions set sealed = '\\x00' where person = $1`, [lost])
    await world.ask(lost)
    const browser = await world.browser(person)
    await world.ask(person)
    await world.process().run()
    expect(browser.messages).toHaveLength(1)
  })

  test('that two processes take in one moment is sent by the first alone', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    await world.ask(person)
    const [taken, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    // The first one has taken it, and its statement is not committed yet.
    const first = world.database.transaction(async (sql) => {
      await createNotices({ sql, clock: world.clock }).take(sql)
      taken.resolve()
      await held.promise
    })
    await taken.promise
    const second = world.process().run()
    await delay(100)
    held.resolve()
    await Promise.all([first, second])
    expect(browser.messages).toHaveLength(0)
  })

  test('that a process died with while it sent it is sent by the next one, once', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    const approval = await world.ask(person)
    const begun = Promise.withResolvers<void>()
    const dead = world.process({
      fetch: (_url, { signal }) =>
        new Promise((_resolve, reject) => {
          begun.resolve()
          signal?.addEventListener('abort', () => reject(signal.reason))
        }),
    })
    await dead.dispatch()
    await begun.promise
    await world.lapse()
    const process = world.process()
    await process.run()
    await process.run()
    await dead[Symbol.asyncDispose]()
    expect(browser.messages).toHaveLength(1)
    expect(await world.tasks(approval)).toMatchObject([{ state: 'completed' }])
  })

  test('that a process took and stood still with is left to who took it since', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    const approval = await world.ask(person)
    const { stopped, goesOn, standStill } = standingStill()
    const standing = world.process({
      subscriptions: {
        ...world.subscriptions,
        async of(one) {
          await standStill()
          return world.subscriptions.of(one)
        },
      },
    })
    await standing.dispatch()
    await stopped.promise
    world.clock.move(30_000)
    await world.lapse()
    await world.process().run()
    goesOn.resolve()
    await expect.poll(() => world.logged).toContain('This process stood still: others tell it.')
    await standing[Symbol.asyncDispose]()
    await world.process().run()
    expect(browser.messages).toHaveLength(1)
    expect(await world.tasks(approval)).toMatchObject([{ state: 'completed' }])
  })

  test('that was told is not to be told again because of a process that stood still with it', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    const approval = await world.ask(person)
    const { stopped, goesOn, standStill } = standingStill()
    const standing = world.process({
      async fetch(url, init) {
        if (!(await standStill())) return createSystemFetch([new URL(url).origin])(url, init)
        throw new OutboundError('unreachable', { sent: false, code: 'ECONNREFUSED' })
      },
    })
    await standing.dispatch()
    await stopped.promise
    await world.lapse()
    await world.process().run(approval)
    const failures = () => world.logged.filter((line) => line.includes('push_failed')).length
    const before = failures()
    goesOn.resolve()
    await expect.poll(failures).toBe(before + 1)
    await standing[Symbol.asyncDispose]()
    expect(browser.messages).toHaveLength(1)
    expect(await world.tasks(approval)).toMatchObject([{ state: 'completed' }])
  })

  test('of a new passkey and of a new link is sent once each, for a day, and of none that was taken away', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    const { database, clock } = world
    await database.query('insert into people (key, name) values ($1, $1)', [person])
    const passkey = (id: string) =>
      database.query(
        `insert into passkeys (id, person, public_key, counter, backup_eligible, backed_up, title, created_at, verifies_from)
         values ($1, $2, '', 0, false, false, 'x', $3, $3)`,
        [`${person} ${id}`, person, new Date(clock.now())],
      )
    await passkey('removed')
    await database.query('delete from passkeys where person = $1', [person])
    await world.process().run()
    expect(browser.messages).toHaveLength(0)
    await passkey('one')
    await database.query(`insert into account_links values ('https://elsewhere.test', $1, $1, $2)`, [
      person,
      new Date(clock.now()),
    ])
    await Promise.all([world.process(), world.process()].map((one) => one.run()))
    clock.move(60_000)
    await world.process().run()
    expect(browser.messages).toHaveLength(2)
    clock.move(86_400_000)
    await database.query('delete from push_notices')
    await world.process().run()
    expect(browser.messages).toHaveLength(2)
  })

  test('of a new passkey or link is no news of somebody else, or of before, that was told already', async () => {
    const [thief, person] = [somebody(), somebody()]
    const [thiefs, browser] = [await world.browser(thief), await world.browser(person)]
    const { database, clock } = world
    for (const key of [thief, person])
      await database.query('insert into people (key, name) values ($1, $1)', [key])
    const add = async (key: string) => {
      const values = [key, new Date(clock.now())]
      await database.query(
        `insert into passkeys (id, person, public_key, counter, backup_eligible, backed_up, title, created_at, verifies_from)
         values ('one', $1, '', 0, false, false, 'x', $2, $2)`,
        values,
      )
      await database.query("insert into account_links values ('https://up.test', 'one', $1, $2)", values)
      await world.process().run()
      for (const table of ['passkeys', 'account_links'])
        await database.query(`delete from ${table} where person = $1`, [key])
    }
    await add(thief)
    expect(thiefs.messages).toHaveLength(2)
    await add(person)
    expect(browser.messages).toHaveLength(2)
    clock.move(1_000)
    await add(person)
    expect(browser.messages).toHaveLength(4)
  })

  test('that nobody was woken for is found by the look that each process takes by itself', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    await world.ask(person)
    await using _process = world.process({ everyMs: 50 })
    await expect.poll(() => browser.messages.length).toBe(1)
  })

  test.each([404, 410])('ends a subscription that the push service knows no more (%i)', async (status) => {
    const person = somebody()
    const [gone, kept] = [await world.browser(person), await world.browser(person)]
    gone.answers.push(status)
    const approval = await world.ask(person)
    await world.process().run()
    expect(kept.messages).toHaveLength(1)
    expect(await world.subscriptions.count(person)).toBe(1)
    expect(await world.tasks(approval)).toMatchObject([{ state: 'completed' }, { state: 'completed' }])
  })

  test.each([429, 500, 503])('is tried again after %i, in that browser alone', async (status) => {
    const person = somebody()
    const [busy, well] = [await world.browser(person), await world.browser(person)]
    busy.answers.push(status)
    const approval = await world.ask(person)
    const process = world.process()
    await process.run()
    expect([busy.messages.length, well.messages.length]).toEqual([0, 1])
    expect(await world.tasks(approval)).toContainEqual({ state: 'created', waits: 2 })
    await world.makeDue()
    await process.run()
    expect([busy.messages.length, well.messages.length]).toEqual([1, 1])
  })

  test('waits as long as a busy push service wishes, within five minutes', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    browser.answers.push({ status: 429, headers: { 'retry-after': '120' } })
    browser.answers.push({ status: 503, headers: { 'retry-after': '86400' } })
    const approval = await world.ask(person, 3_600)
    const process = world.process()
    await process.run()
    expect(await world.tasks(approval)).toContainEqual({ state: 'created', waits: 120 })
    await world.makeDue()
    await process.run()
    expect(await world.tasks(approval)).toContainEqual({ state: 'created', waits: 300 })
    expect(browser.messages).toHaveLength(0)
    await world.makeDue()
    await process.run()
    expect(browser.messages).toHaveLength(1)
  })

  test('is given up after five tries, and the browser is told of the next question all the same', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    browser.answers.push(500, 500, 500, 500, 500)
    const approval = await world.ask(person, 86_000)
    const process = world.process()
    const waited: number[] = []
    for (let time = 0; time < 8; time += 1) {
      await process.run()
      for (const { state, waits } of await world.tasks(approval)) if (state === 'created') waited.push(waits)
      await world.makeDue()
    }
    expect(browser.messages).toHaveLength(0)
    expect(browser.answers).toHaveLength(0)
    expect(waited).toEqual([2, 10, 60, 300])
    expect(await world.tasks(approval)).toHaveLength(5)
    await world.ask(person)
    await process.run()
    expect(browser.messages).toHaveLength(1)
  })

  test.each([400, 401, 403, 413])('is not tried again where it was refused (%i)', async (status) => {
    const person = somebody()
    const browser = await world.browser(person)
    browser.answers.push(status)
    await world.ask(person)
    const process = world.process()
    await process.run()
    await world.makeDue()
    await process.run()
    expect(browser.messages).toHaveLength(0)
    expect(await world.subscriptions.count(person)).toBe(1)
  })

  test('follows no redirect: what it would be sent to is not asked', async () => {
    const person = somebody()
    const [browser, elsewhere] = [await world.browser(person), await world.browser(somebody())]
    const { endpoint: location } = elsewhere.subscription
    browser.answers.push({ status: 307, headers: { location } })
    await world.ask(person)
    const before = world.requests.length
    await world.process().run()
    expect(world.requests.slice(before)).toHaveLength(1)
    expect(elsewhere.messages).toHaveLength(0)
  })

  test('asks no address that is not public, whatever its name says by then, and forgets nobody for it', async () => {
    const person = somebody()
    const { keys } = (await world.browser(somebody())).subscription
    const owner = { person, session: 'none' }
    await world.subscriptions.save(owner, { endpoint: 'https://push.example/x', ...keys })
    await world.ask(person)
    const asked: string[] = []
    const fetch = createGuardedFetch({
      lookup: async (host) => {
        asked.push(host)
        return [{ address: '10.0.0.7', family: 4 }]
      },
      allowedOrigins: [],
    })
    await world.process({ fetch }).run()
    expect(asked).toEqual(['push.example'])
    expect(await world.subscriptions.count(person)).toBe(1)
  })

  test('is kept from a push service inside that no setting names, with one line of the log; once named it gets the next', async () => {
    const person = somebody()
    const browsers = [await world.browser(person), await world.browser(person)]
    const { origin } = new URL(browsers[0]?.subscription.endpoint ?? '')
    const [requests, lines] = [world.requests.length, world.logged.length]
    const process = world.process({ fetch: createSystemFetch([]) })
    for (const _ of [1, 2]) {
      const approval = await world.ask(person)
      await process.run()
      expect(await world.tasks(approval)).toMatchObject([{ state: 'completed' }, { state: 'completed' }])
    }
    expect(world.requests.slice(requests)).toEqual([])
    expect(world.logged.slice(lines)).toEqual([
      JSON.stringify({ event: 'push_origin_refused', origin, setting: 'PUSH_ALLOWED_ORIGINS' }),
    ])
    await world.endProcesses()
    await world.ask(person)
    await world.process().run()
    expect(browsers.map(({ messages }) => messages.length)).toEqual([1, 1])
  })

  test('writes down 20 origins that may not be asked at most, whatever people name', async () => {
    const lines = world.logged.length
    const process = world.process({ fetch: createSystemFetch([]) })
    for (let made = 0; made < 25; made += 1) {
      const person = somebody()
      const { keys } = (await world.browser()).subscription
      const endpoint = `https://10.0.0.${made}/x`
      await world.subscriptions.save({ person, session: 'none' }, { endpoint, ...keys })
      await world.ask(person)
    }
    await process.run()
    expect(world.logged.slice(lines)).toHaveLength(20)
  })

  test('is not sent once its question is answered or over', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    const [denied, blocked] = [await world.ask(person), await world.ask(person)]
    await world.ask(person, 30)
    const taken = await world.ask(person)
    await world.database.query(
      `update approvals set state = 'denied', decided_at = now(), blocked = (id = $2) where id = any($1)`,
      [[denied, blocked], blocked],
    )
    await world.database.query(
      `update delegations set state = 'revoked' where id = (select delegation from approvals where id = $1)`,
      [taken],
    )
    world.clock.move(31_000)
    await world.process().run()
    expect(browser.messages).toHaveLength(0)
  })

  test('is not tried again in a browser that was ended, nor once its question is answered', async () => {
    const person = somebody()
    const [browser, ended] = [await world.browser(person), await world.browser(person)]
    for (const one of [browser, ended]) one.answers.push(503)
    await world.ask(person)
    const process = world.process()
    await process.run()
    await world.subscriptions.end(person, ended.subscription.endpoint)
    await world.makeDue()
    await process.run()
    expect([browser.messages.length, ended.messages.length]).toEqual([1, 0])
    browser.answers.push(503)
    const answered = await world.ask(person)
    await process.run()
    expect(browser.answers).toEqual([])
    await world.database.query(`update approvals set state = 'denied', decided_at = now() where id = $1`, [
      answered,
    ])
    await world.makeDue()
    await process.run()
    expect(browser.messages).toHaveLength(1)
  })

  test('of a question that was put before somebody wished to be told is not sent afterwards', async () => {
    const person = somebody()
    await world.ask(person)
    const process = world.process()
    await process.run()
    const browser = await world.browser(person)
    world.clock.move(60_000)
    await process.run()
    expect(browser.messages).toHaveLength(0)
  })

  test('is sent to nobody while it is not known who may act, and not lost', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    await world.ask(person)
    let isOpen = false
    const assertOpen = () => {
      if (!isOpen) throw new Error('not heard')
    }
    const process = world.process({ assertOpen })
    await expect(process.run()).rejects.toThrow('not heard')
    expect(browser.messages).toHaveLength(0)
    isOpen = true
    await process.run()
    expect(browser.messages).toHaveLength(1)
  })

  test('that was under way when the process stopped is sent by the next one', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    browser.answers.push('slow')
    await world.ask(person)
    const process = world.process()
    await process.dispatch()
    await expect.poll(() => browser.answers).toEqual([])
    await process[Symbol.asyncDispose]()
    await world.makeDue()
    await world.process().run()
    expect(browser.messages).toHaveLength(1)
  })

  test('leaves no endpoint and no words of a push service in the log', async () => {
    const person = somebody()
    const browser = await world.browser(person)
    browser.answers.push(403)
    await world.ask(person)
    await world.process().run()
    const fetch = async () => {
      throw new OutboundError('unreachable', { sent: false, code: 'ECONNREFUSED' })
    }
    await world.ask(person)
    await world.process({ fetch }).run()
    const logged = world.logged.join('\n')
    expect(logged).toContain('"push_refused","status":403')
    expect(logged).toContain('unreachable')
    expect(logged).not.toMatch(/send\/|Why should I/)
  })

  test('is forgotten a week later, a browser that nobody has seen for 90 days too', async () => {
    const person = somebody()
    await world.browser(person)
    const approval = await world.ask(person)
    await world.process().run()
    const notices = createNotices({ sql: world.database, clock: world.clock })
    world.clock.move(7 * 86_400_000 - 1_000)
    await notices.sweep()
    expect(await world.isQueued(approval)).toBe(true)
    world.clock.move(2_000)
    await notices.sweep()
    expect(await world.isQueued(approval)).toBe(false)
    world.clock.move(83 * 86_400_000)
    expect(await world.subscriptions.sweep()).toBeGreaterThan(0)
    expect(await world.subscriptions.count(person)).toBe(0)
  })
})
