import type { JWK } from 'jose'
import type { Detail } from '../shared/detail.ts'
import { digest } from '../shared/digest.ts'
import { type Fetch, isSafe, urlOf } from '../shared/fetch-json.ts'
import { canonicalJson } from '../shared/json.ts'
import { type Introspection, isActive } from './introspection.ts'
import { fixedKeys, issuerKeys } from './keys.ts'
import { isProven, proofAlgorithms, type ReplayStore } from './proof.ts'
import { createChallenges, type Outcome, type Refusal } from './refusal.ts'
import { type Access, readToken } from './token.ts'
import type { UseStore } from './uses.ts'

/** Settings of `createResourceGuard` for one API at one issuer. */
export interface GuardOptions {
  /** Exact `iss`, `https://remit.example/oauth`. */
  readonly issuer: string
  /** Exact audience: the URL under which this API is registered at the issuer. */
  readonly resource: string
  /** All of them are needed. Default: none. */
  readonly requiredScopes?: readonly string[]
  /** Types of details that this API understands; a token with any other is refused. Default: none. */
  readonly detailsTypes?: readonly string[]
  /** The issuer's keys, where they are known here. Default: by its metadata, kept ten minutes. */
  readonly jwks?: { readonly keys: readonly JWK[] }
  /** Milliseconds since the epoch. Default: the system's clock. */
  readonly clock?: { now(): number }
  /** For the issuer's metadata, keys and introspection. Default: the platform's. */
  readonly fetch?: Fetch
  /** Takes tokens that are bound to a key (DPoP). Left out: they are refused. */
  readonly dpop?: { readonly replays: ReplayStore }
  /** Needed for {@link ResourceGuard.use}. */
  readonly uses?: UseStore
  /** Left out: a token that was revoked counts until it ends. */
  readonly introspection?: Introspection
  /** Seconds that a token may be good for at most. Default 300, the issuer's own bound. */
  readonly lifetimeMax?: number
}

/** What the guard reads of an HTTP request. It does not read the body. */
export interface GuardRequest {
  readonly method: string
  /**
   * Public URL of the request: of the resource's configuration, never put together from a sender's `Host`.
   */
  readonly url: string
  /** Those of a `Request`, or of Node's `IncomingMessage`. */
  readonly headers:
    | { get(name: string): string | null }
    | Readonly<Record<string, string | readonly string[] | undefined>>
}

/** Checks the tokens that requests bring to your API. */
export interface ResourceGuard {
  /**
   * Who asks, for whom, what exactly. Checked: signature (ES256), issuer and single audience by exact string,
   * type `at+jwt`, times, that an agent acts under a delegation, scopes, that every detail is of a known
   * type, the proof of a bound token, and whether it still counts where `introspection` is given. NOT
   * checked: whether the details cover what is asked for (`permits`), how often (`use`), what the person
   * themself may do here, whether an agent is one that you want.
   */
  verify(request: GuardRequest): Promise<Outcome<Access>>
  /** The first of the token's details that covers the action, as you judge it; a refusal where none does. */
  permits<D extends Detail>(access: Access, fits: (detail: Detail) => detail is D): Outcome<D>
  permits(access: Access, fits: (detail: Detail) => boolean): Outcome<Detail>
  /**
   * Takes one use of a detail: once, or as often as its `max_uses` says. Counted by consent and content (by
   * delegation where the token names no consent), so that another token of the same consent is not another
   * use, nor is one after the person lent anew. Call it last, right before the action; a use whose action
   * then fails is spent.
   */
  use(access: Access, detail: Detail): Promise<Outcome<Access>>
  /** What this API tells of itself (RFC 9728). */
  readonly metadata: Readonly<Record<string, unknown>>
  /** Where it has to be found, as challenges say. */
  readonly metadataUrl: string
  /** Answers `GET` of the metadata; undefined for every other request. */
  serveMetadata(request: Pick<GuardRequest, 'method' | 'url'>): Response | undefined
}

// The longest that a consent lasts at the issuer.
const keepUsesMs = 14 * 86_400_000
const usesMax = 1_000_000

/**
 * The check in front of an API that takes tokens of one issuer. Throws where the options leave a check open.
 */
export function createResourceGuard(options: GuardOptions): ResourceGuard {
  const { issuer, resource, requiredScopes = [], detailsTypes = [], dpop, uses, introspection } = options
  const now = () => (options.clock ?? Date).now()
  const fetch: Fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init))
  for (const address of [issuer, resource, ...(introspection ? [introspection.endpoint] : [])])
    if (!isSafe(address)) throw new TypeError(`${address} has to be an https URL, or http on loopback.`)
  if (!requiredScopes.every((scope) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope)))
    throw new TypeError('A required scope is none.')
  const metadataUrl = wellKnown(resource)
  const { refuse } = createChallenges({
    metadataUrl,
    scopes: requiredScopes,
    proofAlgorithms: dpop && proofAlgorithms,
  })
  const rules = {
    issuer,
    resource,
    detailsTypes: new Set(detailsTypes),
    lifetimeMax: options.lifetimeMax ?? 300,
    keys: options.jwks ? fixedKeys(options.jwks) : issuerKeys({ issuer, fetch, now }),
    now,
    refuse,
  }
  const metadata = {
    resource,
    authorization_servers: [issuer],
    bearer_methods_supported: ['header'],
    ...(requiredScopes.length > 0 && { scopes_supported: requiredScopes }),
    ...(detailsTypes.length > 0 && { authorization_details_types_supported: detailsTypes }),
    ...(dpop && { dpop_signing_alg_values_supported: proofAlgorithms }),
  }

  /** Undefined: proven, or not bound at all. */
  async function unproven(
    request: GuardRequest,
    { scheme, token }: Presented,
    { boundTo }: Access,
  ): Promise<{ readonly ok: false; readonly refusal: Refusal } | undefined> {
    if (boundTo === undefined)
      return scheme === 'bearer' ? undefined : refuse('invalid_token', 'the token is bound to no key')
    if (dpop === undefined)
      return refuse('invalid_token', 'tokens that are bound to a key are not taken here')
    if (scheme !== 'dpop') return refuse('invalid_token', 'the token is bound to a key: use the DPoP scheme')
    const proof = headerOf(request, 'dpop')
    if (proof === undefined) return refuse('invalid_dpop_proof', 'exactly one proof is needed')
    const { method, url } = request
    const isProofValid = await isProven(
      { proof, token, method, url, boundTo },
      { replays: dpop.replays, now },
    )
    return isProofValid
      ? undefined
      : refuse('invalid_dpop_proof', 'the proof is not for this request and key, or was used')
  }

  return {
    metadata,
    metadataUrl,
    async verify(request) {
      const credentials = presentedBy(request)
      if (credentials === undefined) return refuse('missing_token', 'an access token is needed')
      const read = await readToken(credentials.token, rules)
      if (!read.ok) return read
      const problem = await unproven(request, credentials, read.value)
      if (problem !== undefined) return problem
      if (!requiredScopes.every((scope) => read.value.scopes.includes(scope)))
        return refuse('insufficient_scope', 'the token lacks a scope')
      if (introspection === undefined) return read
      const tokenState = await isActive(credentials.token, introspection, fetch)
      if (tokenState === 'unavailable') return refuse('temporarily_unavailable', 'the issuer cannot be asked')
      return tokenState ? read : refuse('invalid_token', 'the token does not count here')
    },
    permits<D extends Detail>(access: Access, fits: (detail: Detail) => detail is D): Outcome<D> {
      const detail = access.details.find(fits)
      return detail === undefined
        ? refuse('access_denied', 'nothing that was agreed to covers this')
        : { ok: true, value: detail }
    },
    async use(access, detail) {
      if (uses === undefined) throw new TypeError('The guard was given no store of uses.')
      const max = detail['max_uses'] ?? 1
      if (typeof max !== 'number' || !Number.isInteger(max) || max < 1 || max > usesMax)
        return refuse('access_denied', 'max_uses is no number of uses')
      const key = await digest(canonicalJson([issuer, agreement(access), detail]))
      return (await uses.take(key, max, now() + keepUsesMs))
        ? { ok: true, value: access }
        : refuse('already_used', 'this was used as often as was agreed to')
    },
    serveMetadata({ method, url }) {
      if (method !== 'GET' || urlOf(url)?.href !== metadataUrl) return undefined
      return Response.json(metadata, { headers: { 'cache-control': 'public, max-age=300' } })
    },
  }
}

/** Never one text for a consent and something lent. */
const agreement = ({ grant, delegation }: Access): unknown => (grant === undefined ? delegation : { grant })

interface Presented {
  readonly scheme: 'bearer' | 'dpop'
  readonly token: string
}

/** Undefined: no token, in the one place where it is looked for (RFC 6750 §2.1). */
function presentedBy(request: GuardRequest): Presented | undefined {
  const [, scheme, token] =
    /^(bearer|dpop) +([\w.~+/-]+=*)$/i.exec(headerOf(request, 'authorization') ?? '') ?? []
  if (scheme === undefined || token === undefined) return undefined
  return { scheme: scheme.toLowerCase() === 'dpop' ? 'dpop' : 'bearer', token }
}

/** Undefined: not there, or more than once. */
function headerOf({ headers }: GuardRequest, name: string): string | undefined {
  const value = isHeaders(headers) ? headers.get(name) : headers[name]
  return typeof value === 'string' ? value : undefined
}

const isHeaders = (headers: GuardRequest['headers']): headers is { get(name: string): string | null } =>
  typeof headers['get'] === 'function'

/** RFC 9728 §3.1: the well-known part stands before the resource's path. */
function wellKnown(resource: string): string {
  const url = new URL(resource)
  const path = url.pathname === '/' ? '' : url.pathname
  return `${url.origin}/.well-known/oauth-protected-resource${path}${url.search}`
}
