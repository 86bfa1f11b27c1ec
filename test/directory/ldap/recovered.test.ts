import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { distrustGroups } from '../../../src/store/older-groups.ts'
import { needsSlapd } from '../../support/slapd.ts'
import { type LdapWorld, openLdapWorld } from './world.ts'

describe('after a recovery of an older database, a reading by LDAP', needsSlapd, () => {
  let world: LdapWorld
  const many = Array.from({ length: 12 }, (_, nth) => `p${nth}`)
  beforeAll(async () => {
    world = await openLdapWorld()
    const { dnOf } = world
    for (const key of ['anne', 'mallory', 'zoe', ...many]) await world.person(key)
    await world.group('readers', dnOf('mallory'), dnOf('zoe'))
    await world.group('told', dnOf('anne'))
    await world.group('shut')
    await world.register()
    await world.read()
    const [readers, told, shut] = await Promise.all(['readers', 'told', 'shut'].map(usersetOf))
    await world.put({ 'handbook/shut': { access: { viewers: [readers, told], blocked: [shut] } } })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(() => distrustGroups(world.database))
  afterEach(async () => {
    for (const table of ['directory_members', 'directory_users'])
      await world.database.query(`drop trigger if exists fails on ${table}`)
  })

  const usersetOf = async (name: string): Promise<string> => `${await world.groupId(name)}#member`
  const member = async (name: string, key: string) => ({
    user: `user:acme/${key}`,
    relation: 'member',
    object: (await world.groupId(name)) as `group:${string}`,
  })
  /** Has the database refuse such changes, as in a deadlock. */
  async function failOn(table: string, change: string): Promise<void> {
    await world.database.query(
      `create or replace function fails() returns trigger language plpgsql as $$ begin raise 'It is away.'; end $$`,
    )
    await world.database.query(
      `create trigger fails before ${change} on ${table} for each row execute function fails()`,
    )
  }
  /** Reads all of it, and what is said by then gets to OpenFGA. */
  async function read() {
    const read = await world.read()
    await world.service.memberships.mend()
    return read
  }

  test('holds no group to its rows that it could not write; the next one that can does', async () => {
    const { fga, memberships } = world.service
    await fga.write({ deletes: [await member('readers', 'mallory')] })
    await world.setMembers('readers', world.dnOf('zoe'))
    await failOn('directory_members', 'delete')
    expect((await read()).problems).toEqual(['readers: It is away.'])
    expect((await world.members())['readers']).toEqual(['zoe'])
    await world.database.query('drop trigger fails on directory_members')
    expect((await read()).problems).toEqual([])
    await fga.write({ writes: [await member('readers', 'mallory')] })
    await memberships.compare()
    await memberships.mend()
    expect((await world.members())['readers']).toEqual(['zoe'])
  })

  test('holds no group to its rows that has somebody by them who could not be ended, and every other one', async () => {
    const { fga } = world.service
    await fga.write({ deletes: [await member('told', 'anne')], writes: [await member('readers', 'mallory')] })
    await world.slapd.replace(world.dnOf('anne'), 'pwdAccountLockedTime', ['000001010000Z'])
    await failOn('directory_users', 'update')
    expect((await read()).problems).toEqual(['acme/anne: It is away.'])
    expect((await world.members())['told']).toEqual([])
    expect((await world.members())['readers']).toEqual(['zoe'])
  })

  test('holds groups to their rows, whoever else writes a key into their entry that is somebody’s', async () => {
    await world.service.fga.write({ writes: [await member('readers', 'mallory')] })
    const other = `cn=other,ou=people,${world.slapd.base}`
    await world.slapd.add(other, { objectClass: 'inetOrgPerson', cn: 'other', sn: 'other', uid: 'ZOE' })
    await world.setMembers('readers', world.dnOf('zoe'), other)
    expect((await read()).problems).toEqual(['acme/ZOE: The key is, or was, somebody else’s here.'])
    expect((await world.members())['readers']).toEqual(['zoe'])
    await world.slapd.client.del(other)
  })

  test('lifts blocks that OpenFGA alone knows only as it lifts others: many by somebody’s word; of a stranger none', async () => {
    const { fga } = world.service
    const blocked = [...many, 'stranger'].sort()
    await fga.write({ writes: await Promise.all(blocked.map((key) => member('shut', key))) })
    const { waiting, problems } = await read()
    expect(waiting).toMatchObject({ unblock: many.length })
    expect(problems).toContainEqual(expect.stringMatching(/^1 members of g_.* are unknown here/))
    expect((await world.members())['shut']).toEqual(blocked)
    await world.confirm('unblock')
    await read()
    expect((await world.members())['shut']).toEqual(['stranger'])
  })
})
