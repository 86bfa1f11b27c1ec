import { cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { startOpensearchNodes } from '../../test/support/opensearch-nodes.ts'
import { bench } from '../search/bench.ts'
import { topics } from '../search/cells.ts'
import { realCorpus, seededCorpus } from '../search/corpus.ts'
import { grownCorpus } from '../search/grow.ts'
import type { Measured } from '../search/measure.ts'
import { openServers } from '../search/servers.ts'
import { levelsAll } from '../search/worlds/world.ts'
import { bytesInWords } from './bytes.ts'
import { bareName, engineOn, rawName, type Seen } from './engine.ts'

/**
 * Authorized search on several nodes of OpenSearch: recall in every cell, what it costs beside the nodes' own
 * search without a filter and beside Postgres', leaks while access comes and goes and a node dies again and
 * again, a killed node, and an index that is dropped while clients ask. Ends with 1 where something was
 * released that its person may not read, an answer was in part, or recall@10 of a cell is under 0.99.
 *
 *   npm run bench:cluster -- --chunks 20000 --questions 20 --releases 20000
 * npm run bench:cluster -- --vectors FOLDER --chunks 100000
 *
 * Needs TEST_DATABASE_URL, OPENFGA_TEST_URL, OPENFGA_TEST_TOKEN, OPENSEARCH_PATH and OPENSEARCH_JAVA, as
 * `.ci/services` says them, and Linux. `--range` is SEARCH_ENGINE_RANGE. Real vectors are those of `node
 * benchmarks/search/vectors.ts`; with `--grown` a tenth of them is, and the others lie around them; without
 * `--vectors` they are drawn. `--topics independent` fills the nodes once and not twice; `--keep` leaves the
 * index that is there.
 */
const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '3' },
    chunks: { type: 'string', default: '20000' },
    vectors: { type: 'string' },
    grown: { type: 'boolean', default: false },
    questions: { type: 'string', default: '20' },
    people: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '2' },
    releases: { type: 'string', default: '20000' },
    topics: { type: 'string', default: topics.join() },
    keep: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '5' },
    range: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
  },
})
const number = (name: Exclude<keyof typeof values, 'vectors' | 'grown' | 'topics' | 'keep'>): number => {
  const value = Number(values[name])
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} takes a whole number from 1.`)
  return value
}
const began = performance.now()
const say = (text: string): void => {
  process.stderr.write(`${((performance.now() - began) / 1_000).toFixed(0).padStart(5)} s  ${text}\n`)
}

const { vectors } = values
const corpus =
  vectors === undefined
    ? seededCorpus(number('chunks'), number('seed'), 400)
    : values.grown
      ? grownCorpus(
          await realCorpus(vectors, Math.ceil(number('chunks') / 10), process.env),
          number('chunks'),
          number('seed'),
        )
      : await realCorpus(vectors, number('chunks'), process.env)
await using nodes = await startOpensearchNodes(number('nodes'))
await using servers = await openServers(process.env)
const seen: Seen = { fills: [], bytes: [], failed: undefined }
const { measured, ef99, extras } = await bench({
  corpus,
  servers,
  policies: ['tree'],
  levels: levelsAll,
  topics: topics.filter((topic) => values.topics.split(',').includes(topic)),
  filters: [1],
  questions: number('questions'),
  people: number('people'),
  seed: number('seed'),
  only: [],
  budgetMs: 60_000,
  rounds: number('rounds'),
  seconds: number('seconds'),
  settleMs: 5_000,
  releases: number('releases'),
  modelFolder: undefined,
  engine: engineOn({ nodes, corpus, seen, say, width: number('range'), keeps: values.keep }),
  env: process.env,
  say,
})

const beside = (row: Measured, way: string): Measured | undefined =>
  measured.find((one) => one.way === way && one.topic === row.topic && one.level === row.level)
const digits = (value: number | undefined, count = 2): string => (value ?? Number.NaN).toFixed(count)
const line = (...fields: readonly (string | number)[]): void => console.log(`| ${fields.join(' | ')} |`)

console.log(
  `${corpus.count} ${corpus.kind} passages, ${nodes.urls.length} nodes, ${servers.name}, ${cpus().length} cores, load ${digits(loadavg()[0], 0)}, raw99 at ef_search ${ef99}\n`,
)
line(
  'visible',
  'questions',
  'recall@10',
  'ours, search ms',
  'ours, hot ms',
  'bare ms',
  'hot ÷ bare',
  'processor ms: ours, bare, raw99 same k',
)
line('---', '---', '---', '---', '---', '---', '---', '---')
for (const row of measured.filter(({ way }) => way === 'ours, search')) {
  const [hot, bare, raw] = [beside(row, 'ours, hot'), beside(row, bareName), beside(row, rawName)]
  line(
    `${100 * row.level} % ${row.topic}`,
    row.asked,
    digits(row.recall, 4),
    digits(row.p50, 1),
    digits(hot?.p50, 1),
    digits(bare?.p50, 1),
    digits((hot?.p50 ?? Number.NaN) / (bare?.p50 ?? Number.NaN)),
    [row, bare, raw].map((one) => digits(one?.processorMean, 1)).join(', '),
  )
}
const bares = measured.filter(({ way }) => way === bareName)
const raws = measured.filter(({ way }) => way === rawName)
const mean = (rows: readonly Measured[], pick: (row: Measured) => number): number =>
  rows.reduce((sum, row) => sum + pick(row), 0) / rows.length
const leaks = measured.reduce((sum, row) => sum + row.leaks, 0) + (extras?.churn.leaks ?? 0)
const inPart = [seen.failed?.killed, seen.failed?.emptied].reduce(
  (sum, one) => sum + (one?.short ?? 0) + (one?.stray ?? 0),
  0,
)
console.log(`
the engine's own k-NN, recall ${digits(
  mean(bares, ({ recall }) => recall),
  4,
)}: processor ÷ raw with recall ${digits(
  mean(raws, ({ recall }) => recall),
  4,
)}, same k: ${digits(mean(bares, ({ processorMean }) => processorMean) / mean(raws, ({ processorMean }) => processorMean), 1)}
filled, passages a second: ${seen.fills.map((rate) => digits(rate, 0)).join(', ')}
${seen.bytes.map((bytes) => bytesInWords(bytes, corpus.count)).join('; ')}
access comes and goes, a node dies every half minute: ${JSON.stringify(extras?.churn)}
a node killed: ${JSON.stringify(seen.failed?.killed)}
its index dropped: ${JSON.stringify(seen.failed?.emptied)}
many clients: ${JSON.stringify(extras?.throughput)}
${leaks} leaks, ${inPart} answers in part`)
const released = measured.filter(({ way }) => way.startsWith('ours'))
if (leaks > 0 || inPart > 0 || released.some(({ recall }) => recall < 0.99)) process.exitCode = 1
