import { homedir } from 'node:os'
import { join } from 'node:path'
import { findWeights } from '../../src/embed/weights.ts'

/**
 * The local model, fetched once into the same cache that the service uses.
 * Tests that need it are skipped by name where it cannot be had: `test.skipIf(!localModel.available)`.
 */
export const localModel = await findWeights({
  cacheFolder: join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'remit', 'models'),
})
