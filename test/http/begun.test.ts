import { afterAll, beforeAll, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'

let world: IssuerWorld
let offset = 0
beforeAll(async () => {
  // The clock stands still: nothing is refilled while the machine is slow.
  const started = Date.now()
  world = await openIssuerWorld({ env: { BEGIN_PER_MINUTE: '4' }, now: () => started + offset })
})
afterAll(() => world?.[Symbol.asyncDispose]())

const challenge = {
  code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
  code_challenge_method: 'S256',
}
const request = (redirect: string) =>
  new URLSearchParams({ client_id: 'cli', response_type: 'code', redirect_uri: redirect, ...challenge })

const post = (path: string, body: URLSearchParams) =>
  fetch(`${world.issuer}${path}`, { method: 'POST', body, redirect: 'manual' })
const begin = {
  pushed: () => post('/request', request(world.redirectUri)),
  device: () => post('/device/auth', new URLSearchParams({ client_id: 'public-agent' })),
  auth: (path = '/auth') =>
    fetch(`${world.issuer}${path}?${request(world.redirectUri)}`, { redirect: 'manual' }),
}

test('one address begins so much in a minute, whatever it is, and is told so in OAuth’s form', async () => {
  expect((await begin.pushed()).status).toBe(201)
  expect((await begin.device()).status).toBe(200)
  expect((await begin.auth()).status).toBe(303)
  // The library takes other spellings for the same routes.
  expect((await begin.auth('/AUTH/')).status).toBe(303)
  const kept = await world.database.query('select 1 from oauth_artifacts')
  for (const start of [begin.pushed, begin.device] as const) {
    const refused = await start()
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(refused.headers.get('content-type')).toContain('application/json')
    expect(await refused.json()).toEqual({
      error: 'temporarily_unavailable',
      error_description: expect.any(String),
    })
  }
  const page = await begin.auth()
  expect(page.status).toBe(429)
  expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
  expect(await page.text()).toContain('temporarily_unavailable')
  for (const path of ['/REQUEST', '/request/', '/Device/Auth', '/AUTH'])
    expect((await post(path, request(world.redirectUri))).status).toBe(429)
  expect(await world.database.query('select 1 from oauth_artifacts')).toHaveLength(kept.length)
})

test('guesses at a device’s code count as well', async () => {
  expect((await post('/device', new URLSearchParams({ user_code: 'BCDF-GHJK' }))).status).toBe(429)
})

test('what was begun goes on, and a minute later more is begun', async () => {
  const token = await post('/token', new URLSearchParams({ grant_type: 'refresh_token', client_id: 'cli' }))
  expect(token.status).toBe(400)
  offset = 60_000
  expect((await begin.pushed()).status).toBe(201)
})
