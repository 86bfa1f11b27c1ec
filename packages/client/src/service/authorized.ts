import { Unavailable, WrongPerson } from '../errors/kinds.ts'
import type { Platform } from '../shared/platform.ts'
import type { AccessToken, TokenRequest, TokenSource } from '../tokens/token.ts'

/** A request before its token and proof are added. */
export interface SentRequest {
  readonly method: string
  readonly url: string
  readonly headers: Headers
  /** Can be sent twice: a stream is made anew each time. */
  readonly body: string | Uint8Array<ArrayBuffer> | (() => ReadableStream<Uint8Array>) | undefined
  readonly signal: AbortSignal
}

/**
 * Sends a request under a token, with the proof that it needs, once more where the server asks for a nonce.
 * No redirect is followed: a token goes where it was meant to, or nowhere.
 *
 * @throws Unavailable where there is no answer; the signal's reason where it was given up.
 */
export async function sendAs(
  token: AccessToken,
  { method, url, headers, body, signal }: SentRequest,
  { fetch }: Pick<Platform, 'fetch'>,
): Promise<Response> {
  const { prover } = token
  for (let attempt = 1; ; attempt += 1) {
    const sent = new Headers(headers)
    sent.set('authorization', `${prover === undefined ? 'Bearer' : 'DPoP'} ${token.reveal()}`)
    const proof = await prover?.prove({ method, url, token: token.reveal() })
    if (proof !== undefined) sent.set('dpop', proof)
    const response = await attemptOnce(
      () =>
        fetch(url, {
          method,
          headers: sent,
          redirect: 'manual',
          signal,
          ...bodyOf(body),
        }),
      signal,
    )
    const isNonceNew = proof !== undefined && prover?.learn(url, response, proof) === true
    if (attempt > 1 || !isNonceNew || !asksForNonce(response)) return response
    await response.body?.cancel()
  }
}

/**
 * What `run` comes to within so many milliseconds.
 *
 * @throws Unavailable where it takes longer; the signal's reason where it was given up.
 */
export async function inTime<T>(
  timeoutMs: number,
  signal: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const timeout = AbortSignal.timeout(timeoutMs)
  try {
    return await run(signal === undefined ? timeout : AbortSignal.any([signal, timeout]))
  } catch (thrown) {
    // The caller's own reason is theirs; ours says what happened.
    if (!timeout.aborted || signal?.aborted === true) throw thrown
    throw new Unavailable('unavailable', { message: 'There was no answer in time.' }, {})
  }
}

/** Where a request's token comes from, and where one that was refused goes. */
export interface TokenSupply {
  get(): Promise<AccessToken>
  drop(token: AccessToken): Promise<void>
}

/** As `sendAs`, with a token of the supply; another one, once, where the API did not take the first. */
export async function sendUnder(
  supply: TokenSupply,
  request: SentRequest,
  platform: Pick<Platform, 'fetch'>,
): Promise<{ readonly response: Response; readonly token: AccessToken }> {
  const token = await supply.get()
  const response = await sendAs(token, request, platform)
  if (response.status !== 401) return { response, token }
  await supply.drop(token)
  const second = await supply.get()
  if (second.reveal() === token.reveal()) return { response, token }
  await response.body?.cancel()
  return { response: await sendAs(second, request, platform), token: second }
}

/** The same, for a person and by a source's tokens. */
export const sendFor = (
  source: TokenSource,
  tokenRequest: TokenRequest,
  request: SentRequest,
  platform: Pick<Platform, 'fetch'>,
): Promise<{ readonly response: Response; readonly token: AccessToken }> =>
  sendUnder(
    {
      async get() {
        const token = await source.get(tokenRequest)
        // Whatever a source mixed up ends here.
        if (token.facts.subject !== tokenRequest.person.subject)
          throw new WrongPerson('wrong_person', { message: 'The token is for somebody else.' }, {})
        return token
      },
      drop: (token) => source.drop(tokenRequest, token),
    },
    request,
    platform,
  )

// Without `duplex` fetch refuses a body that is a stream.
const bodyOf = (body: SentRequest['body']): RequestInit & { duplex?: 'half' } => {
  if (body === undefined) return {}
  return typeof body === 'function' ? { body: body(), duplex: 'half' } : { body }
}

async function attemptOnce(send: () => Promise<Response>, signal: AbortSignal): Promise<Response> {
  try {
    return await send()
  } catch {
    signal.throwIfAborted()
    // What a platform throws may quote the request, which holds the token.
    throw new Unavailable('unavailable', { message: 'There was no answer.' }, {})
  }
}

const asksForNonce = (response: Response): boolean =>
  response.status === 401 && /error="use_dpop_nonce"/.test(response.headers.get('www-authenticate') ?? '')
