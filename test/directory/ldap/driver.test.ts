import { AndFilter, EqualityFilter, OrFilter, PresenceFilter } from 'ldapts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import { needsSlapd } from '../../support/slapd.ts'
import { type LdapWorld, nobody, openLdapWorld } from './world.ts'

/** By hand more: `LDAP_STEPS=300`. */
const steps = Number(process.env['LDAP_STEPS'] || 20)

describe('what the server says, and nothing else, is in force after each reading', needsSlapd, () => {
  let world: LdapWorld
  beforeAll(async () => {
    world = await openLdapWorld()
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  let state = seed
  /** A number below `count`, the same for the same seed (mulberry32). */
  const draw = (count: number): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * count)
  }
  const one = <T>(list: readonly T[]): T => {
    const found = list[draw(list.length)]
    if (found === undefined) throw new Error('There is nothing to choose from.')
    return found
  }

  /** Entries of people that are there, by DN → their key. */
  const people = new Map<string, string>()
  const groups = new Set<string>()
  /** Whose key it is, for good: the id of the entry that was the first to be read with it. */
  const owners = new Map<string, string>()
  let made = 0

  const placeOf = (key: string): string => `uid=${key},${one(['', 'ou=moved,'])}ou=people,${world.slapd.base}`
  async function addPerson(key = `k${++made}`): Promise<void> {
    const dn = placeOf(key)
    if ([...people.values()].includes(key)) return
    await world.slapd.add(dn, { objectClass: 'inetOrgPerson', uid: key, cn: key, sn: key })
    people.set(dn, key)
  }
  async function addGroup(): Promise<void> {
    const name = `g${String(++made).padStart(4, '0')}`
    await world.group(name)
    groups.add(name)
  }
  const membersOf = (name: string) => world.slapd.read(world.groupDn(name), 'member')

  const moves: Readonly<Record<string, () => Promise<void>>> = {
    async join() {
      const name = one([...groups])
      await world.slapd.replace(world.groupDn(name), 'member', [
        ...new Set([...(await membersOf(name)), one([...people.keys()])]),
      ])
    },
    async leave() {
      const name = one([...groups])
      const members = (await membersOf(name)).filter((dn) => dn !== nobody)
      if (members.length === 0) return
      const gone = one(members)
      await world.setMembers(name, ...members.filter((dn) => dn !== gone))
    },
    async nest() {
      // Of two the one that was made first is inside.
      const [inner = '', outer = ''] = [one([...groups]), one([...groups])].sort()
      if (inner === outer) return
      const members = new Set([...(await membersOf(outer)), world.groupDn(inner)])
      await world.slapd.replace(world.groupDn(outer), 'member', [...members])
    },
    async disable() {
      const dn = one([...people.keys()])
      const isLocked = (await world.slapd.read(dn, 'pwdAccountLockedTime')).length > 0
      await world.slapd.replace(dn, 'pwdAccountLockedTime', isLocked ? [] : ['000001010000Z'])
    },
    async remove() {
      if (people.size < 7) return
      const dn = one([...people.keys()])
      await world.slapd.client.del(dn)
      people.delete(dn)
    },
    addPerson,
    async addUnderOldKey() {
      if (owners.size > 0) await addPerson(one([...owners.keys()]))
    },
    async rename() {
      const dn = one([...people.keys()])
      const key = `k${++made}`
      const to = dn.replace(/^uid=[^,]+/, `uid=${key}`)
      await world.slapd.client.modifyDN(dn, to)
      people.delete(dn)
      people.set(to, key)
    },
    async move() {
      const dn = one([...people.keys()])
      const key = people.get(dn) ?? ''
      const to = placeOf(key)
      if (to === dn || people.has(to)) return
      await world.slapd.client.modifyDN(dn, to)
      people.delete(dn)
      people.set(to, key)
    },
    addGroup,
    async removeGroup() {
      if (groups.size < 4) return
      const name = one([...groups])
      await world.slapd.client.del(world.groupDn(name))
      groups.delete(name)
    },
    async serverDown() {
      await world.slapd.stop()
      expect((await world.read()).problem).toContain('no connection')
      await world.slapd.start()
    },
    async sizeLimit() {
      const before = await world.members()
      await world.slapd.limit('size.prtotal=2')
      expect((await world.read()).problem).toContain('SizeLimitExceeded')
      expect(await world.members()).toEqual(before)
      await world.slapd.limit('size=unlimited')
    },
  }

  /** Whether the server itself finds it: its own comparison of names, not ours. */
  async function holds(group: string, member: string): Promise<boolean> {
    const filter = new AndFilter({
      filters: [
        new PresenceFilter({ attribute: 'objectClass' }),
        new OrFilter({ filters: [new EqualityFilter({ attribute: 'member', value: member })] }),
      ],
    })
    const { searchEntries } = await world.slapd.client.search(world.groupDn(group), { scope: 'base', filter })
    return searchEntries.length > 0
  }

  /** Of the people that are there those who count: active, and the first with their key. */
  async function counting(): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    for (const [dn, key] of people) {
      const [id = ''] = await world.slapd.read(dn, 'entryUUID')
      if (!owners.has(key)) owners.set(key, id)
      const isLocked = (await world.slapd.read(dn, 'pwdAccountLockedTime')).includes('000001010000Z')
      if (owners.get(key) === id && !isLocked) found.set(dn, key)
    }
    return found
  }

  test(`in ${steps} steps of seed ${seed}`, { timeout: 60_000 + steps * 6_000 }, async () => {
    await world.slapd.add(`ou=moved,ou=people,${world.slapd.base}`, {
      objectClass: 'organizationalUnit',
      ou: 'moved',
    })
    for (let count = 0; count < 8; count += 1) await addPerson()
    for (let count = 0; count < 4; count += 1) await addGroup()
    await world.register()
    await world.read()
    await world.put({
      'handbook/one': {
        text: 'Travel of one group.',
        access: { viewers: [`${await world.groupId([...groups][3] ?? '')}#member`] },
      },
    })
    const tally: Record<string, number> = {}
    const shown = [...groups][3] ?? ''
    for (let step = 0; step < steps; step += 1) {
      const done: string[] = []
      for (let count = draw(3); count >= 0; count -= 1) {
        const name = one(Object.keys(moves))
        done.push(name)
        tally[name] = (tally[name] ?? 0) + 1
        await moves[name]?.()
      }
      const { problem, waiting } = await world.read()
      if (waiting !== null) {
        // Many come back at once: nobody of them before a word.
        const { members } = await world.waiting('return')
        for (const { member } of members) {
          const key = member.replace('user:acme/', '')
          expect(Object.values(await world.members()).flat(), `step ${step}: ${done.join()}`).not.toContain(
            key,
          )
          expect(await world.status(await world.personToken(key, Date.now() + 2_000)), key).toBe(401)
        }
        await world.confirm('return')
        expect((await world.read()).waiting).toBeNull()
      }
      const active = await counting()
      const expected: Record<string, string[]> = {}
      for (const group of groups) {
        const members: string[] = []
        for (const [dn, key] of active) if (await holds(group, dn)) members.push(key)
        for (const inner of groups) if (await holds(group, world.groupDn(inner))) members.push(`#${inner}`)
        expected[group] = members.sort()
      }
      const actual = await world.members()
      for (const [name, members] of Object.entries(actual))
        if (!groups.has(name)) expect({ name, members }, done.join()).toEqual({ name, members: [] })
      const ofThere = Object.fromEntries(Object.entries(actual).filter(([name]) => groups.has(name)))
      expect({ problem, members: ofThere }, `step ${step}: ${done.join()}`).toEqual({
        problem: null,
        members: expected,
      })
      // One of them asks: what is found is what the groups say, through each other.
      const [dn, key] = one([...active])
      const reaches = async (group: string): Promise<boolean> => {
        if (!groups.has(group)) return false
        if (await holds(group, dn)) return true
        for (const inner of groups)
          if ((await holds(group, world.groupDn(inner))) && (await reaches(inner))) return true
        return false
      }
      const token = await world.personToken(key, Date.now() + 2_000)
      expect(await world.found(token), `step ${step}: ${done.join()}`).toEqual(
        (await reaches(shown)) ? ['handbook/one'] : [],
      )
      for (const [gone, id] of owners)
        if (![...active.values()].includes(gone) && draw(8) === 0)
          expect(await world.status(await world.personToken(gone, Date.now() + 2_000)), `${gone} ${id}`).toBe(
            401,
          )
    }
    expect(Object.keys(tally).length).toBeGreaterThan(Math.min(steps, 20) / 3)
  })
})
