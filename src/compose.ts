import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openApprovalsPart } from './approvals.ts'
import { readActivity } from './audit/activity.ts'
import { createRecordReader } from './audit/query.ts'
import { createRecordQuestions } from './audit/questions.ts'
import { type DecisionEvent, record, type Who } from './audit/record.ts'
import { readThread } from './audit/thread.ts'
import { createExplainer } from './authz/explain/explain.ts'
import { createMemberships } from './authz/explain/memberships.ts'
import { createToday } from './authz/explain/today.ts'
import { createViewAs } from './authz/explain/view-as.ts'
import { createWhoCan } from './authz/explain/who-can.ts'
import { createWhy } from './authz/explain/why.ts'
import type { Fga } from './authz/fga.ts'
import { createHeldVerdicts } from './authz/gate/held.ts'
import { createLimiter } from './authz/gate/limiter.ts'
import { createGate } from './authz/gate.ts'
import { createPermissionIndex } from './authz/index/create.ts'
import { catchUpAfterWrites, dropAfterWrites } from './authz/index/own-writes.ts'
import { createStorage } from './authz/index/storage.ts'
import { type ActiveModel, followModel } from './authz/model/active.ts'
import { createModelChanges } from './authz/model/changes.ts'
import { deployModel } from './authz/model/deploy.ts'
import { digestOf } from './authz/model/dsl.ts'
import type { ModelVersion } from './authz/model/pin.ts'
import { createModelShadow } from './authz/model/shadow.ts'
import { createTruthTable } from './authz/model/truth-table.ts'
import { createNominator } from './authz/nominate.ts'
import { observeWrites } from './authz/observed-fga.ts'
import { createFga } from './authz/openfga.ts'
import type { PermissionIndex } from './authz/permission-index.ts'
import { createWhatIf } from './authz/what-if/what-if.ts'
import type { Config } from './config.ts'
import { type Administrators, createAdministrators } from './delegation/administrators.ts'
import { createAgentAdministration } from './delegation/agent-administration.ts'
import { type Agents, createAgents } from './delegation/agents.ts'
import type { Approvals } from './delegation/approvals/approvals.ts'
import { followAuthority } from './delegation/authority.ts'
import { createCachedVerifier } from './delegation/cached-verifier.ts'
import { type Clients, createClients } from './delegation/clients.ts'
import { createDelegations, type Delegations } from './delegation/delegations.ts'
import { createProofs } from './delegation/dpop.ts'
import { openEpoch } from './delegation/epoch.ts'
import type { Fetch } from './delegation/fetch-json.ts'
import { externalIssuer, ownIssuer, ownIssuerName } from './delegation/issuers.ts'
import { createListLent } from './delegation/lent.ts'
import { type AccountLinks, createAccountLinks } from './delegation/links.ts'
import { createNames } from './delegation/names.ts'
import { outer } from './delegation/reasons.ts'
import { type Recovered, recover } from './delegation/recover.ts'
import { createRegistry } from './delegation/registry.ts'
import { createRevocations, type Revocations } from './delegation/revocations.ts'
import { createServices, type Services } from './delegation/services.ts'
import { createPeople, type People } from './delegation/sign-in/people.ts'
import { type KeyRing, openKeyRing } from './delegation/signing-key.ts'
import { createSpent } from './delegation/spent.ts'
import { createJudge } from './delegation/verify.ts'
import { createGrants, type Grants } from './grants.ts'
import type { Ground } from './ground.ts'
import { createApp } from './http/app.ts'
import type { App } from './http/env.ts'
import { createRequireBearer } from './http/middleware/bearer.ts'
import { hostsOf } from './http/middleware/frame.ts'
import { createAdmission } from './http/middleware/limits.ts'
import { openApiOf } from './http/openapi.ts'
import {
  createMetrics,
  createOps,
  indexDetails,
  observeIndex,
  observeRecord,
  type Readiness,
} from './http/ops.ts'
import { accessRoutes } from './http/routes/access.ts'
import { activityRoutes } from './http/routes/activity.ts'
import { agentRoutes } from './http/routes/agents.ts'
import { auditRoutes } from './http/routes/audit.ts'
import { auditDelegationRoutes } from './http/routes/audit-delegations.ts'
import { auditQuestionRoutes } from './http/routes/audit-questions.ts'
import { collectionRoutes } from './http/routes/collections.ts'
import { collectionWriteRoutes } from './http/routes/collections-write.ts'
import { consoleRoutes } from './http/routes/console.ts'
import { docsRoutes } from './http/routes/docs.ts'
import { documentRoutes } from './http/routes/documents.ts'
import { documentWriteRoutes } from './http/routes/documents-write.ts'
import { explainRoutes } from './http/routes/explain.ts'
import { fieldRoutes } from './http/routes/fields.ts'
import { importRoutes } from './http/routes/imports.ts'
import { jobRoutes } from './http/routes/jobs.ts'
import { membershipRoutes } from './http/routes/memberships.ts'
import { modelRoutes } from './http/routes/model.ts'
import { modelShadowRoutes } from './http/routes/model-shadow.ts'
import { modelTestRoutes } from './http/routes/model-tests.ts'
import { createReading } from './http/routes/reading.ts'
import { retrieveRoutes } from './http/routes/retrieve.ts'
import { viewAsRoutes } from './http/routes/view-as.ts'
import { whatIfRoutes } from './http/routes/what-if.ts'
import { whoCanRoutes } from './http/routes/who-can.ts'
import { observeSearch } from './http/search-metrics.ts'
import { createIngest, type Ingest } from './ingest/ingest.ts'
import { supportedMimeTypes } from './ingest/parse/parsed.ts'
import { createParser } from './ingest/parse/parser.ts'
import { createPrepare } from './ingest/prepare.ts'
import { type Issuer, openIssuer } from './issuer.ts'
import { createPgBossQueue } from './jobs/pgboss.ts'
import type { Clock } from './kernel/clock.ts'
import type { Log } from './kernel/log.ts'
import { OperatorError } from './kernel/operator-error.ts'
import { refuse } from './kernel/result.ts'
import { openMcp } from './mcp.ts'
import type { GuardedFetch } from './outbound/guarded-fetch.ts'
import { openPush } from './push.ts'
import { openRecord, type RecordKeeping } from './record.ts'
import { createCells } from './retrieval/cells/cells.ts'
import { createCollectionLister } from './retrieval/collections.ts'
import { createCorpus } from './retrieval/corpus/corpus.ts'
import { createDocumentReader } from './retrieval/document.ts'
import type { OnPlan } from './retrieval/plans/plan.ts'
import { createRankingStatistics, type RankingStatistics } from './retrieval/ranking/renew.ts'
import { createRetriever } from './retrieval/retrieve.ts'
import { createKeyed } from './retrieval/scope.ts'
import { createSearch } from './retrieval/search.ts'
import { createShadow } from './retrieval/shadow.ts'
import { createSnapshots } from './retrieval/visible/snapshots.ts'
import { createVisibility } from './retrieval/visible/visibility.ts'
import { loadSecret } from './store/secret.ts'
import type { Database } from './store/sql.ts'
import { countWithoutVector } from './store/vectors.ts'
import { openVault, type Vault } from './vault.ts'
import { createVaultCalls } from './vault-calls.ts'

export interface ComposeOptions {
  readonly config: Config
  readonly ground: Ground
  readonly clock: Clock
  readonly log: Log
  /** For the keys of trusted issuers. */
  readonly fetch: Fetch
  /** For every address that comes from outside or may be changed there. */
  readonly outbound: GuardedFetch
}

// More at once than OpenFGA has connections to its database (30) for only makes all of them late.
const checksInFlightMax = 200
// The server cuts its lists short without a word at 3 s: a list that took that long may lack documents.
const openfgaListDeadlineMs = 2_500
// A question about what was taken away lately looks back as far as OpenFGA's caches, and some time passes meanwhile.
const leastRememberMs = 60_000
// Without a model nothing limits a passage; this is what the local model would read.
const tokensMaxWithoutModel = 256
const importLinesMax = 1_000_000
// A change of the model is in force everywhere within a second.
const modelPollMs = 500

/** Builds every part by hand and hands each what it needs. The only place that knows everybody. */
export async function compose({
  config,
  ground,
  clock,
  log,
  fetch,
  outbound,
}: ComposeOptions): Promise<Service> {
  const { database } = ground
  const now = () => clock.now()
  const newTxn = () => `t_${randomBytes(16).toString('base64url')}`
  const keysDir = join(config.home, 'keys')

  const dsl = await readFile(new URL('../model.fga', import.meta.url), 'utf8')
  const deployed = await deployModel({
    api: ground.openfga,
    database,
    dsl,
    redeploy: config.demo,
    now,
    ...(config.openfga?.storeId !== undefined && { storeId: config.openfga.storeId }),
  }).catch((error: unknown) => {
    throw config.openfga !== undefined && isOpenFgaFailure(error)
      ? new OperatorError(`OpenFGA at ${config.openfga.apiUrl} cannot be used: ${error.message}`, error)
      : error
  })
  // What was begun ends with a composition that fails, too.
  await using stack = new AsyncDisposableStack()
  const active = stack.use(
    followModel({
      sql: database,
      storeId: deployed.storeId,
      first: deployed.model,
      log,
      // PGlite's one process switches itself.
      ...(database.kind === 'postgres' && { pollMs: modelPollMs }),
    }),
  )
  const matchesFile = () => active.current.digest === digestOf(dsl)
  if (!matchesFile())
    log('model_differs', { detail: 'model.fga is not the model in force; it changes nothing' })
  const held = createHeldVerdicts({ now, ttlMs: config.verdictTtlMs })
  const openfga = createFga(ground.openfga, deployed.storeId, active.idInForce)
  const index = stack.use(
    createPermissionIndex({
      fga: openfga,
      storage: createStorage(database, deployed.storeId),
      now,
      log,
      pollMs: config.indexPollMs,
      rememberMs: Math.max(leastRememberMs, 2 * config.openfgaCacheTtlMs),
    }),
  )
  const useModel = ({ id, json }: ModelVersion) => {
    try {
      index.useModel(id, json)
    } catch (error) {
      // OpenFGA decides all the same, and its lists nominate.
      log('index_model_unread', { reason: error instanceof Error ? error.message : 'thrown value' })
    }
  }
  useModel(active.current)
  active.onChange(useModel)
  const fga = observeWrites(openfga, [dropAfterWrites(index, held, catchUpAfterWrites(index, log))])
  active.onChange(held.drop)

  const limiter = createLimiter(checksInFlightMax)
  const modelShadow = stack.use(
    createModelShadow({
      database,
      active,
      index,
      now,
      random: Math.random,
      newId: () => `s_${randomBytes(16).toString('base64url')}`,
      newTxn,
      log,
    }),
  )
  const gate = createGate({
    onDecided: modelShadow.onDecided,
    fga,
    index,
    held,
    limiter,
    now,
    cacheTtlMs: config.openfgaCacheTtlMs,
  })
  const nominator = createNominator({ fga, index, now, serverDeadlineMs: openfgaListDeadlineMs })
  const keyed = createKeyed(await loadSecret(keysDir, 'digest.key'))
  const embedder = ground.embeddings.available ? ground.embeddings.embedder : undefined
  const grants = createGrants({ database, fga, clock, log, randomBytes })
  const ranking = stack.use(createRankingStatistics({ database, scope: config.rankingStatistics, now, log }))
  const corpus = stack.use(createCorpus({ database, log }))
  const why = createWhy({ index, now })
  const cells = stack.use(createCells({ database, log }))
  const metrics = createMetrics(now)
  const searchMetrics = observeSearch(metrics.registry)
  const shadow = stack.use(
    createShadow({
      database,
      share: config.shadowSearchShare,
      random: Math.random,
      onShadow: searchMetrics.onShadow,
    }),
  )
  const onPlan: OnPlan = (event) => {
    searchMetrics.onPlan(event)
    shadow.onPlan(event)
  }
  const snapshots = createSnapshots({ index, corpus })
  const retrieve = createRetriever({
    sql: database,
    ...grants,
    search: shadow.watch(
      createSearch(database, { cells, corpus, statistics: config.rankingStatistics, onPlan }),
    ),
    visibility: createVisibility({ database, snapshots, corpus, nominator }),
    gate,
    embedder,
    keyed,
    why,
    keepsQueries: config.auditQueryText,
    log,
    now,
    onAnswer: searchMetrics.onAnswer,
  })

  const keys = await openKeyRing(keysDir, clock)
  const people = createPeople({ sql: database })
  const agents = createAgents({ sql: database, clock })
  const clients = createClients({ sql: database })
  const services = createServices({ sql: database, fga })
  const administrators = createAdministrators({ sql: database })
  const delegations = createDelegations({ database, fga, clock, randomBytes })
  const accountLinks = createAccountLinks({ database, delegations, clock })
  const revocations = createRevocations({ sql: database, clock })
  const authority = stack.use(await followAuthority({ database, clock, log }))
  const epoch = stack.use(
    await openEpoch({ database, fga, authority, clock, log, isApart: config.openfga !== undefined }),
  )
  const proofSecret = await loadSecret(keysDir, 'dpop.key')
  const proofs = createProofs({ sql: database, clock, secret: proofSecret })
  const verifier = createCachedVerifier({
    authority,
    clock,
    newTxn,
    proofs,
    judge: createJudge({
      issuers: [
        ownIssuer({ publicUrl: config.publicUrl, keys: keys.find }),
        ...config.trustedIssuers.map((issuer) => externalIssuer(issuer, { fetch, clock })),
      ],
      lookUp: createRegistry({ sql: database, authority }),
      clock,
      demo: config.demo,
      newTxn,
    }),
  })
  const listCollections = createCollectionLister({
    sql: database,
    nominator,
    gate,
    approvals: grants.approvals,
  })
  const readDocument = createDocumentReader({ sql: database, gate, presenting: grants.presenting, why })
  const indexLagMs = () => index.status().lagMs
  const assertOpen = (): void => {
    authority.assertHeard()
    epoch.assertSound()
  }
  const asking = stack.use(
    await openApprovalsPart({
      database,
      fga,
      gate,
      grants,
      clock,
      log,
      assertOpen,
      // The vault's pages stand behind the issuer's sign-in, which stands behind this; asked by requests only.
      resolveCall: (...asked) => calls.resolveCall(...asked),
    }),
  )
  const issuer = stack.use(
    await openIssuer({
      approvals: asking.approvals,
      resolve: asking.resolve,
      outbound,
      config,
      database,
      fga,
      clock,
      fetch,
      log,
      keys,
      people,
      agents,
      clients,
      administrators,
      delegations,
      revocations,
      verifier,
      proofs,
      proofSecret,
      listCollections,
      newTxn,
    }),
  )
  const push = stack.use(
    await openPush({
      config,
      database,
      clock,
      log,
      outbound,
      assertOpen,
      approvals: asking.approvals,
      requireSession: issuer.requireSession,
    }),
  )
  const vault = await openVault({
    config,
    database,
    clock,
    log,
    outbound,
    requireSession: issuer.requireSession,
    newTxn,
  })
  const calls = createVaultCalls({ database, vault, grants, outbound, log })
  const keeping = await openRecord({ config, database, clock, log, newTxn })
  const parser = stack.use(createParser())
  const ingest = stack.use(
    createIngest({
      database,
      fga,
      corpusChanged: corpus.changed,
      placePassages: cells.place,
      queue: createPgBossQueue({
        database,
        name: 'documents',
        onError: (error) => log('job_failed', { reason: error.message }),
      }),
      embed: embedder && ((texts, options) => embedder.embedPassages(texts, options)),
      prepare: createPrepare({
        parser,
        tokensMax: embedder?.tokensMax ?? tokensMaxWithoutModel,
        countTokens: embedder ? (text) => embedder.countTokens(text) : (text) => Math.ceil(text.length / 4),
      }),
      mimeTypes: new Set(supportedMimeTypes),
      clock,
      newId: () => `j_${randomBytes(16).toString('base64url')}`,
      limits: { lineBytesMax: config.bodyBytesMax, linesMax: importLinesMax },
      log,
    }),
  )
  // Jobs of an older copy would write what was taken away since.
  await epoch.whenSound(() => ingest.start())
  stack.use(
    everyHour(log, {
      delegations: () => delegations.mend(),
      revocations: () => revocations.sweep(),
      spent_proofs: () => proofs.sweep(),
      authority: () => authority.sweep(),
      ...grants.tasks,
      ...issuer.tasks,
      ...vault.tasks,
      ...asking.tasks,
      ...push.tasks,
      ...keeping.tasks,
    }),
  )

  const admission = createAdmission({ perMinute: config.ratePerMinute, now })
  const requireBearer = createRequireBearer({
    async verify(token, presented) {
      const verified = await verifier.verify(token, 'api', presented)
      if (verified.ok) return verified
      // Outside it is one of a few words; why is for the operator alone.
      log('token_refused', { reason: verified.reason })
      return refuse(outer(verified.reason))
    },
    admit: admission.principal,
    publicUrl: config.publicUrl,
    nonce: () => proofs.nonce(),
  })
  const isAdministrator = (subject: string) => administrators.has(subject, 'security.write')
  const isReader = (subject: string) => administrators.has(subject, 'security.read')
  const reading = createReading({ requireBearer, isReader, now })
  const looking = {
    ...reading,
    record: (who: Who, looked: DecisionEvent) => record(database, who, looked),
    names: createNames({ sql: database }),
  }
  const listLiveDelegations = async () =>
    (await delegations.listLive()).map(({ id, subject, agent, subAgents }) => ({
      id,
      subject,
      agents: [agent, ...subAgents],
    }))
  const models = createModelChanges({
    database,
    api: ground.openfga,
    active,
    index,
    listLiveDelegations,
    approvers: config.modelApplyApprovers,
    isAdministrator: (sql, subject) => administrators.keeps(sql, subject, 'security.write'),
    now,
    newId: () => `m_${randomBytes(16).toString('base64url')}`,
  })
  observeIndex(metrics.registry, () => index.status())
  observeRecord(metrics.registry, () => keeping.unsealed())
  const isOpen = (): boolean => authority.isHeard && epoch.isSound
  const probe = () => Promise.all([answers(database), fga.isHealthy()])
  const readiness = async (): Promise<Readiness> => {
    const [databaseOk, openfgaOk] = await probe()
    return {
      ready: databaseOk && openfgaOk && isOpen(),
      details: {
        // False: `remit recover` has to be run.
        database_whole: epoch.isSound,
        // False: changes of who may act are not heard. It mends itself once the database answers again.
        changes_heard: authority.isHeard,
        database: databaseOk,
        openfga: openfgaOk,
        record: { insert_only_by_role: keeping.isInsertOnly },
        permission_index: indexDetails(index.status()),
        authorization_model: { id: active.current.id, matches_file: matchesFile() },
        embeddings: ground.embeddings.available
          ? {
              available: true,
              model: ground.embeddings.embedder.model,
              // Taken in while there was no model: found by words only. `remit reembed` mends it.
              ...(databaseOk && { passages_without_vector: await countWithoutVector(database) }),
            }
          : { available: false, reason: ground.embeddings.reason, mode: 'keyword' },
      },
    }
  }
  const app: App = createApp({
    publicUrl: config.publicUrl,
    hosts: hostsOf(config.publicUrl, config.host, config.port),
    trustedProxies: config.trustedProxies,
    requestDeadlineMs: config.requestDeadlineMs,
    now,
    newTxn,
    log,
    limitAddress: admission.address,
    observe: metrics.observe,
    record: looking.record,
    isReady: async () => isOpen() && (await probe()).every(Boolean),
    assertOpen,
    jwks: async () => keys.jwks(),
    routes: [
      retrieveRoutes({ retrieve, requireBearer, indexLagMs }),
      documentRoutes({ readDocument, requireBearer }),
      collectionRoutes({ listCollections, requireBearer }),
      await openMcp({
        config,
        verifier,
        proofs,
        admit: admission.principal,
        spent: createSpent({ sql: database, clock }),
        log,
        retrieve,
        readDocument,
        listCollections,
        indexLagMs,
        approvals: asking.approvals,
        resolve: asking.resolve,
        vaultFetch: calls.fetch,
      }),
      documentWriteRoutes({ ingest, requireBearer, bodyBytesMax: config.bodyBytesMax }),
      importRoutes({ ingest, requireBearer }),
      accessRoutes({
        ingest,
        requireBearer,
        isAdministrator,
        prefixesOf: async (service) => (await services.get(service))?.prefixes ?? [],
        now,
      }),
      collectionWriteRoutes({ ingest, requireBearer, isAdministrator, now }),
      fieldRoutes({ ingest, requireBearer, isAdministrator, now }),
      jobRoutes({ ingest, requireBearer }),
      explainRoutes({
        ...reading,
        explain: createExplainer({ sql: database, fga, index, agentOf: agents.get, now }),
      }),
      auditRoutes({ ...looking, reader: createRecordReader({ sql: database }) }),
      auditQuestionRoutes({
        ...looking,
        questions: createRecordQuestions({ database }),
        thread: (txn) => readThread(database, txn),
        today: createToday({ sql: database, fga, limiter, agentOf: agents.get, now }),
        now,
      }),
      auditDelegationRoutes({ ...looking, listLent: createListLent({ sql: database, now }) }),
      viewAsRoutes({
        ...reading,
        viewAs: createViewAs({
          sql: database,
          fga,
          index,
          limiter,
          agentOf: agents.get,
          isLive: delegations.isLive,
          now,
        }),
      }),
      membershipRoutes({
        ...reading,
        memberships: createMemberships({ sql: database, fga, index, limiter, now }),
      }),
      whoCanRoutes({ ...reading, whoCan: createWhoCan({ sql: database, fga, index, limiter, now }) }),
      whatIfRoutes({
        whatIf: createWhatIf({ sql: database, fga, index, listLiveDelegations, now }),
        requireBearer,
        isReader,
        isWriter: isAdministrator,
        now,
      }),
      activityRoutes({
        ...reading,
        readActivity: (options) => readActivity(database, options),
        countWaiting: () => asking.approvals.waiting(),
        index: () => index.status(),
        now,
      }),
      modelShadowRoutes({ shadow: modelShadow, requireBearer, isAdministrator, now }),
      modelRoutes({ models, matchesFile, requireBearer, isAdministrator, now }),
      modelTestRoutes({
        truthTable: createTruthTable({
          api: ground.openfga,
          own: () => readFile(new URL('../model.fga.yaml', import.meta.url), 'utf8'),
        }),
        requireBearer,
        isAdministrator,
        now,
      }),
      agentRoutes({
        agents,
        administration: createAgentAdministration({ sql: database, agents }),
        ownIssuer: ownIssuerName(config.publicUrl),
        requireBearer,
        isAdministrator: (subject) => administrators.has(subject, 'agents.write'),
        isReader: (subject) => administrators.has(subject, 'security.read'),
        now,
      }),
      ...issuer.routes,
      ...vault.routes,
      ...push.routes,
      asking.ownRoutes({
        requireSession: issuer.requireSession,
        sessionCookie: issuer.sessionCookie,
        stepUp: issuer.stepUp,
        push,
        lendables: issuer.lendables,
        agents,
        showCall: vault.showCall,
        publicUrl: config.publicUrl,
        perMinute: config.ratePerMinute,
      }),
      asking.routes({ requireBearer, publicUrl: config.publicUrl }),
      calls.routes({ requireBearer }),
      consoleRoutes({
        folder: new URL('../packages/console/dist/', import.meta.url),
        publicUrl: config.publicUrl,
      }),
      docsRoutes({ openApi: () => openApiOf(app), errorPages: new URL('../docs/errors/', import.meta.url) }),
    ],
  })
  const ops = createOps({
    hosts: hostsOf(`http://${config.ops.host}:${config.ops.port}`, config.ops.host, config.ops.port),
    metrics,
    readiness,
  })
  const owned = stack.move()
  return {
    app,
    ops,
    fga,
    index,
    activeModel: active,
    people,
    agents,
    services,
    administrators,
    accountLinks,
    delegations,
    grants,
    approvals: asking.approvals,
    clients,
    keys,
    issuer,
    vault,
    ownIssuer: ownIssuerName(config.publicUrl),
    ingest,
    newTxn,
    ranking,
    record: keeping,
    revocations,
    async mayHaveForgotten() {
      await epoch.check()
      return !epoch.isSound
    },
    recover: (txn) =>
      recover({ database, fga, delegations, epoch, clock, rebuildIndex: () => index.rebuild() }, txn),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** The composed service: its faces, and the features that commands and seeding use. */
export interface Service extends AsyncDisposable {
  readonly app: App
  readonly ops: ReturnType<typeof createOps>
  readonly fga: Fga
  readonly index: PermissionIndex
  readonly activeModel: ActiveModel
  readonly people: People
  readonly agents: Agents
  readonly services: Services
  readonly administrators: Administrators
  readonly accountLinks: AccountLinks
  readonly delegations: Delegations
  readonly grants: Grants
  readonly approvals: Approvals
  readonly clients: Clients
  readonly keys: KeyRing
  readonly issuer: Issuer
  readonly vault: Vault
  /** `iss` of the built-in issuer, by which registered agents of ours are known. */
  readonly ownIssuer: string
  readonly ingest: Ingest
  readonly newTxn: () => string
  readonly ranking: RankingStatistics
  readonly record: RecordKeeping
  readonly revocations: Revocations
  /** Whether the database is older than OpenFGA, or a recovery has not ended. */
  readonly mayHaveForgotten: () => Promise<boolean>
  /** After an older copy of the database was put in place. */
  readonly recover: (txn: string) => Promise<Recovered>
}

/** Runs each now and every hour. A failure is logged and tried again at the next turn. */
function everyHour(log: Log, tasks: Readonly<Record<string, () => Promise<unknown>>>): AsyncDisposable {
  let running: Promise<unknown> = Promise.resolve()
  const run = (): void => {
    running = Promise.all(
      Object.entries(tasks).map(async ([name, task]) => {
        try {
          await task()
        } catch (error) {
          log('background_failed', { name, reason: error instanceof Error ? error.message : 'thrown value' })
        }
      }),
    )
  }
  run()
  const timer = setInterval(run, 3_600_000).unref()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await running
    },
  }
}

/** Unreachable, or its answer was an error: what whoever starts the service can mend. */
const isOpenFgaFailure = (error: unknown): error is Error =>
  error instanceof Error && ('isAxiosError' in error || error.name.startsWith('Fga'))

async function answers(database: Database): Promise<boolean> {
  try {
    await database.query('select 1')
    return true
  } catch {
    return false
  }
}
