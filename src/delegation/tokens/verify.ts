import {
  type CryptoKey,
  decodeJwt,
  decodeProtectedHeader,
  type JWTPayload,
  jwtVerify,
  type ProtectedHeaderParameters,
} from 'jose'
import { JOSEError, JWSSignatureVerificationFailed } from 'jose/errors'
import type { Clock } from '../../kernel/clock.ts'
import { AppError } from '../../kernel/errors.ts'
import { createPacedQueue } from '../../kernel/paced-queue.ts'
import type { Principal } from '../../kernel/principal.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import { type Claims, isFor, parseClaims } from '../registry/claims.ts'
import type { PresentedProof } from './dpop.ts'
import type { IssuerSource, Resource } from './issuers.ts'
import { accessTokenTypes, type NormalisedToken, normalise } from './normalise.ts'
import type { VerifyReason } from './reasons.ts'
import type { RegistryLookup } from './registry-lookup.ts'
import { isPlainEs256, verifiesEs256 } from './signature.ts'
import { type Judgement, type TokenUse, toPrincipal } from './to-principal.ts'

/**
 * What comes with a token. `proven`: the same request proved its key before, and waited since. `under_way`:
 * that request is still being read, and may outlive its token. Judged as of the token's last moment, it ends
 * with what was taken back by then, or since.
 */
export type Presented = PresentedProof | 'proven' | 'under_way'

/** Verifies access tokens. Refuses whatever it cannot check. */
export interface Verifier {
  /**
   * Turns an access token into who asks, or refuses it; {@link outer} turns the reason into an error code.
   * `presented`: the proof that came with it under the scheme `DPoP`; left out for `Bearer`. A token that is
   * bound to a key needs the one, a token that is not the other. The proof is checked on every call: it is
   * good once. Throws only when the database cannot be asked (`storage_unavailable`), which is a refusal too.
   */
  verify(token: string, resource: Resource, presented?: Presented): Promise<Result<Principal, VerifyReason>>
  /**
   * Examines a token of our own issuer that may be for any one audience. NOT checked: whether whoever shows
   * it has any business with that audience, nor that they prove the key it is bound to (`cnf`); the caller
   * must.
   */
  examine(token: string): Promise<Result<ExaminedToken, VerifyReason>>
  /**
   * Examines a token that is shown for an exchange: ours, or a trusted issuer's. NOT checked: as for
   * `examine`; that a client of another issuer is not one of ours that has the same name, either.
   */
  examineSubject(token: string): Promise<Result<ExaminedToken, VerifyReason>>
}

/**
 * Says who a token stands for and what that rests on, for whoever would say it again. NOT checked: whether
 * whoever shows it proves the key it is bound to (see `createCachedVerifier`), and whether this process hears
 * what is revoked.
 */
export interface TokenJudge {
  judge(token: string, resource: Resource, presented?: Presented): Promise<Result<JudgedToken, VerifyReason>>
  /** A token of our own issuer for any one audience. */
  examine(token: string): Promise<Result<JudgedToken, VerifyReason>>
  /** A token for an exchange: ours, or a trusted issuer's. */
  examineSubject(token: string): Promise<Result<JudgedToken, VerifyReason>>
}

/** A token that was examined, with who it stands for. */
export interface JudgedToken extends ExaminedToken, Judgement {
  /** What `issuer.keys.edition()` was before the signature was checked. */
  readonly edition: object | undefined
}

/** A token whose signature, audience, time and claims hold. */
export interface ExaminedToken {
  readonly claims: Claims
  /** The token's only one. */
  readonly audience: string
  readonly principal: Principal
  readonly issuer: IssuerSource
  /** Every actor of the token names its issuer in the token itself. */
  readonly actorsNamed: boolean
}

export interface TokenJudgeDeps {
  readonly issuers: readonly IssuerSource[]
  readonly lookUp: RegistryLookup
  readonly clock: Clock
  /**
   * Whether this is the demo: only there are `demo: true` tokens accepted, and of our own issuer no others.
   */
  readonly demo: boolean
  /** A fresh txn for a token without one. */
  readonly newTxn: () => string
}

/**
 * Judges JWT access tokens (RFC 9068): issuer and audience by exact string, algorithms by the issuer's list,
 * `typ` `at+jwt`, or, by its issuer's preset, other proof that it is an access token, so that no ID token
 * passes. Keys come from the issuer's settings only. Opaque tokens are not supported. Of many at once 8 are
 * begun in one turn of the event loop and 32 are under way; 2,000 wait, and whoever comes after them gets
 * `authorization_unavailable`.
 */
export function createTokenJudge({ issuers, lookUp, clock, demo, newTxn }: TokenJudgeDeps): TokenJudge {
  const byName = new Map(issuers.map((issuer) => [issuer.issuer, issuer]))
  if (byName.size < issuers.length) throw new Error('An issuer is named twice.')
  const namespaces = new Map(
    issuers.flatMap((issuer) => (issuer.kind === 'external' ? [[issuer.issuer, issuer.namespace]] : [])),
  )

  // Each is a signature on this thread, and some questions to the database.
  const inTurn = createPacedQueue({ atOnce: 32, perTurn: 8, waitingMax: 2_000, full: tooMany })
  /** Its turn begins with the key in hand: an issuer that does not answer holds up its own tokens alone. */
  async function judge(
    token: string,
    purposeAt: (issuer: IssuerSource) => Purpose | undefined,
  ): Promise<Result<JudgedToken, VerifyReason>> {
    const found = findIssuer(token, byName)
    if (!found.ok) return found
    const issuer = found.value
    const purpose = purposeAt(issuer)
    if (purpose === undefined) return refuse('unknown_issuer')
    const edition = issuer.keys.edition()
    const signed = await signedWith(token, issuer)
    if (!signed.ok) return signed
    return inTurn(() => judgeNow(token, issuer, { ...signed.value, edition }, purpose))
  }

  async function judgeNow(
    token: string,
    issuer: IssuerSource,
    { edition, ...signed }: Signed & Pick<JudgedToken, 'edition'>,
    { use, audience: audienceIn, foreignDetails, underWay = false }: Purpose,
  ): Promise<Result<JudgedToken, VerifyReason>> {
    const payload = await signedPayload(token, issuer, signed)
    if (!payload.ok) return payload
    const parsed = parseClaims(payload.value.payload)
    if (!parsed.ok) return parsed
    const claims = parsed.value
    const audience = audienceIn(claims)
    if (audience === undefined || !isFor(claims.aud, audience)) return refuse('wrong_audience')
    const at = judgedAt(claims.exp, clock.now(), underWay)
    const sound = isSound(claims, issuer, { now: at / 1_000, demo })
    if (!sound.ok) return sound
    const deps = { lookUp, clock: { now: () => at }, namespaces, newTxn, foreignDetails }
    const judgement = await toPrincipal(claims, issuer, use, deps)
    if (!judgement.ok) return judgement
    const { actorsNamed } = payload.value
    return ok({ ...judgement.value, claims, audience, issuer, edition, actorsNamed })
  }

  return {
    judge: (token, resource, presented) =>
      judge(token, ({ audiences }) => ({
        use: 'request',
        audience: () => audiences[resource],
        foreignDetails: false,
        underWay: presented === 'under_way',
      })),
    examine: (token) =>
      judge(token, ({ kind }) =>
        kind === 'own' ? { use: 'request', audience: theOnly, foreignDetails: true } : undefined,
      ),
    // What a person agreed to at another's API is our word alone.
    examineSubject: (token) =>
      judge(token, ({ kind }) => ({ use: 'exchange', audience: theOnly, foreignDetails: kind === 'own' })),
  }
}

/** What a token of one issuer is looked at for. */
interface Purpose {
  readonly use: TokenUse
  /** The audience that it must have, alone. */
  readonly audience: (claims: Claims) => string | undefined
  /** Whether details of other APIs may stand in it. */
  readonly foreignDetails: boolean
  readonly underWay?: boolean
}

/**
 * Milliseconds since the epoch as of which a token is judged, of one that ends in that second since the
 * epoch.
 */
export const judgedAt = (expiresAt: number, now: number, underWay: boolean): number =>
  underWay ? Math.min(now, expiresAt * 1_000 - 1) : now

const tooMany = (): AppError =>
  new AppError('authorization_unavailable', {
    public: 'Too many tokens wait to be verified.',
    headers: { 'retry-after': '1' },
  })

const theOnly = ({ aud }: Claims): string | undefined => [aud].flat()[0]

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

/** What a token says that it is signed with, and the key of its issuer for that. */
interface Signed {
  readonly header: ProtectedHeaderParameters
  readonly typ: string
  readonly key: CryptoKey
}

async function signedWith(token: string, issuer: IssuerSource): Promise<Result<Signed, VerifyReason>> {
  const header = readHeader(token)
  if (header === undefined) return refuse('malformed')
  if (header.alg === undefined || !issuer.algorithms.includes(header.alg)) return refuse('wrong_algorithm')
  const typ = typeOf(header)
  const isKnown = (name: string) =>
    accessTokenTypes.has(name) || (issuer.kind === 'external' && issuer.preset.otherTypes.includes(name))
  if (typ === undefined || !isKnown(typ)) return refuse('wrong_type')
  const key = await issuer.keys(header)
  return key.ok ? ok({ header, typ, key: key.value }) : key
}

/** The payload in our own words, once its signature holds. */
async function signedPayload(
  token: string,
  issuer: IssuerSource,
  { header, typ, key }: Signed,
): Promise<Result<NormalisedToken, VerifyReason>> {
  try {
    const isPlain = isPlainEs256(header, key)
    if (isPlain && !verifiesEs256(token, key)) return refuse('bad_signature')
    const payload = isPlain ? decodeJwt(token) : await payloadByJose(token, key, issuer)
    return issuer.kind === 'own' ? ok({ payload, actorsNamed: true }) : normalise(payload, typ, issuer)
  } catch (error) {
    if (error instanceof JWSSignatureVerificationFailed) return refuse('bad_signature')
    if (error instanceof JOSEError) return refuse('malformed')
    throw error
  }
}

async function payloadByJose(token: string, key: CryptoKey, issuer: IssuerSource): Promise<JWTPayload> {
  const { payload } = await jwtVerify(token, key, {
    algorithms: [...issuer.algorithms],
    issuer: issuer.issuer,
    // Time and audience are judged in isSound, with reasons of their own.
    currentDate: new Date(0),
    clockTolerance: Number.MAX_SAFE_INTEGER,
  })
  return payload
}

/** In lower case, as media types are compared; '' for none. */
const typeOf = ({ typ }: ProtectedHeaderParameters): string | undefined =>
  typ === undefined ? '' : typeof typ === 'string' ? typ.toLowerCase() : undefined

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

/** `now`: seconds since the epoch. */
function isSound(
  claims: Claims,
  issuer: IssuerSource,
  { now, demo }: { readonly now: number; readonly demo: boolean },
): Result<true, VerifyReason> {
  const { exp, iat, nbf } = claims
  if (exp <= now) return refuse('expired')
  if (iat > now + leewaySeconds || (nbf ?? 0) > now + leewaySeconds) return refuse('not_yet_valid')
  if (exp <= iat) return refuse('bad_claim', 'exp')
  if (issuer.kind === 'own' && exp - iat > ownSecondsMax) return refuse('too_long_lived')
  if (claims.demo !== undefined && !(demo && issuer.kind === 'own' && claims.demo === true))
    return refuse('demo_token_refused')
  if (demo && issuer.kind === 'own' && claims.demo !== true) return refuse('demo_token_required')
  return ok(true)
}
