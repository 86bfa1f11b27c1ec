import { fileURLToPath } from 'node:url'
import { exportJWK, generateKeyPair, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { native, needsInteropJava } from '../support/native.ts'
import { documents } from './documents.ts'
import { createPerson } from './person.ts'
import { rowOf, shown } from './table.ts'

const program = fileURLToPath(new URL('java/WithNimbus.java', import.meta.url))

describe('by a library for Java', needsInteropJava, () => {
  let world: IssuerWorld
  beforeAll(async () => {
    if (needsInteropJava.skip === true) return
    world = await openIssuerWorld()
    await world.put(documents)
    // What an exchange rests on.
    await world.lend('anne', 'research-bot', 'collection:handbook')
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  test('Nimbus: pushed sign-in → ID token → search → introspection → revocation → tokens bound to a key, worthless to a thief → device → exchange, by an HTTP client that prefers HTML', {
    timeout: 240_000,
  }, async () => {
    const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
    const jwk = { ...(await exportJWK(publicKey)), alg: 'RS256' } as JWK & { kty: 'RSA' }
    const { clients } = world.service
    await clients.register(
      { clientId: 'nimbus-app', kind: 'agent', agent: 'research-bot' },
      {
        title: 'Nimbus',
        redirectUris: [world.redirectUri],
        jwks: { keys: [jwk] },
        idTokenAlgorithm: 'RS256',
      },
    )
    await clients.register(
      { clientId: 'cli-app', kind: 'person' },
      { title: 'A device', redirectUris: [], jwks: undefined },
    )
    const key = JSON.stringify(await exportJWK(privateKey))
    const asked = [world.url, 'nimbus-app', world.redirectUri, key, 'cli-app', 'research-bot']
    const said = await createPerson(world).run(['java', '-cp', `${native.interopJava}/*`, program, ...asked])
    expect(said).toEqual([
      { shows: 'sign-in, PAR, ID token', signed_in: 'anne', scope: 'openid docs.search' },
      { shows: 'retrieve', found: 200 },
      { shows: 'introspection', active: true },
      { shows: 'revocation', status: 200, found: 401, active: false },
      { shows: 'sign-in', again: 'invalid_grant' },
      { shows: 'DPoP', type: 'DPoP', found: 200 },
      { shows: 'DPoP', thief: 401, told: 'invalid_dpop_proof', bare: 401 },
      { shows: 'refresh', found: 200 },
      { shows: 'revocation', refused: 'invalid_grant' },
      // It is for the agent: not for the API.
      { shows: 'device', found: 401 },
      { shows: 'exchange', found: 200 },
    ])
    expect(shown(said)).toEqual(rowOf('Nimbus'))
  })
})
