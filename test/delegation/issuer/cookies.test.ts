import { afterAll, beforeAll, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld, password } from './world.ts'

const origin = 'https://remit.test'
const issuers = [
  {
    issuer: 'https://idp.test',
    audiences: { api: origin, mcp: `${origin}/mcp` },
    namespace: 'idp',
    preset: 'generic',
  },
]
let world: IssuerWorld
beforeAll(async () => {
  const env = { PUBLIC_URL: origin, REMIT_DEMO: 'false', TRUSTED_ISSUERS: JSON.stringify(issuers) }
  world = await openIssuerWorld({ env })
})
afterAll(() => world?.[Symbol.asyncDispose]())

/** What a browser would take; every cookie goes to every path, as `__Host-` has it. */
const jar = new Map<string, string>()
const lines: string[] = []

/** A request by way of the TLS proxy, which is not there. */
async function send(url: URL, init: RequestInit = {}): Promise<{ readonly url: URL; readonly text: string }> {
  const response = await fetch(`http://127.0.0.1:${world.config.port}${url.pathname}${url.search}`, {
    ...init,
    redirect: 'manual',
    headers: { cookie: [...jar].map((pair) => pair.join('=')).join('; '), origin, accept: 'text/html' },
  })
  expect(response.headers.get('x-content-type-options')).toBe('nosniff')
  for (const line of response.headers.getSetCookie()) {
    lines.push(line)
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    if (value === '') jar.delete(name)
    else jar.set(name, value)
  }
  const next = new URL(response.headers.get('location') ?? url, url)
  const text = await response.text()
  return next.href === url.href || next.origin !== origin ? { url: next, text } : send(next)
}

const submit = (
  page: { readonly text: string },
  action: string,
  fields: Readonly<Record<string, string>>,
) => {
  const path = new RegExp(`action="([^"]*${action})"`).exec(page.text)?.[1] ?? 'none'
  const own = ['csrf', 'shown'].map((name) => [
    name,
    new RegExp(`name="${name}" value="([^"]+)"`).exec(page.text)?.[1] ?? '',
  ])
  const body = new URLSearchParams({ ...Object.fromEntries(own), ...fields })
  return send(new URL(path, origin), { method: 'POST', body })
}

/** Where a sign-in for the person's own program begins. */
function begin(state = 'one') {
  const query = new URLSearchParams({
    client_id: 'cli',
    response_type: 'code',
    redirect_uri: world.redirectUri,
    scope: 'docs.search',
    state,
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
    code_challenge_method: 'S256',
  })
  return send(new URL(`${origin}/oauth/auth?${query}`))
}

const flows = () => [...jar.keys()].filter((name) => /_(interaction|resume)/.test(name))

test('over https every cookie of a whole flow is bound to this host, signatures included', async () => {
  const signIn = await begin()
  const consent = await submit(signIn, '/sign-in', { user: 'anne', password })
  const back = await submit(consent, '/consent', { seconds: '3600' })
  expect(back.url.searchParams.get('code')).toEqual(expect.any(String))
  const names = new Set(lines.map((line) => line.replace(/(?:\.[\w-]{43})?(\.sig)?=.*$/, '$1')))
  for (const name of ['remit_oauth', 'remit_oauth_interaction', 'remit_oauth_resume'])
    for (const sig of ['', '.sig']) expect(names).toContain(`__Host-${name}${sig}`)
  for (const line of lines) {
    expect(line).toMatch(/^__Host-/)
    expect(line).toMatch(/; path=\/(;|$)/i)
    expect(line).toMatch(/; secure(;|$)/i)
    expect(line).toMatch(/; httponly(;|$)/i)
    expect(line).not.toMatch(/domain=/i)
  }
})

test('a session under the name that another host could set is none', async () => {
  const session = jar.get('__Host-remit_oauth') ?? ''
  const signature = jar.get('__Host-remit_oauth.sig') ?? ''
  jar.clear()
  jar.set('remit_oauth', session).set('remit_oauth.sig', signature)
  expect((await begin()).text).toContain('name="password"')
})

test.each([
  ['one', 'two'],
  ['two', 'one'],
])(
  'of two sign-ins begun in one browser %s and then %s is finished, and nothing is left',
  async (...order) => {
    jar.clear()
    const pages = { one: await begin('one'), two: await begin('two') }
    for (const state of order as ('one' | 'two')[]) {
      const consent = await submit(pages[state], '/sign-in', { user: 'anne', password })
      const { searchParams } = (await submit(consent, '/consent', { seconds: '3600' })).url
      expect([searchParams.get('state'), searchParams.get('code')]).toEqual([state, expect.any(String)])
    }
    expect(flows()).toEqual([])
  },
)

test('a browser carries six sign-ins that were not finished, and the seventh ends the oldest', async () => {
  jar.clear()
  const oldest = await begin()
  const second = await begin()
  for (let more = 2; more < 7; more += 1) await begin()
  expect(flows()).toHaveLength(6 * 4)
  expect((await submit(oldest, '/sign-in', { user: 'anne', password })).text).toContain('over. Start again')
  expect((await submit(second, '/sign-in', { user: 'anne', password })).text).toContain('/consent')
})
