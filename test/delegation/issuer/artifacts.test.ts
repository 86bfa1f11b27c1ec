import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, type TestOptions, test } from 'vitest'
import { typedOnce } from '../../../src/delegation/oauth/middleware.ts'
import { createArtifacts, endSignIns, personHash } from '../../../src/delegation/revocation/artifacts.ts'
import { createRevocations } from '../../../src/delegation/revocation/revocations.ts'
import { createSeal } from '../../../src/store/encryption.ts'
import { openTestDatabase } from '../../support/database.ts'
import { needsPostgres } from '../../support/native.ts'
import { movableClock } from '../world.ts'

const parallel = Array.from({ length: 20 }, (_, index) => index)

describe.each([
  { kind: 'pglite' as const, options: {} as TestOptions },
  { kind: 'postgres' as const, options: needsPostgres },
])('the authorization server’s store on $kind', ({ kind, options }) => {
  let world: Awaited<ReturnType<typeof open>>
  beforeAll(async () => {
    if (options.skip !== true) world = await open(kind)
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(() => world.database.query('truncate oauth_artifacts, revocations'))

  test('keeps what it was given, and neither its id nor its content in the clear', options, async () => {
    const codes = world.artifacts.of('DeviceCode')
    await codes.upsert('the-device-code', { jti: 'the-device-code', userCode: 'ABCDEFGH' }, 60)
    expect(await codes.find('the-device-code')).toEqual({ jti: 'the-device-code', userCode: 'ABCDEFGH' })
    expect(await codes.findByUserCode('ABCDEFGH')).toMatchObject({ jti: 'the-device-code' })
    expect(await world.artifacts.of('RefreshToken').find('the-device-code')).toBeUndefined()
    const rows = await world.database.query('select oauth_artifacts::text as text from oauth_artifacts')
    expect(JSON.stringify(rows)).not.toMatch(/the-device-code|ABCDEFGH/)
    const bytes = await world.database.query<{ sealed: Uint8Array }>('select sealed from oauth_artifacts')
    expect(Buffer.from(bytes[0]?.sealed ?? []).toString('latin1')).not.toMatch(/the-device-code|ABCDEFGH/)
  })

  test.each(['AuthorizationCode', 'DeviceCode', 'RefreshToken'])(
    'lets exactly one of 20 parallel redemptions of one %s through',
    options,
    async (model) => {
      const store = world.artifacts.of(model)
      await store.upsert('once', { jti: 'once' }, 60)
      const outcomes = await Promise.allSettled(parallel.map(() => store.consume('once')))
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
      expect(await store.find('once')).toHaveProperty('consumed')
    },
  )

  test('lets exactly one of 20 parallel uses of one client assertion through', options, async () => {
    const store = world.artifacts.of('ReplayDetection')
    const use = () => store.upsert('assertion', { jti: 'assertion' }, 60)
    const outcomes = await Promise.allSettled(parallel.map(use))
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    world.clock.move(120_000)
    await use()
  })

  test('ends a device code for both browsers that go on with it at once', options, async () => {
    const { clock, artifacts } = world
    const codes = typedOnce(artifacts.of('DeviceCode'), artifacts.of('ReplayDetection'), clock.now)
    const exp = Math.floor(clock.now() / 1_000) + 60
    await codes.upsert('device', { jti: 'device', userCode: 'ABCDEFGH', exp }, 60)
    const goOn = async () => {
      const code = await codes.findByUserCode('ABCDEFGH')
      if (code === undefined || code.inFlight === true) throw new Error('They come one after the other.')
      return () => codes.upsert('device', { ...code, inFlight: true }, 60)
    }
    const [one, other] = [await goOn(), await goOn()]
    const outcomes = await Promise.allSettled([one(), other()])
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(await codes.find('device')).toMatchObject({ error: 'expired_token' })
  })

  test('ends everything of a revoked grant, and the access tokens that have no row', options, async () => {
    const store = world.artifacts.of('RefreshToken')
    await store.upsert('mine', { jti: 'mine', grantId: 'g1' }, 60)
    await store.upsert('other', { jti: 'other', grantId: 'g2' }, 60)
    for (const model of ['AccessToken', 'RefreshToken']) await world.artifacts.of(model).revokeByGrantId('g1')
    expect(await store.find('mine')).toBeUndefined()
    expect(await store.find('other')).toBeDefined()
    expect(await world.database.query('select kind, key from revocations')).toEqual([
      { kind: 'grant', key: 'https://remit.test/oauth g1' },
    ])
  })

  test('sweeps what has been over for an hour, and nothing else', options, async () => {
    const store = world.artifacts.of('Session')
    await store.upsert('short', { jti: 'short' }, 60)
    await store.upsert('long', { jti: 'long' }, 86_400)
    const passed = (seconds: number) =>
      world.database.query('update oauth_artifacts set expires_at = expires_at - make_interval(secs => $1)', [
        seconds,
      ])
    await passed(3_000)
    expect(await world.artifacts.sweep()).toBe(0)
    await passed(1_000)
    expect(await world.artifacts.sweep()).toBe(1)
    expect(await store.find('long')).toBeDefined()
  })

  test('forgets no used assertion for a process whose clock is hours ahead', options, async () => {
    const use = () => world.artifacts.of('ReplayDetection').upsert('shown', { jti: 'shown' }, 60)
    await use()
    world.clock.move(12 * 3_600_000)
    expect(await world.artifacts.sweep()).toBe(0)
    world.clock.move(-12 * 3_600_000)
    await expect(use()).rejects.toThrow('invalid_request')
  })

  test('forgets no used assertion of a process whose clock is hours behind', options, async () => {
    const use = () => world.artifacts.of('ReplayDetection').upsert('shown', { jti: 'shown' }, 60)
    world.clock.move(-5 * 3_600_000)
    try {
      await use()
      const asWritten = 'update oauth_artifacts set expires_at = $1'
      // As an earlier version wrote it: its end is over by the database's clock.
      await world.database.query(asWritten, [new Date(world.clock.now() + 60_000)])
      expect(await world.artifacts.sweep()).toBe(0)
      await expect(use()).rejects.toThrow('invalid_request')
    } finally {
      world.clock.move(5 * 3_600_000)
    }
  })

  test('takes no assertion that a process used whose clock is hours behind', options, async () => {
    const use = () => world.artifacts.of('ReplayDetection').upsert('shown', { jti: 'shown' }, 600)
    world.clock.move(-5 * 3_600_000)
    try {
      await use()
    } finally {
      world.clock.move(5 * 3_600_000)
    }
    expect(await world.artifacts.sweep()).toBe(0)
    await expect(use()).rejects.toThrow('invalid_request')
  })

  test('a sign-in that was ended is not written back by a request that had read it', options, async () => {
    const sessions = world.artifacts.of('Session')
    const read = { jti: 'browser', accountId: 'anne', uid: 'u1' }
    await sessions.upsert('browser', read, 600)
    await endSignIns(world.database, personHash(world.seal, 'anne'), new Date(world.clock.now()))
    await sessions.upsert('browser', read, 600)
    expect(await sessions.find('browser')).toBeUndefined()
    expect(await sessions.findByUid('u1')).toBeUndefined()
    // A new sign-in of the same person has an id of its own.
    await sessions.upsert('another', { ...read, jti: 'another', uid: 'u2' }, 600)
    expect(await sessions.find('another')).toBeDefined()
    const [ended] = await world.database.query<{ sealed: Uint8Array }>(
      'select sealed from oauth_artifacts where ended_at is not null',
    )
    expect(ended?.sealed).toHaveLength(0)
  })

  test('opens no row that was moved to another id', options, async () => {
    const store = world.artifacts.of('RefreshToken')
    await store.upsert('theirs', { jti: 'theirs', accountId: 'anne' }, 60)
    await store.upsert('mine', { jti: 'mine', accountId: 'mallory' }, 60)
    await world.database.query(
      `update oauth_artifacts set sealed = (select sealed from oauth_artifacts where id_hash = $1)`,
      [world.seal.hash('RefreshToken', 'theirs')],
    )
    await expect(store.find('mine')).rejects.toThrow()
  })
})

async function open(kind: 'pglite' | 'postgres') {
  const database = await openTestDatabase(kind)
  const clock = movableClock()
  const seal = createSeal(randomBytes(32))
  const revocations = createRevocations({ sql: database, clock })
  const issuer = 'https://remit.test/oauth'
  const artifacts = createArtifacts({
    sql: database,
    seal,
    clock,
    revocations,
    issuer,
    grantEnded: async () => undefined,
  })
  return { database, clock, seal, artifacts, [Symbol.asyncDispose]: database[Symbol.asyncDispose] }
}
