import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Fga } from '../authz/fga.ts'
import type { AskNamed } from '../authz/gate/named.ts'
import { endApprovals } from '../authz/model/plan-store.ts'
import type { Config } from '../config/config.ts'
import { createOwnPrograms } from '../delegation/administration/own-programs.ts'
import type { Approvals } from '../delegation/approvals/approvals.ts'
import type { ResolveDetail } from '../delegation/approvals/resolve.ts'
import { createLendables, type Lendables, type LendablesDeps } from '../delegation/lending/lendable.ts'
import { createOwnDelegations } from '../delegation/lending/own-delegations.ts'
import { createActorTokens } from '../delegation/oauth/actor-token.ts'
import { createClientDocuments } from '../delegation/oauth/cimd/documents.ts'
import { createMetadataClients } from '../delegation/oauth/cimd/metadata-clients.ts'
import { type Consents, createConsents } from '../delegation/oauth/consents.ts'
import { createExchange } from '../delegation/oauth/exchange.ts'
import { createAuthorizationServer } from '../delegation/oauth/server.ts'
import type { DemoConsent } from '../delegation/oauth/unasked-consents.ts'
import { createAccountNews } from '../delegation/people/account-news.ts'
import { createAccountLinks } from '../delegation/people/links.ts'
import { createPasskeys } from '../delegation/people/passkeys.ts'
import { createPasswords, type Passwords } from '../delegation/people/passwords.ts'
import { createSessions } from '../delegation/people/sessions.ts'
import {
  type Barring,
  createBarring,
  createConsoleSignOut,
  createSignInEnds,
} from '../delegation/people/sign-in-ends.ts'
import { createSignInValidity } from '../delegation/people/sign-in-validity.ts'
import { createSignIns } from '../delegation/people/sign-ins.ts'
import { createStepUp, type StepUp } from '../delegation/people/step-up.ts'
import { cliClient, consoleClient } from '../delegation/registry/clients.ts'
import { createResources, type Resources } from '../delegation/registry/resources.ts'
import { createArtifacts } from '../delegation/revocation/artifacts.ts'
import { ownIssuerName } from '../delegation/tokens/issuers.ts'
import { createReplayGuard } from '../delegation/tokens/replay-guard.ts'
import { createUpstreamProvider } from '../delegation/upstream/provider.ts'
import { createUpstreamSignIns } from '../delegation/upstream/sign-ins.ts'
import { deactivatedBy } from '../directory/directories.ts'
import type { App } from '../http/env.ts'
import { createBegunLimit } from '../http/middleware/begun.ts'
import { createRequireSession, type RequireSession } from '../http/middleware/session.ts'
import { issuerPages } from '../http/pages/issuer-pages.ts'
import { delegationRoutes } from '../http/routes/delegations/delegations.ts'
import { createSavedForm } from '../http/routes/delegations/lend-form.ts'
import { accountRoutes } from '../http/routes/oauth/accounts.ts'
import { oauthRoutes, type ProtectedResource, protectedResourceRoutes } from '../http/routes/oauth/oauth.ts'
import { passkeyRoutes, signInRoutes, upstreamRoutes } from '../http/routes/oauth/sign-in.ts'
import { createCookie, createSessionCookie, type OwnCookie } from '../http/sign-in/cookies.ts'
import { createKnownBrowser } from '../http/sign-in/known-browser.ts'
import { createPasskeyMethod } from '../http/sign-in/passkey.ts'
import { createPasswordMethod } from '../http/sign-in/password.ts'
import { createSignIn } from '../http/sign-in/sign-in.ts'
import { createUpstreamMethod } from '../http/sign-in/upstream.ts'
import type { FgaObject } from '../kernel/ids.ts'
import type { Principal } from '../kernel/principal.ts'
import type { CollectionLister } from '../retrieval/collections.ts'
import { samplePasswordsFile } from '../sample/seed.ts'
import { createSeal } from '../store/encryption.ts'
import { loadSecret } from '../store/secret.ts'
import { openBackchannel } from './backchannel.ts'
import type { ComposeContext } from './context.ts'
import type { DelegationPart } from './delegation.ts'

/** Of the service, what the authorization server takes. */
export interface IssuerDeps
  extends Pick<
      ComposeContext,
      'config' | 'database' | 'boss' | 'clock' | 'fetch' | 'log' | 'outbound' | 'publicOutbound' | 'newTxn'
    >,
    Pick<
      DelegationPart,
      | 'keys'
      | 'people'
      | 'agents'
      | 'clients'
      | 'deniedHosts'
      | 'persons'
      | 'administrators'
      | 'delegations'
      | 'revocations'
      | 'verifier'
      | 'proofs'
      | 'proofSecret'
    > {
  readonly fga: Fga
  readonly askNamed: AskNamed
  readonly hasRelation: LendablesDeps['hasRelation']
  readonly listCollections: CollectionLister
  readonly approvals: Approvals
  /** Turns what is asked for by a detail of ours into what a person is asked. */
  readonly resolve: ResolveDetail
}

/** The built-in authorization server and what belongs to it. */
export interface Issuer extends AsyncDisposable {
  readonly routes: readonly App[]
  readonly passwords: Passwords
  readonly barring: Barring
  readonly resources: Resources
  readonly grants: Consents
  /** Demands the person's own browser session. */
  readonly requireSession: RequireSession
  readonly sessionCookie: OwnCookie
  readonly stepUp: StepUp
  readonly lendables: Lendables
  /** Only in the demo. */
  readonly demoConsent: DemoConsent | undefined
  /** Background tasks, each to be run now and every hour. */
  readonly tasks: Readonly<Record<string, () => Promise<unknown>>>
}

/** Opens Remit's own authorization server and its pages. */
export async function openIssuer(dependencies: IssuerDeps): Promise<Issuer> {
  const { config, database: sql, clock, log, clients, newTxn } = dependencies
  const { publicUrl, demo } = config
  const seal = createSeal(await loadSecret(join(config.home, 'keys'), 'oauth.key'))
  const now = () => clock.now()
  const base = {
    ...dependencies,
    sql,
    seal,
    issuer: ownIssuerName(publicUrl),
    publicUrl,
    demo,
    randomBytes,
    now,
  }
  const signInEnds = createSignInEnds(base)
  const signInValidity = createSignInValidity({ trustedIssuers: config.trustedIssuers, clock })
  const grants = createConsents({ ...base, signInValidity })
  const artifacts = createArtifacts({ ...base, grantEnded: (grantId) => grants.end(grantId, newTxn()) })
  const resources = createResources(base)
  for (const { resource, scopes } of await resources.unusable())
    log('resource_unusable', { resource, scopes })
  const passwords = createPasswords({ ...base, signInEnds })
  const signIns = createSignIns({ ...base, signInValidity })
  const passkeys = createPasskeys(base)
  const links = createAccountLinks(base)
  const upstream = createUpstreamSignIns({ ...base, links, providers: upstreamProviders(dependencies) })
  const sessions = createSessions({ ...base, signInValidity, signInEnds })
  const lendables = createLendables({
    ...base,
    readableCollections: (subject, signal) => readableBy(subject, signal, dependencies),
  })
  const exchange = createExchange({
    ...base,
    resources,
    readActorToken: createActorTokens({ ...base, spent: createReplayGuard(base) }),
  })
  const asking = await openBackchannel({ ...base, grants })
  const areStrangersWelcome = config.clientIdMetadataDocuments !== undefined
  const metadataClients = createMetadataClients({
    ...base,
    documents: areStrangersWelcome
      ? createClientDocuments({ ...dependencies, outbound: dependencies.publicOutbound })
      : undefined,
    hosts: dependencies.deniedHosts,
  })
  const server = createAuthorizationServer({
    ...base,
    ...metadataClients,
    areStrangersWelcome,
    backchannel: asking.backchannel,
    cookieKey: seal.hash('cookie key', ''),
    artifacts,
    grants,
    signIns,
    resources,
    pages: issuerPages,
    exchange,
    consoleSignOut: createConsoleSignOut({ ...base, signInEnds }),
    rolesOf: (person) => dependencies.administrators.rolesOf(`user:${person}`),
    lendable: (person) => lendables.offered(`user:${person}`),
  })
  await clients.register(
    { clientId: cliClient, kind: 'person' },
    { title: 'Remit on the command line', redirectUris: [], jwks: undefined },
  )
  await clients.register(
    { clientId: consoleClient, kind: 'person' },
    { title: 'Remit console', redirectUris: [`${publicUrl}/console/callback`], jwks: undefined },
  )
  const upstreamCookie = createCookie('remit_upstream', { publicUrl, sameSite: 'Lax' })
  const knownBrowser = createKnownBrowser({
    cookie: createCookie('remit_known', { publicUrl, sameSite: 'Strict' }),
    hash: seal.hash,
    passwordChangedAt: (person) => passwords.changedAt(person),
    now,
  })
  const begunLimit = createBegunLimit({ perMinute: config.beginPerMinute, now })
  const methods = { ...base, signIns, upstream, cookie: upstreamCookie, begunLimit, passwords, knownBrowser }
  const signIn = createSignIn({
    signIns,
    knownBrowser,
    methods: [
      ...(passkeys === undefined ? [] : [createPasskeyMethod({ ...methods, passkeys })]),
      ...(upstream.providers.length === 0 ? [] : [createUpstreamMethod(methods)]),
      createPasswordMethod(methods),
    ],
    publicUrl,
    ...(demo && { hint: `This is the demo. The passwords are in ${samplePasswordsFile(config.home)}` }),
  })
  const requireSession = createRequireSession({
    ...base,
    sessions,
    countWaiting: (subject) => dependencies.approvals.waiting(subject),
    newsOf: createAccountNews(base),
  })
  const pages = {
    ...base,
    signIn,
    sessions,
    sessionCookie: createSessionCookie(publicUrl),
    requireSession,
    upstream,
    passkeys,
  }
  return {
    routes: [
      signInRoutes({ ...pages, formCookie: createCookie('remit_sign_in', { publicUrl, sameSite: 'Lax' }) }),
      delegationRoutes({
        ...pages,
        delegations: createOwnDelegations({ ...base, lendables }),
        programs: createOwnPrograms({
          ...base,
          signInEnds,
          // One API a consent: see interactions.ts.
          consentedAt: async (id) => Object.keys((await artifacts.of('Grant').find(id))?.resources ?? {})[0],
        }),
        lendables,
        savedForm: createSavedForm({
          ...base,
          cookie: createCookie('remit_form', { publicUrl, sameSite: 'Strict' }),
        }),
        idOf: (value) => `d_${sessions.formToken(`lend ${value}`)}`,
        perMinute: config.ratePerMinute,
      }),
      oauthRoutes({ ...pages, server, begunLimit }),
      upstreamRoutes({ upstream, cookie: upstreamCookie }),
      passkeyRoutes({ ...pages, approvals: dependencies.approvals }),
      accountRoutes({ ...pages, links, upstreamCookie }),
      protectedResourceRoutes({
        resources: await describe(config, resources),
        documentation: `${publicUrl}/docs`,
      }),
    ],
    passwords,
    barring: createBarring({ ...base, signInEnds, endApprovals, deactivatedBy }),
    resources,
    grants,
    requireSession,
    sessionCookie: pages.sessionCookie,
    stepUp: createStepUp({ ...base, passkeys, sessions }),
    lendables,
    demoConsent: server.demoConsent,
    tasks: {
      oauth_artifacts: () => artifacts.sweep(),
      oauth_grants: () => grants.sweep(),
      browser_sessions: () => sessions.sweep(),
      passkey_challenges: async () => passkeys?.sweep(),
      upstream_sign_ins: () => upstream.sweep(),
      signing_keys: () => dependencies.keys.sweep(),
      ...asking.tasks,
    },
    [Symbol.asyncDispose]: () => asking[Symbol.asyncDispose](),
  }
}

/** Trusted issuers through which people sign in. */
const upstreamProviders = ({ config, fetch, clock }: IssuerDeps) =>
  config.trustedIssuers.flatMap(({ sign_in, ...trusted }) => {
    if (sign_in === undefined) return []
    const clientSecret = config.signInSecrets.get(trusted.issuer) ?? ''
    const settings = { ...trusted, clientId: sign_in.client_id, clientSecret }
    return [createUpstreamProvider(settings, { publicUrl: config.publicUrl, fetch, clock })]
  })

/** What clients have to know of Remit's own two APIs, from the registry by which their tokens are issued. */
async function describe(
  { publicUrl, trustedIssuers }: Config,
  resources: Resources,
): Promise<ProtectedResource[]> {
  const ownIssuers = [
    { resource: publicUrl, face: 'api', name: 'Remit', isActorRequired: false },
    // Each of its clients is an agent's.
    { resource: `${publicUrl}/mcp`, face: 'mcp', name: 'Remit for MCP', isActorRequired: true },
  ] as const
  return Promise.all(
    ownIssuers.map(async ({ face, ...about }) => {
      const entry = await resources.get(about.resource)
      if (entry === undefined) throw new Error(`${about.resource} is not among the resources.`)
      const { scopes, authorizationDetailsTypes } = entry
      const otherIssuers = trustedIssuers.filter(({ audiences }) => audiences[face] === about.resource)
      const authorizationServers = [ownIssuerName(publicUrl), ...otherIssuers.map(({ issuer }) => issuer)]
      return { ...about, scopes, authorizationDetailsTypes, authorizationServers }
    }),
  )
}

/** Collections in which a person may read something, asked in their own name. */
async function readableBy(
  subject: FgaObject,
  signal: AbortSignal,
  { clock, listCollections, newTxn }: IssuerDeps,
) {
  const now = clock.now()
  const principal: Principal = {
    kind: 'person',
    subject,
    actors: [],
    client: 'remit-pages',
    scopes: new Set(['docs.search']),
    authorizationDetails: [],
    txn: newTxn(),
    expiresAt: Math.floor(now / 1_000) + 60,
  }
  const deadline = { signal, at: now + 5_000, now: () => clock.now() }
  return (await listCollections(principal, deadline)).collections
}
