import * as client from 'openid-client'
import { scopesOfKind } from '../delegation/claims.ts'
import { cliClient } from '../delegation/clients.ts'
import type { Fetch } from '../delegation/fetch-json.ts'
import type { SignInStore } from './sign-in-store.ts'

/** What a person has to be shown so that they can sign in elsewhere (RFC 8628 §3.3). */
export interface Prompt {
  readonly url: string
  readonly code: string
  readonly seconds: number
}

/** Who is signed in, as the service says now. */
export interface Identity {
  readonly subject: string
  readonly scope: string
  /** Seconds since the epoch. */
  readonly signedInAt: number | undefined
}

/** The person's own sign-ins, by the address of the service. */
export interface SignIns {
  /** Device flow (RFC 8628): shows, waits, keeps. Throws where the person refuses, or the code is over. */
  login(url: string, scope: string | undefined, show: (prompt: Prompt) => void): Promise<Identity>
  /** An access token that counts for half a minute at least; undefined where nobody is signed in. */
  token(url: string): Promise<string | undefined>
  /** Undefined where nobody is signed in. */
  whoami(url: string): Promise<Identity | undefined>
  /** Ends the sign-in at the service and forgets it here; false where there was none. */
  logout(url: string): Promise<boolean>
}

export interface SignInsDeps {
  readonly store: SignInStore
  readonly fetch: Fetch
  readonly now: () => number
}

const leastMs = 30_000

/** Whatever a person may hold. Of administrators' scopes the service gives those whose role they have. */
const everything = scopesOfKind.person.join(' ')

export const signInHint = 'Sign in: npm run remit -- login'

/**
 * Signs a person in at the service's authorization server as its built-in client, and keeps the tokens fresh. It opens
 * no browser, and hands tokens to nobody but the service that gave them.
 */
export function createSignIns({ store, fetch, now }: SignInsDeps): SignIns {
  async function server(url: string): Promise<client.Configuration> {
    const isPlain = new URL(url).protocol === 'http:'
    if (isPlain && !isLoopback(url))
      throw new Error(`${url} is plain http: tokens would travel in the clear. Use https.`)
    return client.discovery(new URL(`${url}/oauth`), cliClient, undefined, client.None(), {
      algorithm: 'oauth2',
      execute: isPlain ? [client.allowInsecureRequests] : [],
      [client.customFetch]: (to, init) => fetch(to, { ...init, body: init.body ?? null }),
    })
  }

  async function keep(url: string, tokens: client.TokenEndpointResponse): Promise<string> {
    const { access_token: accessToken, refresh_token: refreshToken, expires_in: seconds = 0 } = tokens
    if (refreshToken === undefined) throw new Error('The service gave no refresh token.')
    await store.save({
      url,
      access_token: accessToken,
      expires_at: now() + seconds * 1_000,
      refresh_token: refreshToken,
    })
    return accessToken
  }

  async function refreshed(url: string): Promise<string | undefined> {
    // Another process may have done it while this one waited.
    const kept = await store.read(url)
    if (kept === undefined) return undefined
    if (kept.expires_at - now() > leastMs) return kept.access_token
    try {
      return await keep(url, await client.refreshTokenGrant(await server(url), kept.refresh_token))
    } catch (error) {
      if (!isOver(error)) throw error
      await store.remove(url)
      throw new Error(`Your sign-in at ${url} is over. ${signInHint}`, { cause: error })
    }
  }

  async function identity(url: string, token: string): Promise<Identity> {
    const { active, sub, scope, auth_time } = await client.tokenIntrospection(await server(url), token)
    if (!active || sub === undefined) throw new Error(`Your sign-in at ${url} is over. ${signInHint}`)
    return {
      subject: sub,
      scope: scope ?? '',
      signedInAt: typeof auth_time === 'number' ? auth_time : undefined,
    }
  }

  const token: SignIns['token'] = async (url) => {
    const kept = await store.read(url)
    if (kept === undefined || kept.expires_at - now() > leastMs) return kept?.access_token
    return store.alone(() => refreshed(url))
  }

  return {
    token,
    async login(url, scope, show) {
      const config = await server(url)
      const started = await client.initiateDeviceAuthorization(config, {
        resource: url,
        scope: scope ?? everything,
      })
      show({ url: started.verification_uri, code: started.user_code, seconds: started.expires_in })
      const tokens = await client.pollDeviceAuthorizationGrant(config, started).catch((error: unknown) => {
        throw new Error(refusals.get(errorCode(error)) ?? 'The sign-in failed.', { cause: error })
      })
      await store.alone(async () => {
        // One that cannot be read is replaced: this is how it is mended.
        const before = await store.read(url).catch(() => undefined)
        await keep(url, tokens)
        // It would live on unseen.
        if (before !== undefined) await client.tokenRevocation(config, before.refresh_token)
      })
      return identity(url, tokens.access_token)
    },
    async whoami(url) {
      const held = await token(url)
      return held === undefined ? undefined : identity(url, held)
    },
    logout: (url) =>
      store.alone(async () => {
        const kept = await store.read(url)
        if (kept === undefined) return false
        // Forgotten first: what cannot be told to the service ends by itself.
        await store.remove(url)
        await client.tokenRevocation(await server(url), kept.refresh_token)
        return true
      }),
  }
}

const refusals: ReadonlyMap<string | undefined, string> = new Map([
  ['access_denied', 'The sign-in was refused.'],
  ['expired_token', 'The code is over: nobody confirmed it in time. Try again.'],
])

const errorCode = (error: unknown): string | undefined =>
  error instanceof client.ResponseBodyError ? error.error : undefined

/** The refresh token was used, revoked, or is too old: only a new sign-in helps. */
const isOver = (error: unknown): boolean => errorCode(error) === 'invalid_grant'

const isLoopback = (url: string): boolean => /^(localhost|127\.0\.0\.1|\[::1\])$/.test(new URL(url).hostname)
