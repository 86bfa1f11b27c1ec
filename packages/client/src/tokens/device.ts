import { SignInRequired, Unavailable } from '../errors/kinds.ts'
import { isRemitError } from '../errors/make.ts'
import { isSafe } from '../shared/fetch-json.ts'
import { isWord } from '../shared/json.ts'
import { keepLatest } from '../shared/keep-latest.ts'
import { cacheKey, createTokenCache, type TokenCache } from './cache.ts'
import {
  askedFor,
  createIssuerClient,
  type Form,
  type IssuerClient,
  type IssuerOptions,
} from './issuer-client.ts'
import { readTokenAnswer } from './read-answer.ts'
import type { AccessToken, Person, TokenRequest, TokenSource } from './token.ts'

/** Settings of `deviceFlow`. */
export interface DeviceFlowOptions extends IssuerOptions {
  /**
   * Shows the person where to sign in; the caller then waits until they have. Left out: whoever needs a token
   * gets `SignInRequired`, and asks again later.
   */
  readonly onSignIn?: (signIn: SignInRequired, person: Person) => void | Promise<void>
  /** Default: a cache of its own. */
  readonly cache?: TokenCache
}

/** Tokens by the device flow (RFC 8628): the person signs in on another device. */
export interface DeviceFlow extends TokenSource {
  /** As `get`, without waiting for the person. @throws SignInRequired until they have signed in. */
  look(request: TokenRequest): Promise<AccessToken>
  /** As `get`, and waits: `show` is called once with what the person has to be shown. */
  wait(request: TokenRequest, show: (signIn: SignInRequired) => void | Promise<void>): Promise<AccessToken>
}

interface PendingFlow {
  readonly deviceCode: string
  readonly signIn: SignInRequired
  interval: number
  nextAt: number
}

const grantType = 'urn:ietf:params:oauth:grant-type:device_code'
const entriesMax = 10_000

/**
 * Tokens by the device flow (RFC 8628): the person signs in in any browser and enters a code. Whoever that is
 * has to be the person of the request: with somebody else's sign-in there is no token. Renewed by refresh
 * token, as long as that lasts; device codes and refresh tokens stay in this process.
 */
export function deviceFlow(options: DeviceFlowOptions): DeviceFlow {
  const client = createIssuerClient(options)
  const { now, sleep } = client.platform
  const cache = options.cache ?? createTokenCache({ now })
  const flows = new Map<string, PendingFlow>()
  const refreshTokens = new Map<string, string>()

  async function redeem(
    key: string,
    request: TokenRequest,
    form: Form,
    secret: string,
  ): Promise<AccessToken> {
    const answer = await client.post('token', form, [secret])
    const { person, audience, scopes, details } = request
    const token = readTokenAnswer(answer, { subject: person.subject, audience, scopes, details }, client)
    const { refresh_token: refreshToken } = answer
    if (isWord(refreshToken)) keepLatest(refreshTokens, key, refreshToken, entriesMax)
    return token
  }

  /** Undefined: there is none, or it is over. */
  async function refreshed(key: string, request: TokenRequest): Promise<AccessToken | undefined> {
    const refreshToken = refreshTokens.get(key)
    if (refreshToken === undefined) return undefined
    try {
      const form = { grant_type: 'refresh_token', refresh_token: refreshToken }
      return await redeem(key, request, form, refreshToken)
    } catch (error) {
      if (!isRemitError(error, 'invalid_grant')) throw error
      refreshTokens.delete(key)
      return undefined
    }
  }

  async function startFlow(key: string, request: TokenRequest): Promise<PendingFlow> {
    const flow = pendingFlowFrom(await client.post('device', askedFor(request), []), client)
    keepLatest(flows, key, flow, entriesMax)
    return flow
  }

  async function obtain(key: string, request: TokenRequest): Promise<AccessToken> {
    const renewed = await refreshed(key, request)
    if (renewed !== undefined) return renewed
    const existing = flows.get(key)
    const waiting =
      existing !== undefined && existing.signIn.data.expiresAt > now()
        ? existing
        : await startFlow(key, request)
    if (waiting.nextAt > now()) throw waiting.signIn
    waiting.nextAt = now() + waiting.interval * 1_000
    try {
      const form = { grant_type: grantType, device_code: waiting.deviceCode }
      const token = await redeem(key, request, form, waiting.deviceCode)
      flows.delete(key)
      return token
    } catch (error) {
      if (isRemitError(error, 'slow_down')) waiting.interval += 5
      if (isRemitError(error, 'authorization_pending') || isRemitError(error, 'slow_down'))
        throw waiting.signIn
      // No answer says nothing about the code; everything else ends it: denied, over, or somebody else's
      // sign-in.
      if (!isRemitError(error) || !(error instanceof Unavailable)) flows.delete(key)
      throw error
    }
  }

  const pollFlow: DeviceFlow['look'] = async (request) => {
    const key = await cacheKey(client, request)
    return cache.get(key, request.signal, () => obtain(key, request))
  }

  const wait: DeviceFlow['wait'] = async (request, show) => {
    for (let announced: SignInRequired | undefined; ; ) {
      try {
        return await pollFlow(request)
      } catch (error) {
        if (!isRemitError(error, 'sign_in_required')) throw error
        // A code that is over has made way for another one.
        if (error !== announced) await show(error)
        announced = error
        await sleep((error.retryAfter ?? 5) * 1_000, request.signal)
      }
    }
  }

  return {
    agent: client.agent,
    look: pollFlow,
    wait,
    get: (request) =>
      options.onSignIn === undefined
        ? pollFlow(request)
        : wait(request, (signIn) => options.onSignIn?.(signIn, request.person)),
    async drop(request, token) {
      cache.drop(await cacheKey(client, request), token)
    },
  }
}

function pendingFlowFrom(
  answer: Readonly<Record<string, unknown>>,
  { issuer, platform }: Pick<IssuerClient, 'issuer' | 'platform'>,
): PendingFlow {
  const { device_code: deviceCode, user_code: userCode, verification_uri: verificationUri } = answer
  const { verification_uri_complete: completeUri, expires_in: seconds, interval } = answer
  // A person is sent there: nothing but an address that a browser opens safely.
  const isWhole = isWord(deviceCode) && isWord(userCode) && isWord(verificationUri) && isSafe(verificationUri)
  if (!isWhole) {
    const message = `The answer of ${issuer} cannot be read.`
    throw new Unavailable('unavailable', { message }, {})
  }
  const pause = typeof interval === 'number' && interval > 0 ? interval : 5
  const signIn = new SignInRequired(
    'sign_in_required',
    { message: 'The person has to sign in.', retryAfter: pause },
    {
      verificationUri,
      ...(isWord(completeUri) && isSafe(completeUri) && { verificationUriComplete: completeUri }),
      userCode,
      expiresAt: platform.now() + (typeof seconds === 'number' ? seconds : 600) * 1_000,
    },
  )
  return { deviceCode, signIn, interval: pause, nextAt: platform.now() + pause * 1_000 }
}
