import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

/** What its token endpoint does. `rotates`: well-behaved, each refresh ends the refresh token before it. */
export type ProviderMood =
  | 'rotates'
  | 'keeps the refresh token'
  | 'drops the refresh token'
  | 'refuses'
  | 'is down'
  | 'sends garbage'
  | 'sends a huge answer'
  | 'redirects'
  | 'never ends its answer'
  | 'sends errors with status 200'

/** What its authorization endpoint does. */
export type AuthorizeMood =
  | 'agrees'
  | 'refuses'
  | 'names another issuer'
  | 'leaves out its issuer'
  | 'leaves out the state'
  | 'sends the code of somebody else'

/** What it gives for a token that is to be exchanged (RFC 8693). */
export type ExchangeMood =
  | 'narrows'
  | 'gives the same token back'
  | 'gives a token of another type'
  | 'gives more'
  | 'does not know the target'

export interface SeenRequest {
  readonly method: string
  /** Path with query. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface ApiAnswer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** In its place: sent one after the other, each in a packet of its own. */
  readonly parts?: readonly (string | Uint8Array)[]
  /** Milliseconds before it answers. */
  readonly afterMs?: number
  /** Hangs up: before it says anything, or before the end of what it says. */
  readonly hangsUp?: 'at once' | 'half way'
}

/** An OpenID provider with an API, on loopback, which behaves badly on purpose where a test says so. */
export interface ProviderDouble extends AsyncDisposable {
  /** Of both its authorization server and its API. */
  readonly origin: string
  /** Its entry of VAULT_PROVIDERS. */
  entry(changes?: object): Record<string, unknown>
  mood: ProviderMood
  authorizeMood: AuthorizeMood
  exchangeMood: ExchangeMood
  /** Before the token endpoint answers. */
  tokenDelayMs: number
  /**
   * From now on the token endpoint answers nobody, until the result is called: what has to come before its
   * answer does so, however slow the machine is.
   */
  holdTokens(): () => void
  /** Of access tokens. */
  expiresInSeconds: number
  /** Whoever sits in front of it. */
  person: { sub: string; email?: string }
  /** What its API answers to a request with a good token. Default: `{"ok":true}`. */
  api: (request: SeenRequest) => ApiAnswer
  /** Every request to the token endpoint, as its parameters. */
  readonly tokenRequests: readonly Readonly<Record<string, string>>[]
  readonly apiRequests: readonly SeenRequest[]
  readonly revoked: readonly string[]
  /** Every token that it ever gave: none may be seen anywhere else. */
  readonly issued: readonly string[]
  /** Ends an access token, as if the person had taken it back there. */
  forget(token: string): void
  /** Tokens of somebody, without a browser. */
  grant(): { readonly accessToken: string; readonly refreshToken: string }
}

export const providerSecretVariable = 'PROVIDER_SECRET'
export const providerSecret = 'a provider secret of thirty-two characters'
const clientId = 'remit'

export async function startProvider(): Promise<ProviderDouble> {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }
  const codes = new Map<string, { challenge: string; nonce: string; redirectUri: string; scope: string }>()
  const access = new Set<string>()
  const refresh = new Set<string>()
  const tokenRequests: Record<string, string>[] = []
  const apiRequests: SeenRequest[] = []
  const revoked: string[] = []
  const issued: string[] = []
  let tokensHeld = Promise.resolve()

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The provider has no port.')
  const origin = `http://127.0.0.1:${address.port}`

  const token = (kind: string): string => {
    const made = `${kind}_${randomBytes(18).toString('base64url')}`
    issued.push(made)
    return made
  }
  const pair = () => {
    const accessToken = token('at')
    const refreshToken = token('rt')
    access.add(accessToken)
    refresh.add(refreshToken)
    return { accessToken, refreshToken }
  }

  const double: ProviderDouble = {
    origin,
    entry: (changes = {}) => ({
      provider: 'openid',
      name: 'acme',
      title: 'Acme',
      issuer: origin,
      api_origins: [origin],
      client_id: clientId,
      client_secret_env: providerSecretVariable,
      ...changes,
    }),
    mood: 'rotates',
    authorizeMood: 'agrees',
    exchangeMood: 'narrows',
    tokenDelayMs: 0,
    holdTokens() {
      const { promise, resolve } = Promise.withResolvers<void>()
      tokensHeld = promise
      return resolve
    },
    expiresInSeconds: 3_600,
    person: { sub: 'p-1', email: 'anne@acme.test' },
    api: () => ({ body: '{"ok":true}' }),
    tokenRequests,
    apiRequests,
    revoked,
    issued,
    forget: (one) => void access.delete(one),
    grant: pair,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await textOf(request)
    const url = new URL(request.url ?? '/', origin)
    const send = (status: number, value: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        return void send(200, metadata(origin))
      case '/jwks':
        return void send(200, { keys: [jwk] })
      case '/authorize':
        return void response.writeHead(302, { location: authorize(url.searchParams) }).end()
      case '/token':
        return tokenEndpoint(request, body, response)
      case '/revoke': {
        const parameters = new URLSearchParams(body)
        const one = parameters.get('token') ?? ''
        if (!isOurClient(request)) return void send(401, { error: 'invalid_client' })
        revoked.push(one)
        access.delete(one)
        refresh.delete(one)
        return void response.writeHead(200).end()
      }
      default:
        return apiEndpoint(request, body, response)
    }
  }

  function authorize(query: URLSearchParams): string {
    const back = new URL(query.get('redirect_uri') ?? origin)
    const state = query.get('state') ?? ''
    if (double.authorizeMood !== 'leaves out the state') back.searchParams.set('state', state)
    const isNamed = double.authorizeMood !== 'leaves out its issuer'
    const names = double.authorizeMood === 'names another issuer' ? 'https://other.example' : origin
    if (isNamed) back.searchParams.set('iss', names)
    if (double.authorizeMood === 'refuses') {
      back.searchParams.set('error', 'access_denied')
      return back.href
    }
    const code = token('code')
    const isForeign = double.authorizeMood === 'sends the code of somebody else'
    codes.set(code, {
      challenge: isForeign ? 'of another flow' : (query.get('code_challenge') ?? ''),
      nonce: query.get('nonce') ?? '',
      redirectUri: query.get('redirect_uri') ?? '',
      scope: query.get('scope') ?? '',
    })
    back.searchParams.set('code', code)
    return back.href
  }

  async function tokenEndpoint(
    request: IncomingMessage,
    body: string,
    response: ServerResponse,
  ): Promise<void> {
    const parameters = Object.fromEntries(new URLSearchParams(body))
    tokenRequests.push(parameters)
    await tokensHeld
    await sleep(double.tokenDelayMs)
    const send = (status: number, value: unknown) =>
      response
        .writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
        .end(JSON.stringify(value))
    const refuse = (error: string) =>
      void send(double.mood === 'sends errors with status 200' ? 200 : 400, { error })
    switch (double.mood) {
      case 'is down':
        return void response.writeHead(503).end()
      case 'sends garbage':
        return void response.writeHead(200, { 'content-type': 'application/json' }).end('<html>{')
      case 'sends a huge answer':
        return void send(200, {
          access_token: token('at'),
          token_type: 'bearer',
          more: 'x'.repeat(2_000_000),
        })
      case 'redirects':
        return void response.writeHead(307, { location: `${origin}/elsewhere` }).end()
      case 'never ends its answer':
        return void response.writeHead(200, { 'content-type': 'application/json' }).write('{"access_')
      case 'refuses':
        return refuse('invalid_grant')
      default:
    }
    if (!isOurClient(request)) return void send(401, { error: 'invalid_client' })
    const expires_in = double.expiresInSeconds
    switch (parameters['grant_type']) {
      case 'authorization_code': {
        const known = codes.get(parameters['code'] ?? '')
        codes.delete(parameters['code'] ?? '')
        const verifier = parameters['code_verifier'] ?? ''
        const challenge = createHash('sha256').update(verifier).digest('base64url')
        if (known?.challenge !== challenge || known.redirectUri !== parameters['redirect_uri'])
          return refuse('invalid_grant')
        const { accessToken, refreshToken } = pair()
        return void send(200, {
          access_token: accessToken,
          refresh_token: refreshToken,
          token_type: 'Bearer',
          expires_in,
          scope: known.scope,
          id_token: await idToken(known.nonce),
        })
      }
      case 'refresh_token': {
        const old = parameters['refresh_token'] ?? ''
        if (!refresh.has(old)) return refuse('invalid_grant')
        const { accessToken, refreshToken } = pair()
        if (double.mood === 'rotates') refresh.delete(old)
        else refresh.delete(refreshToken)
        return void send(200, {
          access_token: accessToken,
          token_type: 'Bearer',
          expires_in,
          ...(double.mood === 'rotates' && { refresh_token: refreshToken }),
          ...(double.mood === 'keeps the refresh token' && { refresh_token: old }),
        })
      }
      case 'urn:ietf:params:oauth:grant-type:token-exchange': {
        const given = parameters['subject_token'] ?? ''
        if (!access.has(given)) return refuse('invalid_request')
        if (double.exchangeMood === 'does not know the target') return refuse('invalid_target')
        const narrower = double.exchangeMood === 'gives the same token back' ? given : token('narrow')
        access.add(narrower)
        const type = double.exchangeMood === 'gives a token of another type' ? 'jwt' : 'access_token'
        return void send(200, {
          access_token: narrower,
          issued_token_type: `urn:ietf:params:oauth:token-type:${type}`,
          token_type: 'Bearer',
          expires_in: 60,
          ...(double.exchangeMood === 'gives more' && { scope: 'reports.read reports.write' }),
        })
      }
      default:
        return refuse('unsupported_grant_type')
    }
  }

  const idToken = (nonce: string): Promise<string> =>
    new SignJWT({ ...double.person, ...(nonce !== '' && { nonce }) })
      .setProtectedHeader({ alg: 'ES256', kid: 'one' })
      .setIssuer(origin)
      .setAudience(clientId)
      .setIssuedAt()
      .setExpirationTime('5 minutes')
      .sign(privateKey)

  async function apiEndpoint(
    request: IncomingMessage,
    body: string,
    response: ServerResponse,
  ): Promise<void> {
    const seen = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      body,
    }
    apiRequests.push(seen)
    if (!access.has((request.headers.authorization ?? '').replace(/^Bearer /i, ''))) {
      response.writeHead(401, { 'content-type': 'application/json' }).end('{"message":"Bad credentials"}')
      return
    }
    const {
      status = 200,
      headers = {},
      body: given = '',
      parts = [],
      afterMs = 0,
      hangsUp,
    } = double.api(seen)
    await sleep(afterMs)
    if (hangsUp === 'at once') return void response.destroy()
    response.writeHead(status, { 'content-type': 'application/json', ...headers })
    for (const part of parts) {
      response.write(part)
      await sleep(5)
    }
    if (hangsUp === 'half way') return void response.destroy()
    response.end(given)
  }

  return double
}

const metadata = (origin: string) => ({
  issuer: origin,
  authorization_endpoint: `${origin}/authorize`,
  token_endpoint: `${origin}/token`,
  revocation_endpoint: `${origin}/revoke`,
  jwks_uri: `${origin}/jwks`,
  response_types_supported: ['code'],
  subject_types_supported: ['public'],
  id_token_signing_alg_values_supported: ['ES256'],
  code_challenge_methods_supported: ['S256'],
  token_endpoint_auth_methods_supported: ['client_secret_basic'],
  authorization_response_iss_parameter_supported: true,
})

function isOurClient({ headers }: IncomingMessage): boolean {
  const [id = '', secret = ''] = Buffer.from((headers.authorization ?? '').replace(/^Basic /, ''), 'base64')
    .toString()
    .split(':')
    .map((part) => decodeURIComponent(part.replaceAll('+', ' ')))
  return id === clientId && secret === providerSecret
}

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString('utf8')
}
