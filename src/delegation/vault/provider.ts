/** What an agent may do with a connection, as the person was shown it before they agreed. */
export interface Rule {
  /** In words, for people: "Read your issues and pull requests". */
  readonly title: string
  /** `GET`, `POST`, … */
  readonly methods: readonly string[]
  // Paths at the provider's API: `/repos/*/*/issues?state&page`. `*` stands for one whole segment, `**` for
  // any number of them; after `?` the query parameters that may be sent, `?*` for any. Nothing else has a
  // meaning.
  readonly paths: readonly string[]
}

/** An API of others, as data. Holds no secret. */
export interface Provider {
  /** By which agents and addresses know it: `github`. */
  readonly name: string
  /** What people know it by. */
  readonly title: string
  /** `iss` of its authorization server. */
  readonly issuer: string
  /** Its endpoints; undefined: as its discovery document says. */
  readonly endpoints: Endpoints | undefined
  readonly clientId: string
  /** Asked for when a connection is made. */
  readonly scopes: readonly string[]
  /** More parameters of the authorization request, without which it gives no refresh token. */
  readonly authorize: Readonly<Record<string, string>>
  /** Whose account it is: by the ID token, or by asking its API. */
  readonly account: 'id_token' | AccountEndpoint
  /** Exact origins to which the token may be sent. */
  readonly apiOrigins: readonly string[]
  /** Paths (see {@link Rule}) that hand out credentials: no rule and no approval opens them. */
  readonly mints: readonly string[]
  /** What a person may agree to. The first is what they are offered to begin with. */
  readonly rules: readonly Rule[]
  /** Names the scopes again when it refreshes; Entra refuses it without. */
  readonly scopeOnRefresh: boolean
  /** Sends errors of the token endpoint with status 200, and these in the place of `invalid_grant`. */
  readonly quirks: { readonly errorsWith200: boolean; readonly invalidGrant: readonly string[] }
  readonly revocation: 'rfc7009' | 'github' | 'none'
  /** RFC 8693: the connection's token is first exchanged for one that is good for this alone. */
  readonly tokenExchange: TokenExchange | undefined
}

/** Addresses of a provider that has no discovery document. */
export interface Endpoints {
  readonly authorization: string
  readonly token: string
  readonly revocation?: string
  /** Left out: `client_secret_basic`. */
  readonly clientAuth?: 'client_secret_post'
}

/** Where a provider says whose account it is. */
export interface AccountEndpoint {
  readonly url: string
  /** Members of its answer. */
  readonly id: string
  readonly title: string
}

/** How a provider gives a narrower token. */
export type TokenExchange = Readonly<Partial<Record<'audience' | 'resource' | 'scope', string>>>

/** One entry of VAULT_PROVIDERS. */
export interface ProviderEntry {
  readonly provider: 'github' | 'google' | 'openid'
  readonly name?: string | undefined
  readonly title?: string | undefined
  readonly client_id: string
  /** openid only, as are those below it. */
  readonly issuer?: string | undefined
  readonly api_origins?: readonly string[] | undefined
  readonly mints?: readonly string[] | undefined
  readonly authorize?: Readonly<Record<string, string>> | undefined
  readonly scope_on_refresh?: boolean | undefined
  readonly token_exchange?: { readonly [Member in keyof TokenExchange]: string | undefined } | undefined
  readonly scopes?: readonly string[] | undefined
  readonly rules?: readonly Rule[] | undefined
}

/** By which a provider is known where its entry gives no name. */
export const nameOf = ({ provider, name = provider }: Pick<ProviderEntry, 'provider' | 'name'>): string =>
  name

/** Fills what an entry leaves out with the defaults of its product. Does NOT check the entry. */
export function createProvider(entry: ProviderEntry): Provider {
  const definition = entry.provider === 'openid' ? generic(entry) : wellKnown[entry.provider]
  return {
    ...definition,
    name: nameOf(entry),
    title: entry.title ?? definition.title,
    clientId: entry.client_id,
    scopes: entry.scopes ?? definition.scopes,
    rules: entry.rules ?? definition.rules,
  }
}

type Known = Omit<Provider, 'name' | 'clientId'>

const noQuirks = { errorsWith200: false, invalidGrant: [] }

/**
 * A person has to agree to more than reading one rule at a time; reading everything is the plain first one.
 */
const readAll: Rule = {
  title: 'Read everything that this account may read there',
  methods: ['GET'],
  paths: ['/**?*'],
}

const wellKnown: Readonly<Record<'github' | 'google', Known>> = {
  github: {
    title: 'GitHub',
    issuer: 'https://github.com/login/oauth',
    endpoints: {
      authorization: 'https://github.com/login/oauth/authorize',
      token: 'https://github.com/login/oauth/access_token',
      // The only one that its documentation knows.
      clientAuth: 'client_secret_post',
    },
    scopes: ['read:user', 'repo'],
    authorize: {},
    account: { url: 'https://api.github.com/user', id: 'id', title: 'login' },
    apiOrigins: ['https://api.github.com'],
    mints: [
      '/app/**',
      '/applications/**',
      '/app-manifests/**',
      '/authorizations/**',
      '/copilot_internal/**',
      '/enterprises/**',
      // Hooks by another door (PubSubHubbub).
      '/hub/**',
      ...['keys', 'gpg_keys', 'ssh_signing_keys', 'codespaces'].map((endpoint) => `/user/${endpoint}/**`),
      // Everything has a second address, by number.
      ...['/repos/*/*', '/repositories/*'].flatMap((repository) => [
        ...['keys', 'hooks', 'codespaces', 'dependabot/secrets'].map(
          (endpoint) => `${repository}/${endpoint}/**`,
        ),
        ...['runners', 'secrets'].map((endpoint) => `${repository}/actions/${endpoint}/**`),
        `${repository}/environments/*/secrets/**`,
      ]),
      ...['/orgs/*', '/organizations/*'].flatMap((organization) => [
        ...['hooks', 'codespaces', 'dependabot/secrets'].map((endpoint) => `${organization}/${endpoint}/**`),
        ...['runners', 'runner-groups', 'secrets'].map(
          (endpoint) => `${organization}/actions/${endpoint}/**`,
        ),
        `${organization}/personal-access-tokens/**`,
        `${organization}/personal-access-token-requests/**`,
      ]),
    ],
    rules: [
      {
        title: 'Read repositories: their files, issues, pull requests and commits',
        methods: ['GET'],
        // By number as well: so GitHub links to the next page.
        paths: ['/user', '/user/repos?*', '/repos/**?*', '/repositories/**?*', '/search/**?*'],
      },
      {
        title: 'Write issues and comments',
        methods: ['POST', 'PATCH'],
        paths: ['/repos/*/*/issues', '/repos/*/*/issues/*', '/repos/*/*/issues/*/comments'],
      },
    ],
    scopeOnRefresh: false,
    quirks: { errorsWith200: true, invalidGrant: ['bad_refresh_token'] },
    revocation: 'github',
    tokenExchange: undefined,
  },
  google: {
    title: 'Google',
    issuer: 'https://accounts.google.com',
    endpoints: undefined,
    scopes: ['openid', 'email', 'https://www.googleapis.com/auth/drive.readonly'],
    // Without both Google gives a refresh token at the very first consent only.
    authorize: { access_type: 'offline', prompt: 'consent' },
    account: 'id_token',
    apiOrigins: [
      'https://www.googleapis.com',
      'https://gmail.googleapis.com',
      'https://people.googleapis.com',
      'https://docs.googleapis.com',
      'https://sheets.googleapis.com',
    ],
    mints: [
      '/oauth2/**',
      '/auth/**',
      '/identitytoolkit/**',
      '/v1/token',
      '/token',
      '/v1/projects/**',
      '/storage/v1/projects/*/hmacKeys/**',
      ...['asps', 'tokens', 'verificationCodes'].map(
        (endpoint) => `/admin/directory/v1/users/*/${endpoint}/**`,
      ),
      // An address of the agent's own is told of what changes, or gets the mail, when all here has ended.
      '/**/watch',
      ...['autoForwarding', 'delegates', 'forwardingAddresses', 'sendAs'].map(
        (setting) => `/gmail/v1/users/*/settings/${setting}/**`,
      ),
      // One call that holds others, whose paths nobody looks at.
      '/batch/**',
    ],
    rules: [
      { title: 'Read files in Google Drive', methods: ['GET'], paths: ['/drive/v3/**?*'] },
      { title: 'Read mail', methods: ['GET'], paths: ['/gmail/v1/users/me/**?*'] },
      { title: 'Read calendars', methods: ['GET'], paths: ['/calendar/v3/**?*'] },
    ],
    scopeOnRefresh: false,
    quirks: noQuirks,
    revocation: 'rfc7009',
    tokenExchange: undefined,
  },
}

/** Any OpenID provider whose access tokens an API of its own takes. */
function generic(entry: ProviderEntry): Known {
  const { issuer = '', api_origins: apiOrigins = [], token_exchange: exchange } = entry
  return {
    title: new URL(issuer).host,
    issuer,
    endpoints: undefined,
    scopes: ['openid', 'offline_access'],
    authorize: entry.authorize ?? {},
    account: 'id_token',
    apiOrigins,
    mints: entry.mints ?? [
      '/$batch/**',
      '/**/$batch',
      '/batch/**',
      '/oauth2/**',
      '/oauth/**',
      '/token',
      '/**/token',
      '/**/tokens',
      '/realms/**',
    ],
    rules: [readAll],
    scopeOnRefresh: entry.scope_on_refresh ?? false,
    quirks: noQuirks,
    revocation: 'rfc7009',
    tokenExchange: exchange && {
      ...(exchange.audience !== undefined && { audience: exchange.audience }),
      ...(exchange.resource !== undefined && { resource: exchange.resource }),
      ...(exchange.scope !== undefined && { scope: exchange.scope }),
    },
  }
}
