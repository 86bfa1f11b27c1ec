import { mkdir, readFile } from 'node:fs/promises'
import { cpus, loadavg } from 'node:os'
import { CommanderError } from 'commander'
import { readArguments, type Settings } from './arguments.ts'
import { bench } from './bench.ts'
import { type Corpus, realCorpus, seededCorpus } from './corpus.ts'
import { figuresOf } from './figures.ts'
import { grownCorpus } from './grow.ts'
import { type Run, writeReport } from './report.ts'
import { openServers } from './servers.ts'

/**
 * Authorized search beside every peer's way and beside the search that asks nobody, in one run, question by
 * question in turn. Ends with 1 where something was released that its person may not read, or recall@10 of a
 * cell is under 0.99.
 *
 *   npm run bench -- --quick [--json]
 * npm run bench -- --corpus real --chunks 100000 --questions 60 --out benchmarks/results
 *
 * Native Postgres and OpenFGA where TEST_DATABASE_URL, OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN are set, else
 * PGlite and the engine. `--help` names every flag; a wrong one ends with 2.
 */
const say = (text: string): void => {
  process.stderr.write(`${((performance.now() - began) / 1_000).toFixed(0).padStart(5)} s  ${text}\n`)
}
const began = performance.now()
const settings = ((): Settings => {
  try {
    return readArguments(process.argv.slice(2), process.env, {
      out: (text) => process.stdout.write(text),
      say: (text) => process.stderr.write(text),
    })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    process.exit(error.exitCode === 0 ? 0 : 2)
  }
})()
const { quick, chunks, seed, questions, vectors, keep, out } = settings

async function corpusOf(kind: Corpus['kind']): Promise<Corpus> {
  if (kind === 'real') return realCorpus(vectors, chunks, process.env)
  if (kind === 'grown')
    return grownCorpus(await realCorpus(vectors, Math.ceil(chunks / 10), process.env), chunks, seed)
  return seededCorpus(chunks, seed, quick ? 120 : 400)
}

// Before anything that takes minutes: what comes of it is compared and written at the end.
const before = settings.before === undefined ? undefined : await readRun(settings.before)
if (out !== undefined) await mkdir(out, { recursive: true })
const corpus = await corpusOf(settings.corpus)
await using servers = await openServers(process.env, keep === undefined ? {} : { keep })
say(servers.name)
const benched = await bench({
  ...settings,
  corpus,
  servers,
  filters: quick ? [1, 10] : [1, 10, 100],
  settleMs: quick ? 0 : 65_000,
  modelFolder: process.env.EMBEDDINGS_MODEL_PATH || undefined,
  env: process.env,
  say,
})
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
if (out !== undefined) {
  const files = await writeReport(run, out, settings.name ?? `${corpus.kind}-${corpus.count}`)
  say(files.join(' '))
}
const ours = run.measured.filter(({ way }) => way.startsWith('ours'))
const leaks =
  ours.reduce((sum, row) => sum + row.leaks, 0) + (run.extras?.churn.leaks ?? 0) + (run.service?.leaks ?? 0)
// Of answers: a search that finds too few is searched deeper.
const recall = Math.min(...ours.filter(({ way }) => way !== 'ours, search').map((row) => row.recall))
if (leaks > 0 || recall < 0.99) process.exitCode = 1
if (settings.json) console.log(JSON.stringify({ leaks, recall, ...run }))

async function readRun(path: string): Promise<Run> {
  return JSON.parse(await readFile(path, 'utf8')) as Run
}
