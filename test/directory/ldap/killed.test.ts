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

function mortal(database: Database): Database {
  const alive = <T>(ask: () => Promise<T>): Promise<T> => {
    asked += 1
    left -= 1
    return left < 0 ? Promise.reject(new AppError('storage_unavailable')) : ask()
  }
  const over = (sql: Sql): Sql => ({ query: (text, values) => alive(() => sql.query(text, values)) })
  return {
    ...database,
    ...over(database),
    queryFixedPlan: (statement, values) => alive(() => database.queryFixedPlan(statement, values)),
    transaction: (work) => alive(() => database.transaction((sql) => work(over(sql)))),
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
})
