import type { Prover } from '@remit/client'

/** Authorization code with PKCE (RFC 7636) at the built-in server, as the public client `remit-console`. */
export const clientId = 'remit-console'
const scopes = ['openid', 'security.read', 'security.write', 'agents.write']

/** What has to be known when the code comes back. It opens nothing by itself. */
export interface PendingSignIn {
  readonly state: string
  readonly verifier: string
  /** Where the person was going. */
  readonly path: string
}

/** Why the authorization server gave no code. */
export type Refusal = 'login_required' | 'access_denied' | 'failed'

/** What the token endpoint gave. `expiresIn` is in seconds. */
export interface Tokens {
  readonly accessToken: string
  readonly expiresIn: number
  readonly scopes: readonly string[]
  /** `sub` of the ID token. */
  readonly subject: string
  /** Milliseconds since the epoch: when they proved last who they are. */
  readonly signedInAt: number
}

/**
 * Seconds that a sign-in counts for administrators' routes, and the authorization server's session with it.
 */
export const signInSeconds = 900

const redirectUri = (origin: string): string => `${origin}/console/callback`

/** The address to go to, and what to keep until the browser comes back. */
export async function startCodeFlow(
  origin: string,
  { path, prompt }: { readonly path: string; readonly prompt?: 'none' | 'login' },
): Promise<{ readonly url: string; readonly pending: PendingSignIn }> {
  const pending = { state: random(), verifier: random(), path }
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(pending.verifier))
  const query = new URLSearchParams({
    client_id: clientId,
    response_type: 'code',
    redirect_uri: redirectUri(origin),
    scope: scopes.join(' '),
    resource: origin,
    state: pending.state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: 'S256',
    // With it the ID token says when that was (OpenID Connect Core §2, auth_time).
    max_age: String(signInSeconds),
    ...(prompt !== undefined && { prompt }),
  })
  return { url: `${origin}/oauth/auth?${query}`, pending }
}

/** The code of an answer, if it is the answer to what was begun (state; RFC 9207 for who says so). */
export function codeOf(
  answer: URL,
  pending: PendingSignIn | undefined,
  origin: string,
): string | { readonly refused: Refusal } {
  const { searchParams } = answer
  if (answer.origin !== origin || answer.pathname !== '/console/callback')
    return { refused: 'login_required' }
  if (pending === undefined || searchParams.get('state') !== pending.state) return { refused: 'failed' }
  if (searchParams.get('iss') !== `${origin}/oauth`) return { refused: 'failed' }
  const error = searchParams.get('error')
  if (error === 'access_denied') return { refused: error }
  if (error !== null) return { refused: /_required$/.test(error) ? 'login_required' : 'failed' }
  return searchParams.get('code') ?? { refused: 'failed' }
}

/** Redeems it for a token that is bound to the prover's key (RFC 9449). Undefined: the server gives none. */
export async function redeem(
  origin: string,
  { code, verifier }: { readonly code: string; readonly verifier: string },
  prover: Prover,
): Promise<Tokens | undefined> {
  const url = `${origin}/oauth/token`
  const body = new URLSearchParams({
    client_id: clientId,
    grant_type: 'authorization_code',
    code,
    code_verifier: verifier,
    redirect_uri: redirectUri(origin),
  })
  for (let attempt = 1; ; attempt += 1) {
    const dpop = await prover.prove({ method: 'POST', url })
    const response = await fetch(url, { method: 'POST', body, headers: { dpop } })
    const isNonceNew = prover.learn(url, response, dpop)
    const answer: unknown = await response.json().catch(() => undefined)
    if (response.ok) return tokensOf(answer)
    if (attempt > 1 || !isNonceNew) return undefined
  }
}

function tokensOf(answer: unknown): Tokens | undefined {
  const { access_token, id_token, expires_in, scope, token_type } = Object(answer)
  if (typeof access_token !== 'string' || typeof id_token !== 'string' || token_type !== 'DPoP')
    return undefined
  const person = personOf(id_token)
  if (person === undefined) return undefined
  return {
    accessToken: access_token,
    expiresIn: Number(expires_in),
    scopes: String(scope ?? '').split(' '),
    ...person,
  }
}

/** Gives it back (RFC 7009): the service ends the sign-in with it. False: nobody took it. */
export async function revoke(origin: string, accessToken: string): Promise<boolean> {
  const body = new URLSearchParams({ client_id: clientId, token: accessToken })
  const url = `${origin}/oauth/token/revocation`
  const response = await fetch(url, { method: 'POST', body, credentials: 'omit' }).catch(() => undefined)
  return response?.ok ?? false
}

// It came from the token endpoint itself, so that its signature says nothing more (OpenID Connect Core
// §3.1.3.7).
function personOf(idToken: string): Pick<Tokens, 'subject' | 'signedInAt'> | undefined {
  try {
    const payload = (idToken.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/')
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0))
    const { sub, auth_time: time } = JSON.parse(new TextDecoder().decode(bytes))
    return typeof sub === 'string' && typeof time === 'number'
      ? { subject: sub, signedInAt: time * 1_000 }
      : undefined
  } catch {
    return undefined
  }
}

const random = (): string => base64url(crypto.getRandomValues(new Uint8Array(32)))
const base64url = (bytes: Uint8Array): string =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
