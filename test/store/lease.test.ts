import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { betweenLeases, endExpired, takeLease } from '../../src/store/lease.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'

const lost = () => new Error('lost')

describe('a lease', () => {
  let database: Database
  beforeAll(async () => {
    database = await openTestDatabase()
  }, 60_000)
  afterAll(() => database?.close())
  afterEach(() => database.query('delete from leases'))

  /** That nobody renews: each of them is stopped. */
  async function take(holder: string, ...objects: readonly string[]) {
    const lease = await takeLease({ database, seconds: 30, lost }, objects, holder)
    lease?.stop()
    return lease
  }
  async function taken(holder: string, ...objects: readonly string[]) {
    const lease = await take(holder, ...objects)
    if (lease === undefined) throw new Error(`${holder} got nothing`)
    return lease
  }
  /** `OBJECT HOLDER`, and `over` behind what nobody renewed in time. */
  const kept = async () => {
    const rows = await database.query<{ object: string; holder: string; over: boolean }>(
      'select object, holder, until < now() as over from leases order by object',
    )
    return rows.map(({ object, holder, over }) => `${object} ${holder}${over ? ' over' : ''}`)
  }
  const letRunOut = (...holders: readonly string[]) =>
    database.query(`update leases set until = now() - interval '1 second' where holder = any($1)`, [holders])

  test('is over all of the objects or over none', async () => {
    await taken('one', 'document:a', 'document:b')
    expect(await take('other', 'document:b', 'document:c')).toBeUndefined()
    expect(await kept()).toEqual(['document:a one', 'document:b one'])
  })

  test('that was given back leaves those of others', async () => {
    const lease = await taken('one', 'document:a')
    await taken('other', 'document:b')
    await lease.end()
    expect(await kept()).toEqual(['document:b other'])
    await lease.end()
    expect(await take('third', 'document:a')).toBeDefined()
  })

  test('that is held lasts anew, though it was over for a moment', async () => {
    const lease = await taken('one', 'document:a')
    await taken('other', 'document:b')
    await letRunOut('one', 'other')
    await lease.assertHeld()
    expect(await kept()).toEqual(['document:a one', 'document:b other over'])
  })

  test('lets what is done under it come into force, and gives what that gives', async () => {
    const lease = await taken('one', 'document:a')
    const result = await lease.transaction(async (sql) => {
      await sql.query(`update leases set until = now() + interval '1 hour' where holder = 'one'`)
      return 'done'
    })
    expect(result).toBe('done')
    const [row] = await database.query(
      `select until > now() + interval '10 minutes' as written from leases where object = 'document:a'`,
    )
    expect(row).toEqual({ written: true })
  })

  test('of which one object went to somebody else is lost: nothing is begun under it, nor under a new name', async () => {
    const lease = await taken('one', 'document:a', 'document:b')
    await database.query(`update leases set holder = 'other' where object = 'document:b'`)
    let isBegun = false
    const work = async () => {
      isBegun = true
    }
    await expect(lease.transaction(work)).rejects.toThrow('lost')
    await expect(lease.assertHeld()).rejects.toThrow('lost')
    await expect(lease.goOnAs('two')).rejects.toThrow('lost')
    expect([isBegun, lease.holder]).toEqual([false, 'one'])
  })

  test('goes on under another name, by which it is held, written under and ended', async () => {
    const lease = await taken('one', 'document:a')
    await lease.goOnAs('two')
    expect([lease.holder, await kept()]).toEqual(['two', ['document:a two']])
    await lease.assertHeld()
    expect(await lease.transaction(async () => 1)).toBe(1)
    await lease.end()
    expect(await kept()).toEqual([])
  })

  test('that is over goes with all that its holder had; one that is not stays', async () => {
    await taken('dead', 'document:a', 'document:b')
    await taken('live', 'document:c')
    await taken('elsewhere', 'document:d')
    await letRunOut('dead', 'elsewhere')
    await endExpired(database, ['document:a', 'document:c'])
    expect(await kept()).toEqual(['document:c live', 'document:d elsewhere over'])
  })

  test('of whoever else is over where this process is alone', async () => {
    await taken('dead', 'document:a')
    await taken('elsewhere', 'document:b')
    await endExpired(database, ['document:a'], { isAlone: true })
    expect(await kept()).toEqual(['document:b elsewhere'])
  })

  test('goes after what has to come before its end, and stays where that fails', async () => {
    await taken('dead', 'document:a', 'document:b')
    await letRunOut('dead')
    const seen: unknown[] = []
    await expect(
      endExpired(database, ['document:a', 'document:b'], {
        beforeEnd: async (holder) => {
          seen.push(holder, await kept())
          throw new Error('not yet')
        },
      }),
    ).rejects.toThrow('not yet')
    const rows = ['document:a dead over', 'document:b dead over']
    expect([seen, await kept()]).toEqual([['dead', rows], rows])
  })
})

describe('a lease that nobody asks about', () => {
  afterEach(() => void vi.useRealTimers())

  /** A database that has every lease, and counts how often one is renewed. */
  function counting({ fails = false } = {}) {
    let renewals = 0
    const database = {
      query: async (text: string) => {
        if (!text.startsWith('update')) return [{}]
        renewals += 1
        if (fails) throw new Error('connection lost')
        return [{}]
      },
    } as unknown as Database
    return { database, renewals: () => renewals }
  }

  test('is renewed at each third of its time, until it is stopped or given back', async () => {
    vi.useFakeTimers()
    const { database, renewals } = counting()
    const leases = [
      await takeLease({ database, seconds: 30, lost }, ['document:a'], 'one'),
      await takeLease({ database, seconds: 30, lost }, ['document:b'], 'two'),
    ]
    await vi.advanceTimersByTimeAsync(9_999)
    expect(renewals()).toBe(0)
    await vi.advanceTimersByTimeAsync(20_001)
    expect(renewals()).toBe(6)
    leases[0]?.stop()
    await leases[1]?.end()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(renewals()).toBe(6)
  })

  test('is renewed at the next third where the database did not answer at one', async () => {
    vi.useFakeTimers()
    const { database, renewals } = counting({ fails: true })
    const lease = await takeLease({ database, seconds: 3, lost }, ['document:a'], 'one')
    await vi.advanceTimersByTimeAsync(3_000)
    expect(renewals()).toBe(3)
    lease?.stop()
  })
})

describe('between the leases', () => {
  /** A database whose transactions fail with these, one after the other, and then succeed. */
  function failing(...errors: readonly Error[]) {
    let begun = 0
    const database = {
      async transaction<T>(work: (sql: never) => Promise<T>): Promise<T> {
        const error = errors[begun]
        begun += 1
        if (error !== undefined) throw error
        return work({ query: async () => [] } as never)
      },
    }
    return { database, begun: () => begun }
  }
  const failure = (code: string) => Object.assign(new Error(code), { code })

  test('whoever waited for the table too long lets the others go on, and tries again', async () => {
    const { database, begun } = failing(failure('55P03'))
    expect(await betweenLeases(database, async () => 'done')).toBe('done')
    expect(begun()).toBe(2)
  })

  test.each([failure('40001'), new Error('another')])(
    'no other failure is tried again: %s',
    async (error) => {
      const { database, begun } = failing(error)
      await expect(betweenLeases(database, async () => 'done')).rejects.toBe(error)
      expect(begun()).toBe(1)
    },
  )
})
