import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Notified, openNotified } from '../delegation/issuer/notified.ts'
import { type Decider, openDecider } from '../support/decider.ts'
import { native, needsOpenfga, needsPostgres } from '../support/native.ts'
import { openPair, type Pair } from '../support/pair.ts'

const person = 'user:anne'

/** A program asks and polls two processes; its person decides in this one. */
describe('a person who is asked from afar', needsPostgres.skip ? needsPostgres : needsOpenfga, () => {
  let pair: Pair
  let decider: Decider
  let notified: Notified
  beforeAll(async () => {
    if (native.databaseUrl === undefined || native.openfga === undefined) return
    notified = await openNotified()
    const env = { OUTBOUND_ALLOWED_ORIGINS: notified.origin }
    pair = await openPair({ databaseUrl: native.databaseUrl, openfga: native.openfga, env })
    await pair.database.query('update clients set notification_endpoint = $1 where client_id = $2', [
      notified.url,
      'agent-app',
    ])
    await pair.command('person', 'add', 'anne', '--name', 'Anne')
    await pair.agentToken('anne')
    decider = await openDecider(pair.database)
  }, 300_000)
  afterAll(async () => {
    await decider?.[Symbol.asyncDispose]()
    await pair?.[Symbol.asyncDispose]()
    await notified?.[Symbol.asyncDispose]()
  })
  afterEach(async () => {
    if (pair === undefined) return
    notified.told.length = 0
    for (const table of ['backchannel_requests', 'approvals', 'approval_askers'])
      await pair.database.query(`delete from ${table}`)
  })

  async function send(url: string, endpoint: string, form: Readonly<Record<string, string>>) {
    const body = new URLSearchParams({ ...form, ...pair.proven(await pair.assertion()) })
    const response = await fetch(`${url}/oauth${endpoint}`, { method: 'POST', body })
    return (await response.json()) as { auth_req_id?: string; access_token?: string; error?: string }
  }
  async function ask(url: string): Promise<string> {
    const scope = 'openid docs.search docs.read'
    const asked = await send(url, '/backchannel', {
      scope,
      login_hint: 'anne',
      client_notification_token: 'our-token',
    })
    if (asked.auth_req_id === undefined) throw new Error(`Nobody is asked: ${JSON.stringify(asked)}`)
    return asked.auth_req_id
  }
  const poll = (url: string, id: string) =>
    send(url, '/token', { grant_type: 'urn:openid:params:grant-type:ciba', auth_req_id: id })
  async function decide(answer: 'approve' | 'deny') {
    const { open } = await decider.approvals.mine(person)
    const decided = await decider.decide(person, open[0]?.id ?? '', { answer })
    expect(decided.ok).toBe(true)
  }
  const told = () =>
    notified.told.map(({ body }) => (JSON.parse(body) as { auth_req_id: string }).auth_req_id)

  test('answers once, whichever process is polled: of twenty polls at both one gets the token, and it counts', async () => {
    const [first, second] = pair.urls
    const id = await ask(first)
    expect((await poll(second, id)).error).toBe('authorization_pending')
    await decide('approve')
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => poll(index % 2 === 0 ? first : second, id)),
    )
    const tokens = answers.flatMap(({ access_token: token }) => token ?? [])
    expect(tokens).toHaveLength(1)
    expect(new Set(answers.map(({ error }) => error))).toEqual(new Set([undefined, 'invalid_grant']))
    for (const url of pair.urls) {
      const headers = { authorization: `Bearer ${tokens[0]}` }
      // An agent may not ask for jobs: that code says that the token was good.
      const refused = (await (await fetch(`${url}/jobs/none`, { headers })).json()) as { code: string }
      expect(refused.code).toBe('forbidden')
    }
  }, 240_000)

  test('tells the program once, though both processes hear of it', async () => {
    const ids = [await ask(pair.urls[0])]
    await decide('approve')
    await expect.poll(told, { timeout: 60_000 }).toEqual(ids)
    // Twice their look at what nobody woke them for.
    await new Promise((resolve) => setTimeout(resolve, 10_500))
    expect(told()).toEqual(ids)
  }, 240_000)

  // The last one: one of the two is gone afterwards.
  test('answers and tells although the process that was asked dies before the token is fetched', async () => {
    const [first, second] = pair.urls
    const id = await ask(second)
    await pair.killSecond()
    await decide('approve')
    await expect.poll(told, { timeout: 60_000 }).toEqual([id])
    expect(await poll(first, id)).toHaveProperty('access_token')
    expect((await poll(first, id)).error).toBe('invalid_grant')
  }, 240_000)
})
