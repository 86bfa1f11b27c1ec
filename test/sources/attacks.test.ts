import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openSourceWorld, type SourceWorld } from './world.ts'

let at: SourceWorld
beforeAll(async () => {
  at = await openSourceWorld()
})
beforeEach(() => at.reset())
afterAll(() => at?.[Symbol.asyncDispose]())

const live = () =>
  at.world.database.query<{ id: string; closed: boolean }>(
    `select id, closed from documents where live_revision is not null and source like 'source/%' order by id`,
  )

describe('a page that is unshared and then gets a secret', () => {
  test.each(['changes', 'text plan', 'readers plan', 'revision plan'])(
    'never shows it to its earlier readers, wherever the source is read: before %s',
    async (moment) => {
      at.wiki.put('plan', { text: 'Zeppelin, public.', readers: ['anne', 'bob'] })
      at.wiki.put('other', { text: 'Zeppelin, too.', readers: ['anne'] })
      await at.add()
      await at.sync()
      at.wiki.put('plan', { text: 'Zeppelin, still public.' })
      let isDone = false
      at.wiki.before = (call) => {
        if (call !== moment || isDone) return
        isDone = true
        at.wiki.put('plan', { readers: ['bob'] })
        at.wiki.put('plan', { text: 'Zeppelin, a secret of bob.' })
      }
      await at.sync()
      expect(isDone).toBe(true)
      const texts = async (user: string) => {
        const token = await at.world.token({ user })
        const { results } = await at.world.retrieve(token, { query: 'zeppelin' })
        return results.map(({ text }) => text)
      }
      expect(await texts('anne')).not.toContain('Zeppelin, a secret of bob.')
      at.wiki.before = () => undefined
      await at.sync()
      expect(await texts('anne')).toEqual(['Zeppelin, too.'])
      expect(await texts('bob')).toEqual(['Zeppelin, a secret of bob.'])
    },
  )

  test('is hidden, with the reason, where it changes each time that it is read, and the others go on', async () => {
    at.wiki.put('plan', { text: 'Zeppelin, public.', readers: ['anne'] })
    at.wiki.put('other', { text: 'Zeppelin, too.', readers: ['anne'] })
    await at.add()
    await at.sync()
    at.wiki.put('plan', { text: 'Zeppelin, changing.' })
    at.wiki.put('other', { text: 'Zeppelin, also changed.' })
    at.wiki.before = (call) => {
      if (call === 'revision plan') at.wiki.put('plan', { text: 'Zeppelin, changed again.' })
    }
    await at.sync()
    expect(await at.finds('zeppelin')).toEqual(['wiki/other'])
    expect(await at.shown()).toMatchObject({
      source: { hidden: 1 },
      hidden: [{ document_id: 'wiki/plan', reason: 'It changed twice while it was read.' }],
    })
    at.wiki.before = () => undefined
    await at.sync()
    expect(await at.finds('zeppelin')).toEqual(['wiki/other', 'wiki/plan'])
    expect(await at.shown()).toMatchObject({ source: { hidden: 0 }, hidden: [] })
  })
})

describe('a source that lies, or is emptied', () => {
  const names = Array.from({ length: 30 }, (_, index) => `page-${String(index).padStart(2, '0')}`)
  beforeEach(async () => {
    at.wiki.pageSize = 50
    for (const name of names) at.wiki.put(name, { text: `Zeppelin of ${name}.`, readers: ['anne'] })
    await at.add({ purge_days: 7 })
    await at.sync()
    expect(await at.finds('zeppelin')).toHaveLength(20)
  })
  const later = () =>
    at.world.database.query(
      `update source_items set missing_at = missing_at - interval '8 days' where missing_at is not null`,
    )

  test('hides what is missing at once, keeps its text, and shows it again when it is back', async () => {
    for (const name of names.slice(1)) at.wiki.remove(name)
    await at.sync()
    expect(await at.finds('zeppelin')).toEqual(['wiki/page-00'])
    expect(await at.reads('wiki/page-01')).toBe(404)
    expect(await live()).toHaveLength(30)
    expect(await at.shown()).toMatchObject({ source: { missing: 29, hidden: 29 } })
    at.wiki.put('page-01', { text: 'Zeppelin of page-01.', readers: ['anne'] })
    await at.sync()
    expect(await at.finds('zeppelin')).toEqual(['wiki/page-00', 'wiki/page-01'])
  })

  test('purges a little by itself after its days, and much only after a typed yes to exactly that number', async () => {
    at.wiki.remove('page-29')
    await at.sync()
    expect(await live()).toHaveLength(30)
    await later()
    await at.sync()
    expect(await live()).toHaveLength(29)

    for (const name of names.slice(9, 29)) at.wiki.remove(name)
    await at.sync()
    await later()
    await at.sync()
    expect(await live()).toHaveLength(29)
    const purge = (documents: number) =>
      at.call('dan', 'POST', '/sources/wiki', { action: 'purge', documents })
    expect(await purge(19)).toMatchObject({ status: 409, body: { field: 'documents' } })
    expect(await purge(20)).toMatchObject({ status: 200 })
    await at.sync()
    expect(await live()).toHaveLength(9)
  })

  test('is read on, and purged of all else, where one that is missing cannot be withdrawn', async () => {
    const { database } = at.world
    await database.query(`create function no_end() returns trigger language plpgsql as
      $$ begin raise exception 'not this one'; end $$`)
    await database.query(`create trigger no_end before update of withdrawn_at on documents for each row
      when (new.withdrawn_at is not null and new.id = 'wiki/page-28') execute function no_end()`)
    try {
      for (const name of ['page-28', 'page-29']) at.wiki.remove(name)
      await at.sync()
      await later()
      await at.sync()
      expect((await live()).filter(({ id }) => id > 'wiki/page-27')).toMatchObject([{ id: 'wiki/page-28' }])
      expect(await at.reads('wiki/page-28')).toBe(404)
      expect((await at.shown()).source.problem).toMatch(/^wiki\/page-28 is gone, and stays hidden: /)
      expect(await database.query('select failures from sources')).toEqual([{ failures: 0 }])
    } finally {
      await database.query('drop trigger no_end on documents')
      await database.query('drop function no_end')
    }
  })

  test('confirms nothing and hides nothing where its listing ends without the end mark', async () => {
    at.wiki.loseCursors()
    at.wiki.isCutShort = true
    for (const name of names.slice(1)) at.wiki.pages.delete(name)
    const before = await confirmedAt()
    await at.sync()
    expect(await at.shown()).toMatchObject({ source: { missing: 0, hidden: 0 } })
    expect((await at.shown()).source.problem).toMatch(/not read to its end/)
    expect(await confirmedAt()).toEqual(before)
    at.wiki.isCutShort = false
    await at.sync()
    expect(await at.shown()).toMatchObject({ source: { missing: 29 } })
  })
})

const confirmedAt = () => at.world.database.query('select items_at from sources')

describe('a source that another process took over', () => {
  test.each(['changes', 'text plan', 'revision plan'])(
    'writes nothing more from then on: the lease is lost before %s',
    async (moment) => {
      at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
      await at.add()
      at.wiki.before = async (call) => {
        if (call === moment)
          await at.world.database.query(`update leases set holder = 'another' where object = 'source:wiki'`)
      }
      await at.sync()
      expect(await live()).toEqual([])
      expect(await at.world.database.query('select items_at, problem from sources')).toEqual([
        { items_at: null, problem: null },
      ])
      at.wiki.before = () => undefined
      await at.sync()
      expect(await at.finds('zeppelin')).toEqual(['wiki/plan'])
    },
  )

  test('stops where it is when it is paused meanwhile', async () => {
    at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
    await at.add()
    at.wiki.before = async (call) => {
      if (call === 'revision plan') await at.call('dan', 'POST', '/sources/wiki', { action: 'pause' })
    }
    await at.sync()
    expect(await live()).toEqual([])
  })
})

describe('a reading that stands still at its source', () => {
  const act = (user: string, body: object) => at.call(user, 'POST', '/sources/wiki', body)
  test.each<readonly [string, () => Promise<unknown>]>([
    ['it is paused', () => act('dan', { action: 'pause' })],
    ['it is removed', () => act('dan', { action: 'remove' })],
    [
      'two administrators gave it other settings',
      async () => {
        await act('dan', { action: 'set', settings: { people: { anne: 'bob' } } })
        const { body } = await at.call('carol', 'GET', '/sources/wiki')
        const { digest } = body['proposed_change'] as { readonly digest: string }
        expect(await act('carol', { action: 'confirm', digest })).toMatchObject({ status: 200 })
      },
    ],
    [
      'another process has it',
      () => at.world.database.query(`update leases set holder = 'another' where object = 'source:wiki'`),
    ],
  ])(
    'ends at the next look, with its lease and its requests, once %s',
    async (_, change) => {
      at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
      await at.add()
      const stands = Promise.withResolvers<AbortSignal | undefined>()
      at.wiki.before = (call, signal) => {
        if (call !== 'text plan') return
        stands.resolve(signal)
        return new Promise((_resolve, reject) =>
          signal?.addEventListener('abort', () => reject(signal.reason)),
        )
      }
      await at.wake()
      const reading = at.world.service.sources.runDue()
      const signal = await stands.promise
      await at.world.database.query(`update sources set next_at = now() + interval '1 hour'`)
      expect(signal?.aborted).toBe(false)
      await change()
      await at.world.service.sources.runDue()
      await reading
      expect(String(signal?.reason)).toContain('it was paused, removed or changed')
      expect(
        await at.world.database.query(
          `select from leases where object = 'source:wiki' and holder <> 'another'`,
        ),
      ).toEqual([])
      await at.world.database.query('delete from leases')
    },
    30_000,
  )
})

test('items that cannot be brought are hidden with their reason, and the others go on', async () => {
  at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
  at.wiki.put('odd', { text: 'Zeppelin, odd.', readers: ['anne'] })
  await at.add()
  await at.sync()
  expect(await at.finds('zeppelin')).toEqual(['wiki/odd', 'wiki/plan'])
  at.wiki.broken.set('odd', 'Its permissions cannot be said.')
  at.wiki.put('odd', { text: 'Zeppelin, odder.' })
  at.wiki.put('plan', { text: 'Zeppelin again.' })
  await at.sync()
  expect(await at.finds('zeppelin')).toEqual(['wiki/plan'])
  expect(await at.shown()).toMatchObject({
    hidden: [{ document_id: 'wiki/odd', reason: 'Its permissions cannot be said.' }],
  })
})

test('a name that holds a space makes nobody a member of another group, and its group is closed', async () => {
  at.wiki.groups.set('team', ['bob'])
  at.wiki.groups.set('team a', ['anne'])
  at.wiki.put('plan', { text: 'Zeppelin, a secret of team.', readers: ['@team'] })
  await at.add()
  await at.sync()
  expect([await at.finds('zeppelin'), await at.finds('zeppelin', 'bob')]).toEqual([[], ['wiki/plan']])
  expect((await at.shown()).source.problem).toContain('"wiki/team a" is not an id in Remit.')
  at.wiki.groups.delete('team a')
  await at.sync()
  expect([await at.finds('zeppelin'), await at.finds('zeppelin', 'bob')]).toEqual([[], ['wiki/plan']])
})

test('items whose ids Postgres or the index would not take are told by name, and the others go on', async () => {
  at.wiki.pageSize = 50
  at.wiki.put('bad\u0000page', { text: 'Zeppelin.', readers: ['anne'] })
  at.wiki.put('x'.repeat(5_000), { text: 'Zeppelin.', readers: ['anne'] })
  at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
  await at.add()
  await at.sync()
  expect(await at.finds('zeppelin')).toEqual(['wiki/plan'])
  expect(await at.shown()).toMatchObject({
    source: { failures: 0, items: 1 },
    nameless: [{ name: 'bad?page' }, { name: 'x'.repeat(500) }],
  })
})

test('a membership that OpenFGA got back from a backup, or lost, is put right by a reading of all', async () => {
  at.wiki.groups.set('team', ['anne', 'bob'])
  at.wiki.put('plan', { text: 'Zeppelin.', readers: ['@team'] })
  await at.add()
  await at.sync()
  at.wiki.groups.set('team', ['bob'])
  await at.sync()
  const { fga } = at.world.service
  const member = (user: string) => ({ user, relation: 'member', object: 'group:wiki/team' }) as const
  await fga.write({ writes: [member('user:anne')] })
  await fga.write({ deletes: [member('user:bob')] })
  await at.call('dan', 'POST', '/sources/wiki', { action: 'sync', all: true })
  await at.sync()
  expect([await at.finds('zeppelin'), await at.finds('zeppelin', 'bob')]).toEqual([[], ['wiki/plan']])

  // Of a group that is new, each reading looks.
  await fga.write({ writes: [{ user: 'user:anne', relation: 'member', object: 'group:wiki/late' }] })
  at.wiki.groups.set('late', [])
  at.wiki.put('plan', { readers: ['@late', 'bob'] })
  await at.sync()
  expect([await at.finds('zeppelin'), await at.finds('zeppelin', 'bob')]).toEqual([[], ['wiki/plan']])
})

test('a reading of all that is wanted while another one goes on comes after it', async () => {
  at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
  for (const name of ['z', 'z2']) at.wiki.put(name, { text: 'Other.', readers: ['bob'] })
  await at.add()
  await at.sync()
  await at.call('dan', 'POST', '/sources/wiki', { action: 'sync', all: true })
  let isDone = false
  at.wiki.before = async (call) => {
    if (call !== 'text z2' || isDone) return
    isDone = true
    at.wiki.unshareSilently('plan')
    // Groups are not confirmed before that one either.
    await at.world.database.query('update sources set groups_at = null')
    await at.call('dan', 'POST', '/sources/wiki', { action: 'sync', all: true })
  }
  await at.sync()
  expect(isDone).toBe(true)
  at.wiki.before = () => undefined
  expect((await at.shown()).source).toMatchObject({ fresh: false })
  await at.sync()
  expect(await at.finds('zeppelin')).toEqual([])
  expect((await at.shown()).source).toMatchObject({ fresh: true })
})

test('one source that does not answer never stops another', async () => {
  at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
  await at.add()
  await at.world.database.query(
    `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds, crawl_seconds, max_age_seconds, purge_days)
     values ('a-broken', 'none', 'file:///srv/none', '{}', '{wiki-more}', 'active', 'user:dan', 1, 1, 1000, 1)`,
  )
  await at.sync()
  expect(await at.finds('zeppelin')).toEqual(['wiki/plan'])
  const { body } = await at.call('dan', 'GET', '/sources/a-broken')
  expect(body).toMatchObject({ source: { failures: 1, fresh: false } })
})
