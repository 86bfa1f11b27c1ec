import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createLocalEmbedder } from '../src/embed/local.ts'
import { findWeights } from '../src/embed/weights.ts'
import { createParser } from '../src/ingest/parse/parser.ts'
import { loadSample } from '../src/sample/load.ts'
import { keyOf } from '../src/sample/vectors.ts'

// Makes sample/vectors/MODEL with the model of a folder: npx node scripts/sample-vectors.ts FOLDER. Needed
// for each build of the model after the sample's documents change, or how they are cut.
const weights = await findWeights({ folder: process.argv[2] ?? '', cacheFolder: '' })
if (!weights.available) throw new Error(weights.reason)
await using embedder = await createLocalEmbedder(weights)
const { counting, tokensMax } = embedder
await using parser = createParser({ cutting: { counting, tokensMax } })
const sample = await loadSample('sample', new Date())
const records = new Map<string, Buffer>()
for (const { title, text, mime_type: mimeType } of sample.documents) {
  const { chunks } = await parser.prepare({ mimeType, title, source: '', bytes: Buffer.from(text) })
  const texts = chunks.map(({ embedText }) => embedText)
  for (const [index, vector] of (await embedder.embedPassages(texts)).entries())
    records.set(keyOf(texts[index] ?? ''), rounded(vector))
}
await mkdir('sample/vectors', { recursive: true })
const sorted = [...records].sort(([a], [b]) => (a < b ? -1 : 1))
await writeFile(
  join('sample/vectors', weights.model),
  Buffer.concat(sorted.flatMap(([key, numbers]) => [Buffer.from(key, 'hex'), numbers])),
)

/** One byte a number: what reads them gives the vector its length back. */
function rounded(vector: Float32Array): Buffer {
  const scale = 127 / Math.max(...vector.map(Math.abs))
  return Buffer.from(Int8Array.from(vector, (value) => Math.round(value * scale)))
}
