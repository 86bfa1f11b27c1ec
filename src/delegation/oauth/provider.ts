import {
  type Adapter,
  type Configuration,
  errors,
  type KoaContextWithOIDC,
  Provider,
  type ResourceServer,
} from 'oidc-provider'
import type { Runtime } from '../../store/runtime.ts'
import type { People } from '../people/people.ts'
import { scopesOfKind } from '../registry/claims.ts'
import { type Clients, idTokenAlgorithms, requestAlgorithms } from '../registry/clients.ts'
import { ownDetailTypes } from '../registry/details.ts'
import { isOurs, mayTarget, type Resources, scopesAt } from '../registry/resources.ts'
import type { Artifacts } from '../revocation/artifacts.ts'
import { proofAlgorithms } from '../tokens/dpop.ts'
import type { KeyRing, SigningKey } from '../tokens/signing-key.ts'
import { type Backchannel, isBackchannel } from './ciba/backchannel.ts'
import { retentionSeconds, secondsOf, soleScopeOf } from './ciba/parsed-request.ts'
import { documentFeature, isByDocument } from './cimd/metadata-clients.ts'
import { allGrantTypes, clientMetadata } from './client-metadata.ts'
import { issuerCookies } from './cookies.ts'
import { answerUnavailable, typedOnce } from './middleware.ts'
import { detailProblem } from './requested-details.ts'
import { assertIsAssertion } from './signed-jwts.ts'
import { type TokenClaimsDeps, tokenClaims } from './token-claims.ts'
import { type ConsoleConsentDeps, createConsoleConsent } from './unasked-consents.ts'

/** Pages of the authorization server, as HTML. Everything given is untrusted text, but for `form`. */
export interface IssuerPages {
  error(problem: { readonly code: string; readonly detail: string }): string
  /** `form` is the library's own, with its hidden fields; the page adds what is seen. */
  deviceCode(page: { readonly form: string; readonly problem?: string }): string
  deviceConfirm(page: { readonly form: string; readonly client: string; readonly code: string }): string
  deviceDone(page: { readonly client: string }): string
}

export interface ProviderDeps
  extends TokenClaimsDeps,
    ConsoleConsentDeps,
    Pick<Runtime, 'publicUrl' | 'issuer' | 'log'> {
  readonly keys: KeyRing
  readonly cookieKey: string
  readonly artifacts: Artifacts
  readonly clients: Clients
  readonly people: People
  readonly resources: Resources
  readonly backchannel: Backchannel
  readonly pages: IssuerPages
  /** Whether clients that nobody registered may come with a document of their own. */
  readonly areStrangersWelcome: boolean
  /** 32 bytes from which the nonces of DPoP proofs are derived. */
  readonly proofSecret: Uint8Array
}

const minute = 60
const day = 86_400
/** The longest that one consent lasts, in seconds. */
export const grantSecondsMax = 14 * day
const refreshIdleSeconds = 8 * 3_600
const accessTokenSeconds = 300
const signInSecondsMax = 15 * minute

/**
 * The library, set up. Signs with the keys that are current now and knows these types of others' details:
 * made anew after a rotation, and when an API is registered that knows more. Without `idTokenKey` it gives
 * out no tokens.
 */
export function createProvider(
  deps: ProviderDeps,
  foreignTypes: readonly string[],
  idTokenKey: SigningKey | undefined,
): Provider {
  const provider: Provider = new Provider(
    deps.issuer,
    configuration(deps, { foreignTypes, idTokenKey, provider: () => provider }),
  )
  // `ctx` is told about PUBLIC_URL by the mount, never by a sender's headers.
  provider.proxy = true
  provider.on('grant.error', (ctx: KoaContextWithOIDC, error: errors.OIDCProviderError) => {
    // Every wait of `remit login` is answered so: nothing was refused yet (RFC 8628 §3.5).
    if (error.error === 'authorization_pending' || error.error === 'slow_down') return
    // Told with the nonce: how whoever has none yet gets one (RFC 9449 §8).
    if (error.error === 'use_dpop_nonce') return
    const grantType = ctx.oidc.params?.['grant_type']
    // Outside it is one word; why is for the operator alone.
    deps.log('grant_refused', {
      client: ctx.oidc.client?.clientId,
      // Nobody has proven anything yet: another word is the caller's own text.
      grant_type: allGrantTypes.has(grantType) ? grantType : 'unknown',
      reason: `${error.message} ${error.error_detail ?? ''}`.trim(),
    })
  })
  provider.on('server_error', (ctx: KoaContextWithOIDC, error: Error) => {
    answerUnavailable(ctx, error, deps.pages.error)
    deps.log('issuer_failed', { reason: error.message, stack: error.stack })
  })
  return provider
}

interface Current {
  readonly foreignTypes: readonly string[]
  readonly idTokenKey: SigningKey | undefined
  readonly provider: () => Provider
}

function configuration(deps: ProviderDeps, { foreignTypes, idTokenKey, provider }: Current): Configuration {
  const { artifacts, clients, people, grants, delegations, resources, publicUrl, keys, pages } = deps
  const { backchannel } = deps
  const documents = deps.areStrangersWelcome ? documentFeature(clients) : undefined
  const consoleConsent = createConsoleConsent(deps)

  async function resourceServer(identifier: string, clientId: string): Promise<ResourceServer> {
    const [entry, client] = await Promise.all([resources.get(identifier), clients.registered(clientId)])
    if (entry === undefined || client === undefined || !mayTarget(entry, client, publicUrl))
      throw new errors.InvalidTarget()
    const agent = client.kind === 'agent' ? await deps.agents.get(client.agent) : undefined
    const scopes = scopesAt(entry, client, { publicUrl, agent })
    // Details say what exactly may be done at an API, not whether this agent may go there at all.
    if (scopes.length === 0 && !isOurs(identifier, publicUrl))
      throw new errors.InvalidScope('nothing of that API is within the limits of this agent', '')
    return {
      scope: scopes.join(' '),
      audience: identifier,
      accessTokenFormat: 'jwt',
      accessTokenTTL: accessTokenSeconds,
      jwt: { sign: { alg: 'ES256' } },
    }
  }

  /**
   * What a request asks for that names no scope: what its kind may read here, or everything of another's API.
   */
  async function defaultScope(resource: unknown, clientId: string): Promise<string> {
    if (typeof resource === 'string' && !isOurs(resource, publicUrl))
      return (await resourceServer(resource, clientId)).scope
    const kind = (await clients.get(clientId))?.kind ?? 'agent'
    const scopes: readonly string[] = scopesOfKind[kind]
    return scopes.filter((scope) => scope.startsWith('docs.')).join(' ')
  }

  const validate = async (ctx: KoaContextWithOIDC, detail: object): Promise<void> => {
    const { resource, audience, authorization_details: rawDetails } = ctx.oidc.params ?? {}
    const api = resource ?? audience ?? publicUrl
    const request = { all: rawDetails, resource: api, isBackchannel: isBackchannel(ctx) }
    const problem = await detailProblem(detail, request, deps)
    if (problem !== undefined) throw new errors.InvalidAuthorizationDetails(problem)
  }

  const stores: Readonly<Record<string, (inner: Adapter) => Adapter>> = {
    Client: (inner) => ({
      ...inner,
      find: async (id) => {
        if (documents !== undefined && (await isByDocument(clients, id))) return undefined
        const client = await clients.registered(id)
        return client && clientMetadata(client, foreignTypes)
      },
    }),
    BackchannelAuthenticationRequest: (inner) => sparing(backchannel.store(inner, provider)),
    DeviceCode: (inner) => sparing(typedOnce(inner, artifacts.of('ReplayDetection'), deps.clock.now)),
  }

  return {
    adapter: (model) => stores[model]?.(artifacts.of(model)) ?? artifacts.of(model),
    ...(documents && { fetch: documents.fetch }),
    jwks: { keys: [keys.current(), idTokenKey].flatMap((key) => (key ? [key.privateJwk as never] : [])) },
    cookies: issuerCookies(publicUrl, deps.cookieKey),
    clientAuthMethods: ['none', 'private_key_jwt'],
    // A page is answered where its client's codes go, and nowhere else.
    clientBasedCORS: (_ctx, origin, { clientAuthMethod, redirectUris = [] }) =>
      clientAuthMethod === 'none' && redirectUris.some((uri) => URL.parse(uri)?.origin === origin),
    assertJwtClientAuthClaimsAndHeader: async (_ctx, _claims, header) => assertIsAssertion(header),
    clientDefaults: { id_token_signed_response_alg: 'ES256', response_types: ['code'] },
    enabledJWA: {
      idTokenSigningAlgValues: [...idTokenAlgorithms],
      clientAuthSigningAlgValues: ['ES256', 'PS256', 'RS256', 'EdDSA', 'Ed25519'],
      dPoPSigningAlgValues: [...proofAlgorithms],
      requestObjectSigningAlgValues: [...requestAlgorithms],
    },
    responseTypes: ['code'],
    scopes: ['openid', 'offline_access'],
    claims: { openid: ['sub'] },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    // What a person said yes to from afar is for minutes: after them they are asked again.
    issueRefreshToken: async (_ctx, client, { kind }) =>
      kind !== 'BackchannelAuthenticationRequest' && client.grantTypeAllowed('refresh_token'),
    expiresWithSession: async () => false,
    // Each request is its own consent, and each consent its own delegation.
    loadExistingGrant: async (ctx) => {
      const id = ctx.oidc.result?.consent?.grantId
      return id === undefined ? consoleConsent(ctx) : ctx.oidc.provider.Grant.find(id)
    },
    async findAccount(ctx, sub, token) {
      if (isBackchannel(ctx)) return backchannel.account(ctx, sub)
      assertAsksForNoMore(ctx, token)
      if (!(await people.has(sub))) return undefined
      const grantId = token !== undefined && 'grantId' in token ? token.grantId : undefined
      if (grantId === undefined) return { accountId: sub, claims: async () => ({ sub }) }
      // Asked before a code or refresh token is used up: the sign-in may count no more, what was lent may be
      // over.
      const link = await grants.get(grantId)
      if (link === undefined) return undefined
      if (link.delegation !== undefined && !(await delegations.isLive(link.delegation))) return undefined
      return { accountId: sub, claims: async () => ({ sub }) }
    },
    async extraTokenClaims(_ctx, token) {
      if (token.clientId === undefined) throw new errors.InvalidGrant('no client')
      const grantId = 'grantId' in token ? token.grantId : undefined
      const claims = await tokenClaims({ clientId: token.clientId, grantId }, deps)
      if (claims === undefined) throw new errors.InvalidGrant('nothing that is live was lent')
      return { ...claims }
    },
    extraParams: {
      sub_agents: async (ctx, value, client) => {
        if (value !== undefined && !/^[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(value))
          throw new errors.InvalidRequest('sub_agents is a list of agents')
        const { params } = ctx.oidc
        if (params === undefined) return
        if (isBackchannel(ctx) && value !== undefined)
          throw new errors.InvalidRequest('sub_agents are agreed to where the person consents')
        // The first hook with the parameters in hand: a request that names no scope asks for what its kind
        // may read.
        if (params['scope'] === undefined)
          params['scope'] = await defaultScope(params['resource'], client.clientId)
        // OpenID's own names nothing of the API.
        else if (isBackchannel(ctx) && params['scope'] === 'openid')
          params['scope'] =
            `openid ${soleScopeOf(params['authorization_details']) ?? (await defaultScope(params['resource'], client.clientId))}`
      },
    },
    interactions: { url: (_ctx, interaction) => `/oauth/interaction/${interaction.uid}` },
    features: {
      ...documents?.features,
      ciba: backchannel.feature,
      requestObjects: {
        enabled: true,
        assertJwtClaimsAndHeader: async (ctx, claims, header) => backchannel.signed(ctx, claims, header),
      },
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      clientCredentials: { enabled: true },
      revocation: { enabled: true, allowedPolicy: isOwn },
      introspection: { enabled: true, allowedPolicy: isOwn },
      pushedAuthorizationRequests: { enabled: true },
      dPoP: {
        enabled: true,
        nonceSecret: Buffer.from(deps.proofSecret),
        // Always: a proof made ahead, beside a stolen code or refresh token, is worth nothing, and no clock
        // matters.
        requireNonce: () => true,
      },
      deviceFlow: {
        enabled: true,
        userCodeInputSource: (ctx, form, _out, error) => {
          ctx.type = 'html'
          ctx.body = pages.deviceCode({ form, ...(error !== undefined && { problem: deviceProblem(error) }) })
        },
        userCodeConfirmSource: (ctx, form, client, _device, code) => {
          ctx.type = 'html'
          ctx.body = pages.deviceConfirm({ form, client: client.clientName ?? client.clientId, code })
        },
        successSource: (ctx) => {
          const { client } = ctx.oidc
          ctx.type = 'html'
          ctx.body = pages.deviceDone({ client: client?.clientName ?? client?.clientId ?? '' })
        },
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => publicUrl,
        useGrantedResource: async () => true,
        getResourceServerInfo: (_ctx, identifier, client) => resourceServer(identifier, client.clientId),
      },
      richAuthorizationRequests: {
        enabled: true,
        types: Object.fromEntries([...ownDetailTypes, ...foreignTypes].map((type) => [type, { validate }])),
        // What the person agreed to, which the consent put into the grant; the request is only a wish.
        authorizationDetailsForGrantSource: (ctx) => ctx.oidc.entities.Grant?.rar,
        authorizationDetailsForAccessToken: async (ctx, token, source) => {
          if (source === undefined || ctx.oidc.params?.['authorization_details'] !== undefined)
            throw new errors.InvalidAuthorizationDetails('details are asked for where the person consents')
          const entry = token.aud === undefined ? undefined : await resources.get(String(token.aud))
          const knownTypes = entry?.authorizationDetailsTypes ?? []
          // Left out, a detail that the API no longer knows would leave its scopes without their limit.
          if (source.rar?.some(({ type }) => !knownTypes.includes(type)))
            throw new errors.InvalidGrant('the API does not know these details any more')
          return source.rar
        },
        authorizationDetailsForIntrospection: (_ctx, token) => token.rar,
      },
    },
    ttl: {
      AuthorizationCode: minute,
      DeviceCode: 10 * minute,
      // When the answer has to be there is the approval's to say.
      BackchannelAuthenticationRequest: ({ oidc }) =>
        retentionSeconds(secondsOf(oidc.params?.['requested_expiry'])),
      Interaction: 15 * minute,
      // From the sign-in on, however often it is used: a browser left alone must not lend for its owner for
      // days.
      Session: (_ctx, session) =>
        secondsWithin(signInSecondsMax, (session.loginTs ?? now()) + signInSecondsMax),
      IdToken: accessTokenSeconds,
      AccessToken: (ctx) => secondsWithin(accessTokenSeconds, ctx.oidc.entities.Grant?.exp),
      ClientCredentials: accessTokenSeconds,
      RefreshToken: (ctx) => secondsWithin(refreshIdleSeconds, ctx.oidc.entities.Grant?.exp),
      Grant: grantSecondsMax,
    },
    renderError: (ctx, out) => {
      ctx.type = 'html'
      ctx.body = pages.error({ code: out.error, detail: out.error_description ?? '' })
    },
  }
}

/** Seconds, but never past the end of the consent. */
const now = (): number => Math.floor(Date.now() / 1_000)

function secondsWithin(seconds: number, endSeconds: number | undefined): number {
  const remaining = endSeconds === undefined ? seconds : endSeconds - now()
  return Math.max(1, Math.min(seconds, remaining))
}

/**
 * Whoever redeems a code or a refresh token for more than it is for keeps it: the library would use it up
 * first, and who then comes again with it would lose the whole grant as a thief.
 */
function assertAsksForNoMore({ oidc: { params } }: KoaContextWithOIDC, token: object | undefined): void {
  if (params?.['grant_type'] === undefined || token === undefined || !('resource' in token)) return
  const { authorization_details: details, resource } = params
  if (details !== undefined)
    throw new errors.InvalidAuthorizationDetails('details are asked for where the person consents')
  if (resource !== undefined && ![token.resource].flat().includes(resource)) throw new errors.InvalidTarget()
}

/** The same for what is redeemed before its account is looked for: device codes, and answers from afar. */
const sparing = (inner: Adapter): Adapter => ({
  ...inner,
  async consume(id) {
    const ctx = Provider.ctx
    if (ctx !== undefined) assertAsksForNoMore(ctx, (await inner.find(id)) ?? undefined)
    await inner.consume(id)
  },
})

/**
 * A stored token is the business of the client that it was issued to; JWTs are judged in middleware.ts.
 */
const isOwn = (
  _ctx: unknown,
  { clientId }: { readonly clientId: string },
  token: { readonly clientId?: string | undefined },
): boolean => token.clientId === clientId

const deviceProblem = (error: Error): string =>
  error.name === 'AbortedError'
    ? 'The request was refused. You can close this page.'
    : error.name === 'NoCodeError' || 'userCode' in error
      ? 'This code is not known, is over or was used already. Start again from the device.'
      : 'That did not work. Start again from the device.'
