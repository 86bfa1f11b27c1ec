import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Tuple } from '../../src/authz/fga.ts'
import { type DirectoryDeps, openDirectory } from '../../src/compose/directory.ts'
import { markerObject, readMarker } from '../../src/delegation/recovery/restore-detection.ts'
import { distrustGroups, noteAllSaid } from '../../src/store/older-groups.ts'
import { type DirectoryWorld, openDirectoryWorld, patch } from './world.ts'

let world: DirectoryWorld
beforeAll(async () => {
  // It only says that tuples are kept apart, so that one of the two can be the older copy.
  world = await openDirectoryWorld({ env: { OPENFGA_API_URL: 'http://127.0.0.1:9', OPENFGA_API_TOKEN: 'x' } })
})
afterAll(() => world?.[Symbol.asyncDispose]())

/** Has one of the two look like an older copy of itself, to this process too. */
async function age(older: 'database' | 'openfga'): Promise<void> {
  // By one write: the process looks by itself, and between two it would see the other one as older.
  const number = (await readMarker(world.service.fga)) + 5
  const marker = { user: `agent:epoch.${number}`, relation: 'agent', object: markerObject } as const
  if (older === 'database') await world.service.fga.write({ writes: [marker] })
  else await world.database.query('update epochs set number = $1, told = $1', [number])
  expect(await world.service.mayHaveForgotten()).toBe(true)
}
/** As its operator does after it: nobody's token counts any more. */
const recover: typeof world.service.recover = async (...args) => {
  const recovered = await world.service.recover(...args)
  await world.renewToken()
  return recovered
}
const member = (group: string, key: string) =>
  ({ user: `user:acme/${key}`, relation: 'member', object: `group:acme/${group}` }) as const
const change = (group: string, op: 'add' | 'remove', id: string) =>
  world.scim('PATCH', `/Groups/${group}`, patch({ op, path: 'members', value: [{ value: id }] }))
const isStored = async (tuple: Tuple): Promise<boolean> => {
  for await (const _ of world.service.fga.read(tuple)) return true
  return false
}

describe('a recovery of an OpenFGA that is older', () => {
  test('loses who was blocked then and is no more; where nothing tells which is older, such a block stays', async () => {
    const block = { user: 'user:mallory', relation: 'blocked', object: 'organization:bank' } as const
    const change = (operation: 'writes' | 'deletes') =>
      world.service.ingest.applyTuples(operator('t_1'), { writes: [], deletes: [], [operation]: [block] })
    await change('writes')
    await change('deletes')
    await world.service.fga.write({ writes: [block] })
    await recover('t_2')
    expect(await isStored(block)).toBe(true)
    await age('openfga')
    expect(await recover('t_3')).toMatchObject({ older: 'openfga', access_mended: 1 })
    expect(await isStored(block)).toBe(false)
  })

  test('loses it as well beside one of somebody who is being moved, whose own stays', async () => {
    const { fga } = world.service
    const blockOf = (key: string) =>
      ({ user: `user:acme/${key}`, relation: 'blocked', object: 'organization:mill' }) as const
    await world.database.query(
      `insert into person_moves (old_key, new_key, was_disabled, begun_at, tuples_first)
       values ('acme/moving', 'acme/moved', false, now(), true)`,
    )
    await fga.write({ writes: [blockOf('left'), blockOf('moving')] })
    await age('openfga')
    await recover('t_4')
    expect([await isStored(blockOf('left')), await isStored(blockOf('moving'))]).toEqual([false, true])
    await world.database.query('delete from person_moves')
  })
})

describe('a recovery of a database that is older', () => {
  test('leaves a directory’s groups as OpenFGA has them until all of one is said again, and what is said of it counts at once', async () => {
    const { fga, memberships, ingest } = world.service
    const [zoe = '', mallory = ''] = await Promise.all(
      ['zoe', 'mallory', 'bob'].map((key) => world.user(key)),
    )
    const group = await world.group('Blocked', zoe)
    const other = await world.group('Never said again', zoe)
    // Zoe left since, and mallory came. What the copy was about to write is long over.
    for (const one of [group, other])
      await fga.write({ writes: [member(one, 'mallory')], deletes: [member(one, 'zoe')] })
    await world.database.query(
      `insert into directory_unsettled (group_id, member, number) values ($1, 'user:acme/mallory', 0)`,
      [group],
    )
    await age('database')
    const { older, send_again } = await recover('t_1')
    expect([older, send_again]).toEqual([
      'database',
      expect.arrayContaining([
        'people and whole groups of the directory acme, by SCIM, with a new token (remit directory token acme)',
      ]),
    ])
    const compareAll = async () => {
      await memberships.compare()
      await memberships.mend()
      await ingest.drift()
    }
    await compareAll()
    expect([await world.members(group), await world.members(other)]).toEqual([
      ['user:acme/mallory'],
      ['user:acme/mallory'],
    ])
    // By its rows neither changes anything.
    expect((await change(group, 'add', zoe)).status).toBe(204)
    expect((await change(group, 'remove', mallory)).status).toBe(204)
    expect(await world.members(group)).toEqual(['user:acme/zoe'])
    await fga.write({ writes: [member(group, 'bob')] })
    await world.scim('PUT', `/Groups/${group}`, { displayName: 'Blocked', members: [{ value: mallory }] })
    expect(await world.members(group)).toEqual(['user:acme/mallory'])
    // From then on it is held to its rows as ever.
    await fga.write({ writes: [member(group, 'bob')] })
    await compareAll()
    expect(await world.members(group)).toEqual(['user:acme/mallory'])
    expect(await world.members(other)).toEqual(['user:acme/mallory'])
    // As where a reading of all of a directory ends.
    await noteAllSaid(world.database, 'acme')
    await memberships.mend()
    expect(await world.members(other)).toEqual(['user:acme/zoe'])
  })

  test('refuses to take out of a group whom the copy does not know, until all of it was said', async () => {
    const known = await world.user('known')
    const group = await world.group('Known', known)
    await world.service.fga.write({ writes: [member(group, 'unknown')] })
    await distrustGroups(world.database)
    expect(await change(group, 'remove', 'u_unknown')).toMatchObject({
      status: 400,
      body: { detail: expect.stringContaining('Send it whole') },
    })
    const ofType = patch({ op: 'remove', path: 'members[type eq "User"]' })
    expect((await world.scim('PATCH', `/Groups/${group}`, ofType)).status).toBe(400)
    expect(await world.members(group)).toEqual(['user:acme/known', 'user:acme/unknown'])
    expect((await change(group, 'remove', known)).status).toBe(204)
    const whole = { displayName: 'Known', members: [{ value: known }] }
    expect((await world.scim('PUT', `/Groups/${group}`, whole)).status).toBe(200)
    expect(await world.members(group)).toEqual(['user:acme/known'])
    expect((await world.scim('PATCH', `/Groups/${group}`, ofType)).status).toBe(204)
    expect(await world.members(group)).toEqual([])
  })

  test('gives somebody who was ended nothing back by a group that has them in OpenFGA alone; its blocks stay', async () => {
    const back = await world.user('back')
    const [gives, blocks] = [await world.group('Gives'), await world.group('Blocks')]
    await world.put({
      'handbook/back': {
        access: { viewers: [`group:acme/${gives}#member`], blocked: [`group:acme/${blocks}#member`] },
      },
    })
    await world.service.fga.write({ writes: [member(gives, 'back'), member(blocks, 'back')] })
    await distrustGroups(world.database)
    for (const value of [false, true]) {
      const answer = await world.scim(
        'PATCH',
        `/Users/${back}`,
        patch({ op: 'replace', path: 'active', value }),
      )
      expect(answer.status).toBe(200)
    }
    expect([await world.members(gives), await world.members(blocks)]).toEqual([[], ['user:acme/back']])
  })

  test.each(['keep', 'end'] as const)(
    'restored, with --%s-access, believes OpenFGA of who is in a group that blocks; one that gives ends with all access',
    async (access) => {
      const { fga } = world.service
      const ids = await Promise.all(['in', 'out'].map((key) => world.user(`${key}-${access}`)))
      const [inKey, outKey] = [`in-${access}`, `out-${access}`]
      const [blocking, giving] = [await world.group('Blocks', ...ids), await world.group('Gives', ...ids)]
      await world.put({
        [`handbook/${access}`]: {
          access: {
            viewers: [`group:acme/${giving}#member`],
            blocked: [`group:acme/${blocking}#member`],
          },
        },
      })
      for (const group of [blocking, giving]) await fga.write({ deletes: [member(group, outKey)] })
      await age('database')
      await world.database.query('update epochs set restored = $1', [
        { taken_at: '2026-01-01T00:00:00Z', restored_at: '', openfga: false, seal: 0 },
      ])
      expect(await recover('t_1', { heads: [], access, anyway: false })).toMatchObject({
        older: 'database',
        access,
      })
      expect([await world.members(blocking), await world.members(giving)]).toEqual([
        [`user:acme/${inKey}`],
        access === 'end' ? [] : [`user:acme/${inKey}`],
      ])
    },
  )
})

describe('a directory’s token', () => {
  test('that was taken back since the copy was made does not speak for it after a recovery', async () => {
    await age('database')
    await world.service.recover('t_5')
    expect((await world.scim('GET', '/Users')).status).toBe(401)
    await world.renewToken()
    expect((await world.scim('GET', '/Users')).status).toBe(200)
  })

  test('stays where OpenFGA alone is older, unless somebody says that both were put in place', async () => {
    await age('openfga')
    await world.service.recover('t_6')
    expect((await world.scim('GET', '/Users')).status).toBe(200)
    await age('openfga')
    await world.service.recover('t_7', { heads: [], access: undefined, anyway: true })
    expect((await world.scim('GET', '/Users')).status).toBe(401)
    await world.renewToken()
  })
})

describe('where one of the two is older, a directory writes nothing', () => {
  /** What the service begins for directories, once, with the world's parts. */
  async function begin(sound: Pick<DirectoryDeps, 'isSound' | 'assertSound'>): Promise<void> {
    const parts = { ...world.service, ...world, log: () => undefined, newTxn: () => 't_1' }
    await using part = openDirectory({ ...parts, ...sound } as unknown as DirectoryDeps)
    part.start({ compares: true })
  }
  const copy = async () => Promise.reject(new Error('It is older by now.'))

  test('not by itself where that is known, nor once it turns out after rows were read', async () => {
    const group = await world.group('Rests', await world.user('rests'))
    await world.service.fga.write({ writes: [member(group, 'stranger')] })
    const marked = async () =>
      (await world.database.query('select from directory_unsettled where group_id = $1', [group])).length
    await begin({ isSound: () => false, assertSound: async () => undefined })
    expect(await marked()).toBe(0)
    await world.service.memberships.compare()
    await begin({ isSound: () => false, assertSound: async () => undefined })
    await begin({ isSound: () => true, assertSound: copy })
    expect([await marked(), (await world.members(group)).length]).toEqual([1, 2])
    await begin({ isSound: () => true, assertSound: async () => undefined })
    expect([await marked(), await world.members(group)]).toEqual([0, ['user:acme/rests']])
  })
})
