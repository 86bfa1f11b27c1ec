import { fileURLToPath } from 'node:url'
import { exportJWK, generateKeyPair, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { native, needsInteropJava } from '../support/native.ts'
import { drive } from './drive.ts'

const program = fileURLToPath(new URL('java/WithNimbus.java', import.meta.url))

describe('by a library for Java', needsInteropJava, () => {
  let world: IssuerWorld
  beforeAll(async () => {
    if (needsInteropJava.skip === true) return
    world = await openIssuerWorld()
    await world.put({
      'handbook/travel': { text: 'Travel budget: 900.', access: { viewers: ['user:anne'] } },
    })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  test('Nimbus: pushed sign-in → ID token → search → introspection → revocation, by an HTTP client that prefers HTML', {
    timeout: 240_000,
  }, async () => {
    const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
    const jwk = { ...(await exportJWK(publicKey)), alg: 'RS256' } as JWK & { kty: 'RSA' }
    await world.service.clients.register(
      { clientId: 'nimbus-app', kind: 'agent', agent: 'research-bot' },
      {
        title: 'Nimbus',
        redirectUris: [world.redirectUri],
        jwks: { keys: [jwk] },
        idTokenAlgorithm: 'RS256',
      },
    )
    const browser = world.browser()
    const key = JSON.stringify(await exportJWK(privateKey))
    const said: string[] = []
    const asked = [world.url, 'nimbus-app', world.redirectUri, key]
    await drive(['java', '-cp', `${native.interopJava}/*`, program, ...asked], {}, async (line) => {
      if (!line.startsWith('http')) return void said.push(line)
      const back = await world.consent(browser, await browser.open(line), {
        objects: ['collection:handbook'],
      })
      return back.url.href
    })
    expect(said).toEqual([
      'signed in: anne',
      'scope: openid docs.search',
      'found: 200',
      'active: true',
      'revoked: 200, found: 401',
      'again: invalid_grant',
    ])
  })
})
