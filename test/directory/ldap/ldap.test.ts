import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import { noteUnread } from '../../../src/store/unread.ts'
import { needsSlapd } from '../../support/slapd.ts'
import { type LdapWorld, openLdapWorld } from './world.ts'

const later = () => Date.now() + 2_000

describe('a directory that is read by LDAP', needsSlapd, () => {
  let world: LdapWorld
  beforeAll(async () => {
    world = await openLdapWorld()
    for (const key of ['anne', 'bob', 'carol', 'dan', 'eve', 'fay', 'gus']) await world.person(key)
    await world.group('staff', world.dnOf('anne'), world.dnOf('bob'))
    await world.group('all', world.groupDn('staff'), world.dnOf('carol'))
    await world.register()
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const lent = async (key: string): Promise<number> =>
    (
      await world.database.query(`select from delegations where subject = $1 and state <> 'revoked'`, [
        `user:acme/${key}`,
      ])
    ).length
  const readWell = async () => {
    const { problem, problems } = await world.read()
    expect({ problem, problems }).toEqual({ problem: null, problems: [] })
  }

  test('brings people, groups and groups in groups, in pages of three', async () => {
    await readWell()
    expect(await world.members()).toEqual({ all: ['#staff', 'carol'], staff: ['anne', 'bob'] })
    const [listed] = await world.service.directories.list()
    expect(listed).toMatchObject({ users: 7, groups: 2, kind: 'ldap', keyAttribute: 'uid' })
  })

  test('tells groups of one name apart by the ids that the directory gives them', async () => {
    const { slapd } = world
    const second = `cn=staff,ou=more,ou=groups,${slapd.base}`
    await slapd.add(`ou=more,ou=groups,${slapd.base}`, { objectClass: 'organizationalUnit', ou: 'more' })
    await slapd.add(second, { objectClass: 'groupOfNames', cn: 'staff', member: 'cn=nobody' })
    await readWell()
    const listed = (await world.service.directories.groupsOf('acme')).filter(({ name }) => name === 'staff')
    const [first = ''] = await slapd.read(world.groupDn('staff'), 'entryUUID')
    const [other = ''] = await slapd.read(second, 'entryUUID')
    expect(listed.map(({ id }) => id).sort()).toEqual([first, other].sort())
    await slapd.client.del(second)
    await world.database.query('delete from directory_groups where immutable_id = $1', [other])
  })

  test('lets people in a group in a group read, and takes that away with the membership', async () => {
    await world.put({
      'handbook/all': {
        text: 'Travel of all.',
        access: { viewers: [`${await world.groupId('all')}#member`] },
      },
    })
    const token = await world.personToken('anne')
    expect(await world.found(token)).toEqual(['handbook/all'])
    await world.setMembers('staff', world.dnOf('bob'))
    await readWell()
    expect(await world.found(token)).toEqual([])
    await world.setMembers('staff', world.dnOf('anne'), world.dnOf('bob'))
    await readWell()
    expect(await world.found(token)).toEqual(['handbook/all'])
  })

  test('knows members by names in other spellings, by unique names, and by logins', async () => {
    const { slapd } = world
    await world.group('spelt', 'UID=Dan, OU=People , dc=ACME,dc=test', 'uid=not\\,there,dc=acme,dc=test')
    await slapd.add(world.groupDn('unique'), {
      objectClass: 'groupOfUniqueNames',
      cn: 'unique',
      uniqueMember: [world.dnOf('eve')],
    })
    await slapd.add(world.groupDn('unix'), {
      objectClass: 'posixGroup',
      cn: 'unix',
      gidNumber: '100',
      memberUid: ['fay', 'Gus', 'nobody'],
    })
    await readWell()
    expect(await world.members()).toMatchObject({ spelt: ['dan'], unique: ['eve'], unix: ['fay'] })
    for (const name of ['spelt', 'unique', 'unix']) await slapd.client.del(world.groupDn(name))
    await readWell()
    expect(await world.members()).toMatchObject({ spelt: [], unique: [], unix: [] })
  })

  test('knows an entry that moved as the same person, and one under another key as another', async () => {
    const { slapd } = world
    const delegation = await world.lend('acme/dan', 'research-bot', 'collection:handbook')
    await slapd.add(`ou=moved,ou=people,${slapd.base}`, { objectClass: 'organizationalUnit', ou: 'moved' })
    await world.setMembers('staff', world.dnOf('anne'), world.dnOf('bob'), world.dnOf('dan'))
    await readWell()
    await slapd.client.modifyDN(world.dnOf('dan'), `uid=dan,ou=moved,ou=people,${slapd.base}`)
    await readWell()
    expect(await world.members()).toMatchObject({ staff: ['anne', 'bob', 'dan'] })
    expect(await world.service.delegations.isLive(delegation)).toBe(true)
    const token = await world.personToken('dan')
    expect(await world.status(token)).toBe(200)

    await slapd.client.modifyDN(`uid=dan,ou=moved,ou=people,${slapd.base}`, world.dnOf('daniel'))
    await readWell()
    expect(await world.members()).toMatchObject({ staff: ['anne', 'bob', 'daniel'] })
    expect(await world.service.delegations.isLive(delegation)).toBe(false)
    expect(await world.status(token)).toBe(401)
    expect(await world.status(await world.personToken('daniel'))).toBe(200)
  })

  test('refuses the key of somebody who left to another entry, and lets nobody in by it', async () => {
    await world.lend('acme/eve', 'research-bot', 'collection:handbook')
    await world.slapd.client.del(world.dnOf('eve'))
    await readWell()
    expect(await lent('eve')).toBe(0)
    expect(await world.status(await world.personToken('eve', later()))).toBe(401)
    await world.person('eve')
    await world.setMembers('staff', world.dnOf('anne'), world.dnOf('bob'), world.dnOf('eve'))
    const { problems } = await world.read()
    expect(problems).toEqual([expect.stringContaining('eve is the key of')])
    expect(await world.status(await world.personToken('eve', later()))).toBe(401)
    expect(await world.members()).toMatchObject({ staff: ['anne', 'bob'] })
    await world.slapd.client.del(world.dnOf('eve'))
    await readWell()
  })

  test('ends for good whom an administrator locked, and gives sign-in back and what the directory says then', async () => {
    const { slapd } = world
    await world.lend('acme/bob', 'research-bot', 'collection:handbook')
    const token = await world.personToken('bob')
    await slapd.replace(world.dnOf('bob'), 'pwdAccountLockedTime', ['000001010000Z'])
    await readWell()
    expect(await world.status(token)).toBe(401)
    expect(await lent('bob')).toBe(0)
    expect((await world.members())['staff']).toEqual(['anne'])
    await slapd.replace(world.dnOf('bob'), 'pwdAccountLockedTime', [])
    await readWell()
    expect(await world.status(token)).toBe(401)
    expect(await world.status(await world.personToken('bob', later()))).toBe(200)
    expect(await lent('bob')).toBe(0)
    expect((await world.members())['staff']).toEqual(['anne', 'bob'])
  })

  test('takes nothing from whom wrong passwords locked out for a while', async () => {
    await world.lend('acme/fay', 'research-bot', 'collection:handbook')
    await world.slapd.replace(world.dnOf('fay'), 'pwdAccountLockedTime', ['20260101000000Z'])
    await readWell()
    expect(await lent('fay')).toBe(1)
    await world.slapd.replace(world.dnOf('fay'), 'pwdAccountLockedTime', [])
  })

  test('keeps the last administrator, says so, and ends them once somebody else has the role', async () => {
    const { administrators } = world.service
    for (const { subject } of await administrators.list()) await administrators.remove(subject)
    await administrators.add('user:acme/gus', ['security.write'])
    await world.slapd.client.del(world.dnOf('gus'))
    const { problems } = await world.read()
    expect(problems).toEqual([expect.stringContaining('Nobody else administers security.write')])
    expect(await world.status(await world.personToken('gus'))).toBe(200)
    await administrators.add('user:anne', ['security.write'])
    await readWell()
    expect(await world.status(await world.personToken('gus', later()))).toBe(401)
  })

  test('keeps what stands where groups lead back into themselves, leaves out what is new, and says where', async () => {
    const { slapd } = world
    await world.group('ring', world.groupDn('all'), world.dnOf('fay'))
    await world.setMembers('staff', world.groupDn('ring'), world.dnOf('anne'))
    const { problems } = await world.read()
    expect(problems.filter((problem) => problem.includes('would be in itself'))).toHaveLength(2)
    expect(await world.members()).toMatchObject({ all: ['#staff', 'carol'], ring: ['fay'], staff: ['anne'] })
    await slapd.client.del(world.groupDn('ring'))
    await world.setMembers('staff', world.dnOf('anne'), world.dnOf('bob'))
    await readWell()
    expect(await world.members()).toMatchObject({ all: ['#staff', 'carol'], staff: ['anne', 'bob'] })
  })

  test('takes no group out of a group that is kept from something before somebody’s word', async () => {
    const { slapd } = world
    await world.group('inner', world.dnOf('fay'))
    await world.group('outer', world.groupDn('inner'), world.dnOf('carol'))
    await readWell()
    await world.put({
      'handbook/outer': {
        text: 'Travel that some are not told of.',
        access: { viewers: ['user:acme/fay'], blocked: [`${await world.groupId('outer')}#member`] },
      },
    })
    await world.setMembers('outer')
    expect((await world.read()).waiting).toEqual({ unblock: 1 })
    expect((await world.members())['outer']).toEqual(['#inner'])
    expect(await world.found(await world.personToken('fay', later()))).toEqual([])
    await world.confirm('unblock')
    await readWell()
    expect(await world.found(await world.personToken('fay', later()))).toEqual(['handbook/outer'])
    for (const name of ['inner', 'outer']) await slapd.client.del(world.groupDn(name))
    await readWell()
  })

  test('shuts out who is missing from a group that gives and blocks, for as long as their block waits', async () => {
    const { slapd, service } = world
    await world.group('inner', world.dnOf('daniel'))
    await world.group('mixed', world.groupDn('inner'))
    await readWell()
    const mixed = `${await world.groupId('mixed')}#member`
    await world.put({
      'handbook/given': { text: 'Travel of a few.', access: { viewers: [mixed] } },
      'handbook/shut': {
        text: 'Travel that some are not told of.',
        access: { viewers: ['user:acme/daniel'], blocked: [mixed] },
      },
    })
    const delegation = await world.lend('acme/daniel', 'research-bot', 'collection:handbook')
    const statusOf = async () => world.status(await world.personToken('daniel', later()))
    // In it by himself, too: then the group in it gives him nothing more.
    await world.setMembers('mixed', world.dnOf('daniel'))
    expect((await world.read()).waiting).toEqual({ unblock: 1 })
    expect(await statusOf()).toBe(200)

    await world.setMembers('mixed')
    for (const _ of ['first', 'again']) {
      expect((await world.read()).problems).toContain(
        '1 people are shut out until then: such a group gives them something, too.',
      )
      expect(await statusOf()).toBe(401)
    }
    expect(await service.delegations.isLive(delegation)).toBe(true)
    await world.confirm('unblock')
    await readWell()
    expect(await world.found(await world.personToken('daniel', later()))).toEqual(['handbook/shut'])
    expect(await service.delegations.isLive(delegation)).toBe(true)
    for (const name of ['inner', 'mixed']) await slapd.client.del(world.groupDn(name))
    await readWell()
  })

  test('keeps nobody from something less because their group was put around the one that does so', async () => {
    const { slapd } = world
    await world.group('kept', world.dnOf('carol'))
    await world.group('around', world.groupDn('kept'), world.dnOf('fay'))
    await readWell()
    await world.put({
      'handbook/kept': {
        text: 'Travel that some are not told of.',
        access: { viewers: ['user:acme/fay'], blocked: [`${await world.groupId('kept')}#member`] },
      },
    })
    await world.setMembers('kept', world.dnOf('carol'), world.groupDn('around'))
    expect((await world.read()).problems).toEqual([
      'around would be in itself: groups that lead back to it are left out.',
    ])
    expect(await world.members()).toMatchObject({ kept: ['#around', 'carol'], around: ['fay'] })
    expect(await world.found(await world.personToken('fay', later()))).not.toContain('handbook/kept')
    for (const name of ['kept', 'around']) await slapd.client.del(world.groupDn(name))
    await world.read()
    await world.confirm('unblock')
    await readWell()
  })

  test('keeps whom one group holds from all that it blocks, also where that group was put into theirs before', async () => {
    const { slapd } = world
    await world.group('much', world.dnOf('carol'))
    await world.group('theirs', world.groupDn('much'), world.dnOf('fay'))
    await readWell()
    const blocked = async (name: string) => ({
      text: 'Travel that some are not told of.',
      access: { viewers: ['user:acme/fay'], blocked: [`${await world.groupId(name)}#member`] },
    })
    await world.put({ 'handbook/much': await blocked('much'), 'handbook/theirs': await blocked('theirs') })
    await world.setMembers('much', world.dnOf('carol'), world.groupDn('theirs'))
    expect((await world.read()).problems).toEqual([
      'much would be in itself: groups that lead back to it are left out.',
    ])
    expect((await world.members())['much']).toEqual(['carol', 'fay'])
    const found = await world.found(await world.personToken('fay', later()))
    expect(found).not.toContain('handbook/much')
    for (const name of ['much', 'theirs']) await slapd.client.del(world.groupDn(name))
    await world.read()
    await world.confirm('unblock')
    await readWell()
  })

  test('leaves nobody who moves from one group that blocks to another out of both where that one is not written', async () => {
    const { slapd, database } = world
    await world.group('before', world.dnOf('fay'))
    await world.group('behind')
    await readWell()
    const groups = await Promise.all(['before', 'behind'].map(world.groupId))
    await world.put({
      'handbook/moved': {
        text: 'Travel that some are not told of.',
        access: { viewers: ['user:acme/fay'], blocked: groups.map((group) => `${group}#member`) },
      },
    })
    // Nobody can be written by this name.
    const rename = (from: string, to: string) =>
      database.query('update directory_users set account = $2 where account = $1', [from, to])
    await rename('acme/daniel', 'acme/.')
    await world.setMembers('before')
    await world.setMembers('behind', world.dnOf('fay'), world.dnOf('daniel'))
    await world.read()
    expect((await world.members())['before']).toEqual(['fay'])
    await rename('acme/.', 'acme/daniel')
    for (const table of ['directory_members', 'directory_unsettled'])
      await database.query(`delete from ${table} where member = 'user:acme/.'`)
    await readWell()
    expect(await world.members()).toMatchObject({ before: [], behind: ['daniel', 'fay'] })
    for (const name of ['before', 'behind']) await slapd.client.del(world.groupDn(name))
    await readWell()
  })

  test('has those in it again, while nobody can read it, whom a group is kept from something since', async () => {
    const { slapd, service, database } = world
    for (const name of ['late', 'idle']) await world.group(name, world.dnOf('fay'), world.groupDn('staff'))
    await readWell()
    await database.query(`update directories set read_at = now() - interval '25 hours'`)
    await service.directoryReader.rest()
    expect((await world.members())['late']).toEqual([])
    await world.put({
      'handbook/late': {
        text: 'Travel that some are not told of.',
        access: { viewers: ['user:acme/fay'], blocked: [`${await world.groupId('late')}#member`] },
      },
    })
    await service.directoryReader.rest()
    expect((await world.members())['late']).toEqual(['#staff', 'fay'])
    expect(await world.found(await world.personToken('fay', later()))).not.toContain('handbook/late')
    // Also who is missing by the reading that comes then, and waits.
    await world.put({
      'handbook/idle': {
        text: 'Travel that some are not told of.',
        access: { blocked: [`${await world.groupId('idle')}#member`] },
      },
    })
    for (const name of ['late', 'idle']) await world.setMembers(name)
    await world.read()
    expect(await world.members()).toMatchObject({ late: ['#staff'], idle: ['#staff'] })
    await world.confirm('unblock')
    for (const name of ['late', 'idle']) await slapd.client.del(world.groupDn(name))
    await readWell()
  })

  test('shuts out by a key that two entries have, ends nothing, and lets in again when one is left', async () => {
    const { slapd } = world
    await world.lend('acme/carol', 'research-bot', 'collection:handbook')
    const second = `cn=second,ou=people,${slapd.base}`
    await slapd.add(second, { objectClass: 'inetOrgPerson', cn: 'second', sn: 'second', uid: 'carol' })
    const { problems } = await world.read()
    expect(problems).toContain('2 entries have the key carol: whoever comes by it is shut out.')
    expect(await world.status(await world.personToken('carol'))).toBe(401)
    expect((await world.members())['all']).toEqual(['#staff'])
    expect(await lent('carol')).toBe(1)
    await slapd.client.del(second)
    await readWell()
    expect(await world.status(await world.personToken('carol', later()))).toBe(200)
    expect((await world.members())['all']).toEqual(['#staff', 'carol'])
  })

  test('leaves in a group that blocks whom it names by what two entries have, or by one of two logins, until somebody’s word', async () => {
    const { slapd } = world
    for (const key of ['hal', 'ina']) await world.person(key, { mail: `${key}@acme.test` })
    await world.register({ member_uid: 'mail' })
    await slapd.add(world.groupDn('embargo'), {
      objectClass: 'posixGroup',
      cn: 'embargo',
      gidNumber: '101',
      memberUid: ['hal@acme.test', 'ina@acme.test'],
    })
    await readWell()
    await world.put({
      'handbook/embargo': {
        text: 'Travel that some are not told of.',
        access: {
          viewers: ['user:acme/hal', 'user:acme/ina'],
          blocked: [`${await world.groupId('embargo')}#member`],
        },
      },
    })
    await world.person('second', { mail: 'hal@acme.test' })
    await slapd.replace(world.dnOf('ina'), 'mail', ['ina@acme.test', 'more@acme.test'])
    const read = await world.read()
    expect(read.waiting).toEqual({ unblock: 2 })
    expect(read.problems).toEqual(
      expect.arrayContaining([
        'Two entries have the name login hal@acme.test.',
        '1 people have more than one mail: no login stands for them.',
      ]),
    )
    // And whoever took the name is not in it by that.
    expect((await world.members())['embargo']).toEqual(['hal', 'ina'])
    for (const key of ['hal', 'ina'])
      expect(await world.found(await world.personToken(key, later()))).not.toContain('handbook/embargo')
    await world.confirm('unblock')
    await world.read()
    expect((await world.members())['embargo']).toEqual([])
    await slapd.client.del(world.groupDn('embargo'))
    for (const key of ['hal', 'ina', 'second']) await slapd.client.del(world.dnOf(key))
    await world.register()
    await readWell()
  })

  test('does not let in by a linked account whom it shuts out', async () => {
    const { accountLinks } = world.service
    const account = { issuer: world.issuer.issuer, sub: 'fay', person: 'carol' }
    await accountLinks.link(account, operator('t_1'))
    await world.slapd.replace(world.dnOf('fay'), 'uid', ['fay', 'both'])
    await world.read()
    expect(await accountLinks.of(account)).toBeUndefined()
    expect(await world.status(await world.personToken('fay', later()))).toBe(401)
    await world.slapd.replace(world.dnOf('fay'), 'uid', ['fay'])
    await readWell()
  })

  test('is active by a filter of one’s own, and only by that', async () => {
    const people = {
      base: `ou=people,${world.slapd.base}`,
      filter: '(objectClass=inetOrgPerson)',
      key: 'uid',
      id: 'entryUUID',
      active: 'always',
      active_filter: '(!(employeeType=gone))',
    }
    await world.register({ people })
    await world.slapd.replace(world.dnOf('fay'), 'employeeType', ['gone'])
    await readWell()
    expect(await world.status(await world.personToken('fay', later()))).toBe(401)
    await world.slapd.replace(world.dnOf('fay'), 'employeeType', [])
    await readWell()
    expect(await world.status(await world.personToken('fay', later()))).toBe(200)
    await world.register()
  })

  test('says so ten minutes after it was due where no process reads it, until one does', async () => {
    const { database, service } = world
    const problem = async () => (await service.directories.list())[0]?.reading?.problem
    const due = (minutes: number) =>
      database.query('update directories set next_at = now() - make_interval(mins => $1)', [minutes])
    await due(9)
    await noteUnread(database, 'directories')
    expect(await problem()).toBeNull()
    await due(11)
    await noteUnread(database, 'directories')
    expect(await problem()).toContain('No process reads it')
    await readWell()
    expect(await problem()).toBeNull()
  })

  test('is not read where its credential is for elsewhere, whatever its row says', async () => {
    await expect(world.register({}, { secret: 'elsewhere' })).rejects.toMatchObject({ field: 'secret' })
    await expect(world.register({}, { secret: 'OPENFGA_API_TOKEN' })).rejects.toMatchObject({
      field: 'secret',
    })
    const [before] = await world.service.directories.list()
    await world.database.query(`update directories set secret = 'elsewhere', next_at = now()`)
    await world.service.directoryReader.runDue()
    expect((await world.service.directories.list())[0]?.reading?.readAt).toEqual(before?.reading?.readAt)
    await world.register()
    await readWell()
  })

  test('refuses what would travel in the clear, filters that are none, and what it does not know', async () => {
    const people = { base: 'dc=x', filter: '(uid=*)', key: 'uid', id: 'entryUUID', active: 'always' }
    for (const [settings, field] of [
      [{ url: 'ldap://ldap.acme.test' }, 'settings.url'],
      [{ url: 'ldaps://ldap.acme.test/dc=x' }, 'settings.url'],
      [{ url: 'ldaps://user@ldap.acme.test' }, 'settings.url'],
      [{ url: 'ldaps://ldap.acme.test', start_tls: true }, 'settings.start_tls'],
      [{ people: { ...people, filter: '(uid=*)(cn=*)' } }, 'settings.people.filter'],
      [{ people: { ...people, active_filter: '(uid=*))(|(uid=*)' } }, 'settings.people.active_filter'],
      [{ people: { ...people, filter: 'uid=*' } }, 'settings.people.filter'],
      [{ people: { ...people, key: 'uid)(x=*' } }, 'settings.people.key'],
      [{ people: { ...people, active: undefined } }, 'settings.people.active'],
      [{ follow_referrals: true }, 'settings.follow_referrals'],
    ] as const)
      await expect(world.register(settings)).rejects.toMatchObject({ field })
  })
})
