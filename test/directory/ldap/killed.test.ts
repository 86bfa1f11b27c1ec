import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AppError } from '../../../src/kernel/errors.ts'
import type { Database, Sql } from '../../../src/store/sql.ts'
import { needsSlapd } from '../../support/slapd.ts'
import { type LdapWorld, openLdapWorld } from './world.ts'

/** By hand more: `DIRECTORY_KILLS=200`. */
const rounds = Number(process.env['DIRECTORY_KILLS'] || 12)
/** Statements that are answered until the database goes away, as it is for a process that was killed. */
let left = Number.POSITIVE_INFINITY
let asked = 0
/** Told of each statement; true: the database is away. */
let isAway = (_statement: string): boolean => false

function mortal(database: Database): Database {
  const alive = <T>(ask: () => Promise<T>, statement = ''): Promise<T> => {
    asked += 1
    left -= 1
    return left < 0 || isAway(statement) ? Promise.reject(new AppError('storage_unavailable')) : ask()
  }
  const over = (sql: Sql): Sql => ({ query: (text, values) => alive(() => sql.query(text, values), text) })
  return {
    ...database,
    ...over(database),
    queryFixedPlan: (statement, values) => alive(() => database.queryFixedPlan(statement, values)),
    transaction: (work, options) => alive(() => database.transaction((sql) => work(over(sql)), options)),
  }
}

describe('a reading whose process is killed', needsSlapd, () => {
  let world: LdapWorld
  const keys = ['anne', 'bob', 'carol', 'dan', 'eve', 'fay']
  beforeAll(async () => {
    world = await openLdapWorld({ database: mortal })
    for (const key of keys) await world.person(key)
    await world.group('a', ...keys.map(world.dnOf))
    await world.group('b', world.groupDn('a'))
    await world.register()
    await world.read()
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  test('is mended by the next one, at whichever statement it ends', {
    timeout: 180_000,
  }, async () => {
    const { slapd, service } = world
    const locked = new Set<string>()
    for (let round = 0; round < rounds; round += 1) {
      const key = keys[round % keys.length] ?? ''
      const isLocking = !locked.has(key)
      await slapd.replace(world.dnOf(key), 'pwdAccountLockedTime', isLocking ? ['000001010000Z'] : [])
      if (isLocking) locked.add(key)
      else locked.delete(key)
      await world.setMembers('a', ...keys.filter((_, index) => (index + round) % 3 !== 0).map(world.dnOf))
      asked = 0
      left = 10 + Math.floor((round * 97) % 160)
      await service.directories.wake('acme').catch(() => undefined)
      await service.directoryReader.runDue().catch(() => undefined)
      left = Number.POSITIVE_INFINITY
      const { problem } = await world.read()
      await service.memberships.mend()
      const expected = keys.filter((one, index) => (index + round) % 3 !== 0 && !locked.has(one)).sort()
      expect({ problem, ...(await world.members()) }, `round ${round}`).toEqual({
        problem: null,
        a: expected,
        b: ['#a'],
      })
      for (const one of keys)
        expect(
          await world.status(await world.personToken(one, Date.now() + 2_000)),
          `${one} in ${round}`,
        ).toBe(locked.has(one) ? 401 : 200)
    }
    expect(asked).toBeGreaterThan(0)
  })

  test('has whoever waits for somebody’s word wait on, also where it never came to its end', async () => {
    const { slapd, service } = world
    const everybody = `to * by dn.exact="cn=remit,${slapd.base}" read by anonymous auth by * none`
    await world.person('gus')
    await world.read()
    await slapd.allow([`to dn.children="ou=people,${slapd.base}" by anonymous auth by * none`, everybody])
    isAway = (statement) => statement.includes('is_stale = false, problems')
    await service.directories.wake('acme')
    await service.directoryReader.runDue()
    isAway = () => false
    await slapd.allow([everybody])
    await slapd.client.del(world.dnOf('gus'))
    expect(await world.read()).toMatchObject({ problem: null, waiting: { end: 1 } })
    await world.confirm('end')
    expect((await world.read()).waiting).toBeNull()
  })

  test('counts for nothing where the service stops', async () => {
    const { service, database } = world
    await world.group('c', world.groupDn('b'))
    await world.setMembers('a', world.dnOf('anne'))
    await world.read()
    const group = `${await world.groupId('c')}#member`
    await world.put({ 'handbook/c': { text: 'Travel.', access: { viewers: [group], blocked: [group] } } })
    await world.setMembers('c')
    const readAt = () => database.query('select read_at from directories')
    const before = await readAt()
    let stopping: PromiseLike<void> | undefined
    // Behind the groups, and before those who are in one that gives them something are shut out.
    isAway = (statement) => {
      if (statement.includes('without_it')) stopping ??= service.directoryReader[Symbol.asyncDispose]()
      return false
    }
    await service.directories.wake('acme')
    await service.directoryReader.runDue()
    await stopping
    expect(stopping).toBeDefined()
    expect(await readAt()).toEqual(before)
  })
})
