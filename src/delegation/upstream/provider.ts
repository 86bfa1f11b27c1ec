import { decodeProtectedHeader } from 'jose'
import type * as client from 'openid-client'
import { z } from 'zod'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Runtime } from '../../store/runtime.ts'
import {
  type CodeAnswer,
  type CodeChecks,
  type CodeRefusal,
  createCodeClient,
} from '../oauth-client/code-client.ts'
import { cachedLoad, discover } from '../oauth-client/configuration.ts'
import { shownName } from '../registry/record-names.ts'
import { accountKey } from '../registry/subject.ts'
import { type Fetch, limitedText } from '../tokens/fetch-json.ts'
import { type PresetName, presets } from '../tokens/presets.ts'
import { isSafe } from '../tokens/remote-keys.ts'

/** Who somebody is at another provider, as its signed ID token says. */
export const upstreamIdentity = z.object({
  issuer: z.string(),
  sub: z.string(),
  /** `namespace/key`. */
  key: z.string(),
  /** What to call them. Not unique, not checked by anybody: never a key. */
  name: z.string(),
  /** Seconds since the epoch at which they signed in there. */
  signedInAt: z.number(),
  /** How, where the provider says so (RFC 8176). */
  amr: z.array(z.string()),
})
/** Who somebody is at another provider, as its signed ID token says. */
export type UpstreamIdentity = z.output<typeof upstreamIdentity>

/** Remit as a client of one trusted provider (OpenID Connect). */
export interface UpstreamProvider {
  readonly issuer: string
  readonly namespace: string
  /** What people know it by. */
  readonly host: string
  /** Where the browser goes to sign in. */
  begin(): Promise<Result<CodeChecks & { readonly url: string }, 'provider_unavailable'>>
  /**
   * Redeems the code that the browser came back with (`search`: the query of the callback) and reads the ID
   * token. Checked: state, RFC 9207 `iss`, PKCE, the token's signature, issuer, audience, nonce, expiry, and
   * that the person signed in there within the last 5 minutes. NOT checked: that this browser began it; the
   * caller knows.
   */
  redeem(search: string, checks: CodeChecks): Promise<Result<UpstreamIdentity, CodeRefusal>>
}

export interface UpstreamProviderSettings {
  readonly issuer: string
  readonly namespace: string
  readonly preset: PresetName
  readonly algorithms: readonly string[]
  readonly clientId: string
  readonly clientSecret: string
}

export interface UpstreamProviderDeps extends Pick<Runtime, 'publicUrl' | 'clock'> {
  readonly fetch: Fetch
}

// How long ago they may have signed in there. An older session would make ours look recent, which lets lend
// and link.
const signInSecondsMax = 300

/** Sign-in through one trusted issuer by code and PKCE, on openid-client. */
export function createUpstreamProvider(
  settings: UpstreamProviderSettings,
  { publicUrl, fetch, clock }: UpstreamProviderDeps,
): UpstreamProvider {
  const { issuer, namespace } = settings
  const codes = createCodeClient({
    redirectUri: `${publicUrl}${callbackPath(namespace)}`,
    configuration: cachedLoad(() => discover(settings, guarded(fetch, issuer)), clock),
    isOpenid: true,
    maxAge: signInSecondsMax,
  })

  async function identityIn(answer: CodeAnswer): Promise<Result<UpstreamIdentity, CodeRefusal>> {
    const { alg = '' } = decodeProtectedHeader(answer.id_token ?? '')
    if (!settings.algorithms.includes(alg))
      return refuse('not_verified', 'the ID token is signed by another algorithm')
    const claims = idToken.safeParse(answer.claims())
    // Who it is is read as the issuer's access tokens are, so that one person is one by both.
    const sub = claims.success ? presets[settings.preset].sub(claims.data, issuer) : undefined
    const key = typeof sub === 'string' ? accountKey(namespace, sub, undefined) : undefined
    if (!claims.success || typeof sub !== 'string' || key === undefined || claims.data.iss !== issuer)
      return refuse('not_verified', 'the ID token lacks a claim or has one of another form')
    const { auth_time: signedInAt, amr } = claims.data
    return ok({ issuer, sub, key, name: nameIn(claims.data), signedInAt, amr })
  }

  return {
    issuer,
    namespace,
    host: new URL(issuer).host,
    begin: () => codes.begin({ scope: 'openid profile' }),
    redeem: (search, checks) => codes.redeem(search, checks, identityIn),
  }
}

/** Where an issuer sends the browser back to: register `PUBLIC_URL` + this as redirect URI there. */
export const callbackPath = (namespace: string): string => `/sign-in/upstream/${namespace}/callback`

/**
 * Asks the issuer’s own host, or a public name over https, only; follows no redirect and reads no more than
 * 256 KiB.
 */
const guarded =
  (fetch: Fetch, issuer: string): client.CustomFetch =>
  async (url, { body, signal, ...init }) => {
    if (!isSafe(url, issuer))
      throw new Error('An endpoint is neither of the issuer’s own host nor of a public name over https.')
    const response = await fetch(url, {
      ...init,
      body: body ?? null,
      ...(signal !== undefined && { signal }),
    })
    return new Response(await limitedText(response), { status: response.status, headers: response.headers })
  }

const idToken = z.looseObject({
  iss: z.string(),
  sub: z.string().min(1).max(255),
  auth_time: z.number().int().positive(),
  name: z.string().optional(),
  preferred_username: z.string().optional(),
  // Another form of it is no reason to keep somebody out, and nothing to pass on.
  amr: z
    .array(z.string().regex(/^[A-Za-z0-9:._-]{1,40}$/))
    .max(10)
    .catch([]),
})

const nameIn = ({ name, preferred_username: preferredUsername, sub }: z.output<typeof idToken>): string =>
  shownName([name, preferredUsername], sub)
