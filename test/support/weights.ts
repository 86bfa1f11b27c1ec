import { homedir } from 'node:os'
import { join } from 'node:path'
import { findWeights } from '../../src/embed/weights.ts'

// Prints the folder of the embedding weights, fetched first where they are missing. Run by `.ci/services`, so
// that no test has to fetch and none is skipped for want of a model.
const weights = await findWeights({
  cacheFolder: process.env.EMBEDDINGS_CACHE ?? join(homedir(), '.cache', 'remit'),
})
if (!weights.available) throw new Error(`No embedding weights: ${weights.reason}`)
console.log(weights.folder)
