import { z } from 'zod'

/** Products whose access tokens we read. `generic`: RFC 9068 to the letter. */
export const presetNames = ['keycloak', 'auth0', 'okta', 'entra', 'generic'] as const
/** A product whose tokens are known, or `generic`. */
export type PresetName = (typeof presetNames)[number]

/** How one product says what RFC 9068 and the actor profile say. One row of {@link presets}. */
export interface Preset {
  /**
   * Values of the header's `typ`, in lower case, under which a token may come besides `at+jwt`; '' for none.
   * Each of them is what this product's ID tokens say too, so that {@link isAccessToken} has to tell them
   * apart.
   */
  readonly otherTypes: readonly string[]
  /**
   * Whether the payload is an access token's, by marks that this product sets itself and that no application
   * can put into its other tokens. `named`: the header said `at+jwt` already.
   */
  readonly isAccessToken: (payload: Payload, named: boolean) => boolean
  /** Claims that may name the client. All that are there have to agree; one has to be there. */
  readonly client: readonly string[]
  /** Claims that may hold the scopes. All that are there have to agree. */
  readonly scopes: (payload: Payload) => readonly string[]
  /**
   * Who the subject is at the issuer, for good, the same by an access token and by an ID token (whose claims
   * it is given by sign-in); undefined: cannot be told.
   */
  readonly sub: (payload: Payload, issuer: string) => unknown
  readonly jti: string
  /** Whether a person took part, by what the product says of itself. What is absent never says yes. */
  readonly isPerson: (payload: Payload) => boolean
  /**
   * `claim`: the actor is in `act`, each link with its issuer. `claim_of_issuer`: a link without one means
   * this issuer, for us and nowhere else. `facet`: there is no `act`, and the client acts iff the issuer
   * calls it an agent.
   */
  readonly actor: 'claim' | 'claim_of_issuer' | 'facet'
  /**
   * Permissions that the person has; where they are listed, a scope that is not among them does not count.
   */
  readonly permissions?: string
}

/** A token's payload before anything about it is known. */
export type Payload = Readonly<Record<string, unknown>>

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''
const scopeNames = (value: unknown): readonly string[] =>
  (Array.isArray(value) ? value : [value]).flatMap((element) =>
    typeof element === 'string' ? element.split(' ') : [],
  )

const isUuid = (value: unknown): value is string => z.guid().safeParse(value).success

/**
 * Keycloak 26: `typ` of the payload is `Bearer`, in ID tokens `ID`, in refresh tokens `Refresh`, and set last
 * of all.
 */
const keycloak: Preset = {
  otherTypes: ['jwt'],
  isAccessToken: ({ typ, cnf }) => typ === 'Bearer' || (typ === 'DPoP' && cnf !== undefined),
  client: ['azp', 'client_id'],
  scopes: () => ['scope'],
  sub: ({ sub }) => sub,
  jti: 'jti',
  // A service account is a user like any other: told by its name, by the grant in its jti, or by having no
  // session.
  isPerson: ({ sid, preferred_username: name, jti }) =>
    isText(sid) &&
    !(typeof name === 'string' && name.startsWith('service-account-')) &&
    !(typeof jti === 'string' && /^.{4}cc:/.test(jti)),
  actor: 'claim_of_issuer',
}

/** Auth0 with the token profile RFC 9068: its older profile has nothing that an ID token could not have. */
const auth0: Preset = {
  otherTypes: [],
  isAccessToken: (_, named) => named,
  client: ['client_id', 'azp'],
  scopes: () => ['scope'],
  permissions: 'permissions',
  sub: ({ sub }) => sub,
  jti: 'jti',
  // A person is `connection|id`, a program `client@clients`.
  isPerson: ({ sub, gty }) =>
    typeof sub === 'string' &&
    /^[^|@]+\|[^|]/.test(sub) &&
    !sub.endsWith('@clients') &&
    !scopeNames(gty).includes('client-credentials'),
  actor: 'claim_of_issuer',
}

/**
 * Okta's custom authorization servers: `jti` begins with what the token is, and `cid` stands in access tokens
 * only. Their `sub` is a login, which may be somebody else's later; a person's own id is `uid` there, and
 * `sub` in ID tokens.
 */
const okta: Preset = {
  otherTypes: ['', 'jwt'],
  isAccessToken: ({ jti, cid, ver }, named) =>
    isText(cid) &&
    ver === 1 &&
    typeof jti === 'string' &&
    (named ? !/^(ID|RT)\./.test(jti) : jti.startsWith('AT.')),
  client: ['cid', 'client_id', 'azp'],
  scopes: () => ['scp', 'scope'],
  sub: ({ cid, uid, sub }) => (isText(cid) && isText(uid) ? uid : sub),
  jti: 'jti',
  // `sub` may be an application's id: only a user's token has the user's own id, or says that it is one.
  isPerson: ({ uid, sub_profile }) => isText(uid) || sub_profile === 'user',
  actor: 'claim_of_issuer',
}

/**
 * Microsoft Entra ID, both versions of its tokens. `sub` is another for each application, `tid` and `oid` are
 * not.
 */
const entra: Preset = {
  otherTypes: ['jwt'],
  // Where the application is its own API, an ID token has the same audience; it has neither client nor `scp`.
  isAccessToken: ({ ver, azp, appid, scp, idtyp }) =>
    (ver === '1.0' || ver === '2.0') && (isText(azp) || isText(appid)) && (isText(scp) || idtyp === 'app'),
  client: ['azp', 'appid', 'client_id'],
  // Of an application on its own behalf, which has no person's scopes.
  scopes: ({ idtyp }) => (idtyp === 'app' ? ['roles'] : ['scp']),
  sub: ({ tid, oid }, issuer) =>
    isUuid(tid) && isUuid(oid) && new URL(issuer).pathname.split('/').includes(tid)
      ? `${tid}.${oid}`.toLowerCase()
      : undefined,
  jti: 'uti',
  isPerson: ({ scp, idtyp, xms_sub_fct }) =>
    isText(scp) &&
    (idtyp === undefined || idtyp === 'user') &&
    facets(xms_sub_fct)?.has(agentUserFacet) === false,
  actor: 'facet',
}

const generic: Preset = {
  otherTypes: [],
  isAccessToken: (_, named) => named,
  client: ['client_id', 'azp'],
  scopes: () => ['scope'],
  sub: ({ sub }) => sub,
  jti: 'jti',
  isPerson: () => true,
  actor: 'claim',
}

/** One row for each product. */
export const presets: Readonly<Record<PresetName, Preset>> = { keycloak, auth0, okta, entra, generic }

/** `xms_act_fct`: the client is an AI agent. */
export const agentFacet = 11
/** `xms_sub_fct`: the user is an account of an AI agent. */
const agentUserFacet = 13

/** Numbers in no order, of which unknown ones say nothing; undefined for whatever is no such list. */
export function facets(value: unknown): ReadonlySet<number> | undefined {
  if (value === undefined) return new Set()
  const parsed = facetList.safeParse(typeof value === 'string' ? value.split(' ') : value)
  return parsed.success ? new Set(parsed.data.map(Number)) : undefined
}

const facetList = z.array(z.union([z.int().nonnegative(), z.string().regex(/^\d{1,6}$/)])).max(100)
