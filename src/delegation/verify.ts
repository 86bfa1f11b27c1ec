import { decodeJwt, decodeProtectedHeader, jwtVerify, type ProtectedHeaderParameters } from 'jose'
import { JOSEError, JWSSignatureVerificationFailed } from 'jose/errors'
import type { Clock } from '../kernel/clock.ts'
import type { Principal } from '../kernel/principal.ts'
import { ok, type Result, refuse } from '../kernel/result.ts'
import type { Sql } from '../store/sql.ts'
import { type Claims, isFor, parseClaims } from './claims.ts'
import type { IssuerSource, Resource } from './issuers.ts'
import type { VerifyReason } from './reasons.ts'
import { toPrincipal } from './to-principal.ts'

export interface Verifier {
  /**
   * Turns an access token into who asks, or refuses it; {@link outer} turns the reason into an error code.
   * Throws only when the database cannot be asked (`storage_unavailable`), which is a refusal too.
   */
  verify(token: string, resource: Resource): Promise<Result<Principal, VerifyReason>>
  /**
   * Examines a token of our own issuer that may be for any one audience. NOT checked: whether whoever shows it
   * has any business with that audience; the caller must.
   */
  examine(token: string): Promise<Result<Examined, VerifyReason>>
}

export interface Examined {
  readonly claims: Claims
  /** The token's only one. */
  readonly audience: string
  readonly principal: Principal
}

export interface VerifierDeps {
  readonly issuers: readonly IssuerSource[]
  readonly sql: Sql
  readonly clock: Clock
  /** Whether this is the demo: only there are `demo: true` tokens accepted, and of our own issuer no others. */
  readonly demo: boolean
  /** A fresh txn for a token without one. */
  readonly newTxn: () => string
}

/**
 * Verifies JWT access tokens (RFC 9068): issuer and audience by exact string, algorithms by the issuer's list,
 * `typ` `at+jwt` for everybody, so that no ID token passes. Keys come from the issuer's settings only. A token
 * that is bound to a key (`cnf`) is refused: its proof is not checked yet. Opaque tokens are not supported.
 */
export function createVerifier({ issuers, sql, clock, demo, newTxn }: VerifierDeps): Verifier {
  const byName = new Map(issuers.map((issuer) => [issuer.issuer, issuer]))
  if (byName.size < issuers.length) throw new Error('An issuer is named twice.')
  const namespaces = new Set(
    issuers.flatMap((issuer) => (issuer.kind === 'external' ? [issuer.namespace] : [])),
  )

  async function judge(
    token: string,
    issuer: IssuerSource,
    audience: (claims: Claims) => string | undefined,
  ): Promise<Result<Examined, VerifyReason>> {
    const payload = await signedPayload(token, issuer)
    if (!payload.ok) return payload
    const claims = parseClaims(payload.value)
    if (!claims.ok) return claims
    const found = audience(claims.value)
    if (found === undefined || !isFor(claims.value.aud, found)) return refuse('wrong_audience')
    const sound = isSound(claims.value, issuer, { now: clock.now() / 1_000, demo })
    if (!sound.ok) return sound
    const principal = await toPrincipal(claims.value, issuer, { sql, clock, namespaces, newTxn })
    if (!principal.ok) return principal
    return ok({ claims: claims.value, audience: found, principal: principal.value })
  }

  return {
    async verify(token, resource) {
      const issuer = findIssuer(token, byName)
      if (!issuer.ok) return issuer
      const judged = await judge(token, issuer.value, () => issuer.value.audiences[resource])
      return judged.ok ? ok(judged.value.principal) : judged
    },
    async examine(token) {
      const issuer = findIssuer(token, byName)
      if (!issuer.ok) return issuer
      if (issuer.value.kind !== 'own') return refuse('unknown_issuer')
      return judge(token, issuer.value, ({ aud }) => [aud].flat()[0])
    },
  }
}

const tokenBytesMax = 16_384

/** Reads `iss` from a token that nothing is known of yet, only to choose whose rules apply. */
function findIssuer(
  token: string,
  byName: ReadonlyMap<string, IssuerSource>,
): Result<IssuerSource, VerifyReason> {
  if (token.length > tokenBytesMax || !/^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)) return refuse('malformed')
  try {
    const { iss } = decodeJwt(token)
    if (iss === undefined) return refuse('missing_claim', 'iss')
    const issuer = byName.get(iss)
    return issuer === undefined ? refuse('unknown_issuer') : ok(issuer)
  } catch (error) {
    if (error instanceof JOSEError) return refuse('malformed')
    throw error
  }
}

const types = new Set(['at+jwt', 'application/at+jwt'])

async function signedPayload(token: string, issuer: IssuerSource): Promise<Result<object, VerifyReason>> {
  const header = readHeader(token)
  if (header === undefined) return refuse('malformed')
  if (header.alg === undefined || !issuer.algorithms.includes(header.alg)) return refuse('wrong_algorithm')
  if (typeof header.typ !== 'string' || !types.has(header.typ.toLowerCase())) return refuse('wrong_type')
  const key = await issuer.keys(header)
  if (!key.ok) return key
  try {
    const { payload } = await jwtVerify(token, key.value, {
      algorithms: [...issuer.algorithms],
      issuer: issuer.issuer,
      // Time and audience are judged in isSound, with reasons of their own.
      currentDate: new Date(0),
      clockTolerance: Number.MAX_SAFE_INTEGER,
    })
    return ok(payload)
  } catch (error) {
    if (error instanceof JWSSignatureVerificationFailed) return refuse('bad_signature')
    if (error instanceof JOSEError) return refuse('malformed')
    throw error
  }
}

function readHeader(token: string): ProtectedHeaderParameters | undefined {
  try {
    return decodeProtectedHeader(token)
  } catch {
    // jose throws a TypeError for whatever is no header.
    return undefined
  }
}

const leewaySeconds = 5
const ownSecondsMax = 300

interface Circumstances {
  /** Seconds since the epoch. */
  readonly now: number
  readonly demo: boolean
}

function isSound(
  claims: Claims,
  issuer: IssuerSource,
  { now, demo }: Circumstances,
): Result<true, VerifyReason> {
  const { exp, iat, nbf } = claims
  if (exp <= now) return refuse('expired')
  if (iat > now + leewaySeconds || (nbf ?? 0) > now + leewaySeconds) return refuse('not_yet_valid')
  // Bound to a key of its holder, whose proof is not asked for yet: it must not pass for a bearer token.
  if (claims.cnf !== undefined) return refuse('proof_missing')
  if (exp <= iat) return refuse('bad_claim', 'exp')
  if (issuer.kind === 'own' && exp - iat > ownSecondsMax) return refuse('too_long_lived')
  if (claims.demo !== undefined && !(demo && issuer.kind === 'own' && claims.demo === true))
    return refuse('demo_token_refused')
  if (demo && issuer.kind === 'own' && claims.demo !== true) return refuse('demo_token_required')
  return ok(true)
}
