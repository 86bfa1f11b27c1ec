import { KeyObject, randomBytes, randomUUID, verify } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { importJWK, SignJWT } from 'jose'
import { openRevocationFeed } from '../../src/delegation/revocation/revocation-feed.ts'
import { createCachedVerifier } from '../../src/delegation/tokens/cached-verifier.ts'
import { createProofs } from '../../src/delegation/tokens/dpop.ts'
import { ownIssuer } from '../../src/delegation/tokens/issuers.ts'
import { createRegistryLookup } from '../../src/delegation/tokens/registry-lookup.ts'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'

import { createTokenJudge, type Verifier } from '../../src/delegation/tokens/verify.ts'
import { openPair, statusOf } from '../../test/support/pair.ts'

/**
 * Tokens: what verifying one costs beside the bare signature, at first and at second sight; an exchange; and
 * how long after a token was revoked in one process another one refuses it. Two real service processes on one
 * native Postgres and one OpenFGA server: TEST_DATABASE_URL (a database is made there), OPENFGA_TEST_URL,
 * OPENFGA_TEST_TOKEN. Ends with 1 where a figure is missed.
 */
const { TEST_DATABASE_URL, OPENFGA_TEST_URL, OPENFGA_TEST_TOKEN } = process.env
if (TEST_DATABASE_URL === undefined || OPENFGA_TEST_URL === undefined || OPENFGA_TEST_TOKEN === undefined)
  throw new Error('Set TEST_DATABASE_URL, OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN.')

const tokensCount = 6_000
const warmingUp = 1_000
const delegationsCount = 20
const againCount = 400_000
const exchanges = 200
const revocations = 200

await using pair = await openPair({
  databaseUrl: TEST_DATABASE_URL,
  openfga: { url: OPENFGA_TEST_URL, token: OPENFGA_TEST_TOKEN },
})
const missed: string[] = []
await verifying()
await exchanging()
await revoking()
if (missed.length > 0) {
  console.log(`missed: ${missed.join(', ')}`)
  process.exitCode = 1
}

function hold(what: string, isHeld: boolean): void {
  if (!isHeld) missed.push(what)
}

async function verifying(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'remit-bench-'))
  const { database, publicUrl } = pair
  const clock = { now: Date.now }
  const ring = await openKeyRing(folder, clock)
  await using authority = await openRevocationFeed({ database, clock, log: () => undefined })
  const newTxn = () => `t_${randomUUID()}`
  const verifier = createCachedVerifier({
    judge: createTokenJudge({
      issuers: [ownIssuer({ publicUrl, keys: ring.find })],
      lookUp: createRegistryLookup({ sql: database, authority }),
      clock,
      demo: false,
      newTxn,
    }),
    authority,
    clock,
    newTxn,
    proofs: createProofs({ sql: database, clock, secret: randomBytes(32) }),
  })
  const lent = await Promise.all(Array.from({ length: delegationsCount }, () => pair.agentToken()))
  const key = ring.current()
  const sign = (delegation: string) =>
    new SignJWT({
      client_id: 'agent-app',
      scope: 'docs.search docs.read',
      sub_profile: 'user',
      act: { iss: `${publicUrl}/oauth`, sub: 'research-bot', sub_profile: 'ai_agent' },
      delegation,
      grant_id: `g_${randomUUID()}`,
      txn: `t_${randomUUID()}`,
    })
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid })
      .setIssuer(`${publicUrl}/oauth`)
      .setSubject('anne')
      .setAudience(publicUrl)
      .setIssuedAt()
      .setExpirationTime('290 s')
      .setJti(`j_${randomUUID()}`)
      .sign(key.privateKey)
  const tokens = await Promise.all(
    Array.from({ length: tokensCount }, (_, index) => sign(lent[index % lent.length]?.delegation ?? '')),
  )
  const [jwk] = (await ring.jwks()).keys
  const imported = await importJWK(jwk ?? {}, 'ES256')
  if (imported instanceof Uint8Array) throw new Error('This is no public key.')
  const publicKey = KeyObject.from(imported)
  // By turns, a hundred each: a shared machine is another one a second later. The first ones warm up.
  const took = { bare: 0, first: 0 }
  for (let from = 0; from < tokens.length; from += 100) {
    const mine = tokens.slice(from, from + 100)
    const bare = await timed(async () => {
      for (const token of mine) checkAlone(token, publicKey)
    })
    const first = await timed(() => seeAll(verifier, mine))
    if (from < warmingUp) continue
    took.bare += bare
    took.first += first
  }
  const counted = tokens.length - warmingUp
  const ratio = took.bare / took.first
  const known = tokens.slice(-1_000)
  const second = await timed(async () => {
    for (let time = 0; time < againCount / known.length; time += 1) await seeAll(verifier, known)
  })
  console.log(
    `first sight ${perSecond(counted / took.first)}, bare crypto.verify ${perSecond(counted / took.bare)}: ${(100 * ratio).toFixed(0)} %`,
  )
  console.log(`second sight ${perSecond(againCount / second)}`)
  hold('first sight at 45 % of crypto.verify', ratio >= 0.45)
  hold('second sight at 100,000/s', againCount / second >= 100)
  await rm(folder, { recursive: true, force: true })
}

async function seeAll(verifier: Verifier, tokens: readonly string[]): Promise<void> {
  for (const [index, token] of tokens.entries()) {
    const seen = await verifier.verify(token, 'api')
    if (!seen.ok) throw new Error(`refused: ${seen.reason}`)
    // As between requests: a process that never comes to look hears nothing, and would rightly answer nobody.
    if (index % 100 === 99) await setImmediate()
  }
}

function checkAlone(token: string, publicKey: KeyObject): void {
  const at = token.lastIndexOf('.')
  const key = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const
  const signature = Buffer.from(token.slice(at + 1), 'base64url')
  if (!verify('sha256', Buffer.from(token.slice(0, at)), key, signature))
    throw new Error('A signature does not hold.')
}

async function timed(work: () => Promise<void>): Promise<number> {
  const began = performance.now()
  await work()
  return performance.now() - began
}

async function exchanging(): Promise<void> {
  const subject = await pair.subjectToken()
  const took: number[] = []
  for (let time = 0; time < exchanges; time += 1) {
    const assertion = pair.proven(await pair.assertion())
    const began = performance.now()
    const answer = await post(`${pair.publicUrl}/oauth/token`, {
      ...assertion,
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: subject,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      resource: pair.publicUrl,
    })
    took.push(performance.now() - began)
    if (answer.status !== 200) throw new Error(`exchange: ${answer.status} ${answer.body}`)
  }
  console.log(`exchange over HTTP: ${quantiles(took)} of ${exchanges}`)
}

async function revoking(): Promise<void> {
  const [, other] = pair.urls
  const took: number[] = []
  for (let time = 0; time < revocations; time += 1) {
    const { token } = await pair.agentToken()
    // An agent has no jobs: 403 says that the token was good.
    if ((await statusOf(other, token)) !== 403) throw new Error('A good token is refused.')
    const answer = await post(`${pair.publicUrl}/oauth/token/revocation`, {
      ...pair.proven(await pair.assertion()),
      token,
    })
    if (answer.status !== 200) throw new Error(`revocation: ${answer.status} ${answer.body}`)
    const began = performance.now()
    let asked = began
    while ((await statusOf(other, token)) !== 401) {
      if (performance.now() - began > 10_000) throw new Error('It is never refused.')
      asked = performance.now()
    }
    // The last question that was still answered began no later than this.
    took.push(asked - began)
  }
  console.log(`revoked in one process, refused in the other: ${quantiles(took)} of ${revocations}`)
  hold('revocation within 1 s', at(took, 0.99) <= 1_000)
}

async function post(url: string, form: Readonly<Record<string, string>>) {
  const response = await fetch(url, { method: 'POST', body: new URLSearchParams(form) })
  return { status: response.status, body: await response.text() }
}

/** Of a number a millisecond. */
function perSecond(value: number): string {
  return `${Math.round(1_000 * value).toLocaleString('en')}/s`
}

function at(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

function quantiles(values: readonly number[]): string {
  return [0.5, 0.95, 0.99, 1].map((share) => `p${share * 100} ${at(values, share).toFixed(1)} ms`).join(', ')
}
