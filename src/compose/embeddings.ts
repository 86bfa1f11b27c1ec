import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { EmbeddingsConfig } from '../config/embeddings.ts'
import type { Embedder } from '../embed/embedder.ts'
import { createLocalEmbedder } from '../embed/local.ts'
import { createRemoteEmbedder } from '../embed/remote.ts'
import { builds, findWeights, type Weights, type WeightsProgress } from '../embed/weights.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { createChunkVectors } from '../retrieval/chunk-index/postgres/vectors.ts'
import type { Database } from '../store/sql.ts'
import { isSameModel, pinVectors, type StoredVectors, type VectorModel } from '../store/vectors.ts'

/** A model for vectors, or why there is none. */
export type Embeddings =
  | { readonly available: true; readonly embedder: Embedder }
  /** Keyword mode, and why. */
  | { readonly available: false; readonly reason: string }

/** What is stored of an earlier model, and whether it may be replaced. */
export interface OpenEmbeddingsOptions {
  readonly stored: StoredVectors
  /**
   * Another build of the local model will do where the stored one's cannot be had; else that is keyword mode.
   */
  readonly mayChange: boolean
  readonly onProgress?: (progress: WeightsProgress) => void
}

/** The command that an operator runs to change the model. */
export const reembedCommand = 'npm run remit -- reembed'

/** Opens the configured model. None that can be had is no error: words are searched then. */
export async function openEmbeddings(
  config: EmbeddingsConfig,
  { stored, mayChange, onProgress }: OpenEmbeddingsOptions,
): Promise<Embeddings> {
  if (config.kind === 'remote') {
    const { baseUrl, model, apiKey, dimensions, limits } = config
    return {
      available: true,
      embedder: createRemoteEmbedder({
        baseUrl,
        model,
        dimensions,
        limits,
        ...(apiKey !== undefined && { apiKey }),
      }),
    }
  }
  const find = (wantedModel: string | undefined): Promise<Weights> =>
    findWeights({
      cacheFolder: join(config.cacheDir, 'models'),
      ...(config.modelPath !== undefined && { folder: config.modelPath }),
      ...(wantedModel !== undefined && { wanted: wantedModel }),
      ...(onProgress && { onProgress }),
    })
  const wantedWeights = localBuild(stored.unfinished ?? stored.pinned)
  let weights = await find(wantedWeights)
  if (!weights.available && wantedWeights !== undefined && config.modelPath === undefined) {
    if (mayChange) weights = await find(undefined)
    else
      return {
        available: false,
        reason: `${weights.reason}. Change to a model that can be had: ${reembedCommand}`,
      }
  }
  if (!weights.available) return weights
  const { folder, model } = weights
  // Two threads embed nearly twice as fast; a query then also finds one that is free.
  const threads = availableParallelism() > 1 ? 2 : 1
  return { available: true, embedder: await createLocalEmbedder({ folder, model, threads }) }
}

/** The builds differ a little: that of the stored vectors is looked for, another would be refused. */
const localBuild = (stored: VectorModel | undefined): string | undefined =>
  Object.values(builds).find(({ model }) => model === stored?.model)?.model

/** Throws where a change of model was begun and not ended: whatever searched now would miss most passages. */
export function refuseUnfinished({ unfinished }: StoredVectors): void {
  if (unfinished === undefined) return
  throw new OperatorError(
    `The change to vectors of ${unfinished.model} was begun and not ended. Finish it: ${reembedCommand}`,
  )
}

/** Vectors of two models cannot be compared: the first model that stored any is the only one. */
export async function admitModel(
  database: Database,
  { pinned }: StoredVectors,
  { model, dimensions }: Embedder,
): Promise<void> {
  if (pinned === undefined) return firstModel(database, { model, dimensions })
  if (isSameModel(pinned, { model, dimensions })) return
  throw new OperatorError(
    `The stored vectors are of ${pinned.model} (${pinned.dimensions} numbers), but the configured model is ${model} (${dimensions}).
Configure the former, or make all vectors anew with the latter: ${reembedCommand}`,
  )
}

/**
 * Documents may have been taken in without a model, into columns that were made for vectors of another size.
 */
async function firstModel(database: Database, model: VectorModel): Promise<void> {
  await database.transaction(
    async (sql) => {
      const vectors = createChunkVectors(database)
      if ((await vectors.dimensions(sql)) !== model.dimensions) {
        await vectors.shape(sql, model.dimensions)
        await vectors.finish(sql)
      }
      await pinVectors(sql, model)
    },
    { msMax: Infinity },
  )
}
