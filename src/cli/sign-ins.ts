import type { CryptoKey } from 'jose'
import * as client from 'openid-client'
import { scopesOfKind } from '../delegation/registry/claims.ts'
import { cliClient } from '../delegation/registry/clients.ts'
import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import type { SignIn, SignInStore } from './sign-in-store.ts'

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

/** As which program a person signs in, and for what. */
export interface SignInProgram {
  readonly clientId: string
  /** The audience of its tokens at the service of this address. */
  readonly audience: (url: string) => string
  /** What it asks for where nothing else is said. */
  readonly scope: string
  /** What to say to whoever has no sign-in. */
  readonly hint: string
  /** What to say where the service does not know it. */
  readonly unregistered?: string
  /** Binds its tokens to this key (DPoP, RFC 9449); left out: bearer tokens. */
  readonly proofKey?: { readonly privateKey: CryptoKey; readonly publicKey: CryptoKey }
}

/** A person's sign-ins with one program, by the address of the service. */
export interface SignIns {
  /**
   * Device flow (RFC 8628): shows, waits, keeps. Throws where the person refuses, the code is over, or it is
   * given up by the signal.
   */
  login(
    url: string,
    scope: string | undefined,
    show: (prompt: Prompt) => void,
    signal?: AbortSignal,
  ): Promise<Identity>
  /**
   * An access token that counts for half a minute at least, and is not the one that was `refused`; undefined
   * where nobody is signed in. Throws `SignInOver` where the service has ended the sign-in, which is then
   * forgotten.
   */
  token(url: string, refused?: string): Promise<string | undefined>
  /** Undefined where nobody is signed in. */
  whoami(url: string): Promise<Identity | undefined>
  /** Ends the sign-in at the service and forgets it here; false where there was none. */
  logout(url: string): Promise<boolean>
}

/** What {@link createSignIns} works with. */
export interface SignInsDeps {
  readonly store: SignInStore
  readonly fetch: Fetch
  readonly now: () => number
  /** Default: the command line, as the person themself. */
  readonly program?: SignInProgram
}

/** The service takes this sign-in no more: only a new one helps. */
export class SignInOver extends Error {}

const leastMs = 30_000

export const signInHint = 'Sign in: npm run remit -- login'

const commandLine: SignInProgram = {
  clientId: cliClient,
  audience: (url) => url,
  // Whatever a person may hold. Of administrators' scopes the service gives those whose role they have.
  scope: scopesOfKind.person.join(' '),
  hint: signInHint,
}

/**
 * Signs a person in at the service's authorization server with a program that has no secret, and keeps the
 * tokens fresh. It opens no browser, and hands tokens to nobody but the service that gave them.
 */
export function createSignIns({ store, fetch, now, program = commandLine }: SignInsDeps): SignIns {
  const { clientId, hint } = program
  const signInOver = (url: string, cause?: unknown) =>
    new SignInOver(`Your sign-in at ${url} is over. ${hint}`, { cause })

  const server = (url: string): Promise<client.Configuration> =>
    discoverServer(url, clientId, client.None(), fetch)

  const proving = (config: client.Configuration): client.DPoPOptions =>
    program.proofKey === undefined ? {} : { DPoP: client.getDPoPHandle(config, program.proofKey) }

  /** What OAuth says, for a person. */
  const explained = (error: unknown, otherwise: string): Error => {
    const code = errorCode(error)
    const message = code === 'invalid_client' ? program.unregistered : refusals.get(code)
    return new Error(message ?? (code === undefined ? otherwise : `${otherwise} (${code})`), { cause: error })
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

  const counts = (signIn: SignIn, refusedToken: string | undefined): boolean =>
    signIn.expires_at - now() > leastMs && signIn.access_token !== refusedToken

  async function refreshed(url: string, refusedToken: string | undefined): Promise<string | undefined> {
    // Another process may have done it while this one waited.
    const signIn = await store.read(url)
    if (signIn === undefined) return undefined
    if (counts(signIn, refusedToken)) return signIn.access_token
    const config = await server(url)
    try {
      return await keep(
        url,
        await client.refreshTokenGrant(config, signIn.refresh_token, undefined, proving(config)),
      )
    } catch (error) {
      if (!isOver(error))
        throw errorCode(error) === undefined ? error : explained(error, 'The sign-in was refused.')
      await store.remove(url)
      throw signInOver(url, error)
    }
  }

  async function identity(url: string, token: string): Promise<Identity> {
    const {
      active: isActive,
      sub,
      scope,
      auth_time,
    } = await client.tokenIntrospection(await server(url), token)
    if (!isActive || sub === undefined) throw signInOver(url)
    return {
      subject: sub,
      scope: scope ?? '',
      signedInAt: typeof auth_time === 'number' ? auth_time : undefined,
    }
  }

  const token: SignIns['token'] = async (url, refusedToken) => {
    const signIn = await store.read(url)
    if (signIn === undefined || counts(signIn, refusedToken)) return signIn?.access_token
    return store.alone(() => refreshed(url, refusedToken))
  }

  return {
    token,
    async login(url, scope, show, signal) {
      const config = await server(url)
      const started = await client
        .initiateDeviceAuthorization(config, {
          resource: program.audience(url),
          scope: scope ?? program.scope,
        })
        .catch((error: unknown) => {
          throw errorCode(error) === undefined ? error : explained(error, 'The service refused.')
        })
      show({ url: started.verification_uri, code: started.user_code, seconds: started.expires_in })
      const tokens = await client
        .pollDeviceAuthorizationGrant(config, started, undefined, {
          ...proving(config),
          ...(signal && { signal }),
        })
        .catch((error: unknown) => {
          signal?.throwIfAborted()
          throw explained(error, 'The sign-in failed.')
        })
      await store.alone(async () => {
        // One that cannot be read is replaced: this is how it is mended.
        const oldSignIn = await store.read(url).catch(() => undefined)
        await keep(url, tokens)
        // It would live on unseen.
        if (oldSignIn !== undefined) await client.tokenRevocation(config, oldSignIn.refresh_token)
      })
      return identity(url, tokens.access_token)
    },
    async whoami(url) {
      const accessToken = await token(url)
      return accessToken === undefined ? undefined : identity(url, accessToken)
    },
    logout: (url) =>
      store.alone(async () => {
        const signIn = await store.read(url)
        if (signIn === undefined) return false
        // Forgotten first: what cannot be told to the service ends by itself.
        await store.remove(url)
        await client.tokenRevocation(await server(url), signIn.refresh_token)
        return true
      }),
  }
}

/** Throws for an address to which no token may go: plain http, but on this machine. */
export function requireHttps(url: string): void {
  const { protocol, hostname } = new URL(url)
  if (protocol === 'http:' && !/^(localhost|127\.0\.0\.1|\[::1\])$/.test(hostname))
    throw new Error(`${url} is plain http: tokens would travel in the clear. Use https.`)
}

/** The authorization server of a service, as this client. Throws for plain http, but on this machine. */
export async function discoverServer(
  url: string,
  clientId: string,
  authentication: client.ClientAuth,
  fetch: Fetch,
): Promise<client.Configuration> {
  requireHttps(url)
  return client.discovery(new URL(`${url}/oauth`), clientId, undefined, authentication, {
    algorithm: 'oauth2',
    execute: url.startsWith('https:') ? [] : [client.allowInsecureRequests],
    [client.customFetch]: (address, init) => fetch(address, { ...init, body: init.body ?? null }),
  })
}

const refusals: ReadonlyMap<string | undefined, string> = new Map([
  ['access_denied', 'The sign-in was refused.'],
  [
    'expired_token',
    'The code is over: nobody confirmed it in time, or it was typed a second time. Try again.',
  ],
])

const errorCode = (error: unknown): string | undefined =>
  error instanceof client.ResponseBodyError ? error.error : undefined

/** The refresh token was used, revoked, or is too old: only a new sign-in helps. */
const isOver = (error: unknown): boolean => errorCode(error) === 'invalid_grant'
