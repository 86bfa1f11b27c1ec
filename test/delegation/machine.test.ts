import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAdministrators } from '../../src/delegation/administration/administrators.ts'
import { createPersons } from '../../src/delegation/people/persons.ts'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { movableClock, openMigrated } from './world.ts'

const clock = movableClock()
let database: Awaited<ReturnType<typeof openMigrated>>
beforeAll(async () => {
  database = await openMigrated()
})
afterAll(() => database.close())

test('the key is kept over restarts, in a file that only its owner can read', async () => {
  const folder = join(database.folder, 'more-keys')
  const [first, second] = await Promise.all([openKeyRing(folder, clock), openKeyRing(folder, clock)])
  expect(second.current().kid).toBe(first.current().kid)
  expect((await stat(folder)).mode & 0o777).toBe(0o700)
  expect((await stat(join(folder, 'issuer-es256.json'))).mode & 0o777).toBe(0o600)
  expect((await first.idTokens()).kid).toBe((await second.idTokens()).kid)
  expect((await stat(join(folder, 'issuer-rs256.json'))).mode & 0o777).toBe(0o600)
  const { keys } = await first.jwks()
  expect(keys.map((key) => Object.keys(key).sort().join(' '))).toEqual([
    'alg crv kid kty use x y',
    'alg e kid kty n use',
  ])
  const third = await openKeyRing(folder, clock)
  expect((await third.idTokens()).kid).toBe((await first.idTokens()).kid)
})

test('a retired key counts for a day, and no longer where the clock was set back since', async () => {
  const moving = movableClock()
  const ring = await openKeyRing(join(database.folder, 'retired-keys'), moving)
  const hour = 3_600_000
  const kids = async () => (await ring.jwks()).keys.map(({ kid }) => kid)
  const retire = async () => {
    const { kid } = ring.current()
    await ring.rotate()
    return kid
  }
  const over = await retire()
  moving.move(23 * hour)
  expect(await kids()).toContain(over)
  moving.move(hour)
  expect(await kids()).not.toContain(over)
  const leaked = await retire()
  // As much as clocks may differ: another process may have retired it.
  moving.move(-300_000)
  expect(await kids()).toContain(leaked)
  expect((await ring.find({ alg: 'ES256', kid: leaked })).ok).toBe(true)
  moving.move(-1)
  expect(await kids()).not.toContain(leaked)
  moving.move(-30 * 24 * hour)
  expect(await kids()).not.toContain(leaked)
  await ring.sweep()
  expect((await ring.find({ alg: 'ES256', kid: leaked })).ok).toBe(false)
  // Nor when the clock comes to that hour again.
  moving.move(30 * 24 * hour)
  expect(await kids()).not.toContain(leaked)
})

test('roles add up and only users can have them', async () => {
  const administrators = createAdministrators({
    sql: database,
    persons: createPersons({ trustedIssuers: [] }),
    clock,
  })
  await administrators.add('user:ida', ['security.write'])
  expect(await administrators.add('user:ida', ['agents.write', 'security.write'])).toEqual([
    'agents.write',
    'security.write',
  ])
  expect(await administrators.has('user:ida', 'security.read')).toBe(false)
  await expect(administrators.add('group:eng', ['security.read'])).rejects.toMatchObject({
    code: 'invalid_request',
  })
})
