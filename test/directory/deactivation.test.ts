import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { backends } from '../support/backends.ts'
import { type DirectoryWorld, openDirectoryWorld, patch } from './world.ts'

const off = patch({ op: 'Replace', path: 'active', value: 'False' })
const on = patch({ op: 'replace', path: 'active', value: true })

const tried = backends.filter(({ database, openfga }) => (database === 'postgres') === (openfga === 'server'))
for (const backend of tried)
  describe(`somebody whom their directory deactivates, on ${backend.name}`, backend.options, () => {
    let world: DirectoryWorld
    let group: string
    beforeAll(async () => {
      world = await openDirectoryWorld({ backend })
      group = await world.group('Staff')
      await world.put({
        'handbook/staff': {
          text: 'Travel of the staff.',
          access: { viewers: [`group:acme/${group}#member`] },
        },
      })
    })
    afterAll(() => world?.[Symbol.asyncDispose]())

    const join = (id: string) =>
      world.scim('PATCH', `/Groups/${group}`, patch({ op: 'add', path: 'members', value: [{ value: id }] }))
    const status = async (token: string): Promise<number> =>
      (await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })).status

    /** Everything that a person of the directory can have here. */
    async function fill(key: string): Promise<{ readonly id: string; readonly delegation: string }> {
      const id = await world.user(key)
      await join(id)
      const { database, service } = world
      await service.people.arrive(
        { key: `acme/${key}`, name: key },
        { issuer: world.issuer.issuer, sub: key },
      )
      const delegation = await world.lend(`acme/${key}`, 'research-bot', 'collection:handbook')
      await database.query(
        `insert into connections (id, provider, issuer, subject, account, account_title, scopes, state, created_at,
           wrapped_key, key_version, sealed, refreshable, sealed_at)
         values ($1, 'p', 'https://p.test', $2, 'a', 'A', '{}', 'live', now(), ''::bytea, 'one', 's', false, now())`,
        [`c_${key}`, `user:acme/${key}`],
      )
      await database.query(
        `insert into browser_sessions (id_hash, person, amr, signed_in_at, expires_at)
         values ($1, $1, '{pwd}', now(), now() + interval '1 hour')`,
        [`acme/${key}`],
      )
      return { id, delegation }
    }

    /** What of it is still there. */
    async function left(key: string): Promise<Record<string, number>> {
      const [row] = await world.database.query<Record<string, number>>(
        `select
           (select count(*) from delegations where subject = $1 and state <> 'revoked') as delegations,
           (select count(*) from connections where subject = $1 and state <> 'ended') as connections,
           (select count(*) from connections where subject = $1 and sealed is not null) as sealed,
           (select count(*) from browser_sessions where 'user:' || person = $1) as sessions,
           (select count(*) from administrators where subject = $1) as roles,
           (select count(*) from directory_members where member = $1 and not is_dormant) as memberships`,
        [`user:acme/${key}`],
      )
      return { ...row, tuples: (await named(key)).length }
    }

    /** Objects on which somebody is named in OpenFGA. */
    async function named(key: string): Promise<string[]> {
      const stored: string[] = []
      for await (const page of world.service.fga.readAll())
        for (const { user, object } of page) if (user === `user:acme/${key}`) stored.push(object)
      return stored.sort()
    }

    /** Writes `user relation object`, as other programs do. */
    const byHand = (...tuples: readonly string[]) =>
      world.service.ingest.applyTuples(operator('t_1'), {
        writes: tuples.map((tuple) => {
          const [user = '', relation = '', object = ''] = tuple.split(' ')
          return { user, relation, object: object as FgaObject }
        }),
        deletes: [],
      })
    /** A document that cannot be read and is held for a retry; gives how to look at who may read it then. */
    async function putBroken(id: string, viewer: string): Promise<() => Promise<string>> {
      const writer = { subject: 'service:loader', actors: [], client: 'loader', txn: 't_1' } as const
      const { ingest } = world.service
      const job = await ingest.put(writer, {
        id,
        collection: 'handbook',
        title: id,
        content_base64: Buffer.from('not a pdf').toString('base64'),
        mime_type: 'application/pdf',
        metadata: {},
        access: { viewers: [viewer] },
      })
      await ingest.waitForJob(job, writer.subject, AbortSignal.timeout(30_000))
      return async () => JSON.stringify(await world.database.query('select access from failed_documents'))
    }
    const later = (key: string) => world.personToken(key, { now: Date.now() + 2_000, ttl: 60 })
    const nothing = {
      delegations: 0,
      connections: 0,
      sealed: 0,
      sessions: 0,
      roles: 0,
      memberships: 0,
      tuples: 0,
    }

    test('has nothing left when the answer is there: no token, delegation, connection, session, membership', async () => {
      const { id } = await fill('anne')
      await world.service.administrators.add('user:anne', ['security.read'])
      await world.service.administrators.add('user:acme/anne', ['security.read'])
      const token = await world.personToken('anne')
      expect(await world.found(token)).toEqual(['handbook/staff'])
      const before = await left('anne')
      expect(Object.values(before).every((count) => count > 0)).toBe(true)

      const answer = await world.scim('PATCH', `/Users/${id}`, off)
      expect(answer.status).toBe(200)
      expect(answer.body['active']).toBe(false)
      expect(await status(token)).toBe(401)
      expect(await left('anne')).toEqual(nothing)
      expect(await world.members(group)).toEqual([])
    })

    test('may sign in again once activated, and has nothing else: older tokens stay refused, nothing lent comes back', async () => {
      const { id } = await fill('bob')
      const token = await world.personToken('bob')
      // Held by this process as one that counts.
      expect(await status(token)).toBe(200)
      await world.scim('PATCH', `/Users/${id}`, off)
      expect(await status(token)).toBe(401)
      expect((await world.scim('PATCH', `/Users/${id}`, on)).body['active']).toBe(true)
      expect(await status(token)).toBe(401)
      const later = await world.personToken('bob', { now: Date.now() + 2_000, ttl: 60 })
      expect(await status(later)).toBe(200)
      expect(await world.found(later)).toEqual([])
      expect(await left('bob')).toEqual(nothing)
    })

    test('has nothing of what others wrote of them once active again, and it counts once it is written again', async () => {
      const id = await world.user('rae')
      const rae = 'user:acme/rae'
      const text = 'Travel of a few.'
      await world.put({
        'handbook/named': { text, access: { viewers: [rae, 'user:bob'] } },
        'handbook/owned': { text, access: { owner: rae } },
        'handbook/team': { text, access: { viewers: ['group:local/team#member'] } },
        'handbook/company': { text, access: { viewers: ['organization:local/company#member'] } },
        'handbook/filed': { text, access: { parents: ['collection:handbook'] } },
        'handbook/meanwhile': { text, access: { viewers: ['group:local/meanwhile#member'] } },
      })
      await byHand(
        `${rae} member group:local/team`,
        `${rae} admin organization:local/company`,
        `${rae} viewer collection:handbook`,
      )
      const failed = await putBroken('handbook/broken', rae)
      expect(await failed()).toContain(rae)
      // As of a document that a source had here before, which was removed.
      await world.database.query(`update documents set source = 'source/gone' where id = 'handbook/broken'`)
      const all = ['company', 'filed', 'named', 'owned', 'team'].map((name) => `handbook/${name}`)
      expect(await world.found(await world.personToken('rae'))).toEqual(all)
      await world.scim('PATCH', `/Users/${id}`, off)
      await byHand(`${rae} member group:local/meanwhile`)
      expect((await world.scim('PATCH', `/Users/${id}`, on)).status).toBe(200)
      expect(await world.found(await later('rae'))).toEqual([])
      expect(await left('rae')).toEqual(nothing)
      expect(await failed()).not.toContain(rae)
      const owners = await world.database.query(`select owner from documents where id = 'handbook/owned'`)
      expect(owners).toEqual([{ owner: null }])
      const others: string[] = []
      for await (const { user } of world.service.fga.read({
        object: 'document:handbook/named',
        relation: 'viewer',
      }))
        others.push(user)
      expect(others).toEqual(['user:bob'])
      await world.service.ingest.drift()
      expect(await world.found(await later('rae'))).toEqual([])
      await byHand(`${rae} member group:local/team`)
      expect(await world.found(await later('rae'))).toEqual(['handbook/team'])
    })

    test('stays in what keeps them from something, whoever wrote it, also at an organization and through other groups', async () => {
      const id = await world.user('sam')
      const own = await world.group('Kept out by an organization', id)
      await byHand(
        'organization:local/firm organization collection:finance',
        'user:acme/sam member group:local/inner',
        'group:local/outer#member blocked organization:local/firm',
        `group:acme/${own}#member blocked organization:local/firm`,
        'user:acme/sam member group:local/since',
        'user:acme/sam member group:local/other',
      )
      // As of a time when nobody noted where groups stand.
      await world.write('group:local/inner#member member group:local/outer')
      await world.service.ingest.drift()
      await world.scim('PATCH', `/Users/${id}`, off)
      expect(await world.members(own)).toEqual(['user:acme/sam'])
      await byHand('group:local/since#member blocked organization:local/firm')
      expect((await world.scim('PATCH', `/Users/${id}`, on)).status).toBe(200)
      expect(await named('sam')).toEqual([`group:acme/${own}`, 'group:local/inner', 'group:local/since'])
      const access = { viewers: ['user:acme/sam'] }
      await world.put({
        'finance/sam': { text: 'Travel that is paid.', collection: 'finance', access },
        'handbook/sam': { text: 'Travel that is free.', access },
      })
      expect(await world.found(await later('sam'))).toEqual(['handbook/sam'])
    })

    test('is left out where one asks who can read, and said to be shut out', async () => {
      const id = await world.user('tea')
      const access = { viewers: ['user:acme/tea', 'user:bob'] }
      await world.put({ 'handbook/tea': { text: 'Travel with tea.', access } })
      await world.service.administrators.add('user:dan', ['security.read'])
      const ask = (path: string, body: object) =>
        vi.waitFor(
          async () => {
            const token = await world.token({ user: 'dan' })
            const answer: unknown = await (await world.call('POST', path, { token, body })).json()
            expect(answer).toMatchObject({ replica: { state: 'ready' } })
            return answer
          },
          { timeout: 20_000, interval: 100 },
        )
      const question = { relation: 'can_read', object: 'document:handbook/tea' }
      const bob = { kind: 'person', user: 'user:bob' }
      const tea = { kind: 'person', user: 'user:acme/tea' }
      expect(await ask('/who-can', question)).toMatchObject({ subjects: [tea, bob] })
      expect(await ask('/view-as', { user: tea.user })).toMatchObject({
        documents: [{ document_id: 'handbook/tea' }],
      })
      await world.scim('PATCH', `/Users/${id}`, off)
      expect(await ask('/who-can', question)).toMatchObject({ subjects: [bob] })
      const shutOut = 'user:acme/tea is shut out: no request of theirs is answered.'
      expect(await ask('/view-as', { user: tea.user })).toMatchObject({ documents: [], limited_by: shutOut })
      expect(await ask('/explain', { user: tea.user, ...question })).toMatchObject({
        decision: 'allowed',
        in_words: expect.stringContaining(shutOut),
      })
      await world.service.administrators.remove('user:dan')
    })

    test('has what a request under way lent them meanwhile ended with the activation', async () => {
      const { id } = await fill('mid')
      await world.scim('PATCH', `/Users/${id}`, off)
      await world.lend('acme/mid', 'research-bot', 'collection:handbook')
      expect((await left('mid'))['delegations']).toBe(1)
      await world.scim('PATCH', `/Users/${id}`, on)
      expect(await left('mid')).toEqual(nothing)
    })

    test('has no role of an administrator that was given, or moved to them, while inactive', async () => {
      const { administrators, personMove } = world.service
      const ids = [await world.user('role'), await world.user('role-moved')]
      await administrators.add('user:acme/role@login', ['security.read'])
      for (const id of ids) await world.scim('PATCH', `/Users/${id}`, off)
      await administrators.add('user:acme/role', ['security.read'])
      await personMove.move('acme/role@login', 'acme/role-moved')
      const held = async () =>
        (await administrators.list()).flatMap(({ subject }) => (/acme.role/.test(subject) ? [subject] : []))
      expect(await held()).toEqual(['user:acme/role', 'user:acme/role-moved'])
      for (const id of ids) expect((await world.scim('PATCH', `/Users/${id}`, on)).status).toBe(200)
      expect(await held()).toEqual([])
      // Given to somebody active it stays.
      expect(await administrators.add('user:acme/role', ['security.read'])).toEqual(['security.read'])
      expect((await world.scim('PATCH', `/Users/${ids[0]}`, on)).status).toBe(200)
      expect(await administrators.rolesOf('user:acme/role')).toEqual(['security.read'])
      await administrators.remove('user:acme/role')
    })

    test('joins no group while inactive, and none again by being active', async () => {
      const { id } = await fill('carol')
      await world.scim('PATCH', `/Users/${id}`, off)
      expect((await join(id)).status).toBe(204)
      expect(await world.members(group)).toEqual([])
      expect(JSON.stringify((await world.scim('GET', `/Groups/${group}`)).body)).toContain(id)
      await world.service.memberships.compare()
      await world.service.memberships.mend()
      expect(await world.members(group)).toEqual([])
      await world.scim('PATCH', `/Users/${id}`, on)
      expect(JSON.stringify((await world.scim('GET', `/Groups/${group}`)).body)).not.toContain(id)
      expect(await world.members(group)).toEqual([])
      await join(id)
      expect(await world.members(group)).toEqual(['user:acme/carol'])
      await world.scim('DELETE', `/Users/${id}`)
    })

    test('is ended by DELETE too, and the key is nobody else’s from then on', async () => {
      const { id } = await fill('dan')
      const token = await world.personToken('dan')
      expect((await world.scim('DELETE', `/Users/${id}`)).status).toBe(204)
      expect(await left('dan')).toEqual(nothing)
      expect(await status(token)).toBe(401)
      expect((await world.scim('GET', `/Users/${id}`)).status).toBe(404)
      expect((await world.scim('PATCH', `/Users/${id}`, on)).status).toBe(404)
      const again = await world.scim('POST', '/Users', {
        userName: 'another@acme.test',
        externalId: 'dan',
        active: true,
      })
      expect(again).toMatchObject({ status: 409, body: { scimType: 'uniqueness' } })
      expect(await status(await world.personToken('dan', { now: Date.now() + 2_000 }))).toBe(401)
    })

    test('stays shut out where the operator barred them as well, and is not let in by the operator alone', async () => {
      const { barring } = world.service.issuer
      const id = await world.user('eve')
      await world.scim('PATCH', `/Users/${id}`, off)
      await expect(barring.admit('acme/eve', operator('t_1'))).rejects.toMatchObject({
        public: expect.stringContaining('The directory acme holds'),
      })
      await barring.bar('acme/eve', operator('t_1'))
      await world.scim('PATCH', `/Users/${id}`, on)
      expect(await status(await world.personToken('eve', { now: Date.now() + 2_000 }))).toBe(401)
      expect(await barring.admit('acme/eve', operator('t_1'))).toBe(true)
      expect(await status(await world.personToken('eve', { now: Date.now() + 2_000 }))).toBe(200)
    })

    test('loses the link to a local account with what came of it, and that account stays', async () => {
      const { accountLinks, delegations } = world.service
      const id = await world.user('lin')
      const account = { issuer: world.issuer.issuer, sub: 'lin', person: 'carol' }
      await accountLinks.link(account, operator('t_1'))
      const own = await world.lend('carol', 'research-bot', 'collection:handbook')
      await world.scim('PATCH', `/Users/${id}`, off)
      expect(await accountLinks.of(account)).toBeUndefined()
      expect(await delegations.isLive(own)).toBe(true)
      expect(await status(await world.token({ user: 'carol' }))).toBe(200)
    })

    test('is refused where nobody else would administer, two at once as well, and nothing of it happened', async () => {
      const { administrators } = world.service
      for (const { subject } of await administrators.list()) await administrators.remove(subject)
      const keys = ['ada', 'ben']
      const ids = await Promise.all(keys.map((key) => world.user(key)))
      for (const key of keys) await administrators.add(`user:acme/${key}`, ['security.write'])
      const answers = await Promise.all(ids.map((id) => world.scim('PATCH', `/Users/${id}`, off)))
      expect(answers.map(({ status: code }) => code).sort()).toEqual([200, 409])
      const last = keys[answers.findIndex(({ status: code }) => code === 409)] ?? ''
      expect(await administrators.list()).toEqual([
        { subject: `user:acme/${last}`, roles: ['security.write'] },
      ])
      expect(await status(await world.personToken(last))).toBe(200)
      const id = ids[keys.indexOf(last)] ?? ''
      expect((await world.scim('DELETE', `/Users/${id}`)).status).toBe(409)
      const { body } = await world.scim('GET', `/Users/${id}`)
      expect(body['active']).toBe(true)
      await administrators.add('user:anne', ['security.write'])
      expect((await world.scim('DELETE', `/Users/${id}`)).status).toBe(204)
    })

    test('is on record, by the directory’s name', async () => {
      const rows = await world.database.query<{ event: string; subject: string }>(
        `select distinct event, subject from decision_records where subject = 'directory:acme' order by event`,
      )
      expect(rows.map(({ event }) => event)).toEqual([
        'access_changed',
        'account_unlinked',
        'delegation_revoked',
        'directory_group_changed',
        'directory_user_changed',
        'person_disabled',
        'person_enabled',
      ])
    })
  })
