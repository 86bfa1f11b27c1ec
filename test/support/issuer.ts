import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'

export interface TestIssuerOptions {
  /** Default `test`. */
  readonly namespace?: string
  readonly personClients?: readonly string[]
  readonly serviceClients?: Readonly<Record<string, string>>
  readonly scopesAllowed?: readonly string[]
  /** Their client → ours. */
  readonly exchangeClients?: Readonly<Record<string, string>>
  readonly standing?: boolean
  /** Default `generic`. */
  readonly preset?: string
  /** Path of the issuer's name. Default `/realms/test`. */
  readonly path?: string
  /** Gives the port of a proxy in front of this port, by which others know the issuer. Default: this one. */
  readonly through?: (port: number) => Promise<number>
  /** Answers instead of the issuer, where a test wants a broken one; undefined: as usual. */
  readonly answer?: (request: IncomingMessage, response: ServerResponse) => boolean
}

export interface TokenOptions {
  readonly sub?: string
  readonly client_id?: string
  /** Scopes, space separated. Default `docs.search docs.read`. */
  readonly scope?: string
  /** Default: the API's audience. */
  readonly aud?: string | readonly string[]
  readonly act?: unknown
  readonly delegation?: string
  /** Seconds; default 300. Negative: expired already. */
  readonly ttl?: number
  /** Milliseconds since the epoch at which it is issued. Default now. */
  readonly now?: number
  /** Put in last; undefined removes a claim. */
  readonly overrides?: Readonly<Record<string, unknown>>
  /** Put in last; undefined removes a member. */
  readonly header?: Readonly<Record<string, unknown>>
  /** Signs with this key instead. */
  readonly key?: CryptoKey
}

export interface TestIssuer extends AsyncDisposable {
  readonly issuer: string
  readonly audiences: { readonly api: string; readonly mcp: string }
  readonly publicJwk: JWK
  /** Paths asked for, in order. */
  readonly asked: readonly string[]
  token(options?: TokenOptions): Promise<string>
  /** Signs any claims as they are. */
  sign(claims: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): Promise<string>
  /** Changes the key; the old one is no longer published. */
  rotate(): Promise<void>
  /** Its entry of TRUSTED_ISSUERS, as JSON would hold it. */
  entry(): Record<string, unknown>
}

/** A trusted issuer on loopback: discovery, keys, and tokens for whatever a test wants to claim. */
export async function startTestIssuer(options: TestIssuerOptions = {}): Promise<TestIssuer> {
  let generation = 0
  let keys = await makeKeys(generation)
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    if (options.answer?.(request, response)) return
    const body = documents()[request.url ?? '']
    response.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body ?? {}))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The issuer has no port.')
  const path = options.path ?? '/realms/test'
  const port = (await options.through?.(address.port)) ?? address.port
  const issuer = `http://127.0.0.1:${port}${path}`
  const audiences = { api: 'https://remit.test/api', mcp: 'https://remit.test/mcp' }
  const documents = (): Record<string, object> => ({
    [`${path.replace(/\/$/, '')}/.well-known/openid-configuration`]: { issuer, jwks_uri: `${issuer}/jwks` },
    [`${path}/jwks`]: { keys: [keys.jwk] },
  })

  return {
    issuer,
    audiences,
    asked,
    get publicJwk() {
      return keys.jwk
    },
    async rotate() {
      generation += 1
      keys = await makeKeys(generation)
    },
    entry: () => ({
      issuer,
      audiences,
      namespace: options.namespace ?? 'test',
      preset: options.preset ?? 'generic',
      person_clients: options.personClients ?? ['person-app'],
      service_clients: options.serviceClients ?? {},
      exchange_clients: options.exchangeClients ?? {},
      standing: options.standing ?? false,
      scopes_allowed: options.scopesAllowed ?? ['docs.search', 'docs.read', 'docs.write', 'directory.write'],
    }),
    sign: (claims, header = {}) =>
      new SignJWT(defined(claims))
        .setProtectedHeader(protectedHeader({ alg: 'ES256', kid: keys.jwk.kid, ...header }))
        .sign(keys.privateKey),
    async token(wanted = {}) {
      const iat = Math.floor((wanted.now ?? Date.now()) / 1_000)
      const claims = {
        iss: issuer,
        sub: wanted.sub ?? 'anne',
        aud: wanted.aud ?? audiences.api,
        client_id: wanted.client_id ?? 'person-app',
        scope: wanted.scope ?? 'docs.search docs.read',
        iat,
        exp: iat + (wanted.ttl ?? 300),
        jti: crypto.randomUUID(),
        ...(wanted.act === undefined ? {} : { act: wanted.act }),
        ...(wanted.delegation === undefined ? {} : { delegation: wanted.delegation }),
        ...wanted.overrides,
      }
      const header = { alg: 'ES256', typ: 'at+jwt', kid: keys.jwk.kid, ...wanted.header }
      return new SignJWT(defined(claims)).setProtectedHeader(header).sign(wanted.key ?? keys.privateKey)
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

async function makeKeys(generation: number) {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(publicKey)), kid: `key-${generation}`, alg: 'ES256', use: 'sig' }
  return { privateKey, jwk }
}

const protectedHeader = (members: Readonly<Record<string, unknown>>) => ({
  alg: 'ES256',
  ...defined(members),
})

const defined = (claims: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined))
