import { readFile } from 'node:fs/promises'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bench } from './bench.ts'
import type { Topic } from './cells.ts'
import { type Corpus, realCorpus, seededCorpus } from './corpus.ts'
import { figuresOf } from './figures.ts'
import { grownCorpus } from './grow.ts'
import { type Run, writeReport } from './report.ts'
import { openServers } from './servers.ts'
import { levelsAll, type Policy, policies } from './worlds/world.ts'

/**
 * Authorized search beside every peer's way and beside the search that asks nobody, in one run, question by question in
 * turn. Ends with 1 where something was released that its person may not read, or recall@10 of a cell is under 0.99.
 *
 *   npm run bench -- --quick [--json]
 *   npm run bench -- --corpus real --chunks 100000 --questions 60 --out benchmarks/results
 *
 * Native Postgres and OpenFGA where TEST_DATABASE_URL, OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN are set, else PGlite and the
 * engine. `--keep NAME` leaves the loaded database for the next run. `--corpus` is `seeded`, `real` (see vectors.ts) or `grown` (real ones grown to `--chunks`).
 */
const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    corpus: { type: 'string' },
    chunks: { type: 'string' },
    policies: { type: 'string' },
    levels: { type: 'string' },
    topics: { type: 'string', default: 'independent,inside,outside' },
    questions: { type: 'string' },
    people: { type: 'string' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    seconds: { type: 'string' },
    releases: { type: 'string' },
    budget: { type: 'string' },
    rounds: { type: 'string' },
    vectors: { type: 'string', default: join(tmpdir(), 'remit-vectors') },
    before: { type: 'string' },
    keep: { type: 'string' },
    out: { type: 'string' },
    name: { type: 'string' },
  },
})
const { quick } = values
const number = (value: string | undefined, ifQuick: number, else_: number): number =>
  value === undefined ? (quick ? ifQuick : else_) : Number(value)
const list = <T extends string>(value: string): T[] => value.split(',') as T[]

const began = performance.now()
const seed = Number(values.seed)
const chunks = number(values.chunks, 3_000, 100_000)
const questions = number(values.questions, 8, 60)
const say = (text: string): void => {
  process.stderr.write(`${((performance.now() - began) / 1_000).toFixed(0).padStart(5)} s  ${text}\n`)
}

async function corpusOf(kind: string): Promise<Corpus> {
  if (kind === 'real') return realCorpus(values.vectors, chunks, process.env)
  if (kind === 'grown')
    return grownCorpus(await realCorpus(values.vectors, Math.ceil(chunks / 10), process.env), chunks, seed)
  return seededCorpus(chunks, seed, quick ? 120 : 400)
}

const corpus = await corpusOf(values.corpus ?? (quick ? 'seeded' : 'real'))
await using servers = await openServers(process.env, values.keep === undefined ? {} : { keep: values.keep })
say(servers.name)
const benched = await bench({
  corpus,
  servers,
  policies: values.policies ? list<Policy>(values.policies) : quick ? ['tree', 'drive'] : policies,
  levels: values.levels ? list(values.levels).map(Number) : quick ? [1, 0.1, 0.01] : levelsAll,
  topics: list<Topic>(values.topics),
  filters: quick ? [1, 10] : [1, 10, 100],
  questions,
  people: number(values.people, 3, 20),
  seed,
  only: values.only === undefined ? undefined : values.only.split(','),
  budgetMs: number(values.budget, 1_000, 10_000),
  rounds: number(values.rounds, 3, 3),
  seconds: number(values.seconds, 1, 5),
  settleMs: quick ? 0 : 65_000,
  releases: number(values.releases, 1_000, 1_000_000),
  modelFolder: process.env.EMBEDDINGS_MODEL_PATH,
  env: process.env,
  say,
})
const before = values.before === undefined ? undefined : await readRun(values.before)
const run: Run = {
  ...benched,
  about: {
    day: new Date().toISOString().slice(0, 10),
    servers: servers.name,
    machine: `${cpus().length} cores, ${cpus()[0]?.model ?? ''}, Node ${process.version}`,
    load: `load ${loadavg()[0]?.toFixed(0)}`,
    command: `npm run bench -- ${process.argv.slice(2).join(' ')}`,
    corpus: corpus.kind,
    passages: corpus.count,
    documents: corpus.documents.length,
    seed,
    questions,
    seconds: (performance.now() - began) / 1_000,
  },
  figures: figuresOf(benched, before),
}
for (const { name, seen, least, aim, verdict } of run.figures)
  say(`${verdict.padEnd(12)} ${name}: ${seen} (${least}, aim ${aim})`)
if (values.out !== undefined) {
  const folder = values.out
  const files = await writeReport(run, folder, values.name ?? `${corpus.kind}-${corpus.count}`)
  say(files.join(' '))
}
const ours = run.measured.filter(({ way }) => way.startsWith('ours'))
const leaks =
  ours.reduce((sum, row) => sum + row.leaks, 0) + (run.extras?.churn.leaks ?? 0) + (run.service?.leaks ?? 0)
// Of answers: a search that finds too few is searched deeper.
const recall = Math.min(...ours.filter(({ way }) => way !== 'ours, search').map((row) => row.recall))
if (leaks > 0 || recall < 0.99) process.exitCode = 1
if (values.json) console.log(JSON.stringify({ leaks, recall, ...run }))

async function readRun(path: string): Promise<Run> {
  return JSON.parse(await readFile(path, 'utf8')) as Run
}
