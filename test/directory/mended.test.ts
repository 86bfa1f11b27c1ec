import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { type DirectoryWorld, openDirectoryWorld, patch } from './world.ts'

const off = patch({ op: 'Replace', path: 'active', value: 'False' })
const on = patch({ op: 'replace', path: 'active', value: true })

/** What Writes to OpenFGA put into groups and take out, in order; how many of the next ones fail. */
const written: string[] = []
let failing = 0
/** Objects that OpenFGA does not read out. */
const unread = new Set<string>()
/** Runs once, while objects of this type are read out. */
let during: { readonly type: string; readonly work: () => Promise<unknown> } | undefined
let world: DirectoryWorld
beforeAll(async () => {
  world = await openDirectoryWorld({
    openfga: (real: FgaApi): FgaApi =>
      Object.assign(Object.create(real), {
        async write(...[store, body, ...more]: Parameters<FgaApi['write']>) {
          failing -= 1
          if (failing >= 0) throw new Error('not written')
          const answer = await real.write(store, body, ...more)
          for (const { user } of body.deletes?.tuple_keys ?? []) written.push(`- ${user}`)
          for (const { user } of body.writes?.tuple_keys ?? []) written.push(`+ ${user}`)
          return answer
        },
        async read(...[store, body, ...more]: Parameters<FgaApi['read']>) {
          if (unread.has(body.tuple_key?.object ?? '')) throw new Error('not read')
          if (during !== undefined && during.type === body.tuple_key?.object) {
            const { work } = during
            during = undefined
            await work()
          }
          return real.read(store, body, ...more)
        },
      }),
  })
})
afterAll(() => world?.[Symbol.asyncDispose]())

const change = (id: string, body: object) => world.scim('PATCH', `/Users/${id}`, body)
const add = (group: string, ...ids: readonly string[]) =>
  world.scim(
    'PATCH',
    `/Groups/${group}`,
    patch({ op: 'add', path: 'members', value: ids.map((value) => ({ value })) }),
  )
const later = (key: string) => world.personToken(key, { now: Date.now() + 2_000, ttl: 60 })
const status = async (token: string): Promise<number> =>
  (await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })).status

describe('a block on a group', () => {
  /** A document that this person may read but for a group, which is blocked on it. */
  async function blocked(key: string, group: string): Promise<void> {
    await world.put({
      [`handbook/${key}`]: {
        text: 'Travel that some are not told of.',
        access: { viewers: [`user:acme/${key}`], blocked: [`group:acme/${group}#member`] },
      },
    })
  }

  /** What they find once others have written again who may read. */
  async function foundAgain(key: string, group: string): Promise<string[]> {
    await blocked(key, group)
    const access = { viewers: [`user:acme/${key}`] }
    await world.put({ [`handbook/${key}-free`]: { text: 'Travel that is free.', access } })
    return world.found(await later(key))
  }

  test('stays on who is in it, itself or through a group, when they are deactivated and activated', async () => {
    const bob = await world.user('bob')
    const inner = await world.group('Inner', bob)
    const group = await world.group('Blocked', inner)
    const other = await world.group('Other', bob)
    await blocked('bob', group)
    expect(await world.found(await world.personToken('bob'))).toEqual([])
    await change(bob, off)
    expect(await world.members(inner)).toEqual(['user:acme/bob'])
    expect((await change(bob, on)).status).toBe(200)
    expect(await foundAgain('bob', group)).toEqual(['handbook/bob-free'])
    // What only gives is ended as ever.
    expect(await world.members(other)).toEqual([])
  })

  test('that is set while they are inactive is in force before they may sign in', async () => {
    const lia = await world.user('lia')
    const inner = await world.group('Inner to be blocked', lia)
    const group = await world.group('To be blocked', inner)
    const other = await world.group('Never blocked', lia)
    await world.put({
      'handbook/lia': { text: 'Travel that some are told of.', access: { viewers: ['user:acme/lia'] } },
    })
    expect(await world.found(await world.personToken('lia'))).toEqual(['handbook/lia'])
    await change(lia, off)
    expect(await world.members(inner)).toEqual([])
    await blocked('lia', group)
    expect((await change(lia, on)).status).toBe(200)
    expect(await world.members(inner)).toEqual(['user:acme/lia'])
    expect(await foundAgain('lia', group)).toEqual(['handbook/lia-free'])
    // What only gives is ended as ever, and on no list.
    expect(await world.members(other)).toEqual([])
    expect(JSON.stringify((await world.scim('GET', `/Groups/${other}`)).body)).not.toContain(lia)
  })

  test('that reaches them through a group that is not in force yet holds their activation up', async () => {
    const mia = await world.user('mia')
    const inner = await world.group('Inner of mia', mia)
    const group = await world.group('Blocked for mia')
    await blocked('mia', group)
    await change(mia, off)
    failing = 1_000
    expect((await add(group, inner)).status).toBe(503)
    expect((await change(mia, on)).status).toBe(503)
    failing = 0
    expect(await status(await later('mia'))).toBe(401)
    // Nobody but the activation has it written now.
    expect((await change(mia, on)).status).toBe(200)
    expect(await world.members(group)).toEqual([`group:acme/${inner}#member`])
    expect(await foundAgain('mia', group)).toEqual(['handbook/mia-free'])
    // Put there while the activation is under way.
    const second = await world.group('Blocked for mia, too')
    await change(mia, off)
    const work = async () => {
      failing = 1_000
      await add(second, inner)
      failing = 0
    }
    during = { type: 'group:', work }
    expect((await change(mia, on)).status).toBe(409)
    expect((await change(mia, on)).status).toBe(200)
    expect(await world.members(second)).toEqual([`group:acme/${inner}#member`])
  })

  test('reaches who was put into it while inactive, before they may sign in', async () => {
    const eve = await world.user('eve')
    const group = await world.group('Blocked later')
    await blocked('eve', group)
    expect(await world.found(await world.personToken('eve'))).toEqual(['handbook/eve'])
    await change(eve, off)
    await add(group, eve)
    expect((await change(eve, on)).status).toBe(200)
    expect(await world.members(group)).toEqual(['user:acme/eve'])
    expect(await foundAgain('eve', group)).toEqual(['handbook/eve-free'])
  })
})

describe('a membership that cannot be written', () => {
  test('is none: a key that is no id is refused before anything is stored', async () => {
    for (const key of ['.', '..'])
      expect(
        await world.scim('POST', '/Users', { userName: `dot${key}`, externalId: key, active: true }),
      ).toMatchObject({ status: 400, body: { scimType: 'invalidValue' } })
  })

  test('keeps nobody in the group: who was removed is out, and who can join is in', async () => {
    const [go = '', come = '', bad = ''] = await Promise.all(
      ['go', 'come', 'bad'].map((key) => world.user(key)),
    )
    const group = await world.group('Stuck', go)
    // As one that was let in before keys were looked at.
    await world.database.query(`update directory_users set account = 'acme/.' where id = $1`, [bad])
    const both = patch(
      { op: 'add', path: 'members', value: [{ value: bad }, { value: come }] },
      { op: 'remove', path: `members[value eq "${go}"]` },
    )
    // Stored, and not in force: the directory is to ask again, not to give up.
    expect((await world.scim('PATCH', `/Groups/${group}`, both)).status).toBe(503)
    expect(await world.members(group)).toEqual(['user:acme/come'])
    const marks = await world.database.query('select member from directory_unsettled where group_id = $1', [
      group,
    ])
    expect(marks).toEqual([{ member: 'user:acme/.' }])
    expect(world.logged.map(({ event }) => event)).toContain('membership_not_written')
    await world.database.query('delete from directory_members where member_id = $1', [bad])
    await world.database.query('delete from directory_unsettled where group_id = $1', [group])
    const more = await world.scim('POST', '/Groups', {
      displayName: 'Stuck from the first',
      members: [{ value: bad }, { value: come }],
    })
    expect(more.status).toBe(201)
    expect(await world.members(String(more.body['id']))).toEqual(['user:acme/come'])
  })
})

describe('a Write that fails once', () => {
  test('leaves the order: nobody goes before the groups through which they stay, nor these before they are in', async () => {
    const ids = await Promise.all(['in1', 'in2'].map((key) => world.user(key)))
    const inner = await Promise.all(ids.map((id, nth) => world.group(`Stay inner ${nth}`, id)))
    const outer = await world.group('Stay outer', ...ids)
    const put = (...members: readonly string[]) =>
      world.scim('PUT', `/Groups/${outer}`, {
        displayName: 'Stay outer',
        members: members.map((value) => ({ value })),
      })
    const through = inner.map((id) => `group:acme/${id}#member`)
    const own = ['user:acme/in1', 'user:acme/in2']
    for (const [members, come, go] of [
      [inner, through, own],
      [ids, own, through],
    ] as const) {
      written.length = 0
      failing = 1
      expect((await put(...members)).status).toBe(200)
      const order = written.filter((line) => [...own, ...through].includes(line.slice(2)))
      expect([order.slice(0, 2).sort(), order.slice(2).sort()]).toEqual([
        come.map((member) => `+ ${member}`).sort(),
        go.map((member) => `- ${member}`).sort(),
      ])
    }
    // While they cannot be put in, nobody leaves; nor by a mending of what is half done.
    written.length = 0
    failing = 1_000
    expect((await put(...inner)).status).toBeGreaterThanOrEqual(500)
    failing = 0
    await world.service.ingest.drift()
    expect(written).toEqual([])
    expect(await world.members(outer)).toEqual(own)
  })
})

describe('the end of a person', () => {
  test.each([
    [
      'a path that names nothing',
      { op: 'replace', path: 'emails[type eq "home"].value', value: 'x@y.z' },
      400,
    ],
    ['a taken userName', { op: 'replace', path: 'userName', value: 'holder@acme.test' }, 409],
    ['a displayName that is too long', { op: 'replace', path: 'displayName', value: 'x'.repeat(2_000) }, 400],
  ])('is not held back by %s beside it', async (name, operation, code) => {
    const key = `end-${name.length}`
    await world.user('holder').catch(() => undefined)
    for (const [method, id] of [
      ['PATCH', await world.user(key)],
      ['PUT', await world.user(`${key}-put`)],
    ] as const) {
      const own = method === 'PUT' ? `${key}-put` : key
      const token = await world.personToken(own)
      expect(await status(token)).toBe(200)
      const whole = {
        externalId: own,
        userName: operation.path === 'userName' ? operation.value : `${own}@acme.test`,
        ...(operation.path === 'displayName' && { displayName: operation.value }),
        ...(operation.path.startsWith('emails') && { emails: 7 }),
        active: false,
      }
      const answer =
        method === 'PUT'
          ? await world.scim('PUT', `/Users/${id}`, whole)
          : await change(id, patch({ op: 'Replace', path: 'active', value: 'False' }, operation))
      expect([method, answer.status]).toEqual([method, code])
      expect((await world.scim('GET', `/Users/${id}`)).body).toMatchObject({
        active: false,
        userName: `${own}@acme.test`,
      })
      expect(await status(token)).toBe(401)
    }
  })

  test('is not read into a request that is refused and does not end in it', async () => {
    const id = await world.user('stays')
    const long = { op: 'replace', path: 'displayName', value: 'x'.repeat(2_000) }
    const back = { op: 'replace', path: 'active', value: true }
    const first = { op: 'replace', path: 'active', value: false }
    expect((await change(id, patch(first, back, long))).status).toBe(400)
    expect((await world.scim('GET', `/Users/${id}`)).body['active']).toBe(true)
  })
})

test('nobody is let in before what others wrote of them could be read and taken away', async () => {
  const id = await world.user('ulf')
  const member = { user: 'user:acme/ulf', relation: 'member', object: 'group:local/crew' } as const
  await world.service.ingest.applyTuples(operator('t_1'), { writes: [member], deletes: [] })
  const isMember = async () => {
    for await (const _ of world.service.fga.read(member)) return true
    return false
  }
  await change(id, off)
  const expectRefused = async () => {
    expect((await change(id, on)).status).toBe(503)
    expect(await status(await later('ulf'))).toBe(401)
  }
  unread.add('group:')
  await expectRefused()
  unread.clear()
  failing = 1_000
  await expectRefused()
  failing = 0
  expect(await isMember()).toBe(true)
  // Somebody else changes them meanwhile, who may have ended them anew.
  const rename = patch({ op: 'replace', path: 'displayName', value: 'Ulf' })
  during = { type: 'group:', work: () => change(id, rename) }
  expect((await change(id, on)).status).toBe(409)
  expect(during).toBeUndefined()
  expect(await status(await later('ulf'))).toBe(401)
  expect((await change(id, on)).status).toBe(200)
  expect(await isMember()).toBe(false)
  expect(await status(await later('ulf'))).toBe(200)
})

test('somebody who is back reads nothing that names them under an id that looks like a source’s', async () => {
  const id = await world.user('una')
  await world.database.query(
    `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds,
       crawl_seconds, max_age_seconds, purge_days)
     values ('kb', 'folder', 'file:///', '{}', '{finance}', 'paused', 'user:root', 1, 1, 1, 1)`,
  )
  const named = { user: 'user:acme/una', relation: 'viewer', object: 'folder:kb/own' } as const
  await world.service.ingest.applyTuples(operator('t_1'), {
    writes: [{ user: 'collection:handbook', relation: 'filed_in', object: named.object }, named],
    deletes: [],
  })
  await world.put({
    'kb/named': { text: 'Travel.', access: { viewers: ['user:acme/una'] } },
    'kb/below': { text: 'Travel.', access: { parents: [named.object] } },
  })
  expect(await world.found(await later('una'))).toEqual(['kb/below', 'kb/named'])
  await change(id, off)
  expect((await change(id, on)).status).toBe(200)
  expect(await world.found(await later('una'))).toEqual([])
  await world.database.query(`delete from sources where id = 'kb'`)
})

describe('a deleted user', () => {
  test('who was in a group keeps nobody else from being written: what was read may be sent back', async () => {
    const [gone = '', stays = ''] = await Promise.all(['gone', 'stays-in'].map((key) => world.user(key)))
    const group = await world.group('Read back', stays)
    await change(gone, off)
    await add(group, gone)
    const { body } = await world.scim('GET', `/Groups/${group}`)
    expect(JSON.stringify(body)).toContain(gone)
    await world.scim('DELETE', `/Users/${gone}`)
    expect(JSON.stringify((await world.scim('GET', `/Groups/${group}`)).body)).not.toContain(gone)
    expect((await world.scim('PUT', `/Groups/${group}`, body)).status).toBe(200)
    expect(await world.members(group)).toEqual(['user:acme/stays-in'])
    const [row] = await world.database.query('select login from directory_users where id = $1', [gone])
    expect(row).toEqual({ login: '' })
  })
})

describe('a deleted user whose membership OpenFGA still has', () => {
  test('is moved to no other key until it has not: their group would be the other one’s', async () => {
    const id = await world.user('left')
    const group = await world.group('Left', id)
    failing = 40
    expect((await world.scim('DELETE', `/Users/${id}`)).status).toBe(503)
    failing = 0
    const { personMove, memberships } = world.service
    await expect(personMove.move('acme/left', 'dan')).rejects.toMatchObject({ code: 'conflict' })
    expect(await world.members(group)).toEqual(['user:acme/left'])
    // Of another test, a membership that cannot be written is left.
    await memberships.mend().catch(() => undefined)
    await personMove.move('acme/left', 'dan')
    expect(await world.members(group)).toEqual([])
  })
})

describe('a list of groups', () => {
  test('holds no more members than one group may have; the next page goes on behind it', async () => {
    await world.database.query(
      `insert into directory_groups (id, directory, attributes, created_at, changed_at)
       select 'g_large' || n, 'acme', jsonb_build_object('displayName', 'Large', 'externalId', 'large' || n), now(), now()
       from generate_series(1, 3) as n`,
    )
    await world.database.query(
      `insert into directory_members (group_id, member, member_id, is_dormant)
       select 'g_large' || g, 'user:acme/large' || n, 'u_large' || g || '_' || n, true
       from generate_series(1, 3) as g, generate_series(1, 20000) as n`,
    )
    const read = async (query: string) => {
      const { body, status: code } = await world.scim('GET', `/Groups?${query}`)
      expect(code).toBe(200)
      const resources: unknown[] = Array.isArray(body['Resources']) ? body['Resources'] : []
      return { body, ids: resources.map((resource) => JSON.stringify(resource).slice(0, 120)), resources }
    }
    const large = `filter=${encodeURIComponent('displayName eq "Large"')}`
    const first = await read(large)
    expect(first.body).toMatchObject({ totalResults: 3, itemsPerPage: 2 })
    expect((await read(`${large}&startIndex=3`)).body).toMatchObject({ totalResults: 3, itemsPerPage: 1 })
    expect((await read(`${large}&excludedAttributes=members`)).body).toMatchObject({ itemsPerPage: 3 })
    const without = await read('count=500')
    expect(without.resources.length).toBeLessThan(Number(without.body['totalResults']))
    for (const filter of [
      'members eq "u_large2_7"',
      'members[value eq "u_large2_7"]',
      'members.value eq "u_large2_7"',
    ])
      expect((await read(`attributes=id&filter=${encodeURIComponent(filter)}`)).resources).toMatchObject([
        { id: 'g_large2' },
      ])
  }, 120_000)

  test('is not held up by filters that read whole groups: ten in one PATCH, and no more', async () => {
    const group = await world.group('Filtered')
    const remove = { op: 'remove', path: 'members[type eq "User"]' }
    const many = (count: number) =>
      world.scim('PATCH', `/Groups/${group}`, patch(...Array.from({ length: count }, () => remove)))
    expect((await many(10)).status).toBe(204)
    expect(await many(11)).toMatchObject({ status: 400, body: { scimType: 'tooMany' } })
  })
})

test('a text with a NUL is refused wherever it stands, and is no fault of the server', async () => {
  const group = await world.group('Nul')
  const filter = encodeURIComponent('userName eq "a\\u0000"')
  expect((await world.scim('GET', `/Users?filter=${filter}`)).status).toBe(400)
  for (const [method, body] of [
    ['GET', undefined],
    ['DELETE', undefined],
    ['PUT', { userName: 'x', externalId: 'x', active: false }],
  ] as const)
    expect((await world.scim(method, '/Users/u_%00', body)).status).toBe(404)
  const members = [{ value: 'u_\0' }]
  expect((await world.scim('PUT', `/Groups/${group}`, { displayName: 'x', members })).status).toBe(400)
})

test('an end that is refused, since nobody else would administer, is on record', async () => {
  const { administrators } = world.service
  const id = await world.user('last-admin')
  for (const { subject } of await administrators.list()) await administrators.remove(subject)
  await administrators.add('user:acme/last-admin', ['security.write'])
  expect((await change(id, off)).status).toBe(409)
  expect((await world.scim('DELETE', `/Users/${id}`)).status).toBe(409)
  const rows = await world.database.query<{ subject: string; number: number }>(
    `select subject, count(*)::int as number from decision_records
     where event = 'directory_user_changed' and detail ->> 'change' = 'end_refused' group by subject`,
  )
  expect(rows).toEqual([{ subject: 'directory:acme', number: 2 }])
})

test('a group whose read fails keeps no other from being compared', async () => {
  const id = await world.user('compared')
  const first = await world.group('Unread', id)
  const second = await world.group('Read', id)
  for (const group of [first, second]) await world.remove(`user:acme/compared member group:acme/${group}`)
  unread.add(`group:acme/${first}`)
  await expect(world.service.memberships.compare()).rejects.toThrow('OpenFGA')
  unread.clear()
  // Of another test, a membership that cannot be written is left.
  await world.service.memberships.mend().catch(() => undefined)
  expect([await world.members(first), await world.members(second)]).toEqual([[], ['user:acme/compared']])
})
