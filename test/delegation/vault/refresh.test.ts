import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readRow, takeLease } from '../../../src/delegation/vault/rows.ts'
import type { Database } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { type ProviderDouble, startProvider } from '../../support/provider.ts'
import { openVaultParts, recordedAs } from './world.ts'

let double: ProviderDouble
beforeAll(async () => {
  double = await startProvider()
})
afterAll(() => double?.[Symbol.asyncDispose]())

describeDatabases('an access token that is over', (kind) => {
  let database: Database
  let vaultParts: Awaited<ReturnType<typeof openVaultParts>>
  beforeAll(async () => {
    database = await openTestDatabase(kind)
    vaultParts = await openVaultParts(database, double)
  })
  afterAll(() => database?.close())
  beforeEach(async () => {
    double.mood = 'rotates'
    double.tokenDelayMs = 0
    await database.query('delete from connections')
    await database.query('select 1')
  })

  const used = (connections = vaultParts.connections) =>
    connections.withToken('c_1', async (token) => token, { recordedAs })
  const refreshes = (since: number) =>
    double.tokenRequests.slice(since).filter(({ grant_type }) => grant_type === 'refresh_token')
  const row = async () =>
    (await database.query<{ state: string; sealed: string }>('select * from connections'))[0]
  const events = async () =>
    (
      await database.query<{ event: string }>(
        `select event from decision_records where event like 'connection%' order by record_no`,
      )
    ).map(({ event }) => event)

  test('is refreshed once for 50 uses at once by two processes', async () => {
    await vaultParts.put({ tokens: double.grant(), endsIn: -1 })
    double.tokenDelayMs = 50
    const other = vaultParts.process()
    const requestsBefore = double.tokenRequests.length
    const tokens = await Promise.all(
      Array.from({ length: 50 }, (_, index) => used(index % 2 === 0 ? vaultParts.connections : other)),
    )
    expect(new Set(tokens).size).toBe(1)
    expect(refreshes(requestsBefore)).toHaveLength(1)
  })

  test.each([
    ['behind', -240_000, 0],
    ['right', 0, 240_000],
  ])(
    'is refreshed once where the clock of who asks is %s, and another one minutes ahead of it',
    async (_, firstMs, otherMs) => {
      let looks = 0
      const own: Database = {
        ...database,
        query: (text, values) => {
          if (text.includes('set lease = lease + 1')) looks += 1
          return database.query(text, values)
        },
      }
      const apart = (ms: number) =>
        vaultParts.process({ own, clock: { now: () => vaultParts.clock.now() + ms } })
      await vaultParts.put({ tokens: double.grant(), endsIn: -600 })
      const answer = double.holdTokens()
      const requestsBefore = double.tokenRequests.length
      const using = used(apart(firstMs))
      await expect.poll(() => refreshes(requestsBefore).length).toBe(1)
      looks = 0
      const usingToo = used(apart(otherMs))
      // Who looks once more was told no.
      await expect.poll(() => looks >= 2 || refreshes(requestsBefore).length > 1).toBe(true)
      answer()
      expect(await usingToo).toBe(await using)
      expect(refreshes(requestsBefore)).toHaveLength(1)
    },
  )

  test('is not refreshed a second time by whoever looked while the first time was under way', async () => {
    await vaultParts.put({ tokens: double.grant(), endsIn: -1 })
    const answer = double.holdTokens()
    const requestsBefore = double.tokenRequests.length
    const using = used()
    await expect.poll(() => refreshes(requestsBefore).length).toBe(1)
    const seen = await readRow(database, 'c_1')
    answer()
    await using
    expect(seen && (await takeLease(database, seen, vaultParts.clock.now))).toBeUndefined()
  })

  test('is refreshed before it ends, and the new pair is there before it is used', async () => {
    const first = double.grant()
    await vaultParts.put({ tokens: first, endsIn: 30 })
    const sealed = (await row())?.sealed
    await vaultParts.connections.withToken(
      'c_1',
      async (token) => {
        expect(token).not.toBe(first.accessToken)
        expect((await row())?.sealed).not.toBe(sealed)
      },
      { recordedAs },
    )
    expect((await events()).slice(-2)).toEqual(['connection_refreshed', 'connection_used'])
  })

  test('keeps its refresh token where the provider gives no new one', async () => {
    const { refreshToken, accessToken } = double.grant()
    await vaultParts.put({ tokens: { refreshToken, accessToken }, endsIn: -1 })
    double.mood = 'drops the refresh token'
    await used()
    vaultParts.clock.move(3_600_000)
    const requestsBefore = double.tokenRequests.length
    await used()
    expect(refreshes(requestsBefore)).toMatchObject([{ refresh_token: refreshToken }])
  })

  test('ends in “connect again” where the provider refuses, and is not deleted', async () => {
    await vaultParts.put({ tokens: double.grant(), endsIn: -1 })
    double.mood = 'refuses'
    await expect(used()).rejects.toMatchObject({ code: 'reconnect_required' })
    expect(await row()).toMatchObject({ state: 'needs_reconnect', sealed: expect.stringContaining('.') })
    expect((await events()).at(-1)).toBe('connection_broken')
    const requestsBefore = double.tokenRequests.length
    await expect(used()).rejects.toMatchObject({ code: 'reconnect_required' })
    expect(refreshes(requestsBefore)).toEqual([])
  })

  test.each(['is down', 'sends garbage', 'sends a huge answer', 'redirects'] as const)(
    'stays as it is where the provider %s, and is tried anew',
    async (mood) => {
      await vaultParts.put({ tokens: double.grant(), endsIn: -1 })
      double.mood = mood
      await expect(used()).rejects.toMatchObject({ code: 'provider_unavailable' })
      expect(await row()).toMatchObject({ state: 'live' })
      double.mood = 'rotates'
      expect(await used()).toMatch(/^at_/)
    },
  )

  test('is used for as long as it lasts where the provider is down', async () => {
    const { accessToken, refreshToken } = double.grant()
    await vaultParts.put({ tokens: { accessToken, refreshToken }, endsIn: 30 })
    double.mood = 'is down'
    expect(await used()).toBe(accessToken)
  })

  test('is refreshed once and used once more where the API refuses it', async () => {
    const { accessToken, refreshToken } = double.grant()
    await vaultParts.put({ tokens: { accessToken, refreshToken } })
    vaultParts.clock.move(120_000)
    const seen: string[] = []
    const answer = await vaultParts.connections.withToken(
      'c_1',
      async (token) => {
        seen.push(token)
        return token === accessToken ? 401 : 200
      },
      { recordedAs, isRefused: (status) => status === 401 },
    )
    expect(answer).toBe(200)
    expect(seen).toHaveLength(2)
    // An API that refuses everything does not make us ask for tokens again and again.
    const requestsBefore = double.tokenRequests.length
    await vaultParts.connections.withToken('c_1', async () => 401, { recordedAs, isRefused: () => true })
    expect(refreshes(requestsBefore)).toEqual([])
  })

  test('is refreshed where the API refuses it and the clock is set back by an hour, once a minute', async () => {
    await vaultParts.put({ tokens: double.grant(), endsIn: 7_200 })
    vaultParts.clock.move(-3_600_000)
    const requestsBefore = double.tokenRequests.length
    const process = vaultParts.process()
    const refused = () => process.withToken('c_1', async () => 401, { recordedAs, isRefused: () => true })
    await refused()
    expect(refreshes(requestsBefore)).toHaveLength(1)
    vaultParts.clock.move(59_999)
    await refused()
    expect(refreshes(requestsBefore)).toHaveLength(1)
    vaultParts.clock.move(1)
    await refused()
    expect(refreshes(requestsBefore)).toHaveLength(2)
    vaultParts.clock.move(3_540_000)
  })

  test('does not come back to life by a refresh that was in flight when it was taken back', async () => {
    await vaultParts.put({ tokens: double.grant(), endsIn: -1 })
    const answer = double.holdTokens()
    const requestsBefore = double.tokenRequests.length
    const using = used()
    using.catch(() => undefined)
    await expect.poll(() => refreshes(requestsBefore).length).toBe(1)
    await database.query(
      `update connections set state = 'ended', sealed = null, wrapped_key = null, key_version = null, ended_at = now()`,
    )
    answer()
    await expect(using).rejects.toMatchObject({ code: 'connection_required' })
    expect(await row()).toMatchObject({ state: 'ended', sealed: null })
    // What the provider gave meanwhile does not live on there either.
    expect(double.revoked).toContain(double.issued.at(-1))
  })

  test('is not refreshed any more by who stood still with the lease before asking: the provider would see it twice', async () => {
    await vaultParts.put({ tokens: double.grant(), endsIn: -1 })
    const requestsBefore = double.tokenRequests.length
    const [there, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const standing = used(
      vaultParts.process({
        async step(name) {
          if (name !== 'leased') return
          there.resolve()
          await goesOn.promise
        },
      }),
    )
    await there.promise
    await vaultParts.pass(30_000)
    const token = await used()
    goesOn.resolve()
    expect(await standing).toBe(token)
    expect(refreshes(requestsBefore)).toHaveLength(1)
  })

  test('is refreshed at once by who stood still with the lease where nobody else came', async () => {
    await vaultParts.put({ tokens: double.grant(), endsIn: -1 })
    const requestsBefore = double.tokenRequests.length
    let stands = 1
    const standing = vaultParts.process({
      async step(name) {
        if (name === 'leased' && stands-- > 0) vaultParts.clock.move(30_000)
      },
    })
    expect(await used(standing)).toMatch(/^at_/)
    expect(refreshes(requestsBefore)).toHaveLength(1)
  })

  test('is not written over by whoever held the lease before', async () => {
    await vaultParts.put({ tokens: double.grant(), endsIn: -1 })
    const answer = double.holdTokens()
    const requestsBefore = double.tokenRequests.length
    const lateUse = used()
    await expect.poll(() => refreshes(requestsBefore).length).toBe(1)
    // Its time is over while it waits, and another one comes in between.
    await database.query(`update connections set lease = lease + 1, sealed_at = now() + interval '1 hour'`)
    const sealed = (await row())?.sealed
    answer()
    await lateUse
    expect((await row())?.sealed).toBe(sealed)
  })
})

describe('a provider that understands token exchange', () => {
  let database: Database
  let vaultParts: Awaited<ReturnType<typeof openVaultParts>>
  beforeAll(async () => {
    database = await openTestDatabase()
    vaultParts = await openVaultParts(database, double, {
      entry: { token_exchange: { audience: 'reports', scope: 'reports.read' } },
    })
  })
  afterAll(() => database?.close())
  beforeEach(async () => {
    double.mood = 'rotates'
    double.exchangeMood = 'narrows'
    await database.query('delete from connections')
    await database.query('update agents set disabled_at = null')
    await database.query(`update delegations set state = 'live'`)
    await database.query('delete from revocations')
  })
  const used = () => vaultParts.connections.withToken('c_1', async (token) => token, { recordedAs })
  const uses = () => database.query(`select txn from decision_records where event = 'connection_used'`)

  test('is asked for a narrower token, and only that is used', async () => {
    const { accessToken, refreshToken } = double.grant()
    await vaultParts.put({ tokens: { accessToken, refreshToken } })
    expect(await used()).toMatch(/^narrow_/)
    expect(double.tokenRequests.at(-1)).toMatchObject({
      audience: 'reports',
      scope: 'reports.read',
      subject_token: accessToken,
    })
  })

  test.each([
    [
      'the connection',
      `update connections set state = 'ended', sealed = null, wrapped_key = null, key_version = null,
       lease = lease + 1, leased_until = null, ended_at = now()`,
      true,
    ],
    ['what the agent was allowed', 'delete from connection_agents', false],
    ['the agent', `update agents set disabled_at = now() where id = 'research-bot'`, false],
    ['what was lent', `update delegations set state = 'revoked'`, false],
    [
      'what the person may do',
      `insert into revocations values ('subject', 'user:anne', null, 'tests', now())`,
      false,
    ],
  ])(
    'and answers after %s was taken back: nothing is used or on record as used',
    async (_, end, isRevoked) => {
      const { accessToken, refreshToken } = double.grant()
      await vaultParts.put({ tokens: { accessToken, refreshToken } })
      const [requestsBefore, revokedBefore] = [double.tokenRequests.length, double.revoked.length]
      const usesBefore = await uses()
      const answer = double.holdTokens()
      const using = used()
      await expect.poll(() => double.tokenRequests.length).toBe(requestsBefore + 1)
      await database.query(end)
      answer()
      await expect(using).rejects.toMatchObject({ code: 'connection_required' })
      expect(await uses()).toEqual(usesBefore)
      // What it gave meanwhile does not live on there.
      expect(double.revoked.slice(revokedBefore).some((one) => one.startsWith('narrow_'))).toBe(isRevoked)
    },
  )

  test.each([
    'gives the same token back',
    'gives a token of another type',
    'gives more',
    'does not know the target',
  ] as const)('and %s is not used at all: the whole token is not used in its place', async (mood) => {
    await vaultParts.put({ tokens: double.grant() })
    double.exchangeMood = mood
    await expect(used()).rejects.toMatchObject({ code: 'provider_unavailable' })
  })

  test('and does not take the token any more is asked for another pair, once', async () => {
    const { accessToken, refreshToken } = double.grant()
    await vaultParts.put({ tokens: { accessToken, refreshToken } })
    double.forget(accessToken)
    const requestsBefore = double.tokenRequests.length
    expect(await used()).toMatch(/^narrow_/)
    expect(
      double.tokenRequests.slice(requestsBefore).map(({ grant_type }) => grant_type?.split(':').at(-1)),
    ).toEqual(['token-exchange', 'refresh_token', 'token-exchange'])
  })

  test('and takes neither the token nor what refreshes it has its person connect once more', async () => {
    const { accessToken } = double.grant()
    await vaultParts.put({ tokens: { accessToken, refreshToken: 'not_theirs' } })
    double.forget(accessToken)
    await expect(used()).rejects.toMatchObject({ code: 'reconnect_required' })
    await database.query('delete from connections')
    await vaultParts.put({ tokens: { accessToken } })
    await expect(used()).rejects.toMatchObject({ code: 'reconnect_required' })
  })
})
