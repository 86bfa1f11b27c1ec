import { parseArgs } from 'node:util'
import { readVectors, writeVectors } from '../support/remember.ts'
import { startService } from '../support/running.ts'
import { backendOf, sharedData } from '../support/shared.ts'
import { readCollection } from './collection.ts'
import { evaluate, loadCollection, type Mode } from './evaluate.ts'

/**
 * What hybrid must reach: the fusion of BM25 and the same model elsewhere (docs/decisions/0005-ranking.md).
 */
const floors: Readonly<Record<string, number>> = { scifact: 0.715, cranfield: 0.424 }
const modes: readonly Mode[] = ['hybrid', 'vector', 'keyword']

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { data: { type: 'string' }, vectors: { type: 'string' } },
})
const [name = 'cranfield'] = positionals
const floor = floors[name]
if (floor === undefined)
  throw new Error(`Usage: npm run eval -- ${Object.keys(floors).join('|')} [--data PATH] [--vectors FILE]`)

const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}
const collection = await readCollection(name, values.data ?? sharedData(name, process.env))
const vectors = await readVectors(values.vectors)
await using running = await startService({ ...backendOf(process.env), vectors })
const started = performance.now()
await loadCollection(running, collection, say)
await writeVectors(values.vectors, vectors)
const seconds = (performance.now() - started) / 1_000
console.log(
  `${name} on ${running.backend}: ${collection.documents.length} documents in ${seconds.toFixed(0)} s`,
)
console.log('mode      nDCG@10  Recall@10')
for (const mode of modes) {
  const { ndcg10, recall10 } = await evaluate(running, collection, mode)
  console.log(`${mode.padEnd(8)}  ${ndcg10.toFixed(4)}   ${recall10.toFixed(4)}`)
  if (mode === 'hybrid' && ndcg10 < floor) {
    console.log(`Missed: hybrid must reach ${floor}.`)
    process.exitCode = 1
  }
}
