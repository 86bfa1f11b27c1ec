import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import type { Tuple } from '../../../src/authz/fga.ts'
import {
  type DoubleAnswer,
  type DoubleEntry,
  type LdapDouble,
  startLdapDouble,
} from '../../support/ldap-double.ts'
import { needsSlapd } from '../../support/slapd.ts'
import { ManageDsaItControl } from './manage.ts'
import { type LdapWorld, openLdapWorld } from './world.ts'

const later = () => Date.now() + 2_000

describe('a reading by LDAP that is not whole', needsSlapd, () => {
  let world: LdapWorld
  let double: LdapDouble
  /** What the double has at a look at groups, the first, the second and so on. */
  let atLook = (_: 'people' | 'groups', __: number): DoubleAnswer => ({ entries: [], cookie: '' })
  const keys = Array.from({ length: 12 }, (_, index) => `p${index}`)
  beforeAll(async () => {
    let looks = 0
    double = await startLdapDouble(({ base }) => {
      if (base.startsWith('ou=groups')) looks += 1
      return atLook(base.startsWith('ou=groups') ? 'groups' : 'people', looks)
    })
    world = await openLdapWorld({ double: double.url })
    for (const key of keys) await world.person(key)
    await world.group('staff', ...keys.map(world.dnOf))
    await world.group('blocked', ...keys.map(world.dnOf))
    await world.register()
    await world.read()
    await world.put({
      'handbook/open': {
        text: 'Travel of the staff.',
        access: { viewers: [`${await world.groupId('staff')}#member`] },
      },
      'handbook/shut': {
        text: 'Travel that some are not told of.',
        access: {
          viewers: [`${await world.groupId('staff')}#member`],
          blocked: [`${await world.groupId('blocked')}#member`],
        },
      },
    })
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await double?.[Symbol.asyncDispose]()
  })

  const everybody = (access: string) => [
    `to * by dn.exact="cn=remit,${world.slapd.base}" ${access} by anonymous auth by * none`,
  ]
  /** As another program writes it. */
  const ofTeam: Tuple = { user: 'user:acme/p2', relation: 'member', object: 'group:local/team' }
  const writeByHand = (tuple: Tuple) =>
    world.service.ingest.applyTuples(operator('t_1'), { writes: [tuple], deletes: [] })
  const isStored = async (tuple: Tuple): Promise<boolean> => {
    for await (const _ of world.service.fga.read(tuple)) return true
    return false
  }
  const expectAllThere = async () => {
    expect(await world.members()).toEqual({ blocked: [...keys].sort(), staff: [...keys].sort() })
    expect(await world.found(await world.personToken('p0', later()))).toEqual(['handbook/open'])
  }

  test('counts for nothing where the server stops at a limit, refers elsewhere, refuses or is down', async () => {
    const { slapd } = world
    const failing = async (says: string) => {
      const { problem } = await world.read()
      expect(problem).toContain(says)
      await expectAllThere()
    }
    await slapd.client.del(world.dnOf('p1'))
    await slapd.limit('size.prtotal=4')
    await failing('SizeLimitExceeded')
    await slapd.limit('size=unlimited')
    const referral = `ou=far,ou=people,${slapd.base}`
    await slapd.add(referral, {
      objectClass: ['referral', 'extensibleObject'],
      ou: 'far',
      ref: 'ldap://127.0.0.1:1/ou=far,dc=acme,dc=test',
    })
    await failing('refers to another one')
    await slapd.client.del(referral, new ManageDsaItControl())
    await slapd.replace(slapd.reader.dn, 'userPassword', ['another'])
    await failing('InvalidCredentials')
    await slapd.replace(slapd.reader.dn, 'userPassword', [slapd.reader.password])
    await slapd.stop()
    await failing('There is no connection')
    await slapd.start()
    await world.register({
      people: {
        base: `ou=none,${slapd.base}`,
        filter: '(uid=*)',
        key: 'uid',
        id: 'entryUUID',
        active: 'always',
      },
    })
    await failing('NoSuchObject')
    await world.register()
    expect((await world.read()).problem).toBeNull()
    expect((await world.members())['staff']).not.toContain('p1')
    expect(await world.status(await world.personToken('p1', later()))).toBe(401)
  })

  test('shuts out at once more people than a tenth who are gone, and ends what they have by somebody’s word', async () => {
    const { slapd, service } = world
    const left = keys.filter((key) => key !== 'p1')
    const delegation = await world.lend('acme/p2', 'research-bot', 'collection:handbook')
    await writeByHand(ofTeam)
    await slapd.allow([
      `to dn.children="ou=people,${slapd.base}" by anonymous auth by * none`,
      ...everybody('read'),
    ])
    const { problem, problems, waiting } = await world.read()
    expect({ problem, waiting }).toEqual({
      problem: null,
      waiting: { end: left.length, unblock: left.length },
    })
    expect(problems).toContain(
      '11 of 11 people are missing. They are shut out; what they have ends by your word.',
    )
    expect(await world.status(await world.personToken('p2', later()))).toBe(401)
    expect((await world.members())['staff']).toEqual([])
    expect(await service.delegations.isLive(delegation)).toBe(true)

    await slapd.allow(everybody('read'))
    expect((await world.read()).problems).toEqual([])
    expect(await service.delegations.isLive(delegation)).toBe(true)
    expect(await isStored(ofTeam)).toBe(true)
    expect(await world.found(await world.personToken('p2', later()))).toEqual(['handbook/open'])

    await slapd.allow([
      `to dn.children="ou=people,${slapd.base}" by anonymous auth by * none`,
      ...everybody('read'),
    ])
    await world.read()
    const { digest, members } = await world.waiting('end')
    expect(members).toContainEqual({ member: 'user:acme/p2', group: null, name: null })
    // One of them is seen again: a yes to all of them is none to the others.
    const kept = await world.lend('acme/p11', 'research-bot', 'collection:handbook')
    await slapd.allow([
      `to dn.exact="${world.dnOf('p11')}" by dn.exact="${slapd.reader.dn}" read by anonymous auth by * none`,
      `to dn.children="ou=people,${slapd.base}" by anonymous auth by * none`,
      ...everybody('read'),
    ])
    expect(await world.read()).toMatchObject({ waiting: { end: left.length - 1 } })
    await expect(service.directories.confirm('acme', digest)).rejects.toMatchObject({ field: 'digest' })
    expect((await world.read()).waiting).toMatchObject({ end: left.length - 1 })
    await world.confirm('end')
    await world.confirm('unblock')
    expect(await world.read()).toMatchObject({ waiting: null })
    expect(await service.delegations.isLive(delegation)).toBe(false)
    expect(await service.delegations.isLive(kept)).toBe(true)

    // Who was ended comes back by a word of its own.
    await slapd.allow(everybody('read'))
    expect(await world.read()).toMatchObject({ waiting: { return: left.length - 1 } })
    expect(await world.status(await world.personToken('p2', later()))).toBe(401)
    await world.confirm('return')
    expect(await world.read()).toMatchObject({ waiting: null, problems: [] })
    expect(await isStored(ofTeam)).toBe(false)
    expect(await world.found(await world.personToken('p2', later()))).toEqual(['handbook/open'])
  })

  test('only shuts out, too, those whom a filter for active people does not find any more', async () => {
    const { slapd, service } = world
    const delegation = await world.lend('acme/p4', 'research-bot', 'collection:handbook')
    const people = {
      base: `ou=people,${slapd.base}`,
      filter: '(objectClass=inetOrgPerson)',
      key: 'uid',
      id: 'entryUUID',
      active: 'always',
    }
    await world.register({ people: { ...people, active_filter: '(employeeType=mistyped)' } })
    expect(await world.read()).toMatchObject({ problem: null, waiting: { end: 11 } })
    expect(await world.status(await world.personToken('p4', later()))).toBe(401)
    expect(await service.delegations.isLive(delegation)).toBe(true)
    await world.register({ people })
    expect((await world.read()).problems).toEqual([])
    expect(await service.delegations.isLive(delegation)).toBe(true)
  })

  test('lifts no block of many at once where members cannot be seen any more, and lets them read less', async () => {
    const { slapd, service } = world
    await slapd.allow([
      `to dn.children="ou=groups,${slapd.base}" attrs=member by anonymous auth by * none`,
      ...everybody('read'),
    ])
    expect(await world.read()).toMatchObject({ problem: null, waiting: { unblock: 11 } })
    expect(await world.members()).toMatchObject({ staff: [] })
    expect((await world.members())['blocked']).toHaveLength(11)
    await slapd.allow(everybody('read'))
    expect(await world.read()).toMatchObject({ waiting: null, problems: [] })

    // As many, and others: a yes to the first is none to these.
    await world.setMembers('blocked', world.dnOf('p2'))
    expect(await world.read()).toMatchObject({ waiting: { unblock: 10 } })
    const { digest, members } = await world.waiting('unblock')
    const group = await world.groupId('blocked')
    expect(members).toContainEqual({ member: 'user:acme/p3', group, name: 'blocked' })
    await world.setMembers('blocked', world.dnOf('p3'))
    expect(await world.read()).toMatchObject({ waiting: { unblock: 10 } })
    await expect(service.directories.confirm('acme', digest)).rejects.toMatchObject({ field: 'digest' })
    // Who is missing only since the yes is not in it.
    await world.confirm('unblock')
    await world.setMembers('blocked')
    expect(await world.read()).toMatchObject({ waiting: { unblock: 1 } })
    expect((await world.members())['blocked']).toEqual(['p3'])
    await world.confirm('unblock')
    expect(await world.read()).toMatchObject({ waiting: null })
    expect(await world.members()).toMatchObject({ blocked: [] })
    expect(await world.found(await world.personToken('p2', later()))).toEqual([
      'handbook/open',
      'handbook/shut',
    ])
    await world.setMembers('blocked', ...keys.map(world.dnOf))
    await world.read()
  })

  test('takes out what gives something, once nobody could read for the age that counts, and no block', async () => {
    const { slapd, service, database } = world
    await slapd.stop()
    await database.query(`update directories set read_at = now() - interval '23 hours'`)
    await service.directoryReader.rest()
    await world.read()
    expect((await world.members())['staff']).toHaveLength(11)
    await database.query(`update directories set read_at = now() - interval '25 hours'`)
    await service.directoryReader.rest()
    expect(await world.members()).toMatchObject({ staff: [] })
    expect((await world.members())['blocked']).toHaveLength(11)
    expect((await service.directories.list())[0]?.reading).toMatchObject({ isStale: true })
    // A reading that died after it gave back what rested, and before its end.
    await database.query('update directory_members set is_dormant = false')
    await database.query(
      `insert into directory_unsettled (group_id, member, number)
       select group_id, member, nextval('directory_unsettled_numbers') from directory_members`,
    )
    await service.directoryReader.rest()
    expect(await world.members()).toMatchObject({ staff: [] })
    expect((await world.members())['blocked']).toHaveLength(11)
    await slapd.start()
    expect(await world.read()).toMatchObject({ problem: null, isStale: false })
    expect((await world.members())['staff']).toHaveLength(11)
  })

  test('holds the people of a required one then, but for the last administrator, and has all of it back once it is read', async () => {
    const { slapd, service, database } = world
    const { administrators } = service
    for (const { subject } of await administrators.list()) await administrators.remove(subject)
    await administrators.add('user:acme/p5', ['security.write'])
    await writeByHand(ofTeam)
    const delegation = await world.lend('acme/p2', 'research-bot', 'collection:handbook')
    await world.register({}, { isRequired: true })
    await world.read()
    await slapd.stop()
    await database.query(`update directories set read_at = now() - interval '23 hours'`)
    await service.directoryReader.rest()
    const [token, last] = [await world.personToken('p2'), await world.personToken('p5')]
    expect([await world.status(token), await world.status(last)]).toEqual([200, 200])

    await database.query(`update directories set read_at = now() - interval '25 hours'`)
    await service.directoryReader.rest()
    expect([await world.status(token), await world.status(last)]).toEqual([401, 200])
    expect(await world.members()).toMatchObject({ staff: [] })
    const refusals = async () =>
      (await database.query(`select from decision_records where detail ->> 'change' = 'end_refused'`)).length
    expect(await refusals()).toBe(1)
    await service.directoryReader.rest()
    expect(await refusals()).toBe(1)
    await administrators.add('user:anne', ['security.write'])
    await service.directoryReader.rest()
    expect(await world.status(last)).toBe(401)
    expect((await service.directories.list())[0]).toMatchObject({ held: 11, reading: { isRequired: true } })

    await slapd.start()
    expect(await world.read()).toMatchObject({ problem: null, problems: [], isStale: false })
    expect((await service.directories.list())[0]).toMatchObject({ held: 0 })
    expect(await world.found(await world.personToken('p2', later()))).toEqual(['handbook/open'])
    expect((await world.members())['staff']).toHaveLength(11)
    expect(await service.delegations.isLive(delegation)).toBe(true)
    expect(await isStored(ofTeam)).toBe(true)
    await world.register()
  })

  test('holds on to who cannot be told by an id, and to everybody who may be them', async () => {
    const { slapd } = world
    const delegation = await world.lend('acme/p3', 'research-bot', 'collection:handbook')
    await slapd.allow([`to dn.exact="${world.dnOf('p3')}" attrs=entryUUID by * none`, ...everybody('read')])
    expect((await world.read()).problems).toContain('1 people have no entryUUID.')
    expect(await world.status(await world.personToken('p3', later()))).toBe(401)
    expect(await world.service.delegations.isLive(delegation)).toBe(true)
    await slapd.allow(everybody('read'))
    await world.read()
    expect(await world.status(await world.personToken('p3', later()))).toBe(200)
  })

  test('keeps a block on whom one look of two finds in it, and gives them nothing by a group of which that is so', async () => {
    const there = keys.filter((key) => key !== 'p1')
    const entry = async (dn: string, more: Readonly<Record<string, readonly string[]>>) => ({
      dn,
      attributes: { entryUUID: await world.slapd.read(dn, 'entryUUID'), ...more },
    })
    const people: DoubleEntry[] = []
    for (const key of there) people.push(await entry(world.dnOf(key), { uid: [key] }))
    const groups = async (member: readonly string[]) => [
      await entry(world.groupDn('staff'), { cn: ['staff'], member }),
      await entry(world.groupDn('blocked'), { cn: ['blocked'], member }),
    ]
    const ringed = (cn: string, ...inside: readonly string[]): DoubleEntry => ({
      dn: world.groupDn(cn),
      attributes: { entryUUID: [`ring-${cn}`], cn: [cn], member: inside.map(world.groupDn) },
    })
    const ring = [ringed('one', 'three'), ringed('three', 'two')]
    const all = [...(await groups(there.map(world.dnOf))), ...ring, ringed('two')]
    // By one look only it leads back into itself: what both have is not left out for that.
    const without = [
      ...(await groups(there.filter((key) => key !== 'p2').map(world.dnOf))),
      ...ring,
      ringed('two', 'one'),
    ]
    atLook = (what, look) => ({
      entries: what === 'people' ? people : look % 2 === 0 ? without : all,
      cookie: '',
    })
    await world.register({ url: double.url, ca: undefined }, { secret: 'double' })
    expect(await world.read()).toMatchObject({
      problem: null,
      problems: ['3 groups changed while they were read: what changed counts later.'],
      waiting: null,
    })
    const members = await world.members()
    expect(members).toMatchObject({ one: ['#three'], three: ['#two'], two: [] })
    expect(members['staff']).not.toContain('p2')
    expect(members['blocked']).toContain('p2')
    await world.register()
    await world.read()
    expect((await world.members())['staff']).toContain('p2')
  })

  test('lets back at once no more than a tenth of those it ended, where a lock cannot be read any more, and takes away all the same', async () => {
    const { slapd, service } = world
    const lock = (key: string, isLocked: boolean) =>
      slapd.replace(world.dnOf(key), 'pwdAccountLockedTime', isLocked ? ['000001010000Z'] : [])
    const statusOf = async (key: string) => world.status(await world.personToken(key, later()))
    const hide = () =>
      slapd.allow([
        `to dn.children="ou=people,${slapd.base}" attrs=pwdAccountLockedTime by anonymous auth by * none`,
        ...everybody('read'),
      ])
    for (const key of ['p5', 'p6', 'p7']) await lock(key, true)
    expect(await world.read()).toMatchObject({ problem: null, waiting: null })
    expect(await statusOf('p5')).toBe(401)

    await hide()
    await slapd.client.del(world.dnOf('p8'))
    await world.setMembers(
      'staff',
      ...keys.filter((key) => !['p1', 'p8', 'p9'].includes(key)).map(world.dnOf),
    )
    await world.person('newcomer')
    const { waiting, problems } = await world.read()
    expect(waiting).toEqual({ return: 3 })
    expect(problems).toContain(
      '3 of 3 people whom the directory had ended would come back at once. They stay out until you say that they do.',
    )
    for (const key of ['p5', 'p6', 'p7', 'p8']) expect([key, await statusOf(key)]).toEqual([key, 401])
    for (const key of ['p2', 'newcomer']) expect([key, await statusOf(key)]).toEqual([key, 200])
    expect((await world.members())['staff']).toEqual(['p0', 'p10', 'p11', 'p2', 'p3', 'p4'])
    expect((await world.read()).waiting).toEqual({ return: 3 })
    const { digest, members } = await world.waiting('return')
    expect(members.map(({ member }) => member)).toEqual(['user:acme/p5', 'user:acme/p6', 'user:acme/p7'])

    // One who waits does so until a word, also where the others can be seen to be locked again.
    await slapd.allow(everybody('read'))
    await lock('p5', false)
    expect(await world.read()).toMatchObject({ problem: null, waiting: { return: 1 } })
    expect(await statusOf('p5')).toBe(401)
    await world.confirm('return')
    expect(await world.read()).toMatchObject({ problem: null, waiting: null })
    expect([await statusOf('p5'), await statusOf('p6')]).toEqual([200, 401])
    await hide()
    expect((await world.read()).waiting).toEqual({ return: 2 })
    await expect(service.directories.confirm('acme', digest)).rejects.toMatchObject({ field: 'digest' })
    await world.confirm('return')
    expect(await world.read()).toMatchObject({ problem: null, waiting: null })
    expect([await statusOf('p6'), await statusOf('p7')]).toEqual([200, 200])
    expect((await world.members())['staff']).toContain('p6')
    await slapd.allow(everybody('read'))
  })

  test('lets back nobody of many by a filter for active people that finds everybody', async () => {
    const people = {
      base: `ou=people,${world.slapd.base}`,
      filter: '(objectClass=inetOrgPerson)',
      key: 'uid',
      id: 'entryUUID',
      active: 'always',
    }
    for (const key of ['p2', 'p3']) await world.slapd.replace(world.dnOf(key), 'employeeType', ['gone'])
    await world.register({ people: { ...people, active_filter: '(!(employeeType=gone))' } })
    await world.read()
    await world.register({ people: { ...people, active_filter: '(objectClass=*)' } })
    const { waiting } = await world.read()
    expect(waiting?.return).toBeGreaterThan(1)
    for (const key of ['p2', 'p3'])
      expect([key, await world.status(await world.personToken(key, later()))]).toEqual([key, 401])
    await world.register()
    for (const key of ['p2', 'p3']) await world.slapd.replace(world.dnOf(key), 'employeeType', [])
  })

  test('trusts no certificate but one that its authority signed, by StartTLS as well', async () => {
    await world.register({ ca: undefined })
    expect((await world.read()).problem).toMatch(/certificate/)
    const upgraded = { url: world.slapd.plainUrl, start_tls: true }
    await world.register({ ...upgraded, ca: undefined }, { secret: 'upgraded' })
    expect((await world.read()).problem).toMatch(/certificate/)
    await world.register(upgraded, { secret: 'upgraded' })
    expect((await world.read()).problem).toBeNull()
    await world.register()
    expect((await world.read()).problem).toBeNull()
  })
})
