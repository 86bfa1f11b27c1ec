import { randomBytes } from 'node:crypto'
import { native } from './native.ts'

/** A client of the realm. It has no scopes beyond those it asks for, and no rights of the realm's own. */
export interface RealmClient {
  readonly id: string
  /** Left out: a public client. */
  readonly secret?: string
  /** The audience of its access tokens. Left out: none of ours. */
  readonly audience?: string
  readonly redirectUris?: readonly string[]
  /** Has an account of its own, for client credentials. */
  readonly serviceAccount?: boolean
  /** May exchange tokens that name it as an audience. */
  readonly exchanges?: boolean
  /** The header says `at+jwt` in place of `JWT`. */
  readonly rfc9068?: boolean
  /** A mapper of the realm puts these members into every access token. */
  readonly claims?: Readonly<Record<string, unknown>>
}

export interface RealmUser {
  readonly name: string
  readonly password: string
}

export interface Tokens {
  readonly access_token: string
  readonly id_token?: string
  readonly refresh_token?: string
}

/** A realm of its own in a live Keycloak. */
export interface Realm extends AsyncDisposable {
  /** `iss` of its tokens. */
  readonly issuer: string
  addClient(client: RealmClient): Promise<void>
  /** Adds a user and gives the `sub` of their tokens. */
  addUser(user: RealmUser): Promise<string>
  /** The user's tokens by this client (direct access, which a test has in place of a browser). */
  signIn(client: RealmClient, user: RealmUser, scope?: string): Promise<Tokens>
  /** Any other request at the token endpoint. Throws for an error answer. */
  grant(client: RealmClient, parameters: Readonly<Record<string, string>>): Promise<Tokens>
  /** Ends what somebody is signed in to, as its administrator: their refresh tokens are not good any more. */
  signOut(sub: string): Promise<void>
  /** Signs with a new key from now on. */
  rotateKey(): Promise<void>
}

/**
 * Makes a realm with the optional client scopes `docs.search` and `docs.read`; it is deleted with the object.
 */
export async function openRealm({
  clients = [],
  scopes = ['docs.search', 'docs.read'],
  rotates = false,
}: {
  readonly clients?: readonly RealmClient[]
  readonly scopes?: readonly string[]
  /** Each refresh token is good once. */
  readonly rotates?: boolean
} = {}): Promise<Realm> {
  if (native.keycloak === undefined) throw new Error('This test needs a live Keycloak (KEYCLOAK_TEST_URL).')
  const { url, user, password } = native.keycloak
  const realm = `remit-${randomBytes(6).toString('hex')}`
  const issuer = `${url}/realms/${realm}`

  /** The administrator's token lives for a minute: a fresh one each time. */
  async function administer(method: string, path: string, body?: object): Promise<unknown> {
    const { access_token } = await post(`${url}/realms/master/protocol/openid-connect/token`, {
      grant_type: 'password',
      client_id: 'admin-cli',
      username: user,
      password,
    })
    const response = await fetch(`${url}/admin/realms${path}`, {
      method,
      headers: { authorization: `Bearer ${access_token}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`Keycloak: ${method} ${path}: ${response.status} ${text}`)
    return text === '' ? response.headers.get('location') : (JSON.parse(text) as unknown)
  }

  const made = async (path: string, body: object): Promise<string> =>
    String(await administer('POST', path, body))
      .split('/')
      .at(-1) ?? ''

  await administer('POST', '', {
    realm,
    enabled: true,
    sslRequired: 'none',
    revokeRefreshToken: rotates,
    refreshTokenMaxReuse: 0,
  })
  for (const name of scopes) {
    const attributes = { 'include.in.token.scope': 'true', 'display.on.consent.screen': 'false' }
    const id = await made(`/${realm}/client-scopes`, { name, protocol: 'openid-connect', attributes })
    await administer('PUT', `/${realm}/default-optional-client-scopes/${id}`)
  }

  const grant: Realm['grant'] = (client, parameters) =>
    post(`${issuer}/protocol/openid-connect/token`, {
      client_id: client.id,
      ...(client.secret !== undefined && { client_secret: client.secret }),
      ...parameters,
    })

  const opened: Realm = {
    issuer,
    async addClient(client) {
      await administer('POST', `/${realm}/clients`, clientOf(client))
    },
    addUser: ({ name, password: secret }) =>
      made(`/${realm}/users`, {
        username: name,
        enabled: true,
        email: `${name}@example.test`,
        emailVerified: true,
        firstName: name,
        lastName: 'Tester',
        credentials: [{ type: 'password', value: secret, temporary: false }],
      }),
    signIn: (client, person, scope = 'openid docs.search docs.read') =>
      grant(client, { grant_type: 'password', username: person.name, password: person.password, scope }),
    grant,
    async signOut(sub) {
      await administer('POST', `/${realm}/users/${sub}/logout`)
    },
    async rotateKey() {
      const { id: parentId } = (await administer('GET', `/${realm}`)) as { readonly id: string }
      const name = `rsa-${randomBytes(4).toString('hex')}`
      const config = {
        priority: [String(Date.now())],
        enabled: ['true'],
        active: ['true'],
        algorithm: ['RS256'],
      }
      const key = { name, providerId: 'rsa-generated', providerType: 'org.keycloak.keys.KeyProvider' }
      await administer('POST', `/${realm}/components`, { ...key, parentId, config })
    },
    async [Symbol.asyncDispose]() {
      await administer('DELETE', `/${realm}`)
    },
  }
  for (const client of clients) await opened.addClient(client)
  return opened
}

function clientOf({ id, secret, audience, redirectUris = [], claims = {}, ...client }: RealmClient): object {
  const mapper = (name: string, protocolMapper: string, config: object) => ({
    name,
    protocol: 'openid-connect',
    protocolMapper,
    config: { ...config, 'access.token.claim': 'true', 'id.token.claim': 'false' },
  })
  return {
    clientId: id,
    publicClient: secret === undefined,
    ...(secret !== undefined && { secret }),
    standardFlowEnabled: redirectUris.length > 0,
    redirectUris,
    directAccessGrantsEnabled: true,
    serviceAccountsEnabled: client.serviceAccount === true,
    // Else `account`, whose roles every user has, becomes an audience too.
    fullScopeAllowed: false,
    attributes: {
      'standard.token.exchange.enabled': String(client.exchanges === true),
      'access.token.header.type.rfc9068': String(client.rfc9068 === true),
    },
    protocolMappers: [
      ...(audience === undefined
        ? []
        : [mapper('audience', 'oidc-audience-mapper', { 'included.custom.audience': audience })]),
      ...Object.entries(claims).map(([name, value]) =>
        mapper(name, 'oidc-hardcoded-claim-mapper', {
          'claim.name': name,
          'claim.value': typeof value === 'string' ? value : JSON.stringify(value),
          'jsonType.label': typeof value === 'string' ? 'String' : 'JSON',
        }),
      ),
    ],
  }
}

async function post(url: string, parameters: Readonly<Record<string, string>>): Promise<Tokens> {
  const response = await fetch(url, { method: 'POST', body: new URLSearchParams(parameters) })
  const answer = (await response.json()) as Tokens & { readonly error?: string }
  if (!response.ok) throw new Error(`Keycloak: ${response.status} ${JSON.stringify(answer)}`)
  return answer
}
