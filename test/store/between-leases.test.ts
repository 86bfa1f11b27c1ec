import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { betweenLeases, takeLease } from '../../src/store/lease.ts'
import { movedTo } from '../../src/store/moved.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import { needsPostgres } from '../support/native.ts'

describe('beside a process that stands still in a transaction of its lease', needsPostgres, () => {
  let database: Database
  beforeAll(async () => {
    database = await openTestDatabase('postgres')
  })
  afterAll(() => database?.close())

  const take = (object: string) =>
    takeLease({ database, seconds: 30, lost: () => new Error('lost') }, [object], `holder of ${object}`)

  test('others get and renew leases while somebody waits to run between them, who runs at its end', async () => {
    const still = Promise.withResolvers<void>()
    const stands = Promise.withResolvers<void>()
    const first = await take('document:a')
    const standing = first?.transaction(async () => {
      stands.resolve()
      await still.promise
    })
    await stands.promise
    let isDone = false
    const between = betweenLeases(database, async (sql) => {
      isDone = true
      return sql.query('select 1 as one')
    })
    for (let round = 0; round < 5; round += 1) {
      const other = await take(`document:other-${round}`)
      await other?.assertHeld()
      await other?.end()
    }
    expect(isDone).toBe(false)
    still.resolve()
    await standing
    expect(await between).toEqual([{ one: 1 }])
    await first?.end()
  }, 30_000)
})

describe('under whom somebody goes who was moved', () => {
  let database: Database
  beforeAll(async () => {
    database = await openTestDatabase()
  }, 60_000)
  afterAll(() => database?.close())

  test('is where the last of their moves led, which may be the beginning', async () => {
    const moves: readonly (readonly [string, string, string])[] = [
      ['acme/to', 'acme/fro', '2026-01-01'],
      ['acme/fro', 'acme/to', '2026-01-02'],
      ['acme/one', 'acme/two', '2026-01-01'],
      ['acme/two', 'acme/three', '2026-01-02'],
      ['acme/late', 'acme/one', '2026-01-03'],
    ]
    for (const [from, to, begun] of moves)
      await database.query(
        `insert into person_moves (old_key, new_key, was_disabled, begun_at, ended_at, tuples_first)
         values ($1, $2, false, $3, $3, true)`,
        [from, to, begun],
      )
    const said = ['to', 'fro', 'one', 'two', 'three', 'late'].map((name) => `user:acme/${name}`)
    expect(Object.fromEntries(await movedTo(database, said))).toEqual({
      'user:acme/fro': 'user:acme/to',
      'user:acme/one': 'user:acme/three',
      'user:acme/two': 'user:acme/three',
      // Whoever is moved to a key that was left is that key: the earlier move was of somebody else.
      'user:acme/late': 'user:acme/one',
    })
  })
})
