import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { vapidKeyOf } from '../../src/delegation/notify/message.ts'
import { createSubscriptions } from '../../src/delegation/notify/subscriptions.ts'
import { createSeal } from '../../src/store/encryption.ts'
import { loadSecret } from '../../src/store/secret.ts'
import { native, needsOpenfga, needsPostgres } from '../support/native.ts'
import { openPair, type Pair } from '../support/pair.ts'
import { type PushedBrowser, type PushService, startPushService } from '../support/push-service.ts'

/** Both hear of each question, and each looks for what nobody heard of. */
describe('of two processes', needsPostgres.skip ? needsPostgres : needsOpenfga, () => {
  let service: PushService
  let pair: Pair
  beforeAll(async () => {
    if (native.databaseUrl === undefined || native.openfga === undefined) return
    service = await startPushService()
    pair = await openPair({
      databaseUrl: native.databaseUrl,
      openfga: native.openfga,
      env: { PUSH_ALLOWED_ORIGINS: service.origin },
    })
  }, 300_000)
  afterAll(async () => {
    await pair?.[Symbol.asyncDispose]()
    await service?.[Symbol.asyncDispose]()
  })

  async function browserOf(person: string): Promise<PushedBrowser> {
    const secret = await loadSecret(pair.keysDir, 'oauth.key')
    const browser = service.browser(vapidKeyOf(secret).publicKey)
    const subscriptions = createSubscriptions({
      sql: pair.database,
      seal: createSeal(secret),
      clock: { now: Date.now },
    })
    const { endpoint, keys } = browser.subscription
    await subscriptions.save({ person, session: 'none' }, { endpoint, ...keys })
    return browser
  }

  async function ask(person: string): Promise<void> {
    const { delegation } = await pair.agentToken(person)
    await pair.database.query(
      `insert into approvals (id, subject, agent, client, delegation, front, asked, digest, state, created_at, expires_at, txn)
       values ($1, $2, 'research-bot', 'agent-app', $3, 'rest', '{}', $1, 'pending', now(), now() + interval '5 minutes', 't_1')`,
      [`ap_${delegation}`, `user:${person}`, delegation],
    )
  }

  test('one tells a person, by the key of both, and not the other as well', async () => {
    const people = Array.from({ length: 12 }, (_, index) => `somebody-${index}`)
    const browsers = await Promise.all(people.map(browserOf))
    await Promise.all(people.map(ask))
    const counts = () => browsers.map(({ messages }) => messages.length)
    await expect.poll(counts, { timeout: 60_000 }).toEqual(people.map(() => 1))
    // Each has looked by itself since.
    await delay(5_500)
    expect(counts()).toEqual(people.map(() => 1))
  }, 240_000)

  test('one finds what neither was told of', async () => {
    const browser = await browserOf('unheard')
    await pair.database.query('alter table approvals disable trigger approvals_told')
    await ask('unheard')
    await pair.database.query('alter table approvals enable trigger approvals_told')
    await expect.poll(() => browser.messages.length, { timeout: 60_000 }).toBe(1)
  }, 240_000)
})
