import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { OpenFgaApi } from '@openfga/sdk'
import { embeddedUrl, openEmbedded } from './authz/embedded.ts'
import { createFgaApi } from './authz/openfga.ts'
import type { Config, EmbeddingsConfig } from './config.ts'
import type { Embedder } from './embed/embedder.ts'
import { createLocalEmbedder } from './embed/local.ts'
import { createRemoteEmbedder } from './embed/remote.ts'
import { findWeights, type WeightsProgress } from './embed/weights.ts'
import type { Log } from './kernel/log.ts'
import { type Exclusive, lockDatabase } from './store/exclusive.ts'
import { migrate } from './store/migrate.ts'
import { openPglite } from './store/pglite.ts'
import { openPostgres } from './store/postgres.ts'
import type { Database } from './store/sql.ts'

/** What the service stands on: a database, OpenFGA, and a model for vectors where one can be had. */
export interface Ground extends AsyncDisposable {
  readonly database: Database
  readonly openfga: OpenFgaApi
  readonly embeddings: Embeddings
}

export type Embeddings =
  | { readonly available: true; readonly embedder: Embedder }
  /** Keyword mode, and why. */
  | { readonly available: false; readonly reason: string }

export interface GroundOptions {
  readonly now: () => number
  readonly log: Log
  readonly onProgress?: (progress: WeightsProgress) => void
}

const dimensionsWithoutModel = 384
const openfgaTimeoutMs = 4_000

/** Opens what the configuration names, migrates the database and refuses vectors of another model. */
export async function openGround(config: Config, { now, log, onProgress }: GroundOptions): Promise<Ground> {
  const stack = new AsyncDisposableStack()
  try {
    const database = stack.use(await openDatabase(config))
    const embeddings = await openEmbeddings(config.embeddings, await storedModel(database), onProgress)
    if (embeddings.available) stack.use(embeddings.embedder)
    const dimensions = embeddings.available ? embeddings.embedder.dimensions : dimensionsWithoutModel
    await migrate(database, { dir: new URL('../migrations/', import.meta.url), dimensions })
    if (embeddings.available) await pinEmbeddings(database, embeddings.embedder)
    const needsLock = config.databaseUrl !== undefined && config.openfga === undefined
    const exclusive = needsLock ? stack.use(await lockDatabase(config.databaseUrl)) : undefined
    const openfga = await openOpenFga(config, database, now, log, exclusive)
    const owned = stack.move()
    return { database, openfga, embeddings, [Symbol.asyncDispose]: () => owned.disposeAsync() }
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

const openDatabase = ({ databaseUrl, home }: Config): Promise<Database> =>
  databaseUrl === undefined ? openPglite({ dataDir: join(home, 'db'), socketDir: home }) : openPostgres({ url: databaseUrl })

async function openOpenFga({ openfga }: Config, database: Database, now: () => number, log: Log, exclusive: Exclusive | undefined): Promise<OpenFgaApi> {
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

/** The model whose vectors are stored: another build of the same weights would be refused later. */
async function storedModel(database: Database): Promise<string | undefined> {
  const [row] = await database.query<{ found: boolean }>(`select to_regclass('settings') is not null as found`)
  if (row?.found !== true) return undefined
  const [pin] = await database.query<{ model: string }>(
    `select value ->> 'model' as model from settings where key = 'embeddings'`,
  )
  return pin?.model
}

async function openEmbeddings(
  config: EmbeddingsConfig,
  stored: string | undefined,
  onProgress: ((progress: WeightsProgress) => void) | undefined,
): Promise<Embeddings> {
  if (config.kind === 'remote') {
    const { baseUrl, model, apiKey, dimensions } = config
    return {
      available: true,
      embedder: createRemoteEmbedder({ baseUrl, model, dimensions, ...(apiKey !== undefined && { apiKey }) }),
    }
  }
  const weights = await findWeights({
    cacheFolder: join(config.cacheDir, 'models'),
    ...(config.modelPath !== undefined && { folder: config.modelPath }),
    ...(stored !== undefined && { wanted: stored }),
    ...(onProgress && { onProgress }),
  })
  if (!weights.available) return weights
  const { folder, model } = weights
  // Two threads embed nearly twice as fast; a query then also finds one that is free.
  const threads = availableParallelism() > 1 ? 2 : 1
  return { available: true, embedder: await createLocalEmbedder({ folder, model, threads }) }
}

/** Vectors of two models cannot be compared: the first model that stored any is the only one. */
async function pinEmbeddings(database: Database, { model, dimensions }: Embedder): Promise<void> {
  await database.query(
    `insert into settings (key, value) values ('embeddings', $1) on conflict (key) do nothing`,
    [{ model, dimensions }],
  )
  const [row] = await database.query<{ value: { model: string; dimensions: number } }>(
    `select value from settings where key = 'embeddings'`,
  )
  if (row?.value.model === model && row.value.dimensions === dimensions) return
  throw new Error(
    `The stored vectors are from ${row?.value.model} (${row?.value.dimensions} numbers), but the configured model is ${model} (${dimensions}). Configure the former, or run: npm run remit -- reembed`,
  )
}
