import { SignJWT } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Database } from '../../src/store/sql.ts'
import type { Browser, Page } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { type OwnBrowser, openOwnBrowser, signInAction } from './own-browser.ts'

const accessToken = 'urn:ietf:params:oauth:token-type:access_token'
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code'
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange'

type ClientId = keyof IssuerWorld['keys'] | 'public-agent'
type Said = Partial<
  Record<
    'error' | 'access_token' | 'refresh_token' | 'verification_uri' | 'user_code' | 'device_code',
    string
  >
>
interface Answer {
  readonly status: number
  readonly error?: string
  readonly retryAfter?: string | null
}

/** The ways in which it becomes unknown who may act. */
const ways = ['changes are not heard', 'the database is older than OpenFGA'] as const

describe.each(ways)('while %s', (way) => {
  let world: IssuerWorld
  let isCut = false
  /** As native Postgres: another process may change something, and is heard over a connection of its own. */
  const withEar = (real: Database): Database => ({
    ...real,
    openListener: async () => {
      if (isCut) throw new Error('cut')
      return {
        async query(text, values) {
          if (isCut) throw new Error('cut')
          return real.query(text, values)
        },
        [Symbol.asyncDispose]: async () => undefined,
      }
    },
  })

  async function close(): Promise<void> {
    if (way === 'changes are not heard') isCut = true
    else await world.database.query('update epochs set recovering_since = now()')
    await expect.poll(ready, { timeout: 10_000 }).toBe(503)
  }
  async function reopen(): Promise<void> {
    isCut = false
    await world.database.query('update epochs set recovering_since = null')
    await expect.poll(ready, { timeout: 10_000 }).toBe(200)
  }
  const ready = async () => (await world.call('GET', '/readyz')).status

  let browser: Browser
  let anne: OwnBrowser
  let lent: string
  beforeAll(async () => {
    world = await openIssuerWorld({ database: withEar })
    await world.put({ 'handbook/travel': { text: 'Travel.', access: { viewers: ['user:anne'] } } })
    lent = await world.lend('anne', 'research-bot', 'collection:handbook')
    browser = world.browser()
    anne = await openOwnBrowser(world, 'anne')
  }, 60_000)
  afterAll(() => world?.[Symbol.asyncDispose]())

  async function assertion(id: ClientId): Promise<Record<string, string>> {
    if (id === 'public-agent') return { client_id: id }
    const { key, kid, alg } = world.keys[id]
    const jwt = await new SignJWT({ jti: crypto.randomUUID() })
      .setProtectedHeader({ alg, kid })
      .setIssuer(id)
      .setSubject(id)
      .setAudience(world.issuer)
      .setIssuedAt()
      .setExpirationTime('60 s')
      .sign(key)
    return {
      client_id: id,
      client_assertion: jwt,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    }
  }

  async function post(path: string, id: ClientId, parameters: Record<string, string>) {
    const body = new URLSearchParams({ ...(await assertion(id)), ...parameters })
    const response = await fetch(`${world.issuer}${path}`, { method: 'POST', body })
    const said: Said = JSON.parse((await response.text()) || '{}')
    return { ...said, status: response.status, retryAfter: response.headers.get('retry-after') }
  }

  async function begin(with_: Browser): Promise<{ page: Page; verifier: string }> {
    const verifier = client.randomPKCECodeVerifier()
    const wish = new URLSearchParams({
      response_type: 'code',
      client_id: 'agent-app',
      redirect_uri: world.redirectUri,
      scope: 'docs.search',
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    })
    return { page: await with_.open(`${world.issuer}/auth?${wish}`), verifier }
  }

  const choice = { objects: ['collection:handbook'] }
  async function code(): Promise<Record<string, string>> {
    const { page, verifier } = await begin(browser)
    const { url } = await world.consent(browser, page, choice)
    return {
      grant_type: 'authorization_code',
      code: url.searchParams.get('code') ?? '',
      code_verifier: verifier,
      redirect_uri: world.redirectUri,
    }
  }

  async function device(): Promise<Record<string, string>> {
    const begun = await post('/device/auth', 'public-agent', { scope: 'docs.search' })
    const entry = await browser.open(begun.verification_uri ?? '')
    const confirm = await browser.submit(entry, '/oauth/device', { user_code: begun.user_code ?? '' })
    await world.consent(browser, await browser.submit(confirm, '/oauth/device'), choice)
    return { grant_type: deviceGrant, device_code: begun.device_code ?? '' }
  }

  /** What a person's own program holds for the agent. */
  async function subjectToken(): Promise<string> {
    const { kid, privateKey } = world.service.keys.current()
    const iat = Math.floor(Date.now() / 1_000)
    return new SignJWT({ client_id: 'cli', scope: 'docs.search docs.read', grant_id: 'g_family', demo: true })
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
      .setIssuer(world.issuer)
      .setSubject('anne')
      .setAudience(`${world.url}/agents/research-bot`)
      .setIssuedAt(iat)
      .setExpirationTime(iat + 300)
      .setJti(crypto.randomUUID())
      .sign(privateKey)
  }

  /** Everything that a request could have used up, begun, lent or ended. */
  async function kept(): Promise<unknown> {
    const tables = ['oauth_artifacts', 'browser_sessions', 'delegations', 'revocations', 'decision_records']
    return Promise.all(
      tables.map((table) => world.database.query(`select t::text from ${table} as t order by 1`)),
    )
  }

  test('no grant of any type is redeemed, nothing is signed in to, lent or ended; afterwards all of it still can be', {
    timeout: 90_000,
  }, async () => {
    const redeemed = await post('/token', 'agent-app', await code())
    const known = redeemed.access_token ?? ''
    const stranger = world.browser()
    const login = await begin(stranger)
    const lender = world.browser()
    const consent = await lender.submit((await begin(lender)).page, '/sign-in', { user: 'anne', password })
    const signing = world.browser()
    const signInPage = await signing.open(`${world.url}/sign-in?next=/delegations`)
    const expiresAt = new Date(Date.now() + 3_600_000).toISOString()
    const wish = {
      agent: 'other-bot',
      scope: ['collection:handbook'],
      expires_at: expiresAt,
      purpose: 'tests',
    }
    const refresh = { grant_type: 'refresh_token', refresh_token: redeemed.refresh_token ?? '' }
    const exchange = {
      grant_type: exchangeGrant,
      subject_token: await subjectToken(),
      subject_token_type: accessToken,
      resource: world.url,
    }
    const [unredeemed, approved] = [await code(), await device()]
    const answerOf = async (asked: Promise<{ readonly status: number }>) => ({ status: (await asked).status })
    const oauth: Readonly<Record<string, () => Promise<Answer>>> = {
      code: () => post('/token', 'agent-app', unredeemed),
      refresh: () => post('/token', 'agent-app', refresh),
      device: () => post('/token', 'public-agent', approved),
      client: () => post('/token', 'loader-app', { grant_type: 'client_credentials' }),
      exchange: () => post('/token', 'agent-app', exchange),
      introspection: () => post('/token/introspection', 'agent-app', { token: known }),
      revocation: () => post('/token/revocation', 'agent-app', { token: known }),
      'device begun': () => post('/device/auth', 'public-agent', { scope: 'docs.search' }),
    }
    const pages: Readonly<Record<string, () => Promise<Answer>>> = {
      login: () => answerOf(stranger.submit(login.page, '/sign-in', { user: 'anne', password })),
      consent: () => answerOf(world.consent(lender, consent, choice)),
      'sign-in': () =>
        answerOf(signing.submit(signInPage, signInAction(signInPage), { user: 'anne', password })),
      lend: () => answerOf(anne.send('POST', '/delegations', { body: wish })),
      list: () => answerOf(anne.send('GET', '/delegations')),
      'take back': () => answerOf(anne.send('DELETE', `/delegations/${lent}`)),
      'sign-out': () => answerOf(anne.send('POST', '/sign-out')),
    }

    await close()
    const before = await kept()
    for (const [name, ask] of Object.entries(oauth))
      expect([name, await ask()]).toEqual([
        name,
        expect.objectContaining({ status: 503, error: 'temporarily_unavailable', retryAfter: '5' }),
      ])
    for (const [name, ask] of Object.entries(pages))
      expect([name, await ask()]).toEqual([name, { status: 503 }])
    expect(await kept()).toEqual(before)

    await reopen()
    for (const [name, ask] of Object.entries({ ...oauth, ...pages })) {
      const { status } = await ask()
      expect([name, status < 400]).toEqual([name, true])
    }
  })

  test('every route is shut but those that say how the service is, and the published keys', {
    timeout: 60_000,
  }, async () => {
    await close()
    const open = new Set<string>()
    for (const { method, path } of world.service.app.routes) {
      const filled = path.replace(/\*$/, 'token').replace(/:\w+(\{[^}]*\})?/g, 'x')
      const verb = method === 'ALL' ? 'POST' : method
      if (path.startsWith('/') && path !== '/*') {
        const { status } = await world.call(verb, filled)
        if (status !== 503) open.add(`${verb} ${filled}`)
      }
    }
    expect([...open].sort()).toEqual(['GET /healthz', 'GET /oauth/jwks'])
    await reopen()
  })
})
