import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createClosing } from '../../src/sources/closing.ts'
import { hideItems } from '../../src/sources/state.ts'
import type { Database, Sql } from '../../src/store/sql.ts'
import { needsPostgres } from '../support/native.ts'
import { openSourceWorld, type SourceWorld } from './world.ts'

test('what is too old is closed, and opened again, a page after the other, of each source in turn', async () => {
  await using at = await openSourceWorld()
  const { database } = at.world
  const names = ['a', 'b', 'c', 'd', 'e']
  for (const name of names) at.wiki.put(name, { readers: ['anne'] })
  await at.add()
  await at.sync()
  const countClosed = async () =>
    (await database.query('select from documents where closed and source is not null')).length
  const turned: number[] = []
  const counting: Sql = {
    async query(text, values) {
      const countBefore = await countClosed()
      const rows = await database.query<never>(text, values)
      const count = Math.abs((await countClosed()) - countBefore)
      if (count > 0) turned.push(count)
      return rows
    },
  }
  const close = createClosing(counting, Date.now, 2)
  await at.age(2 * 86_400)
  await close()
  expect(await countClosed()).toBe(5)
  await at.age(-2 * 86_400)
  await close()
  expect(await countClosed()).toBe(0)
  expect(turned).toEqual([2, 2, 1, 2, 2, 1])

  // Of another one, which never was confirmed.
  await database.query(
    `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds, crawl_seconds, max_age_seconds, purge_days)
     values ('a-big', 'none', 'file:///srv/none', '{}', '{wiki-more}', 'paused', 'user:dan', 1, 1, 1000, 1)`,
  )
  const open = () =>
    database.query(
      `insert into documents (id, collection, source) select 'a-big/' || n, 'wiki-more', 'source/a-big' from generate_series(1, 5) as n
       on conflict (id) do update set closed = false`,
    )
  const order: unknown[] = []
  let isAway = false
  const ordered: Sql = {
    async query(text, values) {
      const [of] = values ?? []
      if (text.includes('as materialized')) order.push(of)
      if (isAway && of === 'source/a-big') throw new Error('It takes too long.')
      return database.query<never>(text, values)
    },
  }
  await open()
  await at.age(2 * 86_400)
  const inTurn = createClosing(ordered, Date.now, 2)
  await inTurn()
  expect(await countClosed()).toBe(10)
  const [big, wiki] = ['source/a-big', 'source/wiki']
  expect(order).toEqual([big, wiki, big, wiki, big, wiki, big, wiki])

  // One that fails keeps no other one open, and is closed at the next look.
  await open()
  await at.age(-2 * 86_400)
  isAway = true
  const other = createClosing(ordered, Date.now, 2)
  await expect(other()).rejects.toThrow('It takes too long.')
  expect(await countClosed()).toBe(0)
  isAway = false
  await other()
  expect(await countClosed()).toBe(5)
}, 120_000)

test('an item that gets too old before its source does is looked for each minute, also where the clock is set back', async () => {
  await using at = await openSourceWorld()
  at.wiki.put('a', { readers: ['anne'] })
  await at.add()
  await at.sync()
  let [now, looks] = [0, 0]
  const counting: Sql = {
    query(text, values) {
      if (text.includes('as materialized')) looks += 1
      return at.world.database.query<never>(text, values)
    },
  }
  const close = createClosing(counting, () => now)
  const looksAfter = async (ms: number) => {
    now += ms
    looks = 0
    await close()
    return looks > 0
  }
  const looked: boolean[] = []
  for (const ms of [0, 59_999, 2, 0, -3_600_000, 0]) looked.push(await looksAfter(ms))
  expect(looked).toEqual([true, false, true, false, true, false])
}, 120_000)

test('what is too old leaves no gap in an answer, and takes no other document’s place, before anything is closed', async () => {
  await using at = await openSourceWorld()
  const names = Array.from({ length: 40 }, (_, at) => `page-${at}`)
  for (const name of names) at.wiki.put(name, { text: 'Zeppelin, zeppelin.', readers: ['anne'] })
  const access = { viewers: ['user:anne'] }
  await at.world.put({
    'mine/1': { text: 'A zeppelin of mine, with much else to say of it.', access },
    'mine/2': { text: 'What else there is to say of what leaves on Monday, a zeppelin.', access },
  })
  await at.add({ permissions_max_age_seconds: 3_600 })
  await at.settle()
  const ask = async (mode: string) => {
    const token = await at.world.token({ user: 'anne' })
    const answer = await at.world.retrieve(token, { query: 'zeppelin', top_k: 5, mode })
    const { txn: _, freshness: __, ...same } = answer as typeof answer & { readonly freshness: unknown }
    return same
  }
  const modes = ['keyword', 'vector', 'hybrid']
  for (const mode of modes) expect((await ask(mode)).results).toHaveLength(5)
  await at.age(3_700)
  const before = await Promise.all(modes.map(ask))
  const [swept] = await at.world.database.query('select count(*) as closed from documents where closed')
  expect(swept).toEqual({ closed: 0 })
  await createClosing(at.world.database, Date.now)()
  await expect.poll(() => Promise.all(modes.map(ask)), { timeout: 20_000 }).toEqual(before)
  for (const answer of before) {
    expect(answer.complete).toBe(true)
    expect(answer.results.map(({ document_id }) => document_id).sort()).toEqual(['mine/1', 'mine/2'])
  }
}, 120_000)

test('a process that reads no sources closes what is too old, and reads nothing', async () => {
  await using at = await openSourceWorld()
  const { service, database } = at.world
  at.wiki.put('a', { readers: ['anne'] })
  await at.add()
  await at.sync()
  at.wiki.put('b', { readers: ['anne'] })
  await at.age(2 * 86_400)
  await at.wake()
  service.sources.start({ reads: false })
  const closed = () =>
    database.query<{ id: string; closed: boolean }>(
      'select id, closed from documents where source is not null',
    )
  await expect.poll(closed).toEqual([{ id: 'wiki/a', closed: true }])
  // Long enough for two looks.
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect(await closed()).toEqual([{ id: 'wiki/a', closed: true }])
}, 120_000)

describe('a document that is hidden while a new text of it comes into force', needsPostgres, () => {
  let at: SourceWorld
  let beforeShown: (() => Promise<void>) | undefined
  const watched = (database: Database): Database => ({
    ...database,
    transaction: (work) =>
      database.transaction((sql) =>
        work({
          async query(text, values) {
            const meanwhile = text.includes('insert into chunk_texts') ? beforeShown : undefined
            if (meanwhile !== undefined) beforeShown = undefined
            await meanwhile?.()
            return sql.query(text, values)
          },
        }),
      ),
  })
  beforeAll(async () => {
    at = await openSourceWorld({ backend: { database: 'postgres', openfga: 'engine' }, wrap: watched })
  }, 120_000)
  afterAll(() => at?.[Symbol.asyncDispose]())

  test('stays hidden', async () => {
    const { database } = at.world
    at.wiki.put('a', { readers: ['anne'] })
    await at.add()
    await at.sync()
    const [isShown, isHidden] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let wasWaitedFor = false
    beforeShown = () => {
      isShown.resolve()
      return isHidden.promise
    }
    at.wiki.put('a', { text: 'Another text.' })
    const syncing = at.sync()
    await isShown.promise
    await database.transaction(async (sql) => {
      await hideItems(sql, 'wiki', ['wiki/a'], { reason: 'It cannot be brought.' })
      isHidden.resolve()
      for (let attempt = 0; attempt < 600 && !wasWaitedFor; attempt += 1) {
        await new Promise((later) => setTimeout(later, 50))
        const waiting = await sql.query(
          'select from pg_stat_activity where pg_backend_pid() = any(pg_blocking_pids(pid))',
        )
        wasWaitedFor = waiting.length > 0
      }
    })
    const closedAfter: unknown[] = []
    const until = performance.now() + 30_000
    // Without a pause: as it was when the text came into force.
    while (closedAfter.length === 0 && performance.now() < until)
      closedAfter.push(
        ...(await database.query(
          `select d.closed from documents d join document_texts t using (doc_no) where d.id = 'wiki/a' and t.text like '%Another%'`,
        )),
      )
    expect(wasWaitedFor).toBe(true)
    expect(closedAfter).toEqual([{ closed: true }])
    await syncing
  }, 120_000)
})
