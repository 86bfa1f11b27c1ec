import { join } from 'node:path'
import { embeddedUrl, openEmbedded } from '../authz/embedded.ts'
import type { FgaApi } from '../authz/fga-api.ts'
import { createFgaApi } from '../authz/openfga.ts'
import type { Config } from '../config/config.ts'
import type { WeightsProgress } from '../embed/weights.ts'
import type { Log } from '../kernel/log.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { reasonOf } from '../kernel/reason.ts'
import type { Step } from '../kernel/startup-steps.ts'
import { openWriteBarrier, type WriteBarrier } from '../store/barrier.ts'
import { type Exclusive, lockDatabase } from '../store/exclusive.ts'
import { assertSameDatabase, rememberDatabase } from '../store/home.ts'
import { type MigrateOptions, migrate } from '../store/migrate.ts'
import { openPglite, type PgliteOptions } from '../store/pglite.ts'
import { openPostgres } from '../store/postgres.ts'
import type { Database } from '../store/sql.ts'
import { readStoredVectors, type StoredVectors } from '../store/vectors.ts'
import { admitModel, type Embeddings, openEmbeddings, refuseUnfinished } from './embeddings.ts'

/** What is stored, and a model for vectors where one can be had. */
export interface StoredParts extends AsyncDisposable {
  readonly database: Database
  readonly embeddings: Embeddings
}

/** What the service stands on. */
export interface Infrastructure extends StoredParts {
  readonly openfga: FgaApi
  /** What writes to an OpenFGA that keeps its tuples apart pass. Left out: no backup copies both at once. */
  readonly writeBarrier?: WriteBarrier
}

/** `now` is in milliseconds; `step` tells the operator what start-up does. */
export interface InfrastructureOptions {
  /** The embedded database will never answer again: the process should end. Left out: it is not watched. */
  readonly onStorageLost?: () => void
  readonly now: () => number
  readonly log: Log
  readonly step: Step
  readonly onProgress?: (progress: WeightsProgress) => void
  /** Whether an embedded database is made where there is none. */
  readonly mayMake: boolean
  /** Whether vectors are made here, so that a model is opened. Default true. */
  readonly needsModel?: boolean
  readonly upgradesCopy?: MigrateOptions['upgradesCopy']
}

const dimensionsWithoutModel = 384
const openfgaTimeoutMs = 4_000

/** Opens what the configuration names, migrates the database and refuses vectors of another model. */
export async function openInfrastructure(
  config: Config,
  {
    now,
    log,
    step,
    onProgress,
    onStorageLost,
    mayMake,
    needsModel = true,
    upgradesCopy,
  }: InfrastructureOptions,
): Promise<Infrastructure> {
  await using stack = new AsyncDisposableStack()
  const { database, embeddings, vectors } = stack.use(
    await openStored(config, {
      mayChange: false,
      mayMake,
      needsModel,
      upgradesCopy,
      log,
      step,
      ...(onProgress && { onProgress }),
      ...(onStorageLost && {
        onLost: (reason: string) => {
          log('storage_stuck', {
            reason,
            detail: `The embedded database does not answer any more; is the disk of ${config.home} full? The next start recovers it.`,
          })
          onStorageLost()
        },
      }),
    }),
  )
  if (embeddings.available) await admitModel(database, vectors, embeddings.embedder)
  const needsLock = config.databaseUrl !== undefined && config.openfga === undefined
  const exclusive = needsLock ? stack.use(await lockDatabase(config.databaseUrl)) : undefined
  const openfga = await step('opening the authorizer, with all stored tuples', () =>
    openOpenFga(config, database, now, log, exclusive),
  )
  const isApart = config.openfga !== undefined && config.databaseUrl !== undefined
  const writeBarrier = isApart ? stack.use(openWriteBarrier(config.databaseUrl)) : undefined
  const owned = stack.move()
  return {
    database,
    openfga,
    embeddings,
    ...(writeBarrier && { writeBarrier }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** How the database is opened, and who hears of it. */
export interface StoredOptions {
  /**
   * Whoever opens it will change the stored vectors to the configured model; else an unfinished change is
   * refused.
   */
  readonly mayChange: boolean
  readonly mayMake: boolean
  /** As {@link InfrastructureOptions.needsModel}. */
  readonly needsModel?: boolean
  readonly upgradesCopy?: MigrateOptions['upgradesCopy']
  readonly log?: Log
  readonly step: Step
  readonly onProgress?: (progress: WeightsProgress) => void
  readonly onLost?: PgliteOptions['onLost']
}

/** Opens the migrated database and the model, and nothing that decides. Does not compare the two. */
export async function openStored(
  config: Config,
  { mayChange, mayMake, needsModel = true, upgradesCopy, log, step, onProgress, onLost }: StoredOptions,
): Promise<StoredParts & { readonly vectors: StoredVectors }> {
  await using stack = new AsyncDisposableStack()
  const database = stack.use(
    await step('opening the database; an embedded one is made at the first start', () =>
      openDatabase(config, mayMake, onLost),
    ),
  )
  const vectors = await readStoredVectors(database)
  const embeddings = needsModel
    ? await step('looking for the embedding model and loading it; at the first start 23 MB are fetched', () =>
        openEmbeddings(config.embeddings, {
          stored: vectors,
          mayChange,
          ...(onProgress && { onProgress }),
        }),
      )
    : ({ available: false, reason: 'this process makes no vectors' } as const)
  if (embeddings.available) stack.use(embeddings.embedder)
  const dimensions = embeddings.available ? embeddings.embedder.dimensions : dimensionsWithoutModel
  await step('bringing the database’s tables to this version', () =>
    migrate(database, { dir: new URL('../../migrations/', import.meta.url), dimensions, upgradesCopy, log }),
  )
  // Not before: the command that ends the change waits for a start to have brought the tables up to date.
  if (!mayChange) refuseUnfinished(vectors)
  const owned = stack.move()
  return { database, embeddings, vectors, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

async function openDatabase(
  { databaseUrl, home }: Config,
  mayMake: boolean,
  onLost: PgliteOptions['onLost'],
): Promise<Database> {
  await assertSameDatabase({ home, databaseUrl, mayMake })
  if (databaseUrl === undefined)
    return openPglite({ dataDir: join(home, 'db'), socketDir: home, ...(onLost && { onLost }) })
  const database = await openNative(databaseUrl)
  await rememberDatabase(home, databaseUrl)
  return database
}

async function openNative(url: string): Promise<Database> {
  try {
    return await openPostgres({ url })
  } catch (error) {
    // The URL holds a password: only what Postgres or the socket said is passed on.
    throw new OperatorError(`The database of DATABASE_URL cannot be used: ${connectionReason(error)}`, error)
  }
}

// Node says nothing in the message where a name has several addresses and none answers.
const connectionReason = (error: unknown): string => {
  if (error instanceof AggregateError) return error.errors.map(connectionReason).join('; ')
  return reasonOf(error)
}

async function openOpenFga(
  { openfga }: Config,
  database: Database,
  now: () => number,
  log: Log,
  exclusive: Exclusive | undefined,
): Promise<FgaApi> {
  if (openfga !== undefined) {
    return createFgaApi({
      apiUrl: openfga.apiUrl,
      timeoutMs: openfgaTimeoutMs,
      ...(openfga.apiToken !== undefined && { apiToken: openfga.apiToken }),
    })
  }
  const { adapter } = await openEmbedded(database, now, log, exclusive)
  return createFgaApi({ apiUrl: embeddedUrl, timeoutMs: openfgaTimeoutMs, adapter })
}
