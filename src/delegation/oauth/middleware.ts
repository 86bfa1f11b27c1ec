import { createHash } from 'node:crypto'
import type { Adapter, AdapterPayload, KoaContextWithOIDC } from 'oidc-provider'
import type { Clock } from '../../kernel/clock.ts'
import { AppError } from '../../kernel/errors.ts'
import { createLru } from '../../kernel/lru.ts'
import type { ConsoleSignOut } from '../people/sign-in-ends.ts'
import { scopesOfKind } from '../registry/claims.ts'
import { type Clients, consoleClient } from '../registry/clients.ts'
import { owns, type Resources } from '../registry/resources.ts'
import type { Revocations } from '../revocation/revocations.ts'
import type { Verifier } from '../tokens/verify.ts'
import { ciba, responseModes } from './client-metadata.ts'

/**
 * Puts the authorization server's metadata (RFC 8414) right: the library announces all that it could do, and
 * leaves out what it does not know, our APIs (RFC 9728 §4) and how a client proves itself at the endpoints
 * beside the token's.
 */
export function createMetadata(publicUrl: string) {
  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    await next()
    if (ctx.oidc?.route !== 'discovery' || ctx.status !== 200) return
    const announced = ctx.body as Readonly<Record<string, unknown>>
    const methods = announced['token_endpoint_auth_methods_supported']
    const algorithms = announced['token_endpoint_auth_signing_alg_values_supported']
    ctx.body = {
      ...announced,
      // Signed requests are for the backchannel, which has a member of its own.
      request_parameter_supported: false,
      request_object_signing_alg_values_supported: undefined,
      scopes_supported: ['openid', 'offline_access', ...new Set(Object.values(scopesOfKind).flat())],
      claims_supported: ['iss', 'sub', 'auth_time'],
      response_modes_supported: responseModes,
      revocation_endpoint_auth_methods_supported: methods,
      revocation_endpoint_auth_signing_alg_values_supported: algorithms,
      introspection_endpoint_auth_methods_supported: methods,
      introspection_endpoint_auth_signing_alg_values_supported: algorithms,
      backchannel_user_code_parameter_supported: false,
      protected_resources: [publicUrl, `${publicUrl}/mcp`],
      service_documentation: `${publicUrl}/docs`,
    }
  }
}

/**
 * Puts `openid` into the scope that a token's answer names, where it was granted: an ID token comes along
 * (OpenID Connect Core §3.1.3.3, RFC 6749 §5.1). The library names what the access token is good for at one
 * API, and nothing else.
 */
export async function answeredScope(ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
  await next()
  if (ctx.oidc?.route !== 'token' || ctx.status !== 200) return
  const { id_token: idToken, scope, ...body } = ctx.body as Readonly<Record<string, unknown>>
  if (idToken === undefined) return
  const scopes = new Set(['openid', ...String(scope ?? '').split(' ')])
  ctx.body = { ...body, id_token: idToken, scope: [...scopes].join(' ').trim() }
}

/** Seconds between two polls, as it is told to whoever begins. */
const intervalSeconds = 5
const stepSeconds = 5
const intervalSecondsMax = 60
// A request that was underway longer than the next one came no sooner than it was sent.
const leewayMs = 500
const heldMax = 10_000

/** Grant type → the parameter that says what is waited for. */
const polled: ReadonlyMap<unknown, string> = new Map([
  ['urn:ietf:params:oauth:grant-type:device_code', 'device_code'],
  [ciba, 'auth_req_id'],
])

interface Poll {
  readonly at: number
  readonly seconds: number
}

/**
 * What RFC 8628 §3.5 and CIBA §11 ask for and the library leaves out: the answer says how often to poll, and
 * whoever polls sooner is told to slow down, from then on by 5 seconds more each time, to a minute at most.
 * The last polls are kept in this process: another one starts counting anew.
 */
export function createPolling(clock: Clock) {
  const polls = createLru<Poll>({ entriesMax: heldMax })

  /** Seconds to wait from now on; undefined: it came in time. */
  function tooSoon(code: string): number | undefined {
    const key = createHash('sha256').update(code).digest('base64url')
    const previousPoll = polls.peek(key)
    const polledAt = clock.now()
    const isSooner =
      previousPoll !== undefined && polledAt - previousPoll.at < previousPoll.seconds * 1_000 - leewayMs
    const seconds = Math.min(
      (previousPoll?.seconds ?? intervalSeconds) + (isSooner ? stepSeconds : 0),
      intervalSecondsMax,
    )
    polls.set(key, { at: polledAt, seconds })
    return isSooner ? seconds : undefined
  }

  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    await next()
    const body = ctx.body as Record<string, unknown> | undefined
    const route = ctx.oidc?.route
    if ((route === 'device_authorization' || route === 'backchannel_authentication') && ctx.status === 200) {
      ctx.body = { ...body, interval: intervalSeconds }
      return
    }
    const { params } = ctx.oidc ?? {}
    const name = polled.get(params?.['grant_type'])
    const code = name === undefined ? undefined : params?.[name]
    if (typeof code !== 'string' || body?.['error'] !== 'authorization_pending') return
    const seconds = tooSoon(code)
    if (seconds === undefined) return
    ctx.set('retry-after', String(seconds))
    ctx.body = { error: 'slow_down', error_description: `Ask again in ${seconds} seconds, and no sooner.` }
  }
}

/**
 * Device codes are typed. A link that brings one along (`verification_uri_complete`, which RFC 8628 §3.2
 * leaves to us) would take whoever it is sent to past the one moment at which they look at the device that is
 * theirs (§5.4): none is given, and a code in an address is not read.
 */
export async function typedCodes(ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
  const { user_code: code, ...otherParameters } = ctx.query
  if (code !== undefined) ctx.query = otherParameters
  try {
    await next()
  } catch (error) {
    if (!cameWithoutForm(error)) throw error
    ctx.status = 303
    ctx.redirect(ctx.oidc.urlFor('code_verification'))
    return
  }
  if (ctx.oidc?.route !== 'device_authorization' || ctx.status !== 200) return
  const { verification_uri_complete: _, ...publicBody } = ctx.body as Readonly<Record<string, unknown>>
  ctx.body = publicBody
}

/**
 * The store of device codes. The library gives a code to the first browser that goes on with it, for good,
 * and says to the device only that nobody has answered yet. Who types it again has lost that page, or is
 * somebody else: it ends for both browsers, and the device hears of it with its next poll (RFC 8628 §3.5).
 * Let in again, two could be asked for one device at once, and it would act as whoever answers first. `now`:
 * milliseconds since the epoch. `once` takes a value one time only, whichever process writes it.
 */
export const typedOnce = (inner: Adapter, once: Adapter, now: () => number): Adapter => ({
  ...inner,
  async findByUserCode(userCode) {
    const code = (await inner.findByUserCode(userCode)) ?? undefined
    const secondsLeft = (code?.exp ?? 0) - Math.floor(now() / 1_000)
    if (code?.jti !== undefined && isUnderWay(code) && secondsLeft > 0)
      await inner.upsert(code.jti, { ...code, ...typedAgain }, secondsLeft)
    return code
  },
  async upsert(id, code, seconds) {
    await inner.upsert(id, code, seconds)
    if (!isUnderWay(code)) return
    // Two browsers may have read it before either goes on. Whoever comes second writes after both did.
    try {
      await once.upsert(`device code ${id}`, {}, seconds)
    } catch (error) {
      await inner.upsert(id, { ...code, ...typedAgain }, seconds)
      throw error
    }
  },
})

const typedAgain = { error: 'expired_token', errorDescription: 'the code was typed a second time' }
const isUnderWay = ({ inFlight, accountId, error }: AdapterPayload): boolean =>
  inFlight === true && accountId === undefined && error === undefined

/**
 * Whoever answers a form that they were never given: the library then means to give another one, in a session
 * that it has not stored, and stumbles over it.
 */
const cameWithoutForm = (error: unknown): boolean =>
  error instanceof TypeError &&
  error.message === 'persist can only be called on previously persisted Sessions'

/**
 * What the library makes a bare 500 of, and Koa a line of text: a failure of ours that passes by itself. It
 * becomes a 503 in OAuth's form (RFC 6749 §4.1.2.1 names the code), so that a client asks again and discards
 * nothing. False: it is none of those, or was sent to the client as a redirect; then nothing was changed.
 */
export function answerUnavailable(ctx: KoaContextWithOIDC, error: unknown, page: ErrorPage): boolean {
  if (!(error instanceof AppError) || error.status !== 503 || isRedirect(ctx)) return false
  const detail = 'Ask again in a few seconds.'
  ctx.status = 503
  ctx.set({ 'retry-after': '5', ...error.headers })
  if (ctx.accepts('json', 'html') === 'html') {
    ctx.type = 'html'
    ctx.body = page({ code: unavailableCode, detail })
  } else ctx.body = { error: unavailableCode, error_description: detail }
  return true
}

/** Makes the HTML of an error. Its texts are ours, never the request's. */
type ErrorPage = (problem: { readonly code: string; readonly detail: string }) => string

const unavailableCode = 'temporarily_unavailable'

const isRedirect = ({ status }: KoaContextWithOIDC): boolean => status >= 300 && status < 400

/** Around the middleware that runs after the library's own handling of errors. */
export function createUnavailable(page: ErrorPage) {
  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    try {
      await next()
    } catch (error) {
      if (!answerUnavailable(ctx, error, page)) throw error
    }
  }
}

export interface JwtEndpointsDeps {
  readonly clients: Clients
  readonly resources: Resources
  readonly verifier: Verifier
  readonly revocations: Revocations
  readonly issuer: string
  /** Whoever gives back the console's token signs out of it. */
  readonly consoleSignOut: ConsoleSignOut
}

/**
 * Lets revocation (RFC 7009) and introspection (RFC 7662) take our access tokens, which are JWTs: the library
 * authenticates the client, then refuses them. Only the client that a token was issued to ends it; only that
 * one and the owner of its API are told about it. Others get the answer of a token that was never there.
 */
export function createJwtEndpoints(deps: JwtEndpointsDeps) {
  const { clients, resources, verifier, revocations, issuer, consoleSignOut } = deps
  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    await next()
    const route = ctx.oidc?.route
    if (route !== 'revocation' && route !== 'introspection') return
    const errorBody = ctx.body as { readonly error?: unknown } | undefined
    const token = ctx.oidc.params?.['token']
    if (errorBody?.error !== 'unsupported_token_type' || typeof token !== 'string') return
    const client = ctx.oidc.client && (await clients.registered(ctx.oidc.client.clientId))
    const examined = await verifier.examine(token)
    ctx.status = 200
    ctx.body = route === 'introspection' ? { active: false } : ''
    if (client === undefined || !examined.ok) return
    const { claims, audience } = examined.value
    const isOwn = claims.client_id === client.clientId
    if (route === 'revocation') {
      if (!isOwn) return
      // RFC 7009 §2.1: what the token was made from ends with it.
      if (client.clientId === consoleClient) await consoleSignOut(claims.sub)
      const expiresAt = new Date(claims.exp * 1_000)
      await revocations.revoke(
        { kind: 'jti', issuer, id: claims.jti },
        { until: expiresAt, reason: 'client' },
      )
      return
    }
    // A public client proves nothing: anybody could ask in its name.
    if (!isOwn && client.jwks === undefined) return
    const entry = isOwn ? undefined : await resources.get(audience)
    if (!isOwn && (entry === undefined || !owns(entry, client))) return
    ctx.body = { active: true, token_type: claims.cnf === undefined ? 'Bearer' : 'DPoP', ...claims }
  }
}
