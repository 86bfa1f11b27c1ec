import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { operator, record } from '../audit/record.ts'
import type { Fga } from '../authz/fga.ts'
import type { ActiveModel } from '../authz/model/active.ts'
import { typesEver } from '../authz/model/pin.ts'
import type { PermissionIndex } from '../authz/permission-index.ts'
import { createPersonMove, type PersonMove } from '../delegation/administration/person-move.ts'
import type { Approvals } from '../delegation/approvals/approvals.ts'
import { type Kept, type RecoveryReport, recover } from '../delegation/recovery/recover.ts'
import { createServices, type Services } from '../delegation/registry/services.ts'
import { ownIssuerName } from '../delegation/tokens/issuers.ts'
import { createReplayGuard } from '../delegation/tokens/replay-guard.ts'
import { createApp } from '../http/app.ts'
import type { App } from '../http/env.ts'
import {
  createMetrics,
  observeChanges,
  observeDrift,
  observeEmbedding,
  observeEnded,
  observeSearch,
  observeTools,
} from '../http/metrics.ts'
import type { RequireBearer } from '../http/middleware/bearer.ts'
import { hostsOf } from '../http/middleware/frame.ts'
import { openApiOf } from '../http/openapi.ts'
import type { createOps } from '../http/ops.ts'
import type { OnRecord } from '../http/routes/reading.ts'
import { consoleRoutes } from '../http/routes/service/console.ts'
import { docsRoutes } from '../http/routes/service/docs.ts'
import type { Ingest } from '../ingest/ingest.ts'
import { createBoss } from '../jobs/boss.ts'
import { ownElapsed } from '../kernel/elapsed.ts'
import { startRecurring } from '../kernel/recurring.ts'
import { retireGenerations } from '../retrieval/chunk-index/postgres/retire-generations.ts'
import type { RankingStatistics } from '../retrieval/ranking/renew.ts'
import type { SourceRunner } from '../sources/runner.ts'
import { createApiAccess } from './api-access.ts'
import { openApprovalsPart, openPush } from './approvals.ts'
import { openAuthz } from './authz.ts'
import type { ComposeContext, ComposeOptions } from './context.ts'
import { type DelegationPart, openDelegation } from './delegation.ts'
import { type DirectoryPart, openDirectory } from './directory.ts'
import { createGrants, createVaultCalls, type Grants } from './grants.ts'
import { openIngestion } from './ingestion.ts'
import { type Issuer, openIssuer } from './issuer.ts'
import { openMcp } from './mcp.ts'
import { openOperators } from './operators.ts'
import { modelsRoutes, oversightRoutes } from './oversight.ts'
import { openRecord, type RecordKeeping } from './record.ts'
import { openRetrieval } from './retrieval.ts'
import { openSources } from './sources.ts'
import { openVault, type Vault } from './vault.ts'

/**
 * Builds every part, each a file of `parts/`, and hands each what it needs. The only place that knows all of
 * them.
 */
export async function compose(options: ComposeOptions): Promise<Service> {
  const { outboundTo, ...given } = options
  const { config, infrastructure, clock, log } = given
  const { database } = infrastructure
  const now = () => clock.now()
  const newTxn = () => `t_${randomBytes(16).toString('base64url')}`
  const metrics = createMetrics()

  // What was begun ends with a composition that fails, too; disposed in reverse.
  await using stack = new AsyncDisposableStack()
  const boss = stack.use(
    createBoss({ database, onError: (error) => log('job_failed', { reason: error.message }) }),
  )
  const outbound = outboundTo(config.outboundAllowedOrigins)
  const context: ComposeContext = {
    ...given,
    outbound,
    pushOutbound: outboundTo(config.pushAllowedOrigins),
    publicOutbound: outboundTo([]),
    database,
    boss,
    now,
    elapsed: given.elapsed ?? ownElapsed,
    newTxn,
    keysDir: join(config.home, 'keys'),
  }
  const authz = stack.use(await openAuthz(context))
  const { fga, allowList, gate, askNamed, index } = authz
  const grants = createGrants({ database, fga, clock, log, randomBytes })
  const retrieval = stack.use(
    await openRetrieval({ ...context, authz, grants, metrics: observeSearch(metrics.registry) }),
  )
  const delegation = stack.use(
    await openDelegation({ ...context, fga, index, onEffect: observeChanges(metrics.registry) }),
  )
  const { agents, persons, administrators, delegations, epoch, verifier, proofs, assertOpen } = delegation
  const asking = stack.use(
    await openApprovalsPart({
      ...context,
      fga,
      gate,
      grants,
      assertOpen,
      publicUrl: config.publicUrl,
      // The vault's pages stand behind the issuer's sign-in, which stands behind this; asked by requests
      // only.
      resolveCall: (...callArguments) => calls.resolveCall(...callArguments),
    }),
  )
  const { approvals, resolve } = asking
  const { retrieve, readDocument, listCollections, indexLagMs } = retrieval
  const issuer = stack.use(
    await openIssuer({
      ...context,
      ...delegation,
      fga,
      askNamed,
      hasRelation: authz.hasRelation,
      approvals,
      resolve,
      listCollections,
    }),
  )
  const { requireSession, sessionCookie, stepUp, lendables } = issuer
  const push = stack.use(await openPush({ ...context, assertOpen, approvals, requireSession }))
  const vault = await openVault({ ...context, requireSession })
  const calls = createVaultCalls({ database, vault, grants, outbound, log })
  const keeping = await openRecord(context)
  const onEmbed = observeEmbedding(metrics.registry)
  const ingestion = stack.use(
    await openIngestion({
      ...context,
      fga,
      allowList,
      retrieval,
      onEmbed,
      onDrift: observeDrift(metrics.registry),
      onEnded: observeEnded(metrics.registry),
      epoch,
    }),
  )
  const { ingest, titleOf } = ingestion
  const services = createServices({
    database,
    fga,
    allowList,
    newTxn,
    tuples: {
      give: (writer, writes) => ingest.applyTuples(writer, { writes, deletes: [] }),
      takeAway: ingest.takeAway,
    },
  })
  const sources = await openSources({
    ...context,
    ...delegation,
    services,
    fga,
    ingest,
    titleOf,
    isSound: () => epoch.isSound,
  })
  stack.use(sources.runner)
  // Jobs of an older copy would write what was taken away since.
  // After a recovery what was removed since the copy is to be sent again first: an hour is left for it.
  const compares = !epoch.needsRecovery
  await epoch.whenSound(() => ingest.start({ compares, takesIn: config.roles.worker }))
  const directory = stack.use(
    openDirectory({
      ...context,
      ...delegation,
      fga,
      allowList,
      ingest,
      barring: issuer.barring,
      isSound: () => epoch.isSound,
      assertSound: epoch.assertSoundNow,
    }),
  )
  const { directories, memberships } = directory
  await epoch.whenSound(async () => directory.start({ compares }))
  const parts = [delegation, grants, issuer, vault, asking, push, keeping]
  for (const [name, task] of parts.flatMap(({ tasks }) => Object.entries(tasks)))
    void stack.use(startRecurring(log, name, 3_600_000, task)).poll()

  const access = createApiAccess({ ...context, verifier, proofs, administrators })
  const { admission, requireBearer } = access
  const { publicUrl } = config
  const onRecord: OnRecord = (actor, looked) => record(database, actor, looked)
  const listLiveDelegations = async () =>
    (await delegations.listLive()).map(({ id, subject, agent, subAgents }) => ({
      id,
      subject,
      agents: [agent, ...subAgents],
    }))
  const operators = await openOperators({ ...context, metrics, authz, delegation, keeping, retrieval })
  const app: App = createApp({
    publicUrl,
    hosts: hostsOf(publicUrl, config.host, config.port),
    trustedProxies: config.trustedProxies,
    requestDeadlineMs: config.requestDeadlineMs,
    writeDeadlineMs: config.writeDeadlineMs,
    now,
    newTxn,
    log,
    limitAddress: admission.address,
    observe: metrics.observe,
    record: onRecord,
    isReady: operators.isReady,
    assertOpen() {
      assertOpen()
      options.assertLive?.()
    },
    jwks: () => delegation.keys.jwks(),
    routes: [
      ...retrieval.routes(access),
      await openMcp({
        ...context,
        agents,
        verifier,
        proofs,
        retrieve,
        readDocument,
        listCollections,
        indexLagMs,
        admit: admission.principal,
        spent: createReplayGuard({ sql: database }),
        approvals,
        resolve,
        vaultFetch: calls.fetch,
        record: onRecord,
        onFailed: observeTools(metrics.registry),
      }),
      ...ingestion.routes({ ...access, services, record: onRecord }),
      ...sources.routes(access),
      ...oversightRoutes({
        ...context,
        authz,
        agents,
        delegations,
        listLiveDelegations,
        countWaiting: () => approvals.waiting(),
        record: onRecord,
        access,
      }),
      ...modelsRoutes({ ...context, authz, administrators, persons, listLiveDelegations, access }),
      ...delegation.routes(access),
      ...directory.routes,
      ...issuer.routes,
      ...vault.routes,
      ...push.routes,
      asking.ownRoutes({
        requireSession,
        sessionCookie,
        stepUp,
        lendables,
        push,
        agents,
        showCall: vault.showCall,
        publicUrl,
        perMinute: config.ratePerMinute,
      }),
      asking.routes({ requireBearer, publicUrl }),
      calls.routes({ requireBearer }),
      consoleRoutes({
        folder: new URL('../../packages/console/dist/', import.meta.url),
        publicUrl,
        nonce: () => proofs.nonce(),
      }),
      docsRoutes({
        openApi: () => openApiOf(app),
        errorPages: new URL('../../docs/errors/', import.meta.url),
      }),
    ],
  })
  const owned = stack.move()
  return {
    app,
    requireBearer,
    ops: operators.ops,
    fga,
    index,
    activeModel: authz.active,
    people: delegation.people,
    agents,
    agentAdministration: delegation.agentAdministration,
    services,
    administrators,
    accountLinks: delegation.accountLinks,
    delegations,
    clients: delegation.clients,
    deniedHosts: delegation.deniedHosts,
    directories,
    memberships,
    keys: delegation.keys,
    revocations: delegation.revocations,
    grants,
    approvals,
    issuer,
    vault,
    ownIssuer: ownIssuerName(publicUrl),
    ingest,
    personMove: createPersonMove({
      ...context,
      ...delegation,
      fga,
      barring: issuer.barring,
      isStorable: (tuple) => allowList().isStorable(tuple),
      types: () => typesEver(database),
      tags: { count: ingest.countTags, move: ingest.moveSubject },
    }),
    newTxn,
    ranking: retrieval.ranking,
    record: keeping,
    sources: sources.runner,
    directoryReader: directory.runner,
    async mayHaveForgotten() {
      await epoch.checkUntilKnown()
      return epoch.needsRecovery
    },
    recover: (txn, kept) =>
      recover(
        {
          countMissing: keeping.missing,
          async endAccess() {
            await memberships.endGiving()
            return ingest.endAccess(operator(txn), (usersets) =>
              memberships.restrictingOf(database, usersets),
            )
          },
          agents: {
            enabled: async () =>
              (await agents.list()).flatMap(({ id, disabledAt }) => (disabledAt === undefined ? [id] : [])),
            disable: (id) => delegation.agentAdministration.disable(operator(txn), id),
          },
          database,
          fga,
          delegations,
          epoch,
          clock,
          areClocksApart: delegation.areClocksApart,
          async mendAccess(older) {
            // Of an older database no group is compared: see distrustGroups.
            const differing = await memberships.compare()
            await memberships.mend()
            return (
              (await ingest.drift({ recovering: true, keepsNone: older === 'openfga' })).mended + differing
            )
          },
          rebuildIndex: () => index.rebuild(),
          forgetSearched: () => retireGenerations(database),
        },
        txn,
        kept,
      ),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** The composed service: its faces, and the features that commands and seeding use. */
export interface Service
  extends AsyncDisposable,
    Pick<
      DelegationPart,
      | 'people'
      | 'agents'
      | 'agentAdministration'
      | 'administrators'
      | 'accountLinks'
      | 'delegations'
      | 'clients'
      | 'deniedHosts'
      | 'keys'
      | 'revocations'
    > {
  readonly app: App
  /** What stands before a route of the app, for those that are put beside its own. */
  readonly requireBearer: RequireBearer
  readonly ops: ReturnType<typeof createOps>
  readonly fga: Fga
  readonly index: PermissionIndex
  readonly activeModel: ActiveModel
  readonly grants: Grants
  readonly approvals: Approvals
  readonly issuer: Issuer
  readonly vault: Vault
  /** `iss` of the built-in issuer, by which registered agents of ours are known. */
  readonly ownIssuer: string
  readonly ingest: Ingest
  readonly services: Services
  readonly personMove: PersonMove
  readonly directories: DirectoryPart['directories']
  readonly memberships: DirectoryPart['memberships']
  readonly newTxn: () => string
  readonly ranking: RankingStatistics
  readonly record: RecordKeeping
  /** Reads sources, from its `start` on. */
  readonly sources: SourceRunner
  /** Reads directories that do not come by SCIM, from its `start` on. */
  readonly directoryReader: DirectoryPart['runner']
  /** Whether the database or OpenFGA is older than the other, or a recovery has not ended. */
  readonly mayHaveForgotten: () => Promise<boolean>
  /** After an older copy of the database or of OpenFGA was put in place. */
  readonly recover: (txn: string, kept?: Kept) => Promise<RecoveryReport>
}
