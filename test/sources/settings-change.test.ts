import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Database, Sql } from '../../src/store/sql.ts'
import { runRemit } from '../cli/remit.ts'
import { movedOrigin } from './wiki.ts'
import { openSourceWorld, type SourceWorld } from './world.ts'

/** A statement in a transaction that holds these words fails, once. */
let failsAt: string | undefined
const failing = (database: Database): Database => ({
  ...database,
  transaction: (work) =>
    database.transaction((sql) => {
      const query: Sql['query'] = (text, values) => {
        if (failsAt === undefined || !text.includes(failsAt)) return sql.query(text, values)
        failsAt = undefined
        throw new Error('The database is away.')
      }
      return work({ query })
    }),
})

let at: SourceWorld
beforeAll(async () => {
  at = await openSourceWorld({ wrap: failing })
})
afterAll(() => at?.[Symbol.asyncDispose]())
beforeEach(async () => {
  await at.reset()
  at.wiki.groups.set('team', ['anne'])
  for (const name of ['a', 'b', 'c']) at.wiki.put(name, { text: `Zeppelin ${name}.`, readers: ['anne'] })
  at.wiki.put('d', { text: 'Zeppelin d.', readers: ['@team'] })
  await at.add()
  await run()
  expect(await readers()).toEqual(['anne'])
})

const run = async () => {
  await at.wake()
  await at.world.service.sources.runDue()
}
const act = (user: string, body: object) => at.call(user, 'POST', '/sources/wiki', body)
const propose = (settings: object, user = 'dan') => act(user, { action: 'set', settings })
const change = async () => {
  const { body } = await at.call('carol', 'GET', '/sources/wiki')
  return body['proposed_change'] as { readonly digest: string } | null
}
const confirm = async (user = 'carol') =>
  act(user, { action: 'confirm', digest: (await change())?.digest ?? 'none' })
async function set(settings: object): Promise<void> {
  expect(await propose(settings)).toMatchObject({ status: 200 })
  expect(await confirm()).toMatchObject({ status: 200 })
}
/** Those of these who read all four pages; none reads some. */
async function readers(users: readonly string[] = ['anne', 'bob']): Promise<string[]> {
  const found: string[] = []
  for (const user of users) {
    const statuses = await Promise.all(['a', 'b', 'c', 'd'].map((name) => at.reads(`wiki/${name}`, user)))
    if (statuses.every((status) => status === 200)) found.push(user)
    else expect([user, ...new Set(statuses)]).toEqual([user, 404])
  }
  return found
}
/** The wiki's anne is bob here. */
const other = { people: { anne: 'bob' } }

describe('other settings of a source', () => {
  test('change nothing before a second administrator confirms exactly them', async () => {
    await propose(other)
    const { digest } = (await change()) ?? {}
    expect(await change()).toEqual({
      origin: 'file:///srv/wiki',
      settings: other,
      secret: null,
      proposed_by: 'user:dan',
      digest: expect.any(String),
    })
    await run()
    expect(await readers()).toEqual(['anne'])
    expect(await confirm('dan')).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect(await confirm('anne')).toMatchObject({ status: 403 })
    expect(await act('carol', { action: 'confirm', digest: 'x' })).toMatchObject({
      status: 409,
      body: { field: 'digest' },
    })
    // What was looked at is not what is proposed now, word for word as it is.
    await propose(other)
    expect(await act('carol', { action: 'confirm', digest })).toMatchObject({ body: { field: 'digest' } })
    await at.world.service.administrators.remove('user:dan')
    expect(await confirm()).toMatchObject({ status: 403 })
    await at.world.service.administrators.add('user:dan', ['security.write'])
    expect(await readers()).toEqual(['anne'])
    const agreed = (await change())?.digest
    expect(await confirm()).toMatchObject({
      status: 200,
      body: { source: { settings: other, confirmed_by: 'user:carol', digest: agreed } },
    })
    expect(await change()).toBeNull()
    expect(await confirm()).toMatchObject({ status: 409 })
    const rows = await at.world.database.query<{ event: string; subject: string }>(
      `select event, subject from decision_records where event like 'source_%' order by record_no desc limit 2`,
    )
    expect(rows).toEqual([
      { event: 'source_confirmed', subject: 'user:carol' },
      { event: 'source_change_proposed', subject: 'user:dan' },
    ])
  })

  test('are refused by what is wrong with them, and are for a source that two agreed on, and that stays', async () => {
    const refused: readonly (readonly [string, object])[] = [
      ['settings.secret_ref', { settings: { secret_ref: 'OPENFGA_API_TOKEN' } }],
      ['settings.base', { settings: { base: 'https://attacker.example' } }],
      ['secret', { settings: {}, secret: 'OPENFGA_API_TOKEN' }],
      ['collections', { settings: {}, collections: ['wiki-more'] }],
      ['kind', { settings: {}, kind: 'folder' }],
    ]
    for (const [field, body] of refused)
      expect(await act('dan', { action: 'set', ...body }), field).toMatchObject({
        status: 422,
        body: { field },
      })
    expect(await change()).toBeNull()
    await at.call('dan', 'POST', '/sources', {
      id: 'other',
      kind: 'wiki',
      settings: {},
      collections: ['wiki-more'],
    })
    const proposed = { action: 'set', settings: {} }
    expect(await at.call('dan', 'POST', '/sources/other', proposed)).toMatchObject({ status: 409 })
    expect(await at.call('dan', 'POST', '/sources/none', proposed)).toMatchObject({ status: 404 })
    await act('dan', { action: 'remove' })
    expect(await propose({})).toMatchObject({ status: 409 })
  })
})

describe('once it is confirmed, a change', () => {
  test('takes away at once, and opens nothing before all of the source was read by it', async () => {
    await set(other)
    expect(await readers()).toEqual([])
    expect(await at.shown()).toMatchObject({ source: { fresh: false, items: 4 } })
    // Cut short after some of them.
    at.wiki.before = (call) => {
      at.wiki.isClosed = call === 'text d'
    }
    at.wiki.calls.length = 0
    await run()
    expect(at.wiki.calls).toContain('revision b')
    expect(await at.shown()).toMatchObject({ source: { failures: 1 } })
    expect(await readers()).toEqual([])
    at.wiki.isClosed = false
    let whileRead: readonly string[] = []
    at.wiki.before = async (call) => {
      if (call === 'revision d') whileRead = await readers()
    }
    await run()
    expect(whileRead).toEqual([])
    expect(await readers()).toEqual(['bob'])
    await at.sync()
    expect(await at.finds('zeppelin')).toEqual([])
    expect(await at.finds('zeppelin', 'bob')).toHaveLength(4)
  })

  test('lets nothing that was confirmed before it count, where groups are no matter and items open one by one', async () => {
    await at.reset()
    for (const name of ['a', 'b']) at.wiki.put(name, { text: `Zeppelin ${name}.`, readers: ['anne'] })
    at.wiki.pageSize = 1
    await at.add({ settings: { groups: false } })
    await run()
    expect(await at.reads('wiki/b')).toBe(200)
    await set({ ...other, groups: false })
    const whileRead: number[] = []
    at.wiki.before = async (call) => {
      if (call !== 'text b') return
      for (const [name, user] of [
        ['a', 'bob'],
        ['a', 'anne'],
        ['b', 'bob'],
        ['b', 'anne'],
      ])
        whileRead.push(await at.reads(`wiki/${name}`, user))
    }
    await run()
    expect(whileRead).toEqual([200, 404, 404, 404])
    expect(await at.reads('wiki/b', 'bob')).toBe(200)
  })

  test('keeps a reading by the settings of before from writing anything, wherever that stands', async () => {
    for (const where of ['directory', 'changes', 'text b', 'revision d']) {
      await act('dan', { action: 'sync', all: true })
      const [before] = await at.world.database.query<{ cursor: string }>('select cursor from sources')
      let isChanged = false
      at.wiki.before = async (call) => {
        if (call !== where || isChanged) return
        isChanged = true
        await set({ people: { anne: where === 'directory' || where === 'text b' ? 'bob' : 'anne' } })
      }
      await run()
      expect(isChanged, where).toBe(true)
      const [row] = await at.world.database.query(
        'select cursor, crawled_at, groups_at, items_at from sources',
      )
      expect(row, where).toEqual({ ...before, crawled_at: null, groups_at: null, items_at: null })
      expect(await readers(), where).toEqual([])
      at.wiki.before = () => undefined
      await run()
      expect(await readers(), where).toEqual([where === 'directory' || where === 'text b' ? 'bob' : 'anne'])
    }
  })

  test('hides and keeps what the source does not have by it', async () => {
    await set(other)
    at.wiki.pages.delete('a')
    await run()
    expect(await at.shown()).toMatchObject({ source: { missing: 1, items: 4 } })
    expect(await at.reads('wiki/a', 'bob')).toBe(404)
    expect(await at.reads('wiki/b', 'bob')).toBe(200)
  })

  test('is all there or not at all, wherever the database fails', async () => {
    for (const words of ['update sources s set origin', 'delete from source_changes', 'decision_records']) {
      await propose(other)
      const { digest } = (await change()) ?? {}
      failsAt = words
      expect((await act('carol', { action: 'confirm', digest })).status, words).toBe(500)
      failsAt = undefined
      expect(await readers()).toEqual(['anne'])
      expect(await change()).toMatchObject({ digest })
    }
  })

  test('of a paused source counts as well: it stays paused, and closed', async () => {
    await act('dan', { action: 'pause' })
    await set(other)
    await run()
    expect(await readers()).toEqual([])
    await act('dan', { action: 'resume' })
    await run()
    expect(await readers()).toEqual(['bob'])
  })
})

describe('whom two administrators said an account is', () => {
  const say = async (account: string, subject: string): Promise<void> => {
    const people = { action: 'propose', people: [{ account, subject }] }
    const { body } = await at.call('dan', 'POST', '/sources/wiki/people', people)
    const { digest } = body['proposed'] as { readonly digest: string }
    await at.call('carol', 'POST', '/sources/wiki/people', { action: 'confirm', digest })
  }
  beforeEach(async () => {
    at.wiki.groups.set('team', ['7'])
    await set({ people: { 7: null } })
    await run()
    await say('7', 'user:bob')
    await run()
    expect(await at.reads('wiki/d', 'bob')).toBe(200)
  })

  test('it stays under other settings of the same system', async () => {
    await set({ people: { 7: null, 8: null } })
    await run()
    expect(await at.reads('wiki/d', 'bob')).toBe(200)
  })
})

test('settings that read another system are refused, at the proposal and at the yes', async () => {
  const refused = { status: 422, body: { field: 'settings' } }
  expect(await propose({ base: movedOrigin })).toMatchObject(refused)
  expect(await change()).toBeNull()
  // As if they had been proposed when the kind called it the same system.
  await at.world.database.query(
    `insert into source_changes (source, origin, settings, proposed_by) values ('wiki', $1, $2::jsonb, 'user:dan')`,
    [movedOrigin, JSON.stringify({ base: movedOrigin })],
  )
  expect(await confirm()).toMatchObject(refused)
  expect(await readers()).toEqual(['anne'])
})

describe('the command line', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  async function remit(...argv: readonly string[]) {
    const { out, ...rest } = await runRemit(at.world, argv)
    return { ...rest, out: out.trim().split('\n') }
  }

  test('proposes other settings, shows and confirms them, and makes and ends a hook', async () => {
    const file = join(folder, 'wiki.json')
    await writeFile(file, JSON.stringify(other))
    const proposed = await remit('source', 'set', 'wiki', '--settings', file, '--as', 'dan')
    expect(proposed.code, proposed.said).toBe(0)
    const { out } = await remit('source', 'status', 'wiki', '--as', 'carol')
    const line = out.find((one) => one.includes('confirm it:')) ?? ''
    expect(out).toContain(
      '  user:dan proposes: wiki at file:///srv/wiki; settings: {"people":{"anne":"bob"}}; credential: none',
    )
    const digest = line.split(' ').at(-1) ?? ''
    const confirmed = await remit('source', 'confirm', 'wiki', '--digest', digest, '--as', 'carol')
    expect(confirmed.out[0]).toContain('wiki  active, not read to its end yet')
    const hook = await remit('source', 'hook', 'wiki', '--as', 'dan')
    expect(hook.out).toEqual([expect.stringMatching(/^[\w-]{43}$/)])
    expect(hook.said).toContain('POST /sources/wiki/hook')
    expect((await remit('source', 'status', 'wiki', '--as', 'dan')).out).toContain(
      '  a hook wakes it, called last: never',
    )
    const ended = await remit('source', 'hook', 'wiki', '--end', '--as', 'dan')
    expect([ended.out, ended.said]).toEqual([[''], 'No call wakes wiki any more.\n'])
  })
})
