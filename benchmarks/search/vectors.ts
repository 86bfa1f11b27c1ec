import { existsSync } from 'node:fs'
import { appendFile, mkdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createLocalEmbedder } from '../../src/embed/local.ts'
import { findWeights } from '../../src/embed/weights.ts'
import { sharedData } from '../support/shared.ts'
import { readPieces } from './pieces.ts'

/**
 * Embeds the pieces of the Kubernetes documents with the service's own model, once for every benchmark on the
 * machine:
 *
 *   node benchmarks/search/vectors.ts --folder PATH --threads 2
 *
 * The folder (default `remit-vectors` among the temporary files) holds `vectors.f32`, one row a text in the
 * order of `readPieces`, and `vectors.json`, which says by which model. Started again, it goes on where it
 * was stopped.
 */
const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: join(tmpdir(), 'remit-vectors') },
    threads: { type: 'string', default: '1' },
  },
})
const textsAtOnce = 256

const folder = process.env.EMBEDDINGS_MODEL_PATH
const weights = await findWeights({
  ...(folder !== undefined && { folder }),
  cacheFolder: join(tmpdir(), 'remit-models'),
})
if (!weights.available) throw new Error(`There is no local model: ${weights.reason}`)

const { texts } = await readPieces(sharedData('kubernetes', process.env))
await mkdir(values.folder, { recursive: true })
const file = join(values.folder, 'vectors.f32')
const about = join(values.folder, 'vectors.json')
await using embedder = await createLocalEmbedder({
  folder: weights.folder,
  model: weights.model,
  threads: values.threads === '2' ? 2 : 1,
})
const row = embedder.dimensions * Float32Array.BYTES_PER_ELEMENT
const description = JSON.stringify({
  model: embedder.model,
  dimensions: embedder.dimensions,
  texts: texts.length,
})
if (existsSync(about) && (await readFile(about, 'utf8')) !== description)
  throw new Error(`${values.folder} holds vectors of another model or of other texts. Name another folder.`)
await writeFile(about, description)

let done = existsSync(file) ? Math.floor((await stat(file)).size / row) : 0
// A row that was cut short by a stop is made again.
if (existsSync(file)) await truncate(file, done * row)
const [began, before] = [performance.now(), done]
while (done < texts.length) {
  const vectors = await embedder.embedPassages(texts.slice(done, done + textsAtOnce))
  await appendFile(file, Buffer.concat(vectors.map(({ buffer }) => new Uint8Array(buffer))))
  done += vectors.length
  const rate = (done - before) / ((performance.now() - began) / 1_000)
  console.log(`${done} of ${texts.length}, ${rate.toFixed(1)} a second`)
}
