import { afterAll, beforeAll, expect, test } from 'vitest'
import { callbackPath } from '../../src/delegation/upstream/provider.ts'
import type { Browser, Page } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { clientSecret, secretVariable, startUpstream, type UpstreamDouble } from '../support/upstream.ts'

// Whoever asks here has proven nothing. What keeps a row of it is bounded, and a new route has to say which
// it is.

let double: UpstreamDouble
let world: IssuerWorld
const perMinute = 40
beforeAll(async () => {
  double = await startUpstream()
  // The clock stands still: nothing is refilled.
  const started = Date.now()
  world = await openIssuerWorld({
    now: () => started,
    env: {
      BEGIN_PER_MINUTE: String(perMinute),
      TRUSTED_ISSUERS: JSON.stringify([double.entry('up')]),
      [secretVariable]: clientSecret,
    },
  })
  double.redirectUris = [`${world.url}${callbackPath('up')}`]
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await double?.[Symbol.asyncDispose]()
})

interface Sent {
  readonly status: number
  readonly text: string
}

const challenge = {
  code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
  code_challenge_method: 'S256',
}
const request = () =>
  new URLSearchParams({
    client_id: 'cli',
    response_type: 'code',
    redirect_uri: world.redirectUri,
    ...challenge,
  })

async function send(method: string, path: string, body?: URLSearchParams): Promise<Sent> {
  const response = await fetch(`${world.url}${path}`, {
    method,
    redirect: 'manual',
    ...(body && { body }),
  })
  return { status: response.status, text: await response.text() }
}

interface Shown {
  readonly browser: Browser
  readonly page: Page
  /** Where its steps are. */
  readonly base: string
}

/** A form of a page that this browser was shown, or what it opens. */
async function within(
  { browser, page, base }: Shown,
  step: string,
  fields?: Record<string, string>,
): Promise<Sent> {
  const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? ''
  const cookie = [...browser.cookies].map(([name, { value }]) => `${name}=${value}`).join('; ')
  const response = await fetch(`${world.url}${base}${step}`, {
    method: fields === undefined ? 'GET' : 'POST',
    redirect: 'manual',
    headers: { origin: world.url, cookie },
    ...(fields && { body: new URLSearchParams({ csrf, ...fields }) }),
  })
  return { status: response.status, text: await response.text() }
}

const wrong = { user: 'anne', password: 'a guess' }
const answer = JSON.stringify({ id: 'x' })
let own: Shown
let flow: Shown
beforeAll(async () => {
  const shown = async (url: string): Promise<Omit<Shown, 'base'>> => {
    const browser = world.browser()
    return { browser, page: await browser.open(url) }
  }
  own = { ...(await shown(`${world.url}/sign-in`)), base: '' }
  const begun = await shown(`${world.issuer}/auth?${request()}`)
  flow = { ...begun, base: begun.page.url.pathname }
})
const inOwn = (step: string, fields: Record<string, string>) => within(own, step, fields)
const inFlow = (step = '', fields?: Record<string, string>) => within(flow, step, fields)

/**
 * What one request leaves behind: `nothing`; `begins`: rows, counted in the bucket of what is begun;
 * `guesses`: a record, counted in the buckets of guesses; `bounded`: nothing, and it counts as what is begun;
 * `ends`: the record that something is over which was begun, and counted, before.
 */
type Leaves = 'nothing' | 'bounded' | 'begins' | 'guesses' | 'ends'

const get = (path: string) => () => send('GET', path)
const post = (path: string, body?: () => URLSearchParams) => () => send('POST', path, body?.())

const file = (path: string): readonly [Leaves, () => Promise<Sent>] => ['nothing', get(path)]

const unproven: Readonly<Record<string, readonly [Leaves, () => Promise<Sent>]>> = {
  'GET /healthz': ['nothing', get('/healthz')],
  'GET /readyz': ['nothing', get('/readyz')],
  'GET /': file('/'),
  'GET /docs': file('/docs'),
  'GET /docs/errors/:code': file('/docs/errors/not_found'),
  'GET /openapi.json': file('/openapi.json'),
  'GET /console': file('/console'),
  'GET /console/*': file('/console/x'),
  'GET /console/files/:name{[A-Za-z0-9_-]+\\.(?:js|css)}': file('/console/files/main.js'),
  'GET /passkeys.js': file('/passkeys.js'),
  'GET /approvals/manifest.webmanifest': file('/approvals/manifest.webmanifest'),
  'GET /approvals/sw.js': file('/approvals/sw.js'),
  'GET /approvals/push.js': file('/approvals/push.js'),
  'GET /approvals/icon-192.png': file('/approvals/icon-192.png'),
  'GET /approvals/icon-512.png': file('/approvals/icon-512.png'),
  'GET /approvals/icon.svg': file('/approvals/icon.svg'),
  'GET /.well-known/oauth-protected-resource': file('/.well-known/oauth-protected-resource'),
  'GET /.well-known/oauth-protected-resource/mcp': file('/.well-known/oauth-protected-resource/mcp'),
  'GET /.well-known/oauth-authorization-server/oauth': file('/.well-known/oauth-authorization-server/oauth'),
  'GET /oauth/jwks': file('/oauth/jwks'),
  'POST /sources/:id/hook': ['nothing', post('/sources/x/hook')],
  'GET /sign-in': ['nothing', get('/sign-in')],
  'POST /sign-in': ['guesses', () => inOwn('/sign-in', wrong)],
  'POST /sign-in/passkey': ['guesses', () => inOwn('/sign-in/passkey', { answer })],
  'POST /sign-in/upstream': ['begins', () => inOwn('/sign-in/upstream', { provider: 'up' })],
  'GET /sign-in/upstream/done': ['nothing', get('/sign-in/upstream/done')],
  'GET /sign-in/upstream/:namespace/callback': ['nothing', get('/sign-in/upstream/up/callback?state=x')],
  'GET /connections/:name/callback': ['nothing', get('/connections/x/callback?state=x')],
  'GET /oauth/interaction/:uid': ['nothing', () => inFlow()],
  'GET /oauth/interaction/:uid/sign-in/upstream/done': ['nothing', () => inFlow('/sign-in/upstream/done')],
  'POST /oauth/interaction/:uid/sign-in': ['guesses', () => inFlow('/sign-in', wrong)],
  'POST /oauth/interaction/:uid/sign-in/passkey': ['guesses', () => inFlow('/sign-in/passkey', { answer })],
  'POST /oauth/interaction/:uid/sign-in/upstream': [
    'begins',
    () => inFlow('/sign-in/upstream', { provider: 'up' }),
  ],
  // Nobody has signed in: it leads to where they do.
  'POST /oauth/interaction/:uid/consent': ['nothing', () => inFlow('/consent', {})],
  'POST /oauth/interaction/:uid/refuse': ['ends', () => inFlow('/refuse', {})],
}

const client = (more: Record<string, string> = {}) => new URLSearchParams({ client_id: 'cli', ...more })

/** Of the library, whose paths no router of ours knows. */
const library: typeof unproven = {
  'GET /oauth/auth': ['begins', () => send('GET', `/oauth/auth?${request()}`)],
  'GET /oauth/auth/:uid': ['nothing', get('/oauth/auth/x')],
  'POST /oauth/request': ['begins', post('/oauth/request', request)],
  'POST /oauth/device/auth': [
    'begins',
    post('/oauth/device/auth', () => client({ client_id: 'public-agent' })),
  ],
  'GET /oauth/device': ['begins', get('/oauth/device')],
  'GET /oauth/device/:uid': ['nothing', get('/oauth/device/x')],
  // Guesses at codes.
  'POST /oauth/device': ['bounded', post('/oauth/device', () => client({ user_code: 'BCDF-GHJK' }))],
  'POST /oauth/token': [
    'nothing',
    post('/oauth/token', () => client({ grant_type: 'refresh_token', refresh_token: 'x' })),
  ],
  'POST /oauth/token/introspection': [
    'nothing',
    post('/oauth/token/introspection', () => client({ token: 'x' })),
  ],
  'POST /oauth/token/revocation': ['nothing', post('/oauth/token/revocation', () => client({ token: 'x' }))],
  // Guesses at people. Its clients have keys: nobody else gets as far as a row.
  'POST /oauth/backchannel': ['bounded', post('/oauth/backchannel', () => client({ login_hint: 'anne' }))],
  'POST /oauth/session/end/confirm': ['nothing', post('/oauth/session/end/confirm', client)],
}

/** How many rows each table has. */
async function rows(): Promise<ReadonlyMap<string, number>> {
  const tables = await world.database.query<{ name: string }>(
    `select tablename as name from pg_tables where schemaname = 'public' order by tablename`,
  )
  const counted = await world.database.query<{ name: string; count: number }>(
    tables
      .map(({ name }) => `select '${name}' as name, count(*) as count from "${name}"`)
      .join(' union all '),
  )
  return new Map(counted.map(({ name, count }) => [name, count]))
}

/** The tables that have more rows after it. */
async function grownBy(work: () => Promise<Sent>): Promise<Sent & { readonly grown: readonly string[] }> {
  const before = await rows()
  const sent = await work()
  const after = await rows()
  return {
    ...sent,
    grown: [...after].flatMap(([name, count]) => (count > (before.get(name) ?? 0) ? name : [])),
  }
}

const all = Object.entries({ ...unproven, ...library })
const ofKind = (...kinds: readonly Leaves[]) => all.filter(([, [leaves]]) => kinds.includes(leaves))

test('every route that needs no proof is named here, with what it leaves behind', async () => {
  const handlers = Map.groupBy(world.service.app.routes, ({ method, path }) => `${method} ${path}`)
  const open = [...handlers]
    .filter(([, steps]) => !steps.some(({ handler }) => ['bearer', 'session'].includes(handler.name)))
    .map(([route]) => route)
  expect(open.sort()).toEqual(['ALL /*', 'ALL /oauth/*', ...Object.keys(unproven)].sort())
  const metadata = (await (await fetch(`${world.issuer}/.well-known/openid-configuration`)).json()) as Record<
    string,
    unknown
  >
  const endpoints = Object.entries(metadata).flatMap(([name, value]) =>
    name.endsWith('_endpoint') ? new URL(String(value)).pathname : [],
  )
  const known = Object.keys(library).map((route) => route.split(' ')[1])
  expect(known).toEqual(expect.arrayContaining(endpoints))
})

test('those that are said to leave nothing behind do, whoever asks', async () => {
  const before = await rows()
  for (const [, [, ask]] of ofKind('nothing', 'bounded')) await ask()
  expect(await rows()).toEqual(before)
}, 120_000)

test('those that are said to take guesses put each on record and leave nothing else, those that begin something leave rows', async () => {
  for (const [route, [, ask]] of ofKind('guesses'))
    expect([route, (await grownBy(ask)).grown]).toEqual([route, ['decision_records']])
  for (const [route, [, ask]] of ofKind('begins')) {
    const { grown, status } = await grownBy(ask)
    expect([route, status < 400, grown.length > 0]).toEqual([route, true, true])
  }
}, 120_000)

test('an address that has begun as much as it may begins nothing any more, at any of them, and goes on with the rest', async () => {
  for (let n = 0; n < perMinute; n += 1) await send('GET', '/oauth/device')
  const before = await rows()
  for (const [route, [, ask]] of ofKind('begins', 'bounded'))
    expect([route, (await ask()).status]).toEqual([route, 429])
  expect(await rows()).toEqual(before)
  for (const [route, [, ask]] of ofKind('nothing', 'guesses'))
    expect([route, (await ask()).status]).not.toEqual([route, 429])
}, 120_000)

test('what was begun ends once', async () => {
  for (const [, [, ask]] of ofKind('ends')) {
    expect((await ask()).status).toBe(303)
    expect((await grownBy(ask)).grown).toEqual([])
  }
})
