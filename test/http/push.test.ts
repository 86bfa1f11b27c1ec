import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Requester } from '../../src/delegation/approvals/approval.ts'
import { digestOf } from '../../src/delegation/approvals/view.ts'
import { vapidKeyOf } from '../../src/delegation/notify/message.ts'
import { createRevocations } from '../../src/delegation/revocation/revocations.ts'
import { loadSecret } from '../../src/store/secret.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { describeDatabases } from '../support/backends.ts'
import { type PushedBrowser, type PushService, startPushService } from '../support/push-service.ts'
import { type OwnBrowser, openOwnBrowser, signIn } from './own-browser.ts'

interface Answer {
  readonly status: number
  readonly code?: string
  readonly field?: string
  readonly told?: boolean
}

describeDatabases('being told in a browser', (database) => {
  let service: PushService
  let world: IssuerWorld
  let key: string
  let someone: OwnBrowser | undefined
  let offset = 0
  beforeAll(async () => {
    service = await startPushService()
    world = await openIssuerWorld({
      backend: { database, openfga: 'engine' },
      env: { PUSH_ALLOWED_ORIGINS: service.origin, OUTBOUND_ALLOWED_ORIGINS: 'https://10.1.2.4' },
      now: () => Date.now() + offset,
    })
    key = vapidKeyOf(await loadSecret(join(world.config.home, 'keys'), 'oauth.key')).publicKey
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await service?.[Symbol.asyncDispose]()
  })

  const answered = async (response: Response): Promise<Answer> => ({
    status: response.status,
    ...((await response.json()) as object),
  })
  const post = async (who: OwnBrowser, path: string, body: unknown) =>
    answered(await who.send('POST', `/approvals/push${path}`, { body }))
  async function told(who: OwnBrowser): Promise<PushedBrowser> {
    const browser = service.browser(key)
    expect(await post(who, '', browser.subscription)).toMatchObject({ status: 200, told: true })
    return browser
  }
  let count = 0
  /** A question of an agent of its own, so that no limit is met. */
  async function ask(person = 'anne', seconds = 300) {
    count += 1
    const agent = `bot-${count}`
    const issuer = world.service.ownIssuer
    await world.service.agents.save({ id: agent, owner: 'user:dan', purpose: 'tests', issuer, sub: agent })
    const delegation = await world.lend(person, agent, 'collection:handbook')
    const subject = `user:${person}` as const
    const asker: Requester = { subject, agent, client: 'agent-app', delegation, txn: 't_asked' }
    const asked = { kind: 'access', resource: 'https://broker.test', scopes: ['trade'], details: [] } as const
    const wish = { purpose: 'Sell the secret shares', seconds, front: 'rest' } as const
    const { id } = await world.service.approvals.ask(asker, asked, wish)
    async function askBack(question: string) {
      const shown = await world.service.approvals.oneOfMine(subject, id)
      if (shown === undefined) throw new Error('not shown')
      const session = { person, subject }
      const options = { digest: digestOf(shown), session }
      await world.service.approvals.decide(subject, id, { answer: 'ask', question }, options)
    }
    return { id, asker, askBack }
  }
  const arrived = (browser: PushedBrowser, times: number) =>
    expect.poll(() => browser.messages.length).toBe(times)
  /** Long enough for what would have come. */
  const quiet = () => delay(400)

  test('a question is told at once, and the agent’s answer to theirs again; in every browser of the person, in nobody else’s', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    const bob = await openOwnBrowser(world, 'bob')
    const browsers = [await told(anne), await told(anne)] as const
    const others = await told(bob)
    const { id, asker, askBack } = await ask()
    for (const browser of browsers) await arrived(browser, 1)
    await askBack('Why?')
    await world.service.approvals.answer(asker, id, 'Because of the secret shares.')
    for (const browser of browsers) await arrived(browser, 2)
    await quiet()
    expect(browsers.map(({ messages }) => messages.length)).toEqual([2, 2])
    expect(others.messages).toEqual([])
    const [first] = browsers[0].messages
    expect(first).toMatchObject({ urgency: 'high', topic: 'approvals' })
    expect(Number(first?.ttl)).toBeGreaterThan(290)
    expect(Number(first?.ttl)).toBeLessThanOrEqual(300)
    await anne.send('POST', '/approvals/push/end-all')
    await bob.send('POST', '/approvals/push/end-all')
  })

  test('what is sent is the same for everybody: no title, no agent, none of its words, no id, no link', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    const browser = await told(anne)
    const { id, asker } = await ask('anne', 600)
    await arrived(browser, 1)
    const [message] = browser.messages
    expect(message?.text).toBe('{"about":"approvals"}')
    for (const secret of [id, asker.agent, asker.delegation, 'anne', 'secret', 'broker', '/approvals'])
      expect(message?.open).not.toContain(secret)
    const { origin: aud } = service
    expect(message?.claims).toEqual({ aud, exp: expect.any(Number), sub: 'mailto:remit@localhost' })
    await anne.send('POST', '/approvals/push/end-all')
  })

  test('it ends with signing out there; the next person at that browser is not told unasked', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    const elsewhere = await openOwnBrowser(world, 'anne')
    const [left, kept] = [await told(anne), await told(elsewhere)]
    await anne.send('POST', '/sign-out')
    await ask()
    await arrived(kept, 1)
    await quiet()
    expect(left.messages).toEqual([])
    const bob = await openOwnBrowser(world, 'bob')
    const { endpoint } = left.subscription
    expect(await post(bob, '/seen', { endpoint })).toMatchObject({ told: false })
    await elsewhere.send('POST', '/approvals/push/end-all')
  })

  test('it outlives the session and goes on with the next one of the same person there, whose sign-out ends it', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    const browser = await told(anne)
    offset = 8 * 3_600_000 + 1_000
    try {
      await world.service.issuer.tasks['browser_sessions']?.()
      await ask()
      await arrived(browser, 1)
      await signIn(world, anne.browser, 'anne')
      const listed = await anne.browser.open(`${world.url}/delegations`)
      await ask()
      await arrived(browser, 2)
      await anne.browser.submit(listed, '/sign-out')
      await ask()
      await quiet()
      expect(browser.messages).toHaveLength(2)
    } finally {
      offset = 0
    }
  })

  test('another person who signs in over somebody’s session is told nothing there, nor is that one any more', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    const browser = await told(anne)
    await signIn(world, anne.browser, 'bob')
    await ask('anne')
    await ask('bob')
    await quiet()
    expect(browser.messages).toEqual([])
  })

  test('nobody is told in the name of who is revoked, or was barred since', async () => {
    const carol = await openOwnBrowser(world, 'carol')
    const browser = await told(carol)
    const revocations = createRevocations({ sql: world.database, clock: { now: Date.now } })
    await revocations.revoke({ kind: 'subject', id: 'user:carol' }, { reason: 'tests' })
    await ask('carol')
    await quiet()
    expect(browser.messages).toEqual([])
    await revocations.lift({ kind: 'subject', id: 'user:carol' })
    const dan = await openOwnBrowser(world, 'dan')
    const his = await told(dan)
    await world.service.issuer.barring.bar('dan')
    await world.service.issuer.barring.admit('dan')
    await ask('dan')
    await quiet()
    expect(his.messages).toEqual([])
  })

  test('nobody is told any more who was told through an account that is theirs no longer', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    const browser = await told(anne)
    const account = { issuer: 'https://elsewhere.test', sub: 'a', person: 'anne' }
    await world.service.accountLinks.link(account, operator('t_tests'))
    await world.service.accountLinks.unlink(account, operator('t_tests'))
    await ask()
    await quiet()
    expect(browser.messages).toEqual([])
  })

  test('a person has ten browsers; with an eleventh the one that was not seen for longest goes', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    const browsers: PushedBrowser[] = []
    for (let made = 0; made < 11; made += 1) {
      // The first one is opened again, and stays.
      if (made === 10) await post(anne, '/seen', { endpoint: browsers[0]?.subscription.endpoint })
      offset += 1_000
      browsers.push(await told(anne))
    }
    offset = 0
    await ask()
    for (const [index, browser] of browsers.entries()) await arrived(browser, index === 1 ? 0 : 1)
    await anne.send('POST', '/approvals/push/end-all')
    await ask()
    await quiet()
    expect(browsers.flatMap(({ messages }) => messages)).toHaveLength(10)
  })

  test('it is ended there by its own button; another person’s is neither ended nor seen', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    const bob = await openOwnBrowser(world, 'bob')
    const { endpoint } = (await told(anne)).subscription
    expect(await post(bob, '/end', { endpoint })).toMatchObject({ status: 200, told: false })
    expect(await post(bob, '/seen', { endpoint })).toMatchObject({ status: 200, told: false })
    expect(await post(bob, '/seen', { endpoint: `${endpoint}x` })).toMatchObject({ status: 200, told: false })
    expect(await post(anne, '/seen', { endpoint })).toMatchObject({ told: true })
    expect(await post(anne, '/end', { endpoint })).toMatchObject({ told: false })
    expect(await post(anne, '/seen', { endpoint })).toMatchObject({ told: false })
  })

  const auth = randomBytes(16).toString('base64url')
  const offCurve = Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 1)]).toString('base64url')
  test.each([
    ['plain http', { endpoint: 'http://push.example/x' }, 'endpoint'],
    ['loopback', { endpoint: 'https://127.0.0.1/x' }, 'endpoint'],
    ['loopback in other digits', { endpoint: 'https://2130706433/x' }, 'endpoint'],
    ['loopback of IPv6', { endpoint: 'https://[::1]/x' }, 'endpoint'],
    ['metadata of a cloud', { endpoint: 'https://169.254.169.254/latest' }, 'endpoint'],
    ['a private network', { endpoint: 'https://10.1.2.3/x' }, 'endpoint'],
    ['what a provider inside is named by', { endpoint: 'https://10.1.2.4/x' }, 'endpoint'],
    ['a file', { endpoint: 'file:///etc/passwd' }, 'endpoint'],
    ['a password in the address', { endpoint: 'https://a:b@push.example/x' }, 'endpoint'],
    ['an endless address', { endpoint: `https://push.example/${'x'.repeat(1_100)}` }, 'endpoint'],
    ['no address', { endpoint: 'push' }, 'endpoint'],
    ['a key that is too short', { keys: { p256dh: 'BAAA', auth } }, 'keys.p256dh'],
    ['a key that is no point of the curve', { keys: { p256dh: offCurve, auth } }, 'keys.p256dh'],
    ['a secret of another length', { keys: { auth: 'AAAA' } }, 'keys.auth'],
    ['an unknown member', { topic: 'x' }, 'topic'],
  ])('names the field: %s', async (_, over: object, field) => {
    someone ??= await openOwnBrowser(world, 'bob')
    const good = service.browser(key).subscription
    const keys = { ...good.keys, ...('keys' in over ? (over.keys as object) : {}) }
    expect(await post(someone, '', { ...good, ...over, keys })).toMatchObject({
      status: 422,
      code: 'invalid_request',
      field,
    })
  })

  test('only the person’s own session changes it: no token, no other origin, no session’s token missing, no old sign-in', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    const body = service.browser(key).subscription
    const token = await world.token({ user: 'anne' })
    for (const path of ['', '/seen', '/end', '/end-all']) {
      const send = async (headers: Record<string, string | undefined>) =>
        (await anne.send('POST', `/approvals/push${path}`, { body, headers })).status
      expect(await send({ authorization: `Bearer ${token}` })).toBe(403)
      expect(await send({ origin: 'https://evil.test' })).toBe(403)
      expect(await send({ 'x-csrf-token': undefined })).toBe(403)
      expect(await send({ cookie: undefined })).toBe(401)
    }
    offset = 15 * 60_000 + 1_000
    try {
      expect((await post(anne, '', body)).status).toBe(401)
      expect((await post(anne, '/end', { endpoint: body.endpoint })).status).toBe(200)
    } finally {
      offset = 0
    }
  })

  test('the database alone cannot send: endpoints are known by their hash, and sealed with their keys', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    const { endpoint, keys } = (await told(anne)).subscription
    const [row] = await world.database.query<{ row: string; sealed: Uint8Array }>(
      'select row_to_json(s)::text as row, sealed from push_subscriptions s where person = $1',
      ['anne'],
    )
    const all = `${row?.row} ${Buffer.from(row?.sealed ?? []).toString('latin1')}`
    for (const secret of [endpoint, new URL(endpoint).pathname, keys.p256dh, keys.auth])
      expect(all).not.toContain(secret)
    await anne.send('POST', '/approvals/push/end-all')
  })

  test('a push service that hangs holds up neither the agent nor its question', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    const browser = await told(anne)
    browser.answers.push('slow')
    // It never answers: a question that waited for it would not come back.
    const { id, asker } = await ask()
    await expect.poll(() => browser.answers).toEqual([])
    expect(await world.service.approvals.of(asker, id)).toMatchObject({ state: 'pending' })
    await anne.send('POST', '/approvals/push/end-all')
  })

  test('the page can be put on a home screen: manifest, icons, and a worker that stands before no request', async () => {
    const get = (path: string) => fetch(`${world.url}/approvals/${path}`)
    const manifest = (await (await get('manifest.webmanifest')).json()) as {
      readonly icons: readonly { readonly src: string; readonly sizes: string; readonly type: string }[]
    }
    expect(manifest).toMatchObject({ start_url: '/approvals', display: 'standalone' })
    expect(manifest.icons.map(({ sizes, type }) => `${sizes} ${type}`)).toEqual([
      '192x192 image/png',
      '512x512 image/png',
      'any image/svg+xml',
    ])
    for (const { src, sizes, type } of manifest.icons) {
      const response = await fetch(`${world.url}${src}`)
      expect(response.headers.get('content-type')).toBe(type)
      const bytes = Buffer.from(await response.arrayBuffer())
      // Width and height, as a PNG's first chunk says them.
      if (type === 'image/png') expect(`${bytes.readUInt32BE(16)}x${bytes.readUInt32BE(20)}`).toBe(sizes)
    }
    const worker = await get('sw.js')
    expect(worker.headers.get('service-worker-allowed')).toBe('/approvals')
    expect(worker.headers.get('content-type')).toContain('text/javascript')
    expect(await worker.text()).not.toMatch(/'fetch'|caches|importScripts/)
  })

  test('nobody is told after an older copy of the database was put in place', async () => {
    const anne = await openOwnBrowser(world, 'anne')
    await told(anne)
    await world.service.recover('t_tests')
    expect(await world.database.query('select 1 from push_subscriptions')).toEqual([])
  })
})
