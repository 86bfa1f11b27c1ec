import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import fc from '../../support/properties.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

let world: IssuerWorld
let config: client.Configuration
beforeAll(async () => {
  world = await openIssuerWorld()
  for (const id of ['handbook', 'finance'])
    await world.put({ [`${id}/a`]: { collection: id, text: 'Travel.', access: { owner: 'user:anne' } } })
  const { key, kid } = world.keys['agent-app']
  config = await client.discovery(
    new URL(world.issuer),
    'agent-app',
    undefined,
    client.PrivateKeyJwt({ key, kid }),
    { execute: [client.allowInsecureRequests], algorithm: 'oauth2' },
  )
})
afterAll(() => world?.[Symbol.asyncDispose]())

test('what a refresh gives is never more than what the person agreed to', { timeout: 60_000 }, async () => {
  const browser = world.browser()
  const scopes = ['docs.search', 'docs.read', 'approvals.request']
  const asked = ['docs.search', 'docs.read']
  const lent = [{ type: 'document_access', collections: ['handbook'] }]
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: world.redirectUri,
    scope: asked.join(' '),
    resource: world.url,
    authorization_details: JSON.stringify([
      { type: 'document_access', collections: ['handbook', 'finance'] },
    ]),
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
  })
  const back = await world.consent(browser, await browser.open(url.href), {
    objects: ['collection:handbook'],
  })
  const first = await client.authorizationCodeGrant(config, back.url, { pkceCodeVerifier })
  let current = first.refresh_token ?? ''
  const some = (list: readonly string[]) => fc.subarray([...list], { minLength: 1 })
  await fc.assert(
    fc.asyncProperty(
      fc.option(some([...scopes, 'docs.write', 'security.read']), { nil: undefined }),
      fc.option(fc.constantFrom(world.url, `${world.url}/mcp`, 'https://elsewhere.test'), { nil: undefined }),
      fc.option(some(['handbook', 'finance', 'board']), { nil: undefined }),
      async (wanted, resource, collections) => {
        const details = collections && [{ type: 'document_access', collections }]
        const parameters = {
          ...(wanted && { scope: wanted.join(' ') }),
          ...(resource && { resource }),
          ...(details && { authorization_details: JSON.stringify(details) }),
        }
        const answer = await client.refreshTokenGrant(config, current, parameters).catch((error: unknown) => {
          if (error instanceof client.ResponseBodyError) return error.error
          throw error
        })
        if (typeof answer === 'string') {
          // Asked for more, or for what is asked for at the consent only; the token that was shown is still
          // good.
          expect(['invalid_scope', 'invalid_target', 'invalid_authorization_details']).toContain(answer)
          const isMore =
            wanted?.some((scope) => !asked.includes(scope)) ||
            (resource ?? world.url) !== world.url ||
            details !== undefined
          expect(isMore).toBe(true)
          return
        }
        current = answer.refresh_token ?? ''
        const claims = decodeJwt(answer.access_token)
        const held = String(claims['scope']).split(' ')
        expect(held.every((scope) => asked.includes(scope) && (wanted?.includes(scope) ?? true))).toBe(true)
        expect(claims.aud).toBe(world.url)
        expect(claims['authorization_details']).toEqual(lent)
        expect(claims['act']).toMatchObject({ sub: 'research-bot' })
      },
    ),
    { numRuns: 40 },
  )
})
