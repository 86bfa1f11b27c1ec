import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { record } from '../../src/audit/record.ts'
import { needsPostgres } from '../support/native.ts'
import { openWorld, type World } from '../support/world.ts'

describe.each([
  { database: 'pglite', options: {} },
  { database: 'postgres', options: needsPostgres },
] as const)('GET /audit', ({ database, options }) => {
  describe(`on ${database}`, options, () => {
    let world: World
    let delegation: string
    let answered: string
    const tokens = { admin: '', writer: '', person: '', agent: '' }

    beforeAll(async () => {
      world = await openWorld({ backend: { database, openfga: 'engine' } })
      await world.put({
        plan: { text: 'Otters build.', access: { viewers: ['user:anne'] } },
        menu: { text: 'Otters eat.', access: { viewers: ['user:bob'] } },
      })
      delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
      await world.service.administrators.add('user:dan', ['security.read'])
      await world.service.administrators.add('user:carol', ['security.write'])
      tokens.admin = await world.token({ user: 'dan' })
      tokens.writer = await world.token({ user: 'carol' })
      tokens.person = await world.token({ user: 'anne' })
      tokens.agent = await world.token({ user: 'anne', agent: 'research-bot' })
      answered = (await world.retrieve(tokens.agent, { query: 'otters' })).txn
      await world.call('GET', '/documents/menu', { token: tokens.agent })
      await world.retrieve(tokens.person, { query: 'otters' })
    })
    afterAll(() => world?.[Symbol.asyncDispose]())

    const ask = async (query: string, token = tokens.admin) => {
      const response = await world.call('GET', `/audit?${query}`, { token })
      return { status: response.status, body: (await response.json()) as Answer }
    }
    const events = async (query: string) => (await ask(query)).body.records.map(({ event }) => event)

    test('tells who, for whom, by which agent, what and how it went, with names beside ids', async () => {
      const { status, body } = await ask(`txn=${answered}&event=retrieved`)
      expect(status).toBe(200)
      expect(body.records).toEqual([
        {
          seq: expect.any(Number),
          time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
          event: 'retrieved',
          decision: 'allowed',
          subject: 'user:anne',
          actors: ['agent:research-bot'],
          client: expect.any(String),
          delegation,
          txn: answered,
          names: expect.objectContaining({ 'user:anne': 'anne', 'agent:research-bot': 'research-bot' }),
          detail: expect.objectContaining({ considered: 1 }),
        },
      ])
      expect(JSON.stringify(body)).not.toContain('tters')
    })

    test('is filtered by each member, and by all of them together', async () => {
      expect(await events('object=document:plan&subject=user:anne&event=retrieved')).toHaveLength(2)
      expect(await events('object=document:plan&actor=agent:research-bot&event=retrieved')).toHaveLength(1)
      expect(await events('object=document:menu&event=retrieved')).toEqual([])
      expect(await events('decision=denied&subject=user:anne')).toEqual(['document_read'])
      expect(await events('actor=agent:other-bot')).toEqual([])
      expect(await events(`object=delegation:${delegation}&event=delegation_made`)).toHaveLength(1)
      const { records } = (await ask('event=retrieved')).body
      const [newest, oldest] = records as [Row, Row]
      expect(await events(`event=retrieved&since=${newest.time}`)).toHaveLength(1)
      expect(await events(`event=retrieved&until=${newest.time}`)).toHaveLength(1)
      expect(await events(`event=retrieved&client=${oldest.client}`)).toContain('retrieved')
      expect(await events('client=nobody')).toEqual([])
    })

    test('finds an inner agent of a chain by its name', async () => {
      const { record } = await import('../../src/audit/record.ts')
      const who = {
        subject: 'user:bob',
        actors: ['agent:outer', 'agent:inner'],
        client: 'outer',
        txn: 't_chain',
      } as const
      await record(world.database, who, { event: 'agent_blocked', agent: 'thief' })
      expect(await events('actor=agent:inner')).toEqual(['agent_blocked'])
      expect(await events('actor=agent:outer')).toEqual(['agent_blocked'])
      expect(await events('object=agent:thief')).toEqual(['agent_blocked'])
    })

    test('finds all of one trace, which is not the caller’s txn', async () => {
      const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
      const who = { subject: 'user:bob', actors: [], client: 'prober' } as const
      for (const txn of ['t_first', 't_second'])
        await record(world.database, { ...who, txn, trace }, { event: 'agent_unblocked', agent: 'thief' })
      expect(await events(`trace=${trace}`)).toEqual(['agent_unblocked', 'agent_unblocked'])
      expect(await events('trace=00000000000000000000000000000001')).toEqual([])
      const { steps } = (await get(`/audit/thread?txn=${trace}`)) as { steps: { txn: string }[] }
      expect(steps.map(({ txn }) => txn)).toEqual(['t_first', 't_second'])
    })

    test('goes on at a cursor, newest first, and names each record once', async () => {
      const all = (await ask('limit=200&until=2999-01-01T00:00:00Z&subject=service:loader')).body.records
      const seen: Row[] = []
      let cursor: string | undefined
      do {
        const { body } = await ask(
          `limit=1&subject=service:loader${cursor === undefined ? '' : `&cursor=${cursor}`}`,
        )
        seen.push(...body.records)
        cursor = body.next_cursor
      } while (cursor !== undefined)
      expect(all.length).toBeGreaterThan(1)
      expect(seen).toEqual(all)
      expect(seen.map(({ seq }) => seq)).toEqual(seen.map(({ seq }) => seq).toSorted((a, b) => b - a))
    })

    test('is exported as lines, all of it', async () => {
      const lines = async (query: string) => {
        const response = await world.call('GET', `/audit?${query}`, {
          token: tokens.admin,
          headers: { accept: 'application/x-ndjson' },
        })
        expect(response.status).toBe(200)
        return (await response.text()).trimEnd().split('\n')
      }
      const own = (await lines('event=retrieved')).map((line) => JSON.parse(line) as Row)
      expect(own).toEqual((await ask('event=retrieved')).body.records)
    })

    const endings: readonly [string, (token: string) => Promise<unknown>][] = [
      ['whoever asked may not read it any more', () => world.service.administrators.remove('user:bob')],
      [
        'their token was taken back',
        (token) => {
          const { iss: issuer = '', jti: id = '' } = decodeJwt(token)
          return world.service.revocations.revoke({ kind: 'jti', issuer, id }, { reason: 'tests' })
        },
      ],
    ]
    test.each(endings)('is exported no further once %s', async (_, end) => {
      await world.service.administrators.add('user:bob', ['security.read'])
      const bob = { subject: 'user:bob', actors: [], client: 'remit-cli', txn: 't_many' } as const
      await world.database.transaction(async (sql) => {
        for (let nth = 0; nth < 2_100; nth += 1)
          await record(sql, bob, {
            event: 'model_shadow_ended',
            shadow: 's',
            plan: 'm',
            base_model: 'm',
            because: 'stopped',
          })
      })
      const token = await world.token({ user: 'bob' })
      const response = await world.call('GET', '/audit?txn=t_many', {
        token,
        headers: { accept: 'application/x-ndjson' },
      })
      const lines = response.body?.getReader()
      expect((await lines?.read())?.value?.byteLength).toBeGreaterThan(0)
      await end(token)
      // The next page may be on its way already.
      await expect(lines?.read().then(() => lines.read())).rejects.toThrow()
    })

    test('still lists and verifies records of planned models that once ran beside the one in force', async () => {
      const shadow = { shadow: 's_1', plan: 'm_1', base_model: 'model-1' }
      const carol = { subject: 'user:carol', actors: [], client: 'remit-cli', txn: 't_shadow' } as const
      const ends = { ...shadow, share: 1, ends_at: '2026-11-25T04:09:42.000Z' }
      await record(world.database, carol, { event: 'model_shadow_started', ...ends })
      await record(world.database, carol, { event: 'model_shadow_read', ...shadow })
      await record(world.database, carol, { event: 'model_shadow_ended', ...shadow, because: 'stopped' })
      await world.service.record.seal()
      const { records } = (await ask('txn=t_shadow')).body
      expect(records.map(({ event, detail }) => ({ event, detail }))).toEqual([
        { event: 'model_shadow_ended', detail: { ...shadow, because: 'stopped' } },
        { event: 'model_shadow_read', detail: shadow },
        { event: 'model_shadow_started', detail: ends },
      ])
      expect(await events('event=model_shadow_started')).toEqual(['model_shadow_started'])
      expect(await world.service.record.verify([])).toMatchObject({ found: 0 })
    })

    test('is for administrators who may read it, and looking is itself on record', async () => {
      expect((await ask('', tokens.person)).status).toBe(403)
      expect((await ask('', tokens.writer)).status).toBe(403)
      expect((await ask('', tokens.agent)).status).toBe(403)
      await ask('subject=user:bob')
      expect((await ask('event=record_read&subject=user:dan')).body.records[1]).toMatchObject({
        subject: 'user:dan',
        detail: { question: 'list', filter: { subject: 'user:bob' }, exported: false },
      })
    })

    test('whoever is refused with a good token is on record, by route and code', async () => {
      expect((await ask('', tokens.person)).status).toBe(403)
      expect((await ask('event=request_refused&subject=user:anne')).body.records[0]).toMatchObject({
        decision: 'denied',
        detail: { method: 'GET', route: '/audit' },
      })
      expect((await world.call('GET', '/audit', { token: 'stranger' })).status).toBe(401)
    })

    test('keeps the tuples that a release rested on, as they were then', async () => {
      const question = `txn=${answered}&event=retrieved`
      const before = (await ask(question)).body.records[0]
      expect(before).toMatchObject({
        detail: {
          released: [
            { document_id: 'plan', why: expect.arrayContaining(['user:anne viewer document:plan']) },
          ],
        },
      })
      await world.remove('user:anne viewer document:plan')
      expect((await ask(question)).body.records[0]).toEqual(before)
      await world.write('user:anne viewer document:plan')
    })

    const get = async (path: string) => {
      const response = await world.call('GET', path, { token: tokens.admin })
      expect(response.status).toBe(200)
      return (await response.json()) as Readonly<Record<string, unknown>>
    }

    test('tells who was given a document between two times, and through which agents', async () => {
      expect(await get('/audit/readers?document=plan')).toMatchObject({
        readers: [
          { subject: 'user:anne', actors: [], answers: 1 },
          { subject: 'user:anne', actors: ['agent:research-bot'], answers: 1, last_txn: answered },
        ],
        names: { 'user:anne': 'anne' },
        complete: true,
      })
      expect(await get('/audit/readers?document=plan&until=2020-01-01T00:00:00Z')).toMatchObject({
        readers: [],
      })
      expect(await get('/audit/readers?document=menu')).toMatchObject({ readers: [] })
    })

    test('tells what an agent read for a person, and what of it would be refused today', async () => {
      const reads = '/audit/reads?subject=user:anne&agent=agent:research-bot'
      expect(await get(`${reads}&today=true`)).toMatchObject({
        documents: [{ document_id: 'plan', delegation, answers: 1, today: 'allowed' }],
        complete: true,
        asked_today: 1,
      })
      await world.service.agents.disable('research-bot')
      expect(await get(`${reads}&today=true`)).toMatchObject({ documents: [{ today: 'denied' }] })
      await world.service.agents.enable('research-bot')
      await world.remove('user:anne viewer document:plan')
      expect(await get(`${reads}&today=true`)).toMatchObject({ documents: [{ today: 'denied' }] })
      expect((await get(reads))['documents']).not.toHaveProperty('0.today')
      await world.write('user:anne viewer document:plan')
    })

    test('tells everything of one action', async () => {
      const { steps } = (await get(`/audit/thread?txn=${answered}`)) as { steps: { event: string }[] }
      expect(steps.filter(({ event }) => event === 'retrieved')).toMatchObject([
        { decision: 'allowed', txn: answered, seq: expect.any(Number) },
      ])
    })

    test('tells who lent what to which agent, until when and what became of it, a page at a time', async () => {
      const other = await world.lend('bob', 'other-bot', 'collection:finance', 'document:menu')
      await world.service.delegations.revoke(other)
      const passed = await world.service.delegations.lend({
        subject: 'user:bob',
        agent: 'other-bot',
        subAgents: ['research-bot'],
        scope: ['document:menu'],
        purpose: 'Lunch.',
        expiresAt: new Date(Date.now() + 60_000),
      })
      await world.database.query(`update delegations set expires_at = now() - interval '1 s' where id = $1`, [
        passed.id,
      ])
      const listed = async (query: string) =>
        ((await get(`/audit/delegations?${query}`))['delegations'] as { delegation: string }[]).map(
          (one) => one.delegation,
        )
      expect(await get(`/audit/delegations?delegation=${other}`)).toMatchObject({
        delegations: [
          {
            delegation: other,
            subject: 'user:bob',
            agent: 'agent:other-bot',
            sub_agents: [],
            scope: ['collection:finance', 'document:menu'],
            standing: false,
            created_at: expect.any(String),
            expires_at: expect.any(String),
            revoked_at: expect.any(String),
            state: 'revoked',
            agent_disabled: false,
          },
        ],
        names: { 'user:bob': 'bob', 'agent:other-bot': 'other-bot' },
      })
      expect(await listed('agent=agent:research-bot')).toEqual([passed.id, delegation])
      expect(await listed('agent=agent:research-bot&state=live')).toEqual([delegation])
      expect(await listed('state=over')).toEqual([passed.id])
      expect(await listed('subject=user:bob')).toEqual([passed.id, other])
      expect(await listed('subject=user:nobody')).toEqual([])
      const first = await get('/audit/delegations?limit=1')
      expect(first['delegations']).toHaveLength(1)
      expect(await listed(`limit=200&cursor=${String(first['next_cursor'])}`)).toEqual([other, delegation])
      expect((await ask('event=record_read&limit=2')).body.records[1]).toMatchObject({
        subject: 'user:dan',
        detail: { question: 'delegations' },
      })
      // Begun, and nobody was told that it stands.
      await world.database.query(`update delegations set state = 'lending' where id = $1`, [passed.id])
      expect(await listed('subject=user:bob')).toEqual([other])
      const former = await formerReader(world)
      for (const token of [tokens.person, tokens.writer, tokens.agent, former])
        expect((await world.call('GET', '/audit/delegations', { token })).status).toBe(403)
    })

    test('tells of an agent’s day that is unlike the ones before, by a statistic that it states', async () => {
      const day = (back: number) => new Date(Date.parse('2026-06-30T12:00:00Z') - back * 86_400_000)
      for (let back = 1; back <= 10; back += 1)
        await world.database.query(
          `insert into agent_baselines select 'agent:reacher', $1::date, 'd' || n, 2 from generate_series(1, $2::int) n`,
          [day(back).toISOString(), 4 + (back % 3)],
        )
      const reach = '/audit/reach?agent=agent:reacher&until=2026-06-30T12:00:00Z'
      expect(await get(reach)).toMatchObject({ unusual: false })
      await world.database.query(
        `insert into agent_baselines select 'agent:reacher', '2026-06-30', 'x' || n, 1 from generate_series(1, 40) n`,
      )
      expect(await get(reach)).toMatchObject({
        unusual: true,
        measures: [
          { name: 'documents', last: 40, median: 5, threshold: 11.7, unusual: true },
          { name: 'new_documents', last: 40, median: 0, threshold: 3, unusual: true },
          { name: 'reads', last: 40, unusual: true },
        ],
      })
      expect(await get('/audit/reach?agent=agent:nobody')).toMatchObject({ days: [], unusual: null })
      expect((await ask('event=record_read&limit=2')).body.records[1]).toMatchObject({
        detail: { question: 'reach', filter: { agent: 'agent:nobody' } },
      })
    })

    test('whoever may read the record may write nothing by that', async () => {
      const writes = [
        ['PUT', '/fields', { bird: 'string' }],
        ['PUT', '/collections/board', { title: 'Board', writers: [], taggers: [] }],
        ['POST', '/access', { writes: [{ user: 'user:dan', relation: 'viewer', object: 'document:plan' }] }],
        ['POST', '/model/plan', { model: 'model' }],
        ['POST', '/agents/research-bot/disable', {}],
      ] as const
      for (const [method, path, body] of writes)
        expect((await world.call(method, path, { token: tokens.admin, body })).status, path).toBe(403)
      for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
        expect((await world.call(method, '/audit', { token: tokens.admin })).status, method).toBe(405)
    })

    test('refuses what it does not know by name', async () => {
      for (const [query, field] of [
        ['event=guessed', 'event'],
        ['decision=maybe', 'decision'],
        ['actor=research-bot', 'actor'],
        ['subject=anne', 'subject'],
        ['object=handbook/travel', 'object'],
        ['limit=201', 'limit'],
        ['limit=x', 'limit'],
        ['since=yesterday', 'since'],
        ['cursor=x', 'cursor'],
        [`cursor=${cursorAt('2026-99-99T99:99:99.000000Z')}`, 'cursor'],
        [`cursor=${cursorAt('2026-02-30T00:00:00.000000Z')}`, 'cursor'],
        ['since=9999-12-31T23:59:59-23:00', 'since'],
        ['until=0000-12-31T23:59:59Z', 'until'],
        ['everything=1', 'everything'],
        ['format=ocsf', 'format'],
      ]) {
        const { status, body } = await ask(query ?? '')
        expect({ query, status, field: body.field }).toEqual({ query, status: 422, field })
      }
      for (const [query, field] of [
        ['agent=research-bot', 'agent'],
        ['subject=anne', 'subject'],
        ['state=lending', 'state'],
        ['cursor=x', 'cursor'],
        [`cursor=${Buffer.from('[9e99,"x"]').toString('base64url')}`, 'cursor'],
      ]) {
        const answer = await world.call('GET', `/audit/delegations?${query}`, { token: tokens.admin })
        expect({ query, ...((await answer.json()) as object) }).toMatchObject({ query, status: 422, field })
      }
      for (const until of ['0000-01-01T00:00:00Z', '9999-12-31T23:59:59-23:59']) {
        const path = `/audit/reach?agent=agent:research-bot&until=${until}`
        expect((await world.call('GET', path, { token: tokens.admin })).status).toBe(422)
      }
    })
  })
})

/** A token that was good until its person's role was taken away. */
async function formerReader({ service, token }: World): Promise<string> {
  await service.administrators.add('user:bob', ['security.read'])
  const good = await token({ user: 'bob' })
  await service.administrators.remove('user:bob')
  return good
}

const cursorAt = (time: string): string => Buffer.from(JSON.stringify([time, 1])).toString('base64url')

interface Row {
  readonly seq: number
  readonly time: string
  readonly event: string
  readonly client: string
  readonly detail: object
}

interface Answer {
  readonly records: readonly Row[]
  readonly next_cursor?: string
  readonly field?: string
}
