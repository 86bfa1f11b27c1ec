import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { allowListUnder, followAllowList } from '../authz/allow-list/in-force.ts'
import { createWhy, type Why } from '../authz/explain/why.ts'
import type { Fga } from '../authz/fga.ts'
import { unusableOpenFga } from '../authz/fga-errors.ts'
import { createLimiter, type Limiter } from '../authz/gate/limiter.ts'
import { type AskNamed, createAskNamed, type Foresee } from '../authz/gate/named.ts'
import { createVerdictCache } from '../authz/gate/verdict-cache.ts'
import { createGate, type Gate } from '../authz/gate.ts'
import { createPermissionIndex, type FollowingIndex } from '../authz/index/create.ts'
import type { ReplicaFeedDeps } from '../authz/index/feed.ts'
import { catchUpAfterWrites, dropAfterWrites } from '../authz/index/own-writes.ts'
import { holdsShare } from '../authz/index/share.ts'
import { createStorage } from '../authz/index/storage.ts'
import { type ActiveModel, followModel } from '../authz/model/active.ts'
import { type DeployedModel, deployModel } from '../authz/model/deploy.ts'
import { digestOfVersion, type ModelJson } from '../authz/model/dsl.ts'
import type { ModelVersion } from '../authz/model/pin.ts'
import { createTexts, type Texts } from '../authz/model/texts.ts'
import { createNominator, type Nominator } from '../authz/nominate.ts'
import { behindBarrier, observeWrites } from '../authz/observed-fga.ts'
import { createFga } from '../authz/openfga.ts'
import type { Config } from '../config/config.ts'
import type { FgaObject } from '../kernel/ids.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { reasonOf } from '../kernel/reason.ts'
import type { Nominators } from '../retrieval/nominators/ask.ts'
import { openAsking } from './asking.ts'
import type { ComposeContext } from './context.ts'

/** Of the wiring's context, what authorization takes. */
export type AuthzDeps = Pick<
  ComposeContext,
  'config' | 'infrastructure' | 'database' | 'log' | 'now' | 'elapsed' | 'newTxn'
>

/** The model in force, OpenFGA behind its port, the replica of its tuples, and the gate. */
export interface Authz extends AsyncDisposable {
  readonly active: ActiveModel
  /** Who may write which tuples under it; throws where nobody may. */
  readonly allowList: () => AllowList
  /** The same under a changed model, where one is given, as far as the list fits it. */
  readonly allowListOf: (changed: ModelJson | undefined) => Promise<AllowList>
  /** Whether the model in force has it. */
  readonly hasRelation: (type: string, relation: string) => boolean
  /** Whether model.fga and model.allow-list.yaml are what is in force. */
  readonly matchesFile: () => boolean
  readonly fga: Fga
  readonly index: FollowingIndex
  /** Shared by all that asks OpenFGA many questions at once. */
  readonly limiter: Limiter
  readonly gate: Gate
  /** Past the gate: about what is no document. */
  readonly askNamed: AskNamed
  readonly nominator: Nominator
  /** Who holds the tuples for this process; undefined: it holds them itself. */
  readonly nominators: Nominators | undefined
  readonly why: Why
  /** Models that somebody sent. */
  readonly texts: Texts
}

// More at once than OpenFGA has connections to its database (30) for only makes all of them late.
const checksInFlightMax = 200
// The server cuts its lists short without a word at 3 s: a list that took that long may lack documents.
const openfgaListDeadlineMs = 2_500
// A question about what was taken away lately looks back as far as OpenFGA's caches, and some time passes
// meanwhile.
const leastRememberMs = 60_000
// A change of the model is in force everywhere within a second.
const modelPollMs = 500

/** Deploys the model where it is missing, and opens the gate, the index and their helpers. */
export async function openAuthz(dependencies: AuthzDeps): Promise<Authz> {
  const { config, database, log, now, elapsed } = dependencies
  const dsl = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
  const allowListFile = await readAllowListFile()
  const deployed = await deploy(
    { dsl, ...(allowListFile !== undefined && { allowList: allowListFile }) },
    dependencies,
  )
  if (deployed.model.allowList === undefined)
    throw new OperatorError(
      'model.allow-list.yaml cannot be read and no allow-list is in force: nobody could write a tuple.',
    )
  await using stack = new AsyncDisposableStack()
  const activeModel = stack.use(
    followModel({
      sql: database,
      storeId: deployed.storeId,
      first: deployed.model,
      log,
      // PGlite's one process switches itself.
      ...(database.kind === 'postgres' && { pollMs: modelPollMs }),
    }),
  )
  const matchesFile = () => activeModel.current.digest === digestOfVersion(dsl, allowListFile)
  if (!matchesFile())
    log('model_differs', {
      detail: 'model.fga and model.allow-list.yaml are not what is in force; they change nothing',
    })
  const maybeSecondary = config.openfga?.maybeSecondary === true
  const verdictCache = createVerdictCache({ now, elapsed, ttlMs: config.verdictTtlMs })
  const openfga = createFga(dependencies.infrastructure.openfga, deployed.storeId, activeModel.idInForce)
  const index = stack.use(
    createPermissionIndex({
      fga: openfga,
      storage: createStorage(database, deployed.storeId),
      now,
      elapsed,
      log,
      pollMs: config.indexPollMs,
      rememberMs: Math.max(leastRememberMs, 2 * config.openfgaCacheTtlMs),
      ...partOf(config),
      ...((maybeSecondary || config.nominatorShares) && {
        marks: { fga: openfga, id: randomBytes(9).toString('hex') },
      }),
    }),
  )
  const useModel = ({ id, json }: ModelVersion) => {
    try {
      index.useModel(id, json)
    } catch (error) {
      // OpenFGA decides all the same, and its lists nominate.
      log('index_model_unread', { reason: reasonOf(error) })
    }
  }
  useModel(activeModel.current)
  activeModel.onChange(useModel)
  const { writeBarrier } = dependencies.infrastructure
  const fga = observeWrites(writeBarrier === undefined ? openfga : behindBarrier(openfga, writeBarrier), [
    dropAfterWrites(index, verdictCache, catchUpAfterWrites(index, log)),
  ])
  activeModel.onChange(verdictCache.drop)

  const limiter = createLimiter(checksInFlightMax)
  const nominators = stack.use(
    await openAsking({
      config,
      log,
      now,
      index,
      modelId: () => fga.modelId,
      wroteAt: () => verdictCache.wroteAt,
    }),
  )
  const askNamed = createAskNamed({
    fga,
    index,
    foresee: nominators && foreseeBy(nominators),
    verdictCache: verdictCache,
    limiter,
    now,
    randomBytes,
  })
  const gate = createGate({
    askNamed,
    fga,
    index,
    verdictCache: verdictCache,
    limiter,
    now,
    // What its caches answer, and what it reads for them, may come from the secondary.
    cacheTtlMs: maybeSecondary ? undefined : config.openfgaCacheTtlMs,
  })
  const texts = stack.use(createTexts())
  const owned = stack.move()
  const allowList = followAllowList(activeModel)
  return {
    active: activeModel,
    allowList,
    allowListOf: async (changed) =>
      changed === undefined ? allowList() : allowListUnder(activeModel.current, changed, texts),
    hasRelation: (type, relation) =>
      activeModel.current.json.type_definitions.find((definition) => definition.type === type)?.relations?.[
        relation
      ] !== undefined,
    matchesFile,
    fga,
    index,
    limiter,
    gate,
    askNamed,
    nominator: createNominator({ fga, index, now, elapsed, serverDeadlineMs: openfgaListDeadlineMs }),
    nominators,
    why: createWhy({ index, now }),
    texts,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** What of the tuples this process holds: all, those of a share, or none where it asks others. */
function partOf({ nominatorShares, nominatorShare }: Config): Pick<ReplicaFeedDeps, 'part'> {
  if (nominatorShares !== undefined) return { part: 'nothing' }
  return nominatorShare.of > 1 ? { part: holdsShare(nominatorShare) } : {}
}

/** The replica elsewhere as the gate asks it about named objects. */
const foreseeBy =
  (nominators: Nominators): Foresee =>
  ({ user, contextual = [], asked, signal }) =>
    nominators.ask({ user: user as FgaObject, contextual, allowed: [...asked] }, { signal })

async function readAllowListFile(): Promise<string | undefined> {
  try {
    return await readFile(new URL('../../model.allow-list.yaml', import.meta.url), 'utf8')
  } catch {
    return undefined
  }
}

async function deploy(
  files: { readonly dsl: string; readonly allowList?: string },
  dependencies: AuthzDeps,
): Promise<DeployedModel> {
  const { config, infrastructure, database, now, newTxn } = dependencies
  try {
    return await deployModel({
      api: infrastructure.openfga,
      database,
      ...files,
      redeploy: config.demo,
      now,
      newTxn,
      ...(config.openfga?.storeId !== undefined && { storeId: config.openfga.storeId }),
    })
  } catch (error) {
    throw (config.openfga && unusableOpenFga(error, config.openfga)) ?? error
  }
}
