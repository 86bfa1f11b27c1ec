import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type DirectoryWorld, openDirectoryWorld, patch } from './world.ts'

const off = patch({ op: 'Replace', path: 'active', value: 'False' })
const on = patch({ op: 'replace', path: 'active', value: true })

let world: DirectoryWorld
beforeAll(async () => {
  world = await openDirectoryWorld()
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
    expect(await world.found(await later('bob'))).toEqual([])
    // What only gives is ended as ever.
    expect(await world.members(other)).toEqual([])
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
    expect(await world.found(await later('eve'))).toEqual([])
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
