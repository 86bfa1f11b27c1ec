import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type LinkedAccounts, linkAccounts } from '../support/linked.ts'
import { native, needsOpenfga, needsPostgres } from '../support/native.ts'
import { openPair, type Pair } from '../support/pair.ts'
import {
  type ProviderDouble,
  providerSecret,
  providerSecretVariable,
  startProvider,
} from '../support/provider.ts'

describe('a linked account in two processes', needsPostgres.skip ? needsPostgres : needsOpenfga, () => {
  let double: ProviderDouble
  let pair: Pair
  let accounts: LinkedAccounts
  let token: string
  beforeAll(async () => {
    if (native.databaseUrl === undefined || native.openfga === undefined) return
    double = await startProvider()
    pair = await openPair({
      databaseUrl: native.databaseUrl,
      openfga: native.openfga,
      env: {
        VAULT_PROVIDERS: JSON.stringify([double.entry()]),
        [providerSecretVariable]: providerSecret,
        OUTBOUND_ALLOWED_ORIGINS: double.origin,
      },
    })
    accounts = await linkAccounts(pair, double)
    token = (await pair.agentToken('anne', 'vault.use')).token
  }, 300_000)
  afterAll(async () => {
    await pair?.[Symbol.asyncDispose]()
    await double?.[Symbol.asyncDispose]()
  })

  const ask = async (url = pair.urls[0]) => {
    const response = await fetch(`${url}/vault/fetch`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ connection: 'acme', method: 'GET', path: '/issues' }),
    })
    return { status: response.status, body: (await response.json()) as Readonly<Record<string, unknown>> }
  }
  const refreshes = () =>
    double.tokenRequests.filter(({ grant_type }) => grant_type === 'refresh_token').length

  test('is refreshed once for 50 calls at once by both, over a token that is over', async () => {
    const id = await accounts.link({ endsInSeconds: -1 })
    double.tokenDelayMs = 100
    for (let round = 1; round <= 3; round += 1) {
      const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => ask(pair.urls[index % 2])))
      expect(answers.flatMap(({ status, body }) => (status === 200 ? [] : [[status, body['code']]]))).toEqual(
        [],
      )
      expect(refreshes()).toBe(round)
      const used = double.apiRequests.slice(-50).map(({ headers }) => headers.authorization)
      expect(new Set(used).size).toBe(1)
      await accounts.end(id)
    }
  }, 240_000)

  test('that was taken back is used by neither from then on, also while it was being refreshed', async () => {
    const answer = double.holdTokens()
    const before = refreshes()
    const asking = pair.urls.map((url) => ask(url))
    await expect.poll(refreshes).toBe(before + 1)
    await pair.database.query(
      `update connections set state = 'ended', sealed = null, wrapped_key = null, key_version = null,
         lease = lease + 1, leased_until = null, ended_at = now()`,
    )
    answer()
    for (const { status, body } of await Promise.all(asking))
      expect([status, body['code']]).toEqual([409, 'connection_required'])
    expect((await ask(pair.urls[1])).status).toBe(409)
    // What the provider gave meanwhile does not live on there either.
    expect(double.revoked).toContain(double.issued.at(-1))
  }, 240_000)

  test('has its keys changed by the operator’s command while it is used', async () => {
    await accounts.link({ endsInSeconds: 3_600 })
    expect(JSON.parse(await pair.command('vault', 'list', '--json'))).toEqual({
      provider: 'acme',
      state: 'live',
      version: 'home',
      accounts: 1,
    })
    await pair.command('vault', 'rewrap')
    expect((await ask(pair.urls[1])).status).toBe(200)
  }, 240_000)
})
