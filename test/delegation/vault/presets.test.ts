import { describe, expect, test } from 'vitest'
import { resolvePath } from '../../../src/delegation/vault/path.ts'
import { isCovered, isMinting } from '../../../src/delegation/vault/patterns.ts'
import { createProvider, type ProviderEntry } from '../../../src/delegation/vault/provider.ts'
import { createProviderClient } from '../../../src/delegation/vault/provider-client.ts'
import type { GuardedFetch } from '../../../src/outbound/guarded-fetch.ts'

// What we know of GitHub and Google, held to what their servers are documented to send. Nobody is asked here.

interface Asked {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Readonly<Record<string, string>>
}

/** A client of a provider whose servers answer as the test says. */
function clientOf(entry: ProviderEntry, answer: (requests: Asked) => { status?: number; body?: object }) {
  const requests: Asked[] = []
  const outbound: GuardedFetch = async (url, { method = 'GET', headers = {}, body = '' }) => {
    const text = typeof body === 'string' ? body : Buffer.from(body).toString()
    const request = {
      method,
      url: String(url),
      headers: Object.fromEntries(
        Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
      ),
      body: Object.fromEntries(new URLSearchParams(text)),
    }
    requests.push(request)
    const { status = 200, body: given } = answer(request)
    return {
      status,
      headers: new Headers({ 'content-type': 'application/json; charset=utf-8' }),
      body: Buffer.from(given === undefined ? '' : JSON.stringify(given)),
    }
  }
  const provider = createProvider(entry)
  const deps = { publicUrl: 'https://remit.test', outbound, clock: { now: () => 1_000_000 } }
  return { asked: requests, provider, client: createProviderClient(provider, 'the secret', deps) }
}

const values = <T>(result: { ok: true; value: T } | { ok: false; reason: string; detail?: string }): T => {
  if (!result.ok) throw new Error(`${result.reason} ${result.detail}`)
  return result.value
}

describe('GitHub', () => {
  const entry = { provider: 'github', client_id: 'Iv1.app' } as const
  const user = { id: 583_231, login: 'octocat' }
  const connected = (token: object, user_ = user as object) =>
    clientOf(entry, ({ url }) => ({ body: url === 'https://api.github.com/user' ? user_ : token }))
  const redeem = async ({ client }: ReturnType<typeof connected>) => {
    const { url, ...checks } = values(await client.begin())
    return { url: new URL(url), redeemed: await client.redeem(`?code=c&state=${checks.state}`, checks) }
  }

  test('is asked by code and PKCE at its documented addresses, with the secret in the body', async () => {
    const world = connected({ access_token: 'gho_1', scope: 'repo,read:user', token_type: 'bearer' })
    const { url, redeemed } = await redeem(world)
    expect(`${url.origin}${url.pathname}`).toBe('https://github.com/login/oauth/authorize')
    expect(Object.fromEntries(url.searchParams)).toMatchObject({
      client_id: 'Iv1.app',
      redirect_uri: 'https://remit.test/connections/github/callback',
      scope: 'read:user repo',
      code_challenge_method: 'S256',
    })
    const [token, account] = world.asked
    expect(token).toMatchObject({
      method: 'POST',
      url: 'https://github.com/login/oauth/access_token',
      headers: { accept: 'application/json' },
      body: { client_id: 'Iv1.app', client_secret: 'the secret', code_verifier: expect.any(String) },
    })
    expect(token?.headers['authorization']).toBeUndefined()
    expect(account?.headers).toMatchObject({ authorization: 'Bearer gho_1', 'user-agent': 'Remit' })
    // A classic OAuth app's: never over, and nothing to refresh it by.
    expect(values(redeemed)).toEqual({
      tokens: { accessToken: 'gho_1' },
      scopes: ['repo', 'read:user'],
      expiresAt: undefined,
      account: { id: '583231', title: 'octocat' },
    })
  })

  test('gives tokens that end, with the seconds as text, and rotates what refreshes them', async () => {
    const { redeemed } = await redeem(
      connected({
        access_token: 'ghu_1',
        expires_in: '28800',
        refresh_token: 'ghr_1',
        refresh_token_expires_in: '15811200',
        scope: '',
        token_type: 'bearer',
      }),
    )
    expect(values(redeemed)).toMatchObject({
      tokens: { accessToken: 'ghu_1', refreshToken: 'ghr_1' },
      scopes: [],
      expiresAt: new Date(1_000_000 + 28_800_000),
    })
  })

  test.each([
    ['bad_refresh_token', 'refused'],
    ['incorrect_client_credentials', 'provider_unavailable'],
    ['a server that has had enough', 'provider_unavailable'],
  ])('says %s with status 200, which is %s', async (error, reason) => {
    const { client, asked: requests } = clientOf(entry, () => ({ body: { error, error_description: 'why' } }))
    expect(await client.refresh('ghr_1', [])).toMatchObject({ ok: false, reason })
    expect(requests[0]?.body).toMatchObject({ grant_type: 'refresh_token', refresh_token: 'ghr_1' })
  })

  test('refuses a code with status 200, and nothing is connected', async () => {
    const { redeemed } = await redeem(connected({ error: 'bad_verification_code' }))
    expect(redeemed).toMatchObject({ ok: false, reason: 'not_verified' })
  })

  test.each([[{ login: 'nobody' }], [{ id: null, login: 'x' }], [{ id: 1.5 }], [[]]])(
    'that does not say whose account it is, is not connected: %j',
    async (answered) => {
      const token = { access_token: 'gho_1', scope: 'repo', token_type: 'bearer' }
      expect((await redeem(connected(token, answered))).redeemed).toMatchObject({ ok: false })
    },
  )

  test('is told of the end in its own way', async () => {
    const { client, asked: requests } = clientOf(entry, () => ({ status: 204 }))
    expect(await client.revoke({ accessToken: 'gho_1' })).toBe(true)
    expect(requests).toMatchObject([
      {
        method: 'DELETE',
        url: 'https://api.github.com/applications/Iv1.app/token',
        headers: { authorization: `Basic ${Buffer.from('Iv1.app:the secret').toString('base64')}` },
      },
    ])
  })
})

describe('Google', () => {
  const discovery = {
    issuer: 'https://accounts.google.com',
    authorization_endpoint: 'https://accounts.google.com/o/oauth2/v2/auth',
    token_endpoint: 'https://oauth2.googleapis.com/token',
    revocation_endpoint: 'https://oauth2.googleapis.com/revoke',
    jwks_uri: 'https://www.googleapis.com/oauth2/v3/certs',
    token_endpoint_auth_methods_supported: ['client_secret_post', 'client_secret_basic'],
  }
  const google = (answer: (requests: Asked) => { status?: number; body?: object }) =>
    clientOf({ provider: 'google', client_id: 'app.apps.googleusercontent.com' }, (requests) =>
      requests.url.includes('/.well-known/') ? { body: discovery } : answer(requests),
    )

  test('is asked for a refresh token each time: without that it gives one at the very first consent only', async () => {
    const { client, asked: requests } = google(() => ({}))
    const { url } = values(await client.begin())
    expect(requests[0]?.url).toBe('https://accounts.google.com/.well-known/openid-configuration')
    expect(url).toMatch(/^https:\/\/accounts\.google\.com\/o\/oauth2\/v2\/auth\?/)
    expect(Object.fromEntries(new URL(url).searchParams)).toMatchObject({
      access_type: 'offline',
      prompt: 'consent',
      nonce: expect.any(String),
      code_challenge_method: 'S256',
    })
  })

  test('gives no new refresh token when it refreshes: the one that is there stays', async () => {
    const { client } = google(() => ({
      body: { access_token: 'ya29.2', expires_in: 3_599, scope: 'openid email', token_type: 'Bearer' },
    }))
    expect(values(await client.refresh('1//rt', ['openid']))).toEqual({
      tokens: { accessToken: 'ya29.2', refreshToken: '1//rt' },
      scopes: ['openid', 'email'],
      expiresAt: new Date(1_000_000 + 3_599_000),
    })
  })

  test.each([
    ['invalid_scope', '400 invalid_scope'],
    ['invalid_grant for 1//rt-of-anne', '400 other'],
    ['1//rt-of-anne', '400 other'],
  ])('says %s, of which the log gets %s: no more than a code of the protocol', async (error, detail) => {
    const { client } = google(() => ({ status: 400, body: { error } }))
    expect(await client.refresh('1//rt-of-anne', [])).toEqual({
      ok: false,
      reason: 'provider_unavailable',
      detail,
    })
  })

  test('refuses with invalid_grant once the person, or six months, ended it', async () => {
    const { client } = google(() => ({
      status: 400,
      body: { error: 'invalid_grant', error_description: 'Token has been expired or revoked.' },
    }))
    expect(await client.refresh('1//rt', [])).toMatchObject({ ok: false, reason: 'refused' })
  })

  test('is told of the end by the refresh token, with which everything goes', async () => {
    const { client, asked: requests } = google(() => ({}))
    expect(await client.revoke({ accessToken: 'ya29.1', refreshToken: '1//rt' })).toBe(true)
    expect(requests.find(({ url }) => url.endsWith('/revoke'))?.body).toMatchObject({ token: '1//rt' })
  })
})

describe('what hands out credentials is closed', () => {
  const providers = {
    github: createProvider({ provider: 'github', client_id: 'x' }),
    google: createProvider({ provider: 'google', client_id: 'x' }),
    openid: createProvider({
      provider: 'openid',
      client_id: 'x',
      issuer: 'https://id.test',
      api_origins: ['https://api.test'],
    }),
  }
  const closed = (name: keyof typeof providers, path: string): boolean => {
    const { apiOrigins, mints } = providers[name]
    const resolved = resolvePath(path, apiOrigins)
    return !resolved.ok || isMinting(mints, resolved.value)
  }

  test.each<[keyof typeof providers, string[]]>([
    [
      'github',
      [
        '/app/installations/1/access_tokens',
        '/applications/Iv1.app/token/scoped',
        '/authorizations',
        '/user/keys',
        '/user/codespaces/x/start',
        '/repos/acme/site/keys',
        '/repositories/1296269/keys',
        '/repositories/1296269/hooks',
        '/repos/acme/site/hooks/1/config',
        '/repos/acme/site/actions/runners/registration-token',
        '/repositories/1296269/actions/runners/registration-token',
        '/repos/acme/site/environments/prod/secrets/A',
        '/repos/acme/site/codespaces',
        '/orgs/acme/actions/runners/registration-token',
        '/organizations/9919/actions/runners/registration-token',
        '/orgs/acme/personal-access-tokens',
        '/enterprises/acme/actions/runners/registration-token',
        '/copilot_internal/v2/token',
        '/hub',
      ],
    ],
    [
      'google',
      [
        '/oauth2/v4/token',
        '/token',
        '/batch/drive/v3',
        'https://gmail.googleapis.com/batch/gmail/v1',
        '/storage/v1/projects/p/hmacKeys',
        '/admin/directory/v1/users/me/asps',
        '/identitytoolkit/v3/relyingparty/verifyPassword',
        '/drive/v3/changes/watch',
        '/drive/v3/files/x/watch',
        '/calendar/v3/calendars/x/events/watch',
        'https://gmail.googleapis.com/gmail/v1/users/me/watch',
        '/gmail/v1/users/me/settings/forwardingAddresses',
        '/gmail/v1/users/me/settings/autoForwarding',
        '/gmail/v1/users/me/settings/delegates/x',
        '/gmail/v1/users/me/settings/sendAs',
      ],
    ],
    [
      'openid',
      ['/token', '/oauth2/token', '/v1/api/token', '/realms/r/protocol/openid-connect/token', '/v1.0/$batch'],
    ],
  ])('at %s, in any spelling', (name, paths) => {
    for (const path of paths) {
      const at = path.startsWith('https:') ? path.indexOf('/', 8) : 0
      const [before, rest] = [path.slice(0, at), path.slice(at)]
      const spellings = [
        rest,
        `${rest}/`,
        rest.toUpperCase(),
        `${rest}?x=1`,
        rest.replace(/[a-z]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
        rest.replaceAll(/[a-z]/g, (letter) =>
          encodeURIComponent(String.fromCharCode(letter.charCodeAt(0) + 0xfee0)),
        ),
        rest.replace('/', '//'),
        rest.replace(/\/([^/]+)$/, '/x/../$1'),
        rest.replace(/\/([^/]+)$/, '/./$1'),
        rest.replace(/\/([^/]+)$/, '%2f$1'),
        rest.replace(/\/([^/]+)$/, '/;a=b/$1'),
        rest.replace(/\/([^/]+)$/, '\\$1'),
      ]
      for (const spelled of spellings)
        expect(closed(name, `${before}${spelled}`), `${before}${spelled}`).toBe(true)
    }
  })

  test('and what does not is open to whom it was agreed to', () => {
    for (const path of ['/repos/acme/site/issues?state=open', '/repositories/1/issues?page=2', '/user']) {
      const resolved = resolvePath(path, providers.github.apiOrigins)
      if (!resolved.ok) throw new Error(path)
      expect(isMinting(providers.github.mints, resolved.value), path).toBe(false)
      expect(isCovered(providers.github.rules.slice(0, 1), 'GET', resolved.value), path).toBe(true)
    }
    for (const path of [
      '/drive/v3/files?q=x',
      'https://gmail.googleapis.com/gmail/v1/users/me/messages',
      '/gmail/v1/users/me/settings/filters',
    ])
      expect(closed('google', path), path).toBe(false)
  })
})
