import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Fga } from '../authz/fga.ts'
import type { AskNamed } from '../authz/gate/named.ts'
import { endApprovals } from '../authz/model/plan-store.ts'
import type { Config } from '../config/config.ts'
import type { Administrators } from '../delegation/administration/administrators.ts'
import { createOwnPrograms } from '../delegation/administration/own-programs.ts'
import type { Approvals } from '../delegation/approvals/approvals.ts'
import type { ResolveDetail } from '../delegation/approvals/resolve.ts'
import type { Delegations } from '../delegation/lending/delegations.ts'
import { createLendables, type Lendables } from '../delegation/lending/lendable.ts'
import { createOwnDelegations } from '../delegation/lending/own-delegations.ts'
import { createActorTokens } from '../delegation/oauth/actor-token.ts'
import { createClientDocuments } from '../delegation/oauth/cimd/documents.ts'
import type { DeniedHosts } from '../delegation/oauth/cimd/hosts.ts'
import { createMetadataClients } from '../delegation/oauth/cimd/metadata-clients.ts'
import { type Consents, createConsents } from '../delegation/oauth/consents.ts'
import type { DemoConsent } from '../delegation/oauth/demo-consent.ts'
import { createExchange } from '../delegation/oauth/exchange.ts'
import { createAuthorizationServer } from '../delegation/oauth/server.ts'
import { createAccountNews } from '../delegation/people/account-news.ts'
import { createConsoleSignOut } from '../delegation/people/console-sign-out.ts'
import { createAccountLinks } from '../delegation/people/links.ts'
import { createPasskeys } from '../delegation/people/passkeys.ts'
import { createPasswords, type Passwords } from '../delegation/people/passwords.ts'
import type { People } from '../delegation/people/people.ts'
import type { Persons } from '../delegation/people/persons.ts'
import { createSessions } from '../delegation/people/sessions.ts'
import { type Barring, createBarring, createSignInEnds } from '../delegation/people/sign-in-ends.ts'
import { createSignInValidity } from '../delegation/people/sign-in-validity.ts'
import { createSignIns } from '../delegation/people/sign-ins.ts'
import { createStepUp, type StepUp } from '../delegation/people/step-up.ts'
import type { Agents } from '../delegation/registry/agents.ts'
import { type Clients, cliClient, consoleClient } from '../delegation/registry/clients.ts'
import { createResources, type Resources } from '../delegation/registry/resources.ts'
import { createArtifacts } from '../delegation/revocation/artifacts.ts'
import type { Revocations } from '../delegation/revocation/revocations.ts'
import type { Proofs } from '../delegation/tokens/dpop.ts'
import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import { ownIssuerName } from '../delegation/tokens/issuers.ts'
import { createReplayGuard } from '../delegation/tokens/replay-guard.ts'
import type { KeyRing } from '../delegation/tokens/signing-key.ts'
import type { Verifier } from '../delegation/tokens/verify.ts'
import { createUpstreamProvider } from '../delegation/upstream/provider.ts'
import { createUpstreamSignIns } from '../delegation/upstream/sign-ins.ts'
import type { App } from '../http/env.ts'
import { createBegunLimit } from '../http/middleware/begun.ts'
import { createRequireSession, type RequireSession } from '../http/middleware/session.ts'
import { issuerPages } from '../http/pages/issuer-pages.ts'
import { delegationRoutes } from '../http/routes/delegations/delegations.ts'
import { createSavedForm } from '../http/routes/delegations/saved-form.ts'
import { accountRoutes } from '../http/routes/oauth/accounts.ts'
import { oauthRoutes } from '../http/routes/oauth/oauth.ts'
import { passkeyRoutes } from '../http/routes/oauth/passkeys.ts'
import { type ProtectedResource, protectedResourceRoutes } from '../http/routes/oauth/protected-resource.ts'
import { signInRoutes } from '../http/routes/oauth/sign-in.ts'
import { upstreamRoutes } from '../http/routes/oauth/upstream.ts'
import { createCookie, createSessionCookie, type OwnCookie } from '../http/sign-in/cookies.ts'
import { createKnownBrowser } from '../http/sign-in/known-browser.ts'
import { createPasskeyMethod } from '../http/sign-in/passkey.ts'
import { createPasswordMethod } from '../http/sign-in/password.ts'
import { createSignIn } from '../http/sign-in/sign-in.ts'
import { createUpstreamMethod } from '../http/sign-in/upstream.ts'
import type { Boss } from '../jobs/boss.ts'
import type { Clock } from '../kernel/clock.ts'
import type { FgaObject } from '../kernel/ids.ts'
import type { Log } from '../kernel/log.ts'
import type { Principal } from '../kernel/principal.ts'
import type { GuardedFetch } from '../outbound/guarded-fetch.ts'
import type { CollectionLister } from '../retrieval/collections.ts'
import { samplePasswordsFile } from '../sample/passwords.ts'
import { createSeal } from '../store/encryption.ts'
import { loadSecret } from '../store/secret.ts'
import type { Database } from '../store/sql.ts'
import { openBackchannel } from './backchannel.ts'

/** Of the service, what the authorization server takes. */
export interface IssuerDeps {
  readonly config: Config
  readonly database: Database
  readonly boss: Boss
  readonly fga: Fga
  readonly askNamed: AskNamed
  readonly clock: Clock
  readonly fetch: Fetch
  readonly log: Log
  readonly keys: KeyRing
  readonly people: People
  readonly agents: Agents
  readonly clients: Clients
  readonly deniedHosts: DeniedHosts
  readonly persons: Persons
  readonly administrators: Administrators
  readonly delegations: Delegations
  readonly revocations: Revocations
  readonly verifier: Verifier
  readonly proofs: Proofs
  /** 32 bytes, those that `proofs` derives its nonces from. */
  readonly proofSecret: Uint8Array
  readonly listCollections: CollectionLister
  readonly approvals: Approvals
  /** Turns what is asked for by a detail of ours into what a person is asked. */
  readonly resolve: ResolveDetail
  /** For addresses that clients registered. */
  readonly outbound: GuardedFetch
  readonly newTxn: () => string
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
  const {
    config,
    database: sql,
    clock,
    log,
    keys,
    people,
    agents,
    clients,
    delegations,
    newTxn,
  } = dependencies
  const { publicUrl, demo } = config
  const seal = createSeal(await loadSecret(join(config.home, 'keys'), 'oauth.key'))
  const issuer = ownIssuerName(publicUrl)
  const signInEnds = createSignInEnds({ seal, clock, issuer })
  const signInValidity = createSignInValidity({ trustedIssuers: config.trustedIssuers, clock })
  const grants = createConsents({ database: sql, delegations, signInValidity, clock })
  const artifacts = createArtifacts({
    sql,
    seal,
    clock,
    revocations: dependencies.revocations,
    issuer,
    grantEnded: (grantId) => grants.end(grantId, newTxn()),
  })
  const resources = createResources({ sql, agents, publicUrl })
  for (const { resource, scopes } of await resources.unusable())
    log('resource_unusable', { resource, scopes })
  const passwords = createPasswords({ database: sql, clock, signInEnds })
  const signIns = createSignIns({ sql, people, signInValidity })
  const passkeys = createPasskeys({ database: sql, seal, clock, randomBytes, publicUrl })
  const links = createAccountLinks({ database: sql, delegations, clock })
  const upstream = createUpstreamSignIns({
    sql,
    seal,
    clock,
    log,
    randomBytes,
    people,
    links,
    providers: upstreamProviders(dependencies),
  })
  const sessions = createSessions({
    database: sql,
    seal,
    signInValidity,
    clock,
    randomBytes,
    signInEnds,
  })
  const lendables = createLendables({
    sql,
    fga: dependencies.fga,
    askNamed: dependencies.askNamed,
    clock,
    readableCollections: (subject, signal) => readableBy(subject, signal, dependencies),
  })
  const { verifier } = dependencies
  const replayGuard = createReplayGuard({ sql, clock })
  const exchange = createExchange({
    sql,
    readActorToken: createActorTokens({ agents, verifier, spent: replayGuard, clock, issuer }),
    verifier: dependencies.verifier,
    resources,
    agents,
    delegations,
    keys,
    clock,
    publicUrl,
    issuer,
    demo,
  })
  const asking = await openBackchannel({ ...dependencies, seal, grants, publicUrl })
  const areStrangersWelcome = config.clientIdMetadataDocuments !== undefined
  const metadataClients = createMetadataClients({
    clients,
    agents,
    documents: areStrangersWelcome ? createClientDocuments(dependencies) : undefined,
    hosts: dependencies.deniedHosts,
    issuer,
    clock,
  })
  const server = createAuthorizationServer({
    ...metadataClients,
    areStrangersWelcome,
    backchannel: asking.backchannel,
    publicUrl,
    issuer,
    keys,
    cookieKey: seal.hash('cookie key', ''),
    artifacts,
    people,
    delegations,
    grants,
    signIns,
    resources,
    pages: issuerPages,
    log,
    demo,
    newTxn,
    seal,
    clock,
    exchange,
    verifier: dependencies.verifier,
    proofs: dependencies.proofs,
    proofSecret: dependencies.proofSecret,
    revocations: dependencies.revocations,
    consoleSignOut: createConsoleSignOut({ database: sql, signInEnds, newTxn }),
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
  const now = () => clock.now()
  const sessionCookie = createSessionCookie(publicUrl)
  const begunLimit = createBegunLimit({ perMinute: config.beginPerMinute, now })
  const upstreamCookie = createCookie('remit_upstream', { publicUrl, sameSite: 'Lax' })
  const knownBrowser = createKnownBrowser({
    cookie: createCookie('remit_known', { publicUrl, sameSite: 'Strict' }),
    hash: seal.hash,
    passwordChangedAt: (person) => passwords.changedAt(person),
    now,
  })
  const signIn = createSignIn({
    signIns,
    knownBrowser,
    methods: [
      ...(passkeys === undefined ? [] : [createPasskeyMethod({ passkeys, signIns, log, now })]),
      ...(upstream.providers.length === 0
        ? []
        : [createUpstreamMethod({ upstream, cookie: upstreamCookie, signIns, begunLimit })]),
      createPasswordMethod({ passwords, signIns, knownBrowser, now }),
    ],
    publicUrl,
    ...(demo && { hint: `This is the demo. The passwords are in ${samplePasswordsFile(config.home)}` }),
  })
  const requireSession = createRequireSession({
    sessions,
    publicUrl,
    countWaiting: (subject) => dependencies.approvals.waiting(subject),
    newsOf: createAccountNews({ sql, clock }),
    now,
  })
  return {
    routes: [
      signInRoutes({
        signIn,
        sessions,
        sessionCookie,
        formCookie: createCookie('remit_sign_in', { publicUrl, sameSite: 'Lax' }),
        requireSession,
        randomBytes,
      }),
      delegationRoutes({
        delegations: createOwnDelegations({ sql, delegations, lendables, agents, clock }),
        programs: createOwnPrograms({
          database: sql,
          delegations,
          signInEnds,
          // One API a consent: see interactions.ts.
          consentedAt: async (id) => Object.keys((await artifacts.of('Grant').find(id))?.resources ?? {})[0],
          agents,
          publicUrl,
          clock,
        }),
        lendables,
        agents,
        requireSession,
        savedForm: createSavedForm({
          cookie: createCookie('remit_form', { publicUrl, sameSite: 'Strict' }),
          seal,
          now,
        }),
        idOf: (value) => `d_${sessions.formToken(`lend ${value}`)}`,
        randomBytes,
        perMinute: config.ratePerMinute,
        now,
      }),
      oauthRoutes({ server, signIn, sessions, sessionCookie, publicUrl, now, begunLimit }),
      upstreamRoutes({ upstream, cookie: upstreamCookie }),
      passkeyRoutes({ passkeys, people, sessions, sessionCookie, requireSession, log, now }),
      accountRoutes({
        links,
        upstream,
        sessions,
        sessionCookie,
        upstreamCookie,
        requireSession,
        passkeys,
        now,
      }),
      protectedResourceRoutes({
        resources: await describe(config, resources),
        documentation: `${publicUrl}/docs`,
      }),
    ],
    passwords,
    barring: createBarring({ database: sql, clock, signInEnds, persons: dependencies.persons, endApprovals }),
    resources,
    grants,
    requireSession,
    sessionCookie,
    stepUp: createStepUp({ passkeys, sessions, clock }),
    lendables,
    demoConsent: server.demoConsent,
    tasks: {
      oauth_artifacts: () => artifacts.sweep(),
      oauth_grants: () => grants.sweep(),
      browser_sessions: () => sessions.sweep(),
      passkey_challenges: async () => passkeys?.sweep(),
      upstream_sign_ins: () => upstream.sweep(),
      signing_keys: () => keys.sweep(),
      ...asking.tasks,
    },
    [Symbol.asyncDispose]: () => asking[Symbol.asyncDispose](),
  }
}

/** Trusted issuers through which people sign in. */
const upstreamProviders = ({ config, fetch, clock }: IssuerDeps) =>
  config.trustedIssuers.flatMap(({ issuer, namespace, preset, algorithms, sign_in }) =>
    sign_in === undefined
      ? []
      : [
          createUpstreamProvider(
            {
              issuer,
              namespace,
              preset,
              algorithms,
              clientId: sign_in.client_id,
              clientSecret: config.signInSecrets.get(issuer) ?? '',
            },
            { publicUrl: config.publicUrl, fetch, clock },
          ),
        ],
  )

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
