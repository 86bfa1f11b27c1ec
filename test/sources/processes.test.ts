import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { lockPrefixes } from '../../src/store/prefixes.ts'
import type { Database } from '../../src/store/sql.ts'
import { noteUnread } from '../../src/store/unread.ts'
import { needsPostgres } from '../support/native.ts'
import { openSourceWorld, type SourceWorld } from './world.ts'

/** Before each statement outside a transaction. */
let before: (statement: string) => Promise<void> = async () => undefined
const watched = (database: Database): Database => ({
  ...database,
  async query(text, values) {
    await before(text)
    return database.query(text, values)
  },
})

let at: SourceWorld
beforeAll(async () => {
  at = await openSourceWorld({ wrap: watched })
})
beforeEach(() => {
  before = async () => undefined
  return at.reset()
})
afterAll(() => at?.[Symbol.asyncDispose]())

/** Once, before the first statement that holds these words. */
function meanwhile(words: string, work: () => Promise<unknown>): void {
  before = async (statement) => {
    if (!statement.includes(words)) return
    before = async () => undefined
    await work()
  }
}
const services = () => at.world.database.query(`select name from services where name like 'source/%'`)
const rights = async () => {
  const found: string[] = []
  for await (const { relation, object } of at.world.service.fga.read({
    user: 'service:source/wiki',
    object: 'collection:',
  }))
    found.push(`${relation} ${object}`)
  return found.sort()
}

describe('a process that stands still while another one removes its source', () => {
  test('registers no service of it afterwards', async () => {
    await at.add()
    meanwhile('select name, collections, prefixes from services', async () => {
      await at.world.database.query(`update leases set holder = 'another' where object = 'source:wiki'`)
      await at.world.database.query('delete from sources')
    })
    await at.sync()
    expect(await services()).toEqual([])
    expect(await rights()).toEqual([])
  })

  test('does not take a new source of the same id away', async () => {
    await at.add()
    await at.sync()
    await at.call('dan', 'POST', '/sources/wiki', { action: 'remove' })
    meanwhile('select tuple from source_tuples', async () => {
      await at.world.database.query(`update leases set holder = 'another' where object = 'source:wiki'`)
    })
    await at.sync()
    expect(await services()).toEqual([{ name: 'source/wiki' }])
    expect(await rights()).toEqual(['tagger collection:wiki', 'writer collection:wiki'])
    expect(await at.world.database.query('select state from sources')).toEqual([{ state: 'removing' }])
  })
})

describe('a source that is due, and not active any more when it is taken,', () => {
  const pause = () => at.call('dan', 'POST', '/sources/wiki', { action: 'pause' })

  test('is not read where it was paused', async () => {
    at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
    await at.add()
    meanwhile('insert into leases', pause)
    await at.sync()
    expect(at.wiki.calls).toEqual([])
    expect(await services()).toEqual([])
  })

  test('is not read on one administrator’s word where it was removed and proposed anew', async () => {
    at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
    await at.add()
    await at.call('dan', 'POST', '/sources/wiki', { action: 'remove' })
    meanwhile('insert into leases', async () => {
      await at.world.database.query('delete from sources')
      const proposal = { id: 'wiki', kind: 'wiki', settings: {}, collections: ['wiki'] }
      expect((await at.call('dan', 'POST', '/sources', proposal)).status).toBe(200)
    })
    await at.sync()
    expect(at.wiki.calls).toEqual([])
    expect(await services()).toEqual([])
  })
})

test('a source that no process reads says so ten minutes after it was due, until one does', async () => {
  await at.add()
  await at.sync()
  const problem = async () => (await at.shown()).source.problem
  const due = (minutes: number) =>
    at.world.database.query('update sources set next_at = now() - make_interval(mins => $1)', [minutes])
  await due(9)
  await noteUnread(at.world.database, 'sources')
  expect(await problem()).toBeNull()
  await due(11)
  await noteUnread(at.world.database, 'sources')
  expect(await problem()).toContain('No process reads it')
  await at.sync()
  expect(await problem()).toBeNull()
})

describe('what may not be withdrawn', () => {
  const withoutRight = () =>
    at.world.service.fga.write({
      deletes: [{ user: 'service:source/wiki', relation: 'writer', object: 'collection:wiki' }],
    })
  const live = () =>
    at.world.database.query<{ id: string }>(
      `select id from documents where source = 'source/wiki' and withdrawn_at is null`,
    )

  test('is not taken for gone by a purge: it stays hidden, is named, and goes with the next one', async () => {
    at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
    await at.add({ purge_days: 0 })
    await at.sync()
    at.wiki.remove('plan')
    meanwhile('with counted as', withoutRight)
    await at.sync()
    expect(await live()).toHaveLength(1)
    expect(await at.reads('wiki/plan')).toBe(404)
    expect(await at.shown()).toMatchObject({
      source: { missing: 1, problem: expect.stringContaining('no right to withdraw it') },
    })
    await at.sync()
    expect(await live()).toEqual([])
    expect(await at.shown()).toMatchObject({ source: { missing: 0, items: 0, problem: null } })
  })

  test('keeps nothing behind it from being purged, however much there is of it', async () => {
    const names = [...Array.from({ length: 11 }, (_, index) => `a${String(index).padStart(2, '0')}`), 'z']
    for (const name of names) at.wiki.put(name, { text: `Zeppelin ${name}.`, readers: ['anne'] })
    await at.add()
    await at.sync()
    for (const name of names) at.wiki.remove(name)
    await at.sync()
    await at.world.database.query(`update documents set collection = 'wiki-more' where id like 'wiki/a%'`)
    await at.call('dan', 'POST', '/sources/wiki', { action: 'purge', documents: names.length })
    await at.sync()
    expect((await live()).map(({ id }) => id).sort()).toEqual(
      names.slice(0, -1).map((name) => `wiki/${name}`),
    )
    await at.world.database.query(`update documents set collection = 'wiki' where id like 'wiki/a%'`)
    await at.sync()
    expect(await live()).toEqual([])
  })

  test('is not forgotten by a removal, which goes on with the next', async () => {
    at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
    await at.add()
    await at.sync()
    await at.call('dan', 'POST', '/sources/wiki', { action: 'remove' })
    meanwhile('select document from source_items', withoutRight)
    await at.sync()
    expect(await live()).toHaveLength(1)
    expect(await at.world.database.query('select document from source_items')).toHaveLength(1)
    await at.sync()
    expect(await live()).toEqual([])
    expect(await services()).toEqual([])
  })

  test('keeps nothing else from being removed, whatever comes after it', async () => {
    for (const name of ['a', 'b', 'c']) at.wiki.put(name, { text: `Zeppelin ${name}.`, readers: ['@team'] })
    at.wiki.groups.set('team', ['anne'])
    await at.add()
    await at.sync()
    await at.world.database.query(`update documents set collection = 'wiki-more' where id = 'wiki/a'`)
    await at.call('dan', 'POST', '/sources/wiki', { action: 'remove' })
    await at.sync()
    expect((await live()).map(({ id }) => id)).toEqual(['wiki/a'])
    expect(await at.world.database.query(`select from source_tuples where tuple like '% member %'`)).toEqual(
      [],
    )
    expect((await at.shown()).source.problem).toContain('no right to withdraw it')
    await at.world.database.query(`update documents set collection = 'wiki' where id = 'wiki/a'`)
    await at.sync()
    expect(await live()).toEqual([])
    expect(await services()).toEqual([])
  })

  test('is only what the source sent: another writer’s document of such an id keeps nothing from being removed', async () => {
    const { database } = at.world
    await at.add()
    await database.query(
      `insert into documents (id, collection, source) values ('wiki/theirs', 'wiki-more', 'import')`,
    )
    await at.sync()
    await database.query(`insert into source_items (source, document) values ('wiki', 'wiki/theirs')`)
    await at.call('dan', 'POST', '/sources/wiki', { action: 'remove' })
    await at.sync()
    expect(await database.query('select id from sources')).toEqual([])
    await database.query(`delete from documents where id = 'wiki/theirs'`)
  })
})

describe('a directory that is registered at the same moment', needsPostgres, () => {
  let native: SourceWorld
  beforeAll(async () => {
    native = await openSourceWorld({ backend: { database: 'postgres', openfga: 'engine' } })
  })
  afterAll(() => native?.[Symbol.asyncDispose]())

  /** Asks while a directory with this beginning is on its way in, and has not come in yet. */
  async function besideDirectory<T>(ask: () => Promise<T>): Promise<T> {
    const { database } = native.world
    await database.query('delete from directories')
    const { promise: isHeld, resolve: hold } = Promise.withResolvers<void>()
    // Outside of the transaction, as another process would.
    const answer = isHeld.then(ask)
    answer.catch(() => undefined)
    await database.transaction(async (sql) => {
      await lockPrefixes(sql)
      await sql.query(
        `insert into directories (name, issuer, namespace, prefix, key_attribute, created_at)
         values ('d', 'https://d.example', 'd', 'wiki/people/', 'externalId', now())`,
      )
      hold()
      await new Promise((resolve) => setTimeout(resolve, 300))
    })
    return answer
  }

  test('waits for no row that a source’s confirmation or a service’s change holds: they wait for it first', async () => {
    const { database, service } = native.world
    const proposal = { id: 'wiki', kind: 'wiki', settings: {}, collections: ['wiki'] }
    const { body } = await native.call('dan', 'POST', '/sources', proposal)
    const { digest } = body['source'] as { readonly digest: string }
    const free = async (ask: () => Promise<unknown>, rows: string) => {
      const { promise: isHeld, resolve: hold } = Promise.withResolvers<void>()
      const asked = isHeld.then(ask)
      asked.catch(() => undefined)
      await database.transaction(async (sql) => {
        await lockPrefixes(sql)
        hold()
        await expect
          .poll(() =>
            sql.query('select from pg_stat_activity where pg_backend_pid() = any(pg_blocking_pids(pid))'),
          )
          .not.toHaveLength(0)
        await sql.query(`${rows} for update nowait`)
      })
      return asked
    }
    const confirm = () => native.call('carol', 'POST', '/sources/wiki', { action: 'confirm', digest })
    expect(await free(confirm, `select from sources where id = 'wiki'`)).toMatchObject({ status: 200 })
    const save = () =>
      service.services.save({ name: 'other-feeder', collections: ['wiki-more'], prefixes: [] })
    await free(save, 'select from settings')
    await database.query('delete from sources')
  })

  test('keeps a source from being proposed and from being confirmed, and a service from its prefix', async () => {
    const proposal = { id: 'wiki', kind: 'wiki', settings: {}, collections: ['wiki'] }
    const propose = () => native.call('dan', 'POST', '/sources', proposal)
    expect(await besideDirectory(propose)).toMatchObject({ status: 422, body: { field: 'id' } })
    await native.world.database.query('delete from directories')
    const { body } = await propose()
    const { digest } = body['source'] as { readonly digest: string }
    const confirm = () => native.call('carol', 'POST', '/sources/wiki', { action: 'confirm', digest })
    expect(await besideDirectory(confirm)).toMatchObject({ status: 422, body: { field: 'id' } })
    const { services: registry } = native.world.service
    await native.world.database.query('delete from sources')
    const save = () => registry.save({ name: 'feeder', collections: ['wiki-more'], prefixes: ['wiki/'] })
    await expect(besideDirectory(save)).rejects.toMatchObject({ field: 'prefixes' })
  })
})
