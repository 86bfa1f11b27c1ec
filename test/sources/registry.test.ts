import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Service } from '../../src/delegation/registry/services.ts'
import { openSourceWorld, type SourceWorld } from './world.ts'

describe('who administers sources', () => {
  let at: SourceWorld
  beforeAll(async () => {
    at = await openSourceWorld()
    at.wiki.put('plan', { text: 'The zeppelin leaves.', readers: ['anne'] })
  })
  afterAll(() => at?.[Symbol.asyncDispose]())

  const proposal = { id: 'wiki', kind: 'wiki', settings: {}, collections: ['wiki'] }
  const propose = (change: object, user = 'dan') =>
    at.call(user, 'POST', '/sources', { ...proposal, ...change })
  const act = (action: string, user = 'dan', more: object = {}) =>
    at.call(user, 'POST', '/sources/wiki', { action, ...more })

  test.each([
    [
      'settings.secret_ref',
      { settings: { base: 'https://attacker.example', secret_ref: 'OPENFGA_API_TOKEN' } },
    ],
    ['settings.base', { settings: { base: 'https://attacker.example' } }],
    ['settings.base', { settings: { base: 'file:///etc' } }],
    ['kind', { kind: 'folder' }],
    ['collections', { collections: ['nowhere'] }],
    ['collections', { collections: ['handbook'] }],
    ['collections', { collections: [] }],
    ['id', { id: '../wiki' }],
    ['id', { id: 'Wiki' }],
    ['poll_seconds', { poll_seconds: 60, permissions_max_age_seconds: 60 }],
    ['secret_ref', { secret_ref: 'OPENFGA_API_TOKEN' }],
  ])('a proposal is refused by its %s, whoever makes it: %j', async (field, change) => {
    expect(await propose(change)).toMatchObject({ status: 422, body: { code: 'invalid_request', field } })
    expect((await at.call('dan', 'GET', '/sources')).body['sources']).toEqual([])
  })

  test('settings may be as long as 20,000 people take', async () => {
    const account = 'S-1-5-21-105333671-2498595274-3909591570-1002'
    const people = Array.from({ length: 20_000 }, (_, nth) => ({ account, subject: `user:acme/anne-${nth}` }))
    expect(await propose({ settings: { people } })).toMatchObject({
      status: 422,
      body: { field: 'settings.people' },
    })
  })

  test.each(['%00', 'a%20b', '..%2Fwiki', '%F0%9F%92%A9'])(
    'an id that none can have is refused by name: %s',
    async (id) => {
      const refusal = { status: 422, body: { code: 'invalid_request', field: 'id' } }
      expect(await at.call('dan', 'GET', `/sources/${id}`)).toMatchObject(refusal)
      expect(await at.call('dan', 'POST', `/sources/${id}`, { action: 'pause' })).toMatchObject(refusal)
    },
  )

  test('nobody but an administrator proposes, reads, confirms or changes one', async () => {
    for (const answer of [
      await propose({}, 'anne'),
      await act('confirm', 'anne', { digest: 'x' }),
      await act('pause', 'anne'),
      await at.call('anne', 'GET', '/sources'),
      await at.call('anne', 'GET', '/sources/wiki'),
    ])
      expect(answer).toMatchObject({ status: 403, body: { code: 'insufficient_scope' } })
  })

  test('what one administrator proposed is not read before another confirmed it, who still is one', async () => {
    const { source } = (await propose({})).body as unknown as { source: { digest: string } }
    const { digest } = source
    expect(source).toMatchObject({ state: 'proposed', proposed_by: 'user:dan' })
    expect(await propose({})).toMatchObject({ status: 409, body: { field: 'id' } })
    await at.sync()
    expect(at.wiki.calls).toEqual([])
    for (const action of ['sync', 'pause', 'resume'])
      expect(await act(action), action).toMatchObject({ status: 409 })
    expect(await act('confirm', 'dan', { digest })).toMatchObject({ status: 409, body: { code: 'conflict' } })
    await at.world.service.administrators.remove('user:dan')
    expect(await act('confirm', 'carol', { digest })).toMatchObject({ status: 403 })
    await at.world.service.administrators.add('user:dan', ['security.write'])
    expect((await act('confirm', 'carol', { digest })).body['source']).toMatchObject({
      state: 'active',
      confirmed_by: 'user:carol',
    })
    expect(await act('confirm', 'carol', { digest })).toMatchObject({ status: 409 })
    await at.sync()
    expect(await at.finds('zeppelin')).toEqual(['wiki/plan'])
  })

  test('a source and a service never write into one collection, or groups of one prefix', async () => {
    expect(await propose({ id: 'other' })).toMatchObject({ status: 422, body: { field: 'collections' } })
    const { services } = at.world.service
    const save = (change: Partial<Service>) =>
      services.save({ name: 'x', collections: [], prefixes: [], ...change })
    await expect(save({ collections: ['wiki'] })).rejects.toMatchObject({ field: 'collections' })
    for (const prefix of ['wiki/', 'wiki/team', 'w'])
      await expect(save({ prefixes: [prefix] }), prefix).rejects.toMatchObject({ field: 'prefixes' })
    await save({ prefixes: ['corp/eu/'] })
    expect(await propose({ id: 'corp', collections: ['wiki-more'] })).toMatchObject({
      status: 422,
      body: { field: 'id' },
    })
  })

  describe('nobody but the source is writer or tagger of its collection', () => {
    const save = (id: string, rights: object) =>
      at.call('dan', 'PUT', `/collections/${id}`, { title: id, ...rights })
    const give = (...writes: object[]) => at.call('dan', 'POST', '/access', { writes })
    const right = (service: string, relation: string, collection = 'wiki') => ({
      user: `service:${service}`,
      relation,
      object: `collection:${collection}`,
    })
    const refusalAt = (field: string) => ({ status: 422, body: { code: 'invalid_request', field } })

    test('whatever one administrator says of it', async () => {
      const before = await at.world.database.query(`select * from collections where id = 'wiki'`)
      for (const [field, rights] of [
        ['writers.1', { writers: ['service:source/wiki', 'service:hr'] }],
        ['taggers.0', { taggers: ['service:hr'] }],
        ['writers.0', { writers: ['service:source/other'] }],
      ] as const)
        expect(await save('wiki', { title: 'Changed', ...rights })).toMatchObject(refusalAt(field))
      expect(await at.world.database.query(`select * from collections where id = 'wiki'`)).toEqual(before)
      for (const relation of ['writer', 'tagger'])
        expect(await give(right('hr', relation, 'handbook'), right('hr', relation))).toMatchObject(
          refusalAt('writes.1'),
        )
      const { ingest } = at.world.service
      await expect(
        ingest.applyTuples(operator('test'), { writes: [right('hr', 'writer')], deletes: [] } as never),
      ).rejects.toMatchObject({ field: 'writes.0' })
      const stored: string[] = []
      for await (const { user, relation } of at.world.service.fga.read({ object: 'collection:wiki' }))
        stored.push(`${user} ${relation}`)
      expect(stored.sort()).toEqual(['service:source/wiki tagger', 'service:source/wiki writer'])
      const own = ['service:source/wiki']
      expect(await save('wiki', { writers: own, taggers: own })).toMatchObject({ status: 200 })
    })

    test('nor who was that before it is proposed, until that is taken away', async () => {
      for (const relation of ['writer', 'tagger'] as const) {
        expect(await save('wiki-more', { [`${relation}s`]: ['service:hr'] })).toMatchObject({ status: 200 })
        const refused = await propose({ id: 'more', collections: ['wiki-more'] })
        expect(refused).toMatchObject(refusalAt('collections'))
        expect(refused.body['detail']).toContain('The service hr')
        expect(await save('wiki-more', { [`${relation}s`]: [] })).toMatchObject({ status: 200 })
      }
    })

    test('nor whoever becomes that while it is proposed', async () => {
      const [given, proposed] = await Promise.all([
        give(right('hr', 'writer', 'wiki-more')),
        propose({ id: 'more', collections: ['wiki-more'] }),
      ])
      expect([given.status, proposed.status].sort()).toEqual([200, 422])
      if (proposed.status === 200) await at.call('dan', 'POST', '/sources/more', { action: 'remove' })
      else await save('wiki-more', { writers: [] })
      await at.sync()
    })
  })

  test('a yes counts for what was looked at, not for what was proposed anew under its id', async () => {
    const swapped = { id: 'swapped', collections: ['wiki-more'] }
    const { source } = (await propose(swapped)).body as unknown as { source: { digest: string } }
    const remove = { action: 'remove' }
    await at.call('dan', 'POST', '/sources/swapped', remove)
    await at.sync()
    await propose({ ...swapped, purge_days: 0 })
    expect(
      await at.call('carol', 'POST', '/sources/swapped', { action: 'confirm', digest: source.digest }),
    ).toMatchObject({ status: 409, body: { field: 'digest' } })
    await at.call('dan', 'POST', '/sources/swapped', remove)
    await at.sync()
  })

  test('each change is on record, with who made it', async () => {
    await act('sync', 'carol', { all: true })
    await act('pause')
    await act('resume')
    const rows = await at.world.database.query<{ event: string; subject: string }>(
      `select event, subject from decision_records where event like 'source_%' and detail->>'source' = 'wiki' order by record_no`,
    )
    expect(rows.map(({ event, subject }) => `${event} ${subject}`)).toEqual([
      'source_proposed user:dan',
      'source_confirmed user:carol',
      'source_woken user:carol',
      'source_paused user:dan',
      'source_resumed user:dan',
    ])
  })

  test('a source that is removed is hidden at once, and then nothing of it is left', async () => {
    at.wiki.groups.set('team', ['anne'])
    await at.sync()
    expect(await at.reads('wiki/plan')).toBe(200)
    // As an earlier release noted it before it was refused: nobody may delete it either.
    await at.world.database.query(
      `insert into source_tuples (source, tuple, settled) values ('wiki', 'user:anne member group:wiki/a:b', false)`,
    )
    await act('remove')
    // Before anything of it was purged.
    expect(await at.reads('wiki/plan')).toBe(404)
    await at.sync()
    expect(await at.call('dan', 'GET', '/sources/wiki')).toMatchObject({ status: 404 })
    const left = await at.world.database.query<{ left: number }>(
      `select (select count(*) from source_items) + (select count(*) from source_tuples)
         + (select count(*) from documents where source like 'source/%' and withdrawn_at is null)
         + (select count(*) from services where name like 'source/%') as left`,
    )
    expect(left).toEqual([{ left: 0 }])
    const members: unknown[] = []
    for await (const tuple of at.world.service.fga.read({ object: 'group:wiki/team' })) members.push(tuple)
    expect(members).toEqual([])
    // What was lent by the ids of its items would be another one's.
    expect(await propose({})).toMatchObject({
      status: 422,
      body: { code: 'invalid_request', field: 'id', detail: expect.stringContaining('choose another id') },
    })
    expect((await propose({ id: 'wiki-2' })).status).toBe(200)
    // So it is after an upgrade, of what was removed before.
    const migration = await readFile('migrations/0127_source_ids.sql', 'utf8')
    await at.world.database.query('delete from source_ids')
    await at.world.database.query(migration.slice(migration.indexOf('insert into')))
    expect(await at.world.database.query('select id from source_ids')).toEqual([{ id: 'wiki' }])
  })
})
