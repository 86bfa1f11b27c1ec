import { type CryptoKey, decodeProtectedHeader, jwtVerify, type ProtectedHeaderParameters } from 'jose'
import { type Detail, detailsOf } from '../shared/detail.ts'
import { isObject, isWord } from '../shared/json.ts'
import type { KeySource } from './keys.ts'
import type { Outcome, RefusalCode } from './refusal.ts'

/** What an access token has to satisfy at one API. */
export interface TokenRules {
  readonly issuer: string
  readonly resource: string
  readonly detailsTypes: ReadonlySet<string>
  /** Seconds that a token may be good for at most. */
  readonly lifetimeMax: number
  readonly keys: KeySource
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly refuse: (error: RefusalCode, description: string) => Outcome<never>
}

/** One agent of the chain, as the token names it. */
export interface Actor {
  readonly issuer: string
  readonly subject: string
}

/** Who a request is for, who makes it, and what exactly it may do. */
export interface Access {
  /** The person, at the issuer. */
  readonly subject: string
  /** Agents that act, outermost (the one that speaks now) first; at least one. */
  readonly actors: readonly [Actor, ...Actor[]]
  /** OAuth client id of the program that holds the token. */
  readonly client: string
  /** Opaque id of what was lent to the agent. */
  readonly delegation: string
  /**
   * Opaque id of the one consent that all this comes of, however often the person lends; undefined where none
   * is known.
   */
  readonly grant: string | undefined
  /** Thread through every record of this action, at the issuer and here. */
  readonly txn: string | undefined
  readonly scopes: readonly string[]
  /** Empty: the scopes alone say what may be done. */
  readonly details: readonly Detail[]
  /**
   * How the person had proven who they are (RFC 8176): `mfa` where they were verified by more than a
   * password. Empty where the issuer says nothing.
   */
  readonly amr: readonly string[]
  /** When they signed in for this, in seconds since the epoch; undefined where the issuer says nothing. */
  readonly authTime: number | undefined
  readonly tokenId: string
  /** Seconds since the epoch. */
  readonly expiresAt: number
  /** Thumbprint of the key that the token is bound to; its proof was checked. */
  readonly boundTo: string | undefined
}

const chainMax = 4

const bytesMax = 16_384
const leewaySeconds = 5
const types = new Set(['at+jwt', 'application/at+jwt'])

/**
 * Who an access token (RFC 9068) stands for, or why it does not count here. NOT checked: the proof of a bound
 * token, scopes, whether it was revoked.
 */
export async function readToken(token: string, rules: TokenRules): Promise<Outcome<Access>> {
  const { refuse, keys, issuer, now } = rules
  const bad = refuse('invalid_token', 'the token does not count here')
  const header = headerOf(token)
  // The issuer's one algorithm; keys by `kid` from the issuer alone, never from the token.
  if (header === undefined || header.alg !== 'ES256' || header.crit !== undefined) return bad
  // An ID token, or any other kind, is no access token.
  if (!types.has(String(header.typ).toLowerCase()) || !isWord(header.kid)) return bad
  const key = await keys(header.kid)
  if (key === 'unavailable') return refuse('temporarily_unavailable', 'the issuer’s keys cannot be had')
  if (key === 'unknown') return bad
  const claims = await verified(token, key, issuer, now())
  return claims === undefined ? bad : accessOf(claims, rules)
}

function headerOf(token: string): ProtectedHeaderParameters | undefined {
  if (token.length > bytesMax || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return undefined
  try {
    return decodeProtectedHeader(token)
  } catch {
    // jose throws for whatever is no header.
    return undefined
  }
}

type Claims = Readonly<Record<string, unknown>>

async function verified(
  token: string,
  key: CryptoKey,
  issuer: string,
  now: number,
): Promise<Claims | undefined> {
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: ['ES256'],
      issuer,
      requiredClaims: ['exp', 'iat', 'aud', 'sub', 'jti'],
      currentDate: new Date(now),
    })
    return payload
  } catch {
    return undefined
  }
}

function accessOf(claims: Claims, rules: TokenRules): Outcome<Access> {
  const { refuse, resource, detailsTypes } = rules
  const bad = refuse('invalid_token', 'the token does not count here')
  const { sub, jti, client_id, delegation, grant_id, scope, txn, amr, auth_time: authTime } = claims
  // One audience, by exact string: a token that is good elsewhere too could come from there.
  const audiences = [claims['aud']].flat()
  if (audiences.length !== 1 || audiences[0] !== resource || !isTimely(claims, rules)) return bad
  if (!isWord(sub) || !isWord(jti) || !isWord(client_id)) return bad
  if (grant_id !== undefined && !isWord(grant_id)) return bad
  const details = detailsOf(claims['authorization_details'])
  // What is not understood may be a limit.
  if (details === undefined || details.some(({ type }) => !detailsTypes.has(type))) return bad
  const boundTo = boundToOf(claims)
  if (boundTo === null) return bad
  const actors = actorsOf(claims['act'])
  // A person alone, a service, a stripped token: nobody is inferred from the client.
  if (actors === undefined || (claims['sub_profile'] ?? 'user') !== 'user' || sub === client_id)
    return refuse('actor_unauthorized', 'the token does not say which agent acts for which person')
  if (!isWord(delegation)) return refuse('actor_unauthorized', 'the token does not say what it rests on')
  return {
    ok: true,
    value: {
      subject: sub,
      actors,
      client: client_id,
      delegation,
      grant: grant_id,
      txn: isWord(txn) ? txn : undefined,
      scopes: typeof scope === 'string' ? scope.split(' ').filter((name) => name !== '') : [],
      details,
      amr: Array.isArray(amr) ? amr.filter(isWord) : [],
      authTime: typeof authTime === 'number' ? authTime : undefined,
      tokenId: jti,
      expiresAt: Number(claims['exp']),
      boundTo,
    },
  }
}

function isTimely({ exp, iat, nbf }: Claims, { now, lifetimeMax }: TokenRules): boolean {
  const seconds = now() / 1_000
  if (typeof exp !== 'number' || typeof iat !== 'number') return false
  if (typeof nbf === 'number' && nbf > seconds + leewaySeconds) return false
  return exp > seconds && iat <= seconds + leewaySeconds && exp > iat && exp - iat <= lifetimeMax
}

/**
 * Undefined: not bound. null: bound in a way that cannot be checked here, so that it must not pass for
 * unbound.
 */
function boundToOf({ cnf }: Claims): string | undefined | null {
  if (cnf === undefined) return undefined
  return isObject(cnf) && Object.keys(cnf).length === 1 && isWord(cnf['jkt']) ? cnf['jkt'] : null
}

/** `act`, outermost first (RFC 8693 §4.1). Undefined: nobody acts, or a link does not say who it is. */
function actorsOf(act: unknown): Access['actors'] | undefined {
  const chain: Actor[] = []
  let link = act
  while (link !== undefined) {
    if (!isObject(link) || !isWord(link['iss']) || !isWord(link['sub']) || chain.length === chainMax)
      return undefined
    chain.push({ issuer: link['iss'], subject: link['sub'] })
    link = link['act']
  }
  const [outermost, ...inner] = chain
  return outermost === undefined ? undefined : [outermost, ...inner]
}
