import { randomBytes } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createProofs, type Proofs } from '../../src/delegation/tokens/dpop.ts'
import { createReplayGuard } from '../../src/delegation/tokens/replay-guard.ts'
import type { Database } from '../../src/store/sql.ts'
import { describeDatabases } from '../support/backends.ts'
import { openTestDatabase } from '../support/database.ts'
import { type Holder, makeHolder, type ProofOptions } from '../support/dpop.ts'
import { movableClock } from './world.ts'

const url = 'https://remit.test/retrieve'
const secret = randomBytes(32)

describeDatabases('a proof', (kind) => {
  const clock = movableClock()
  let database: Database
  let proofs: Proofs
  let holder: Holder
  beforeAll(async () => {
    database = await openTestDatabase(kind)
    proofs = createProofs({ sql: database, clock, secret })
    holder = await makeHolder()
  })
  afterAll(() => database?.close())

  const proofOf = (overrides: Partial<ProofOptions> = {}) =>
    holder.proof({ url, now: clock.now(), ...overrides })
  const check = async (proof: string, demand = {}) => {
    const checked = await proofs.check({ proof, method: 'POST', url }, demand)
    return checked.ok ? checked.value : checked.reason
  }

  test.each(['ES256', 'Ed25519', 'EdDSA'])('made with %s gives its key’s thumbprint', async (alg) => {
    const other = await makeHolder(alg)
    expect(await check(await other.proof({ url, now: clock.now() }))).toBe(other.jkt)
  })

  test('made with an elliptic curve that is not announced is refused', async () => {
    const other = await makeHolder('ES384')
    expect(await check(await other.proof({ url, now: clock.now(), header: { alg: 'ES384' } }))).toBe(refused)
  })

  test('made for a token holds its digest, for this one and no other', async () => {
    expect(await check(await proofOf({ accessToken: 'a.b.c' }), { accessToken: 'a.b.c' })).toBe(holder.jkt)
    expect(await check(await proofOf({ accessToken: 'a.b.d' }), { accessToken: 'a.b.c' })).toBe(refused)
    expect(await check(await proofOf(), { accessToken: 'a.b.c' })).toBe(refused)
  })

  test('is for one method and one address; query and fragment do not count', async () => {
    expect(await check(await proofOf({ url: `${url}?a=b#c` }))).toBe(holder.jkt)
    const others = [
      `${url}/`,
      'https://remit.test',
      'http://remit.test/retrieve',
      'https://remit.test:8443/retrieve',
      'https://elsewhere.test/retrieve',
      'https://remit.test/RETRIEVE',
      '/retrieve',
      'retrieve',
      '',
    ]
    for (const other of others) expect(await check(await proofOf({ url: other }))).toBe(refused)
    expect(await check(await proofOf({ method: 'GET' }))).toBe(refused)
    expect(await check(await proofOf({ method: 'post' }))).toBe(refused)
  })

  test('counts for a minute to each side of its time; with a nonce its time does not matter', async () => {
    const at = (seconds: number) => ({ now: clock.now() + seconds * 1_000 })
    for (const off of [-59, 59]) expect(await check(await proofOf(at(off)))).toBe(holder.jkt)
    for (const off of [-62, 62, 86_400]) expect(await check(await proofOf(at(off)))).toBe('use_dpop_nonce')
    expect(await check(await proofOf({ ...at(-86_400), nonce: proofs.nonce() }))).toBe(holder.jkt)
  })

  test('needs a nonce of ours where one is demanded, and an old or made-up one never passes', async () => {
    const demand = { nonce: 'demanded' }
    expect(await check(await proofOf(), demand)).toBe('use_dpop_nonce')
    const nonce = proofs.nonce()
    expect(await check(await proofOf({ nonce }), demand)).toBe(holder.jkt)
    expect(await check(await proofOf({ nonce: 'made-up' }))).toBe('use_dpop_nonce')
    const elsewhere = createProofs({ sql: database, clock, secret: randomBytes(32) })
    expect(await check(await proofOf({ nonce: elsewhere.nonce() }))).toBe('use_dpop_nonce')
    clock.move(120_000)
    expect(await check(await proofOf({ nonce }), demand)).toBe(holder.jkt)
    clock.move(180_000)
    expect(await check(await proofOf({ nonce }), demand)).toBe('use_dpop_nonce')
  })

  test('is good once: of 20 at the same time, in two processes, exactly one passes', async () => {
    const elsewhere = createProofs({ sql: database, clock, secret })
    const proof = await proofOf()
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 === 0 ? proofs : elsewhere).check({ proof, method: 'POST', url }),
      ),
    )
    expect(outcomes.filter(({ ok }) => ok)).toHaveLength(1)
    expect(await check(proof)).toBe(refused)
  })

  test('uses up its own jti only: another key may have the same', async () => {
    const jti = crypto.randomUUID()
    const other = await makeHolder()
    expect(await check(await proofOf({ claims: { jti } }))).toBe(holder.jkt)
    expect(await check(await other.proof({ url, now: clock.now(), claims: { jti } }))).toBe(other.jkt)
  })

  test('that was refused for another reason is not used up by it', async () => {
    const proof = await proofOf()
    expect((await proofs.check({ proof, method: 'GET', url })).ok).toBe(false)
    expect(await check(proof)).toBe(holder.jkt)
  })

  /** As time does, to this process and to the database. */
  async function pass(ms: number): Promise<void> {
    clock.move(ms)
    await database.query('update used_proofs set until = until - make_interval(secs => $1)', [ms / 1_000])
  }

  test('is forgotten only when it is too old to pass anyway', async () => {
    await proofs.sweep()
    const early = await proofOf({ now: clock.now() + 59_000 })
    const byNonce = await proofOf({ nonce: proofs.nonce() })
    for (const proof of [early, byNonce]) expect(await check(proof)).toBe(holder.jkt)
    for (let passed = 0; passed < 600_000; passed += 10_000) {
      await pass(10_000)
      await proofs.sweep()
      for (const proof of [early, byNonce]) expect(await check(proof)).not.toBe(holder.jkt)
    }
    await pass(301_000)
    await proofs.sweep()
    expect(await database.query('select 1 from used_proofs')).toEqual([])
  })

  test('does not count twice, whichever process’s clock is ahead', async () => {
    const proof = await proofOf()
    expect(await check(proof)).toBe(holder.jkt)
    const ahead = createProofs({ sql: database, clock: { now: () => clock.now() + 400_000 }, secret })
    await ahead.sweep()
    expect(await check(proof)).toBe(refused)
    // By a clock that is slow it passes minutes longer.
    const guard = createReplayGuard({ sql: database })
    expect(await guard.spend('one', 60_000)).toBe(true)
    await pass(650_000)
    await guard.sweep()
    expect(await guard.spend('one', 60_000)).toBe(false)
    await pass(20_000)
    await guard.sweep()
    expect(await guard.spend('one', 60_000)).toBe(true)
  })

  test.each<readonly [string, Partial<ProofOptions>]>([
    ['without a jti', { claims: { jti: undefined } }],
    ['with an empty jti', { claims: { jti: '' } }],
    ['with an endless jti', { claims: { jti: 'x'.repeat(257) } }],
    ['without htm', { claims: { htm: undefined } }],
    ['without htu', { claims: { htu: undefined } }],
    ['without a time', { claims: { iat: undefined } }],
    ['that has ended', { claims: { exp: 1 } }],
    ['of the type of a token', { header: { typ: 'at+jwt' } }],
    ['of no type', { header: { typ: undefined } }],
    ['without a key', { header: { jwk: undefined } }],
    ['that points to its key', { header: { jwk: undefined, jku: 'https://elsewhere.test', kid: 'a' } }],
  ])('%s is refused', async (_, options) => {
    expect(await check(await proofOf(options))).toBe(refused)
  })

  test('with a private key, or one that is no key, in its header is refused', async () => {
    const shown = { ...holder.jwk, ...(await exportJWK(holder.privateKey)) }
    expect(await check(await proofOf({ header: { jwk: shown } }))).toBe(refused)
    for (const jwk of [
      {},
      { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' },
      { kty: 'oct', k: 'AAAA' },
      'x',
      null,
    ])
      expect(await check(await proofOf({ header: { jwk } }))).toBe(refused)
  })

  test('signed by another key than it shows is refused', async () => {
    const other = await makeHolder()
    expect(await check(await proofOf({ header: { jwk: other.jwk } }))).toBe(refused)
  })

  test('signed by a shared secret, by RSA or by nobody is refused', async () => {
    const claims = { jti: 'a', htm: 'POST', htu: url, iat: Math.floor(clock.now() / 1_000) }
    const secretKey = Buffer.from('a'.repeat(32))
    const jwk = { kty: 'oct', k: secretKey.toString('base64url') }
    const byHmac = new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', typ: 'dpop+jwt', jwk })
      .sign(secretKey)
    expect(await check(await byHmac)).toBe(refused)
    const rsa = await generateKeyPair('RS256')
    const byRsa = new SignJWT(claims)
      .setProtectedHeader({ alg: 'RS256', typ: 'dpop+jwt', jwk: await exportJWK(rsa.publicKey) })
      .sign(rsa.privateKey)
    expect(await check(await byRsa)).toBe(refused)
    const base64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const byNobody = `${base64({ alg: 'none', typ: 'dpop+jwt', jwk: holder.jwk })}.${base64(claims)}.`
    expect(await check(byNobody)).toBe(refused)
  })

  test.each(['', 'x', 'a.b', 'a.b.c', 'e30.e30.', 'x'.repeat(5_000)])(
    'that is none is refused: %.10s',
    async (proof) => {
      expect(await check(proof)).toBe(refused)
    },
  )
})

const refused = 'invalid_dpop_proof'
