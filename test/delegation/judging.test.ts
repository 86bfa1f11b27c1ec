import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { trustedIssuer } from '../../src/config/issuers.ts'
import { externalIssuer, type IssuerSource } from '../../src/delegation/tokens/issuers.ts'
import { localKeys } from '../../src/delegation/tokens/remote-keys.ts'
import { judgedAt, type Verifier } from '../../src/delegation/tokens/verify.ts'
import { startTestIssuer, type TestIssuer, type TokenOptions } from '../support/issuer.ts'
import { openVerifying, publicUrl, putDelegation, researchBot } from './world.ts'

// At the edge of each rule: the last that passes and the first that does not, by the reason.

let issuer: TestIssuer
let world: Awaited<ReturnType<typeof openVerifying>>
let own: IssuerSource

beforeAll(async () => {
  issuer = await startTestIssuer({ exchangeClients: { assistant: 'bot-client' } })
  world = await openVerifying(issuer)
  if (world.ownIssuer === undefined) throw new Error('There is no issuer of ours.')
  own = world.ownIssuer
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await issuer[Symbol.asyncDispose]()
})

const external = (options: TokenOptions = {}) => issuer.token({ now: world.clock.now(), ...options })
type Outcome = Awaited<ReturnType<Verifier['verify'] | Verifier['examine']>>
const said = (outcome: Outcome) =>
  outcome.ok ? 'accepted' : [outcome.reason, outcome.detail].filter((part) => part !== undefined).join(' ')
const shown = async (token: string | Promise<string>, { verify } = world.verifier) =>
  said(await verify(await token, 'api'))
/** Now to the second, in seconds: the clock is moved to where one begins. */
function second(): number {
  world.clock.move(1_000 - (world.clock.now() % 1_000))
  return world.clock.now() / 1_000
}

describe('a token counts', () => {
  test('until the second in which it ends', async () => {
    const exp = second() + 10
    const token = await world.ownToken({ exp })
    world.clock.move(9_999)
    expect(await shown(token)).toBe('accepted')
    world.clock.move(1)
    expect(await shown(token)).toBe('expired')
  })

  test.each(['iat', 'nbf'])('from five seconds before its %s', async (name) => {
    const now = second()
    expect(await shown(world.ownToken({ [name]: now + 5 }))).toBe('accepted')
    expect(await shown(world.ownToken({ [name]: now + 6 }))).toBe('not_yet_valid')
  })

  test('only if it ends after it began', async () => {
    const now = second()
    expect(await shown(world.ownToken({ iat: now + 2, exp: now + 3 }))).toBe('accepted')
    for (const exp of [now + 1, now + 2])
      expect(await shown(world.ownToken({ iat: now + 2, exp }))).toBe('bad_claim exp')
  })

  test('for as long as its issuer says, if it is another’s', async () => {
    expect(await shown(external({ ttl: 301 }))).toBe('accepted')
    const iat = second()
    expect(await shown(world.ownToken({ iat, exp: iat + 300 }))).toBe('accepted')
    expect(await shown(world.ownToken({ iat, exp: iat + 301 }))).toBe('too_long_lived')
  })

  test('in the demo, of another issuer as everywhere; of ours with no mark but true', async () => {
    const inDemo = async (token: Promise<string>) => shown(token, world.demoVerifier)
    expect(await inDemo(external())).toBe('accepted')
    expect(await inDemo(world.ownToken({ demo: 'yes' }))).toBe('demo_token_refused')
    expect(await shown(world.ownToken({ demo: false }))).toBe('demo_token_refused')
  })

  test('for a request that is under way as of its last moment', async () => {
    const exp = second() + 10
    const underWay = async (token: string) => said(await world.verifier.verify(token, 'api', 'under_way'))
    const tokenUntil = async (expiresAt: Date) => {
      const id = `d_${crypto.randomUUID()}`
      await putDelegation(world.database, { id, subject: 'user:anne', agent: 'research-bot', expiresAt })
      return world.ownToken({ client_id: 'bot-client', act: researchBot, delegation: id, exp })
    }
    const [outlived, asLong] = [
      await tokenUntil(new Date(exp * 1_000 - 1)),
      await tokenUntil(new Date(exp * 1_000)),
    ]
    world.clock.move(60_000)
    expect([await underWay(outlived), await underWay(asLong)]).toEqual(['delegation_not_live', 'accepted'])
    expect(await shown(asLong)).toBe('expired')
    expect([judgedAt(10, 5_000, true), judgedAt(10, 10_000, true), judgedAt(10, 20_000, false)]).toEqual([
      5_000, 9_999, 20_000,
    ])
  })
})

describe('a token is read', () => {
  test('up to 16,384 characters', async () => {
    const padded = (pad: number, more = 0) =>
      world.ownToken({ pad: 'p'.repeat(pad), jti: 'j' }, { more: 'm'.repeat(more) })
    const ofLength = async (length: number) => {
      const nearly = Math.floor((length - (await padded(0)).length) * 0.75) - 4
      // Base64 has no text of every length, so that the header gives as well.
      for (let nth = 0; nth < 32; nth += 1) {
        const token = await padded(nearly + Math.floor(nth / 4), nth % 4)
        if (token.length === length) return token
      }
      throw new Error(`There is no token of ${length} characters.`)
    }
    expect(await shown(ofLength(16_384))).toBe('accepted')
    expect(await shown(ofLength(16_385))).toBe('malformed')
  })

  test('with nothing before, behind or in the place of a part of it', async () => {
    const token = await world.ownToken()
    const [, payload, signature] = token.split('.')
    for (const spoiled of [`\n${token}`, `${token}\n`, `${token}=`, `${token}.`, `x.${payload}.${signature}`])
      expect(await shown(spoiled), JSON.stringify(spoiled)).toBe('malformed')
  })

  test('only where it says whose it is', async () => {
    expect(await shown(external({ overrides: { iss: undefined } }))).toBe('missing_claim iss')
  })

  test('by a type of access tokens in whatever case, and of ours by no other', async () => {
    expect(await shown(world.ownToken({}, { typ: 'Application/AT+JWT' }))).toBe('accepted')
    expect(await shown(world.ownToken({}, { typ: 'JWT' }))).toBe('wrong_type')
    expect(await shown(external({ header: { typ: 7 } }))).toBe('wrong_type')
  })

  test('without a type where its issuer gives none', async () => {
    const entry = { ...issuer.entry(), preset: 'okta', namespace: 'okta' }
    const verifier = world.verifierOf([externalIssuer(trustedIssuer.parse(entry), { fetch })])
    const claims = {
      scope: undefined,
      scp: ['docs.read'],
      client_id: undefined,
      cid: 'person-app',
      uid: 'u',
      ver: 1,
    }
    const token = (jti: string) => external({ overrides: { ...claims, jti }, header: { typ: undefined } })
    expect(await shown(token('AT.x'), verifier)).toBe('accepted')
    expect(await shown(token('ID.x'), verifier)).toBe('wrong_type')
  })

  test('by a key that its issuer has', async () => {
    expect(await shown(world.ownToken({}, { kid: 'nobody’s' }))).toBe('unknown_key')
  })

  test('by one set of rules for each issuer', () => {
    expect(() => world.verifierOf([own, own])).toThrow('named twice')
  })
})

describe('a token that is not signed by ES256', () => {
  let key: CryptoKey
  let jwk: JWK
  let theirs: IssuerSource
  const issuerUrl = 'https://edwards.example'

  beforeAll(async () => {
    const pair = await generateKeyPair('EdDSA')
    key = pair.privateKey
    jwk = { ...(await exportJWK(pair.publicKey)), alg: 'EdDSA' }
    const entry = { ...issuer.entry(), issuer: issuerUrl, namespace: 'edwards' }
    theirs = {
      ...externalIssuer(trustedIssuer.parse(entry), { fetch }),
      keys: localKeys({ keys: [{ ...jwk, kty: 'OKP' }] }),
    }
  })

  async function signed(claims: object = {}, by = key): Promise<string> {
    const iat = Math.floor(world.clock.now() / 1_000)
    const base = { iss: issuerUrl, sub: 'anne', aud: issuer.audiences.api, client_id: 'person-app' }
    return new SignJWT({ ...base, scope: 'docs.read', jti: 'j', iat, exp: iat + 60, ...claims })
      .setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt' })
      .sign(by)
  }
  const judged = async (token: Promise<string>, judges = theirs) => shown(token, world.verifierOf([judges]))

  test('is held to the same rules, by our clock', async () => {
    world.clock.move(86_400_000)
    const now = second()
    expect(await judged(signed())).toBe('accepted')
    expect(await judged(signed({ exp: now, iat: now - 60 }))).toBe('expired')
    expect(await judged(signed({ nbf: now + 60 }))).toBe('not_yet_valid')
    expect(await judged(signed({ aud: 'https://elsewhere.test' }))).toBe('wrong_audience')
  })

  test('counts by its issuer’s key alone', async () => {
    const { privateKey } = await generateKeyPair('EdDSA')
    expect(await judged(signed({}, privateKey))).toBe('bad_signature')
  })

  test('counts only where its issuer’s entry lists what it is signed by', async () => {
    expect(await judged(signed(), { ...theirs, algorithms: ['ES256'] })).toBe('wrong_algorithm')
  })

  test('is not blamed for a key that cannot verify', async () => {
    const { publicKey } = await generateKeyPair('ES384')
    const keys = Object.assign(async () => ({ ok: true as const, value: publicKey }), {
      edition: () => undefined,
    })
    await expect(judged(signed(), { ...theirs, keys })).rejects.toThrow(TypeError)
  })
})

describe('examined', () => {
  const order = [{ type: 'trade_order', amount: 1 }]

  test('a token of ours may be for any one audience, and hold what is for others', async () => {
    const aud = 'https://broker.example'
    const token = await world.ownToken({ aud: [aud], authorization_details: order })
    for (const examine of [world.verifier.examine, world.verifier.examineSubject])
      expect(await examine(token)).toMatchObject({ ok: true, value: { audience: aud, actorsNamed: true } })
    expect(await shown(world.ownToken({ authorization_details: order }))).toBe('bad_details')
  })

  test.each([[[]], [[publicUrl, `${publicUrl}/mcp`]]])('a token for %j is for no one', async (aud) => {
    const token = await world.ownToken({ aud })
    expect(said(await world.verifier.examine(token))).toBe('wrong_audience')
    expect(said(await world.verifier.examineSubject(token))).toBe('wrong_audience')
  })

  test('another issuer’s token is one for an exchange alone, without what is for others', async () => {
    const token = await external()
    expect(said(await world.verifier.examine(token))).toBe('unknown_issuer')
    expect(await world.verifier.examineSubject(token)).toMatchObject({
      ok: true,
      value: { audience: issuer.audiences.api, principal: { subject: 'user:test/anne' } },
    })
    const withDetails = await external({ overrides: { authorization_details: order } })
    expect(said(await world.verifier.examineSubject(withDetails))).toBe('bad_details')
  })

  test('what a program was issued elsewhere is a person’s for an exchange, and nobody’s as a request', async () => {
    const token = await external({ client_id: 'assistant' })
    expect(await world.verifier.examineSubject(token)).toMatchObject({
      ok: true,
      value: { principal: { kind: 'person' } },
    })
    expect(await shown(token)).toBe('actor_missing')
  })

  test('a token that has ended is nothing', async () => {
    const exp = second()
    const token = await world.ownToken({ iat: exp - 10, exp })
    expect(said(await world.verifier.examine(token))).toBe('expired')
    expect(said(await world.verifier.examineSubject(token))).toBe('expired')
  })
})
