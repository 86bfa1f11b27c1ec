import { type CryptoKey, SignJWT } from 'jose'
import { errorFromResponse } from '../errors/from-response.ts'
import { Unavailable } from '../errors/kinds.ts'
import { isRemitError } from '../errors/make.ts'
import { limitedText } from '../shared/fetch-json.ts'
import { isObject } from '../shared/json.ts'
import { type Platform, type PlatformOptions, platformOf } from '../shared/platform.ts'
import { createDiscovery, type IssuerMetadata } from './metadata.ts'
import { createProver, type ProofKey, type Prover } from './prover.ts'
import type { TokenRequest } from './token.ts'

/** The issuer, and how this client proves itself there. */
export interface IssuerOptions extends PlatformOptions, ClientProof {
  /** Exact `iss`, `https://remit.example/oauth`. */
  readonly issuer: string
  /** Binds every token to this key (DPoP). Left out: bearer tokens. */
  readonly proofKey?: ProofKey
}

/** One client's requests at one authorization server. */
export interface IssuerClient {
  readonly issuer: string
  readonly agent: string
  readonly prover: Prover | undefined
  readonly platform: Platform
  /**
   * Sends a form and gives the JSON object of a 200. `secrets` are kept out of errors.
   *
   * @throws RemitError of OAuth's own code (`invalid_grant`, …); Unavailable where there was no answer in 15
   * seconds.
   */
  post(endpoint: Endpoint, form: Form, secrets: readonly string[]): Promise<Readonly<Record<string, unknown>>>
}

/** The issuer's endpoints that this package posts to. */
export type Endpoint = Exclude<keyof IssuerMetadata, 'issuer'>

/** Fields of a form; undefined ones are left out. */
export type Form = Readonly<Record<string, string | undefined>>

/** The members of a form by which a token for this API is asked for. */
export const askedFor = ({ audience, scopes, details = [] }: Omit<TokenRequest, 'person'>): Form => ({
  resource: audience,
  scope: scopes.length > 0 ? scopes.join(' ') : undefined,
  authorization_details: details.length > 0 ? JSON.stringify(details) : undefined,
})

const bytesMax = 256 * 1024
const timeoutMs = 15_000
const waitSecondsMax = 5

/** A client of one issuer. It retries once after a fresh DPoP nonce or a 503 that names a short wait. */
export function createIssuerClient(options: IssuerOptions): IssuerClient {
  const platform = platformOf(options)
  const { fetch, now, sleep } = platform
  const { issuer, clientId, proofKey } = options
  const discover = createDiscovery({ fetch, now })
  const prover = proofKey && createProver(proofKey, now)

  async function send(
    url: string,
    form: Form,
    dpop: string | undefined,
    secrets: string[],
  ): Promise<Response> {
    // Made anew for each attempt: the issuer takes an assertion, and a proof, once.
    const proof = await proveClient(options, issuer, now())
    secrets.push(
      ...Object.values(form).filter((value) => value !== undefined),
      proof['client_assertion'] ?? '',
    )
    const sent = Object.entries({ ...form, ...proof }).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    )
    const headers: Record<string, string> = {
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded',
    }
    if (dpop !== undefined) headers['dpop'] = dpop
    try {
      return await fetch(url, {
        method: 'POST',
        headers,
        body: new URLSearchParams(sent).toString(),
        // A token that follows a redirect goes to whoever wrote it.
        redirect: 'manual',
        signal: AbortSignal.timeout(timeoutMs),
      })
    } catch {
      // What a platform throws may quote the request, which holds tokens.
      throw new Unavailable('unavailable', { message: `${issuer} gave no answer.` }, {})
    }
  }

  return {
    issuer,
    agent: clientId,
    prover,
    platform,
    async post(endpoint, form, knownSecrets) {
      const url = addressOf(endpoint, await discover(issuer))
      const secrets = [...knownSecrets]
      const withProof = endpoint === 'token'
      for (let attempt = 1; ; attempt += 1) {
        const dpop = withProof ? await prover?.prove({ method: 'POST', url }) : undefined
        const response = await send(url, form, dpop, secrets)
        const isNonceNew = dpop !== undefined && prover?.learn(url, response, dpop) === true
        if (response.status === 200) return readAnswer(response, issuer)
        const error = await errorFromResponse(response, { secrets, now: now() })
        if (attempt > 1) throw error
        if (isRemitError(error, 'use_dpop_nonce') && isNonceNew) continue
        // Nothing was decided yet: a 503 of the issuer is no answer to what was asked.
        const wait = error.retryAfter
        if (response.status !== 503 || wait === undefined || wait > waitSecondsMax) throw error
        await sleep(wait * 1_000)
      }
    },
  }
}

async function readAnswer(response: Response, issuer: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    const answer: unknown = JSON.parse(await limitedText(response, bytesMax))
    if (isObject(answer)) return answer
  } catch {
    // Told below: nothing of a broken answer is repeated, it may hold half a token.
  }
  throw new Unavailable('unavailable', { message: `The answer of ${issuer} cannot be read.` }, {})
}

function addressOf(endpoint: Endpoint, metadata: IssuerMetadata): string {
  const address = metadata[endpoint]
  if (address === undefined) throw new TypeError(`${metadata.issuer} has no endpoint for this (${endpoint}).`)
  return address
}

/** How an agent's program proves at the issuer that it is this client. */
interface ClientProof {
  readonly clientId: string
  /** Left out: a public client, which has no way to. */
  readonly key?: {
    readonly privateKey: CryptoKey
    readonly kid?: string
    /** Default ES256. */
    readonly alg?: string
  }
}

const assertionSeconds = 60
const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/** Form members that prove the client (`private_key_jwt`, RFC 7523), good once and for a minute. */
async function proveClient(
  { clientId, key }: ClientProof,
  issuer: string,
  now: number,
): Promise<Readonly<Record<string, string>>> {
  if (key === undefined) return { client_id: clientId }
  const { privateKey, kid, alg = 'ES256' } = key
  const seconds = Math.floor(now / 1_000)
  const assertion = await new SignJWT({ jti: crypto.randomUUID() })
    .setProtectedHeader({ alg, ...(kid !== undefined && { kid }) })
    .setIssuer(clientId)
    .setSubject(clientId)
    // The issuer, not an endpoint: an assertion that another server asked for is worth nothing here.
    .setAudience(issuer)
    .setIssuedAt(seconds)
    .setExpirationTime(seconds + assertionSeconds)
    .sign(privateKey)
  return { client_id: clientId, client_assertion: assertion, client_assertion_type: assertionType }
}
