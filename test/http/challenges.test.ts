import { SignJWT } from 'jose'
import * as oauth from 'oauth4webapi'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { proofAlgorithms } from '../../src/delegation/tokens/dpop.ts'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { wwwAuthenticate } from '../../src/http/problem.ts'
import { openWorld, type World } from '../support/world.ts'

// What a client is told at every route that wants a token: the routes are those of the contract, so that none
// is forgotten.

interface Operation {
  readonly security?: readonly object[]
  readonly responses: Readonly<Record<string, { readonly headers?: object }>>
}

let world: World
let operations: { readonly method: string; readonly path: string; readonly operation: Operation }[]
beforeAll(async () => {
  world = await openWorld()
  const contract = (await (await world.call('GET', '/openapi.json')).json()) as {
    readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  }
  operations = Object.entries(contract.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, { security }]) => JSON.stringify(security ?? []).includes('bearer'))
      .map(([method, operation]) => ({
        method: method.toUpperCase(),
        path: path.replaceAll(/\{\w+\}/g, 'x'),
        operation,
      })),
  )
})
afterAll(() => world?.[Symbol.asyncDispose]())

/** The one challenge of an answer. */
async function challenge(response: Response) {
  const [scheme, ...rest] = (response.headers.get('www-authenticate') ?? '').split(' ')
  const parameters = Object.fromEntries(
    [...rest.join(' ').matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]): [string, string] => [
      name ?? '',
      value ?? '',
    ]),
  )
  return { status: response.status, scheme, parameters, body: (await response.json()) as { code: string } }
}

const metadata = () => `${world.config.publicUrl}/.well-known/oauth-protected-resource`

/** A token that lacks whatever a route asks of its kind. */
const powerless = async (kind: 'person' | 'agent' | 'service'): Promise<string> => {
  if (kind === 'service') return world.token({ service: 'loader', scopes: ['directory.write'] })
  if (kind === 'person') return world.token({ user: 'anne', scopes: ['docs.read'] })
  await world.lend('anne', 'research-bot', 'collection:handbook')
  return world.token({ user: 'anne', agent: 'research-bot', scopes: ['approvals.request'] })
}

describe('every route that wants a token', () => {
  test('is found in the contract, which shows the header', () => {
    expect(operations.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['/retrieve', '/documents/x', '/access', '/explain', '/model/apply', '/fields']),
    )
    for (const { operation } of operations)
      for (const status of ['401', '403'])
        expect(operation.responses[status]?.headers).toHaveProperty('WWW-Authenticate')
  })

  test('answers 401 without one, and says which scopes and where the API is described, but of no error', async () => {
    for (const { method, path } of operations) {
      const { status, scheme, parameters, body } = await challenge(await world.call(method, path))
      expect([path, status, scheme, body.code]).toEqual([path, 401, 'Bearer', 'invalid_token'])
      expect(parameters).toEqual({
        scope: expect.stringMatching(/^[a-z]+\.[a-z]+/),
        resource_metadata: metadata(),
      })
      expect(parameters['scope']).not.toContain('offline_access')
    }
  })

  test('answers 401 invalid_token for one that is no good', async () => {
    for (const { method, path } of operations) {
      const { status, parameters } = await challenge(await world.call(method, path, { token: 'a.b.c' }))
      expect([path, status]).toEqual([path, 401])
      expect(parameters).toMatchObject({ error: 'invalid_token', resource_metadata: metadata() })
      expect(parameters['scope']).toBeTruthy()
    }
  })

  test('answers 403 insufficient_scope with all that is needed, or says that it is for other clients', async () => {
    const asked: string[] = []
    for (const kind of ['person', 'agent', 'service'] as const) {
      const token = await powerless(kind)
      for (const { method, path } of operations) {
        const { status, parameters, body } = await challenge(await world.call(method, path, { token }))
        if (body.code !== 'insufficient_scope') continue
        expect(status).toBe(403)
        expect(parameters).toEqual({
          error: 'insufficient_scope',
          scope: expect.any(String),
          resource_metadata: metadata(),
        })
        asked.push(`${kind} ${method} ${path}: ${parameters['scope']}`)
      }
    }
    expect(asked).toEqual(
      expect.arrayContaining([
        'person POST /retrieve: docs.search',
        'agent GET /documents/x: docs.read',
        'service PUT /documents/x: docs.write',
        'person POST /explain: security.read',
        'person POST /access: security.write',
      ]),
    )
  })

  test('answers 403 actor_unauthorized without a word on why', async () => {
    await world.lend('anne', 'other-bot', 'collection:handbook')
    const token = await world.token({ user: 'anne', agent: 'other-bot' })
    await world.service.agents.disable('other-bot')
    const seen = new Set<string>()
    for (const { method, path } of operations) {
      const { status, parameters, body } = await challenge(await world.call(method, path, { token }))
      expect([path, status]).toEqual([path, 403])
      expect(parameters).toEqual({ error: 'actor_unauthorized', resource_metadata: metadata() })
      expect(body).not.toHaveProperty('detail')
      const { txn: _, ...rest } = body as { txn?: string; code: string }
      seen.add(JSON.stringify(rest))
    }
    expect(seen.size).toBe(1)
  })
})

/** Whatever an administrator does, with a body that fits. */
const administration = [
  ['POST', '/explain', { user: 'user:anne', relation: 'can_read', object: 'document:x' }, 'security.read'],
  ['POST', '/who-can', { relation: 'can_read', object: 'document:x' }, 'security.read'],
  ['GET', '/model', undefined, 'security.write'],
  ['POST', '/model/plan', { model_id: 'x' }, 'security.write'],
  ['POST', '/model/apply', { plan_id: 'x' }, 'security.write'],
  ['PUT', '/fields', {}, 'security.write'],
  ['PUT', '/collections/mine', { title: 'Mine' }, 'security.write'],
  ['POST', '/access', {}, 'security.write'],
] as const

/** Anne's token as our issuer would sign it at that second. */
async function signed({ config }: World, iat: number, claims: object): Promise<string> {
  const { kid, privateKey } = (await openKeyRing(`${config.home}/keys`, { now: Date.now })).current()
  const all = {
    iss: `${config.publicUrl}/oauth`,
    sub: 'anne',
    aud: config.publicUrl,
    client_id: 'demo-person',
    iat,
    exp: iat + 300,
    jti: crypto.randomUUID(),
    demo: true,
    ...claims,
  }
  return new SignJWT(all).setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid }).sign(privateKey)
}

test('every route of administrators answers 401 with max_age where the sign-in is too old or not told', async () => {
  let now = Date.now()
  await using later = await openWorld({ now: () => now })
  await later.service.administrators.add('user:anne', ['security.read', 'security.write'])
  for (const [method, path, body, scope] of administration) {
    const token = await later.token({ user: 'anne', scopes: [scope] })
    const before = await later.call(method, path, { token, body })
    expect([path, before.status]).not.toEqual([path, 401])
  }
  const signedInAt = Math.floor(now / 1_000)
  now += 16 * 60_000
  for (const auth_time of [signedInAt, undefined])
    for (const [method, path, body, scope] of administration) {
      const token = await signed(later, Math.floor(now / 1_000), { scope, auth_time })
      const { status, parameters } = await challenge(await later.call(method, path, { token, body }))
      expect([path, status]).toEqual([path, 401])
      expect(parameters).toEqual({
        error: 'insufficient_user_authentication',
        max_age: '900',
        resource_metadata: `${later.config.publicUrl}/.well-known/oauth-protected-resource`,
      })
    }
})

test('a client library of others goes from the refusal to the metadata and to the issuer', async () => {
  const { publicUrl } = world.config
  const options = {
    [oauth.allowInsecureRequests]: true,
    [oauth.customFetch]: async (url: string, init: object) => world.service.app.request(url, init),
  }
  const refused = await oauth
    .protectedResourceRequest('a.b.c', 'POST', new URL(`${publicUrl}/retrieve`), undefined, '{}', options)
    .catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(oauth.WWWAuthenticateChallengeError)
  const [{ scheme, parameters } = {}] = (refused as oauth.WWWAuthenticateChallengeError).cause
  expect([scheme, parameters?.scope]).toEqual(['bearer', 'docs.search'])
  expect(parameters?.['resource_metadata']).toBe(metadata())

  for (const resource of [publicUrl, `${publicUrl}/mcp`]) {
    const url = new URL(resource)
    const answer = await oauth.resourceDiscoveryRequest(url, options)
    const read = await oauth.processResourceDiscoveryResponse(url, answer)
    expect(read.resource).toBe(resource)
    expect(read.authorization_servers).toEqual([`${publicUrl}/oauth`])
    expect(read.bearer_methods_supported).toEqual(['header'])
    expect(read.authorization_details_types_supported).toEqual(['document_access', 'vault_call'])
    expect(read.scopes_supported).toEqual(expect.arrayContaining(['docs.search', 'docs.read']))
    expect(read.scopes_supported).not.toContain('offline_access')
    expect(read['actor_profile_required']).toBe(resource !== publicUrl)
    // Nothing is announced that is not enforced: a proof is held to these, but no client has to be bound.
    expect(read.dpop_signing_alg_values_supported).toEqual([...proofAlgorithms])
    expect(read).not.toHaveProperty('dpop_bound_access_tokens_required')
  }
})

test('a PUBLIC_URL with a path keeps the well-known part before it', () => {
  expect(wwwAuthenticate('invalid_token', {}, 'https://example.org/remit')).toBe(
    'Bearer error="invalid_token", resource_metadata="https://example.org/.well-known/oauth-protected-resource/remit"',
  )
})
