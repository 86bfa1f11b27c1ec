import { type CryptoKey, SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { AppError } from '../../../src/kernel/errors.ts'
import type { Database } from '../../../src/store/sql.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

let world: IssuerWorld
let delegation: string
let failOn: RegExp | undefined

/** Fails at some of its statements. */
const failing = (real: Database): Database => ({
  ...real,
  async query(text, values) {
    if (failOn?.test(text) === true) throw new AppError('authorization_unavailable')
    return real.query(text, values)
  },
})

beforeAll(async () => {
  world = await openIssuerWorld({ database: failing })
  delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
})
afterAll(() => world?.[Symbol.asyncDispose]())

const sign = (claims: Record<string, unknown>, header: { kid: string; typ?: string }, key: CryptoKey) =>
  new SignJWT({ jti: crypto.randomUUID(), ...claims })
    .setProtectedHeader({ alg: 'ES256', ...header })
    .setIssuedAt()
    .setExpirationTime('60 s')
    .sign(key)

async function post(path: string, parameters: Record<string, string>, accept = '*/*') {
  const { key, kid } = world.keys['agent-app']
  const body = new URLSearchParams({
    client_assertion: await sign({ iss: 'agent-app', sub: 'agent-app', aud: world.issuer }, { kid }, key),
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_id: 'agent-app',
    ...parameters,
  })
  const response = await fetch(`${world.issuer}${path}`, { method: 'POST', body, headers: { accept } })
  return { status: response.status, text: await response.text(), headers: response.headers }
}

const accessToken = 'urn:ietf:params:oauth:token-type:access_token'

async function requests(): Promise<readonly [string, Record<string, string>, RegExp][]> {
  const { kid, privateKey } = world.service.keys.current()
  const known = { iss: world.issuer, sub: 'anne', client_id: 'cli', grant_id: 'g_family', demo: true }
  const aud = `${world.url}/agents/research-bot`
  const header = { kid, typ: 'at+jwt' }
  const token = await sign({ ...known, aud, scope: 'docs.search docs.read' }, header, privateKey)
  const exchange = {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: token,
    subject_token_type: accessToken,
    resource: world.url,
  }
  const act = { iss: world.issuer, sub: 'research-bot', sub_profile: 'ai_agent' }
  const agents = { ...known, client_id: 'agent-app', sub_profile: 'user', act, delegation }
  const own = await sign({ ...agents, aud: world.url, scope: 'docs.search' }, header, privateKey)
  return [
    ['/token', exchange, /from delegations/],
    ['/token/introspection', { token }, /from clients/],
    // After the library has answered.
    ['/token/revocation', { token: own }, /into revocations/],
  ]
}

test('what fails within a request at the authorization server is a 503 that says to ask again, and no broken server', async () => {
  for (const [path, parameters, statement] of await requests()) {
    failOn = statement
    const { status, text, headers } = await post(path, parameters)
    failOn = undefined
    expect([path, status, JSON.parse(text)]).toEqual([
      path,
      503,
      { error: 'temporarily_unavailable', error_description: 'Ask again in a few seconds.' },
    ])
    expect([path, headers.get('retry-after')]).toEqual([path, '5'])
    expect([path, (await post(path, parameters)).status]).toEqual([path, 200])
  }
})

test('whoever reads pages is shown one', async () => {
  const [[path, parameters, statement] = ['', {}]] = await requests()
  failOn = statement
  const { status, text } = await post(path, parameters, 'text/html')
  failOn = undefined
  expect(status).toBe(503)
  expect(text).toContain('temporarily_unavailable')
})

test('a token request puts nothing of its own on the operator’s log before anybody has proven anything', async () => {
  const own = 'A'.repeat(50_000)
  for (const [field, value] of [
    ['grant_type', own],
    ['client_id', own],
    ['client_assertion', own],
    ['client_assertion_type', own],
  ] as const) {
    const before = world.logged.length
    const { status } = await post('/token', { [field]: value })
    expect(status, field).toBeGreaterThanOrEqual(400)
    const told = JSON.stringify(world.logged.slice(before))
    expect(told, field).toContain('grant_refused')
    expect(told, field).not.toContain('AAAA')
  }
})
