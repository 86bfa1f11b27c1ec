import { type ChildProcess, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import * as client from 'openid-client'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { freePort } from '../support/port.ts'
import { programEnv } from '../support/program-env.ts'

// An API that is no part of Remit: a process of its own on Node's plain http, with the guard in front.
const example = fileURLToPath(new URL('../../examples/broker.ts', import.meta.url))
const order = { type: 'trade_order', symbol: 'ACME', quantity: 10, limit: '12.50' }
let world: IssuerWorld
let broker: ChildProcess
let resource: string

beforeAll(async () => {
  world = await openIssuerWorld()
  resource = `http://127.0.0.1:${await freePort()}/api`
  await world.service.issuer.resources.save({
    resource,
    scopes: ['orders.place'],
    authorizationDetailsTypes: ['trade_order'],
    allowedClients: ['agent-app', 'cli'],
    takesVerification: false,
  })
  await world.put({ 'handbook/a': { access: { viewers: ['user:anne'] } } })
  broker = spawn(process.execPath, [example], {
    env: { ...programEnv, ISSUER: world.issuer, RESOURCE: resource },
    stdio: 'inherit',
  })
  await vi.waitFor(() => fetch(resource), { timeout: 20_000, interval: 100 })
})
afterAll(async () => {
  broker?.kill()
  await world?.[Symbol.asyncDispose]()
})

async function obtain(id: 'agent-app' | 'cli', parameters: Record<string, string>): Promise<string> {
  const known = id === 'cli' ? undefined : world.keys[id]
  const auth = known === undefined ? client.None() : client.PrivateKeyJwt({ key: known.key, kid: known.kid })
  const options = { execute: [client.allowInsecureRequests], algorithm: 'oauth2' as const }
  const config = await client.discovery(new URL(world.issuer), id, undefined, auth, options)
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const expectedState = client.randomState()
  const browser = world.browser()
  const start = client.buildAuthorizationUrl(config, {
    redirect_uri: world.redirectUri,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
    ...parameters,
  })
  const signIn = await browser.open(start.href)
  const consent = await browser.submit(signIn, '/sign-in', { user: 'anne', password })
  const object = consent.text.includes('name="object"') ? { object: 'collection:handbook' } : {}
  const back = await browser.submit(consent, '/consent', { seconds: '3600', ...object })
  const checks = { pkceCodeVerifier, expectedState }
  return (await client.authorizationCodeGrant(config, back.url, checks)).access_token
}

const forOrder = () => ({
  resource,
  scope: 'orders.place',
  authorization_details: JSON.stringify([order]),
})

async function buy(quantity: string, token?: string, { symbol = 'ACME', price = '12.50' } = {}) {
  const response = await fetch(`${resource}/orders?symbol=${symbol}&quantity=${quantity}&price=${price}`, {
    method: 'POST',
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  })
  return { status: response.status, headers: response.headers, body: (await response.json()) as object }
}

test('an API of others sells ten shares once to the agent of whoever agreed to ten, and never eleven', async () => {
  const token = await obtain('agent-app', forOrder())
  for (const [quantity, order] of [
    ['11', {}],
    ['-1', {}],
    ['x', {}],
    ['10', { symbol: 'OTHER' }],
    ['10', { price: '12.51' }],
    ['10', { price: '-1' }],
    ['10', { price: '' }],
  ] as const)
    expect(await buy(quantity, token, order)).toMatchObject({
      status: 403,
      body: { error: 'access_denied' },
    })
  expect(await buy('10', token)).toMatchObject({
    status: 201,
    body: { bought: 10, of: 'ACME', price: 12.5, for: 'anne', by: 'research-bot' },
  })
  expect(await buy('1', token)).toMatchObject({ status: 403, body: { error: 'already_used' } })
})

test('it refuses a person without an agent, a token for another API, and one without what was agreed to', async () => {
  expect(await buy('1', await obtain('cli', forOrder()))).toMatchObject({
    status: 403,
    body: { error: 'actor_unauthorized' },
  })
  expect(
    await buy('1', await obtain('agent-app', { resource: world.url, scope: 'docs.search' })),
  ).toMatchObject({
    status: 401,
    body: { error: 'invalid_token' },
  })
  const unspecific = await obtain('agent-app', { resource, scope: 'orders.place' })
  expect(await buy('1', unspecific)).toMatchObject({ status: 403, body: { error: 'access_denied' } })
})

test('whoever comes without a token is told where the API is described, and by whom tokens are given', async () => {
  const { status, headers } = await buy('1')
  expect(status).toBe(401)
  const [, where = ''] = /resource_metadata="([^"]*)"/.exec(headers.get('www-authenticate') ?? '') ?? []
  expect(await (await fetch(where)).json()).toMatchObject({
    resource,
    authorization_servers: [world.issuer],
    authorization_details_types_supported: ['trade_order'],
  })
})

test('docs/other-apis.md shows the example as it runs here', async () => {
  const page = await readFile(new URL('../../docs/other-apis.md', import.meta.url), 'utf8')
  expect(page).toContain(`\`\`\`ts\n${await readFile(example, 'utf8')}\`\`\`\n`)
})
