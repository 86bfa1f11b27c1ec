import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { needsSlapd } from '../../support/slapd.ts'
import { type LdapWorld, openLdapWorld } from './world.ts'

describe('a directory whose people write text that Postgres does not keep', needsSlapd, () => {
  let world: LdapWorld
  beforeAll(async () => {
    world = await openLdapWorld()
    for (const key of ['anne', 'bob', 'carol']) await world.person(key, { mail: `${key}@acme.test` })
    const { base } = world.slapd
    await world.group('staff', ...['anne', 'bob', 'carol'].map(world.dnOf))
    await world.slapd.replace(world.groupDn('staff'), 'description', ['Staff'])
    await world.register({
      people: {
        base: `ou=people,${base}`,
        filter: '(objectClass=inetOrgPerson)',
        key: 'mail',
        id: 'entryUUID',
        active: 'pwdAccountLockedTime',
      },
      groups: {
        base: `ou=groups,${base}`,
        filter: '(objectClass=groupOfNames)',
        id: 'entryUUID',
        name: 'description',
      },
    })
    expect(await world.read()).toMatchObject({ problem: null })
    expect(await world.members()).toEqual({ Staff: ['anne', 'bob', 'carol'].map(mailOf) })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  const mailOf = (key: string): string => `${key}@acme.test`

  test('takes who left out of a group, whatever somebody else wrote into their own key', async () => {
    await world.slapd.replace(world.dnOf('carol'), 'mail', ['carol\0@acme.test'])
    await world.setMembers('staff', world.dnOf('anne'), world.dnOf('carol'))
    expect(await world.read()).toMatchObject({ problem: null })
    expect((await world.members())['Staff']).not.toContain(mailOf('bob'))
    expect((await world.members())['Staff']).toContain(mailOf('anne'))
    await world.slapd.replace(world.dnOf('carol'), 'mail', [mailOf('carol')])
    expect(await world.read()).toMatchObject({ problem: null })
    expect(await world.members()).toEqual({ Staff: ['anne', 'carol'].map(mailOf) })
  })

  test('takes who left out of a group, whatever is written into its name', async () => {
    await world.slapd.replace(world.groupDn('staff'), 'description', ['Sta\0ff'])
    await world.setMembers('staff', world.dnOf('anne'))
    expect(await world.read()).toMatchObject({ problem: null, problems: [] })
    expect(Object.values(await world.members())).toEqual([['anne'].map(mailOf)])
  })

  test('comes to its end, however long a name is of which it tells that it cannot be as it stands', async () => {
    // Cut after five hundred, it would end in half an emoji.
    await world.slapd.replace(world.groupDn('staff'), 'description', [`${'a'.repeat(499)}😀`])
    await world.setMembers('staff', world.dnOf('anne'), world.groupDn('staff'))
    const { problem, problems } = await world.read()
    expect(problem).toBeNull()
    expect(problems).toEqual([`${'a'.repeat(499)}?`])
  })
})
