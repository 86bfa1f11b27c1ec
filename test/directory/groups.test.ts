import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import type { Database } from '../../src/store/sql.ts'
import { backends } from '../support/backends.ts'
import { type DirectoryWorld, openDirectoryWorld, patch } from './world.ts'

/** Tuples of each Write to OpenFGA, and where the process dies: before its n-th write from now on. */
const written: { deletes: string[]; writes: string[] }[] = []
let dies = Number.POSITIVE_INFINITY
const step = (): void => {
  dies -= 1
  if (dies < 0) throw new Error('the process died here')
}
const watched = {
  openfga: (real: FgaApi): FgaApi =>
    Object.assign(Object.create(real), {
      async write(...[store, body, ...more]: Parameters<FgaApi['write']>) {
        step()
        const answer = await real.write(store, body, ...more)
        const users = (keys: readonly { user: string; object: string }[] = []) =>
          keys.flatMap(({ user, object }) => (object.startsWith('group:') ? [user] : []))
        written.push({ deletes: users(body.deletes?.tuple_keys), writes: users(body.writes?.tuple_keys) })
        return answer
      },
    }),
  database: (real: Database): Database => ({
    ...real,
    transaction: async (work) => {
      if (Number.isFinite(dies)) step()
      return real.transaction(work)
    },
  }),
}

const apart = backends.find(({ database, openfga }) => database === 'postgres' && openfga === 'server')

describe('a group', apart?.options ?? {}, () => {
  let world: DirectoryWorld
  beforeAll(async () => {
    world = await openDirectoryWorld({ ...(apart && { backend: apart }), ...watched })
  })
  beforeEach(() => {
    written.length = 0
    dies = Number.POSITIVE_INFINITY
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const members = (...keys: readonly string[]) => keys.map((key) => `user:acme/${key}`)
  const change = (group: string, ...operations: readonly object[]) =>
    world.scim('PATCH', `/Groups/${group}`, patch(...operations))

  test('of 10,000 is changed by what changed: one Write of two tuples', async () => {
    const directory = ['acme', 'acme/']
    await world.database.query(
      `insert into directory_users (id, directory, sub, account, login, attributes, is_active, created_at, changed_at)
       select 'u_big' || n, $1, 'big' || n, $2 || 'big' || n, 'big' || n, '{}', true, now(), now()
       from generate_series(1, 10002) as n`,
      directory,
    )
    const group = await world.group('Big')
    await world.database.query(
      `insert into directory_members (group_id, member, member_id, is_dormant)
       select $1, 'user:acme/big' || n, 'u_big' || n, false from generate_series(1, 10000) as n`,
      [group],
    )
    expect((await change(group, { op: 'remove', path: 'members[value eq "u_big7"]' })).status).toBe(204)
    written.length = 0
    const answer = await change(
      group,
      { op: 'remove', path: 'members[value eq "u_big8"]' },
      { op: 'add', path: 'members', value: [{ value: 'u_big10001' }, { value: 'u_big9' }] },
    )
    expect(answer.status).toBe(204)
    expect(written).toEqual([{ deletes: members('big8'), writes: members('big10001') }])
    // The whole list again, but for one.
    written.length = 0
    const list = Array.from({ length: 10_002 }, (_, index) => `u_big${index + 1}`)
      .filter((id) => !['u_big7', 'u_big8', 'u_big10002', 'u_big1'].includes(id))
      .map((value) => ({ value }))
    await world.scim('PUT', `/Groups/${group}`, { displayName: 'Big', members: list })
    expect(written).toEqual([{ deletes: members('big1'), writes: [] }])
    const { body } = await world.scim('GET', `/Groups/${group}`)
    expect(body['members']).toHaveLength(9_998)
    const few = await world.scim('GET', `/Groups/${group}?excludedAttributes=members`)
    expect(few.body).not.toHaveProperty('members')
    // OpenFGA never had most of them: a comparison would write them all.
    await world.database.query('delete from directory_members where group_id = $1', [group])
  }, 120_000)

  test('that a request replaces page by page has everybody at each moment as before or as after', async () => {
    const ids: string[] = []
    for (let n = 0; n < 100; n += 1) ids.push(await world.user(`page${n}`))
    const inner = await world.group('Inner', ...ids)
    const outer = await world.group('Outer', inner)
    const states: boolean[] = []
    written.length = 0
    const inside = new Set([`group:acme/${inner}#member`])
    await world.scim('PUT', `/Groups/${outer}`, {
      displayName: 'Outer',
      members: ids.map((value) => ({ value })),
    })
    for (const { deletes, writes } of written) {
      for (const user of deletes) inside.delete(user)
      for (const user of writes) inside.add(user)
      const isIn = (user: string) => inside.has(user) || inside.has(`group:acme/${inner}#member`)
      states.push(members(...ids.map((_, n) => `page${n}`)).every(isIn))
    }
    expect(written.length).toBeGreaterThan(1)
    expect(states).toEqual(states.map(() => true))
    // And back again.
    written.length = 0
    await world.scim('PUT', `/Groups/${outer}`, { displayName: 'Outer', members: [{ value: inner }] })
    expect(written[0]?.writes).toEqual([`group:acme/${inner}#member`])
    expect(await world.members(outer)).toEqual([`group:acme/${inner}#member`])
  }, 120_000)

  test('is never in itself, through others neither', async () => {
    const a = await world.group('A')
    const b = await world.group('B', a)
    const c = await world.group('C', b)
    for (const inside of [a, b, c])
      expect(await change(a, { op: 'add', path: 'members', value: [{ value: inside }] })).toMatchObject({
        status: 400,
        body: { scimType: 'invalidValue' },
      })
    expect(await world.members(a)).toEqual([])
    const both = await Promise.all(
      [[await world.group('X'), await world.group('Y')]].flatMap(([x = '', y = '']) => [
        change(x, { op: 'add', path: 'members', value: [{ value: y }] }),
        change(y, { op: 'add', path: 'members', value: [{ value: x }] }),
      ]),
    )
    expect(both.map(({ status }) => status).sort()).toEqual([204, 400])
  })

  test('that is deleted holds nobody, and is in no other group', async () => {
    const id = await world.user('last')
    const inner = await world.group('Gone', id)
    const outer = await world.group('Stays', inner)
    expect((await world.scim('DELETE', `/Groups/${inner}`)).status).toBe(204)
    expect([await world.members(inner), await world.members(outer)]).toEqual([[], []])
    expect((await world.scim('GET', `/Groups/${inner}`)).status).toBe(404)
  })

  test('writes members alone: never an administrator of an organization, nor a role', async () => {
    const id = await world.user('ambitious', {
      roles: [{ value: 'admin' }],
      entitlements: ['security.write'],
    })
    const body = {
      displayName: 'organization:acme/company',
      members: [{ value: id, type: 'Group', $ref: 'organization:acme/company#admin' }],
      roles: [{ value: 'security.write' }],
    }
    const group = String((await world.scim('POST', '/Groups', body)).body['id'])
    for (const page of [world.service.fga.readAll()])
      for await (const tuples of page)
        for (const { user, relation, object } of tuples)
          if (user === 'user:acme/ambitious')
            expect([relation, object]).toEqual(['member', `group:acme/${group}`])
    expect(await world.service.administrators.list()).toEqual([])
  })

  test('changed by two at once holds what the rows say', async () => {
    const ids = await Promise.all(Array.from({ length: 6 }, (_, n) => world.user(`both${n}`)))
    const group = await world.group('Both', ...ids.slice(0, 3))
    await Promise.all(
      ids.flatMap((value, n) => [
        change(group, { op: n % 2 === 0 ? 'add' : 'remove', path: 'members', value: [{ value }] }),
        change(group, { op: n % 2 === 0 ? 'remove' : 'add', path: 'members', value: [{ value }] }),
      ]),
    )
    const { body } = await world.scim('GET', `/Groups/${group}`)
    const rows: unknown[] = Array.isArray(body['members']) ? body['members'] : []
    const wanted = ids.flatMap((id, n) =>
      JSON.stringify(rows).includes(`"${id}"`) ? members(`both${n}`) : [],
    )
    expect(await world.members(group)).toEqual(wanted)
  })

  test('tuples that somebody else wrote or took are found by the comparison, and are as the rows say again', async () => {
    const id = await world.user('compared')
    const group = await world.group('Compared', id)
    await world.remove(`user:acme/compared member group:acme/${group}`)
    await world.write(`user:acme/stranger member group:acme/${group}`)
    const { memberships } = world.service
    expect(await memberships.compare()).toBeGreaterThanOrEqual(2)
    await memberships.mend()
    expect(await world.members(group)).toEqual(members('compared'))
  }, 180_000)
})

describe('a process that dies', () => {
  let world: DirectoryWorld
  beforeAll(async () => {
    world = await openDirectoryWorld(watched)
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  test('before any write of a deactivation leaves all as it was, or the person shut out; the same request and the mending end it', async () => {
    let died = 0
    for (let at = 0; ; at += 1) {
      dies = Number.POSITIVE_INFINITY
      const key = `dies${at}`
      const id = await world.user(key)
      const group = await world.group(`Dies ${at}`, id)
      const delegation = await world.lend(`acme/${key}`, 'research-bot', 'collection:handbook')
      const token = await world.personToken(key)
      const off = patch({ op: 'replace', path: 'active', value: false })
      dies = at
      await world.scim('PATCH', `/Users/${id}`, off)
      const isWhole = dies >= 0
      dies = Number.POSITIVE_INFINITY
      const { body } = await world.scim('GET', `/Users/${id}`)
      const refused = (await world.call('POST', '/retrieve', { token, body: { query: 'x' } })).status === 401
      // All of it, or nothing: what the database says is what counts.
      expect([refused, await world.service.delegations.isLive(delegation)]).toEqual([
        body['active'] === false,
        body['active'] === true,
      ])
      if (at % 2 === 0) expect((await world.scim('PATCH', `/Users/${id}`, off)).status).toBe(200)
      await world.service.memberships.mend()
      if (body['active'] === false) expect(await world.members(group)).toEqual([])
      // Signing in comes back only where nothing of before is left.
      const on = patch({ op: 'replace', path: 'active', value: true })
      expect((await world.scim('PATCH', `/Users/${id}`, on)).status).toBe(200)
      if (body['active'] === false || at % 2 === 0) expect(await world.members(group)).toEqual([])
      if (isWhole) break
      died += 1
    }
    expect(died).toBeGreaterThan(2)
  }, 240_000)

  test('before the memberships are gone gives nobody their sign-in back before they are', async () => {
    const id = await world.user('early')
    const group = await world.group('Early', id)
    // The first transaction commits; what is written to OpenFGA is not.
    dies = 1
    await world.scim('PATCH', `/Users/${id}`, patch({ op: 'replace', path: 'active', value: false }))
    dies = Number.POSITIVE_INFINITY
    expect(await world.members(group)).toEqual(['user:acme/early'])
    const on = await world.scim(
      'PATCH',
      `/Users/${id}`,
      patch({ op: 'replace', path: 'active', value: true }),
    )
    expect(on.status).toBe(200)
    expect(await world.members(group)).toEqual([])
  })

  test('before any write of a change of members leaves a group that the mending ends as the rows say', async () => {
    const [a = '', b = ''] = await Promise.all(['m1', 'm2'].map((key) => world.user(key)))
    const group = await world.group('Mended', a)
    for (let at = 0; ; at += 1) {
      const swap = at % 2 === 0
      dies = at
      await world.scim(
        'PATCH',
        `/Groups/${group}`,
        patch({ op: 'replace', path: 'members', value: [{ value: swap ? b : a }] }),
      )
      const isWhole = dies >= 0
      dies = Number.POSITIVE_INFINITY
      await world.service.memberships.mend()
      const { body } = await world.scim('GET', `/Groups/${group}`)
      expect(body['members']).toHaveLength(1)
      const isFirst = JSON.stringify(body['members']).includes(`"${a}"`)
      expect(await world.members(group)).toEqual([`user:acme/${isFirst ? 'm1' : 'm2'}`])
      if (isWhole) break
    }
  }, 120_000)
})
