import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createAttempts } from '../../../src/delegation/upstream/attempts.ts'
import { createSeal } from '../../../src/store/encryption.ts'
import { openTestDatabase } from '../../support/database.ts'
import { movableClock } from '../world.ts'

test('a sweep by a clock hours ahead leaves what others began, until it is over by the database’s too', async () => {
  const database = await openTestDatabase()
  try {
    const clock = movableClock()
    const begun = z.object({ checks: z.object({ state: z.string() }) })
    const attempts = createAttempts({
      sql: database,
      seal: createSeal(randomBytes(32)),
      clock,
      use: 'test',
      begun,
      answered: z.object({}),
    })
    const attempt = { checks: { state: 's' } }
    await attempts.begin('browser', 'a sign-in', attempt)
    clock.move(5 * 3_600_000)
    expect(await attempts.sweep()).toBe(0)
    clock.move(-5 * 3_600_000)
    expect(await attempts.claim('browser', 's')).toEqual(attempt)
    await database.query('update upstream_sign_ins set expires_at = now()')
    expect(await attempts.sweep()).toBe(0)
    clock.move(1_000)
    expect(await attempts.sweep()).toBe(1)
  } finally {
    await database.close()
  }
})
