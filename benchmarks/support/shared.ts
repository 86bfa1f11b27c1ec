import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Folder of a shared data set: REMIT_SHARED, else `shared` beside the repository. Throws where there is none.
 */
export function sharedData(name: string, env: NodeJS.ProcessEnv): string {
  const root = env.REMIT_SHARED ?? fileURLToPath(new URL('../../../shared', import.meta.url))
  const path = join(root, 'data', name)
  if (!existsSync(path))
    throw new Error(`There is no data set at ${path}. Set REMIT_SHARED or pass --data PATH.`)
  return path
}

/** The backends that the environment names; neither: everything embedded. */
export const backendOf = (env: NodeJS.ProcessEnv) => ({
  databaseUrl: env.DATABASE_URL,
  openfga:
    env.OPENFGA_API_URL === undefined
      ? undefined
      : { url: env.OPENFGA_API_URL, token: env.OPENFGA_API_TOKEN ?? '' },
  modelFolder: env.EMBEDDINGS_MODEL_PATH,
})
