import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { openPglite } from '../../src/store/pglite.ts'
import { freePort } from '../../test/support/port.ts'
import { readDocuments } from './documents.ts'

/**
 * `remit ingest` of a folder into the demo with everything embedded, both as programs of their own. The folder holds real documents, those
 * whose size is nearest to the median. First into one collection, and again unchanged; then into another, while bob asks,
 * and where the service is killed (SIGKILL) at a third and started again, the command at two thirds and run again. Each third
 * asks the same questions: alone, and while documents come in. `--files 300`, `--questions 60`, `--data PATH`. Ends with 1
 * where the second time takes over a tenth of the first, or anything of the killed run is lost, there twice, or left over.
 */
const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '300' },
    questions: { type: 'string', default: '60' },
    data: { type: 'string', default: process.env['REMIT_SHARED'] ?? '../shared' },
  },
})
const [files, questions] = [Number(values.files), Number(values.questions)]

await using stack = new AsyncDisposableStack()
const root = await mkdtemp(join(tmpdir(), 'remit-bench-'))
stack.defer(() => rm(root, { recursive: true, force: true }))
const folder = join(root, 'folder')
await mkdir(folder)
const texts = readDocuments(values.data, files)
for (const [index, text] of texts.entries()) await writeFile(join(folder, `${index}.md`), text)
const [port, opsPort] = [await freePort(), await freePort()]
const url = `http://localhost:${port}`
const env = { ...process.env, REMIT_HOME: join(root, 'home'), PORT: String(port), OPS_PORT: String(opsPort) }

const program = (path: string, ...argv: readonly string[]): ChildProcess =>
  spawn(process.execPath, [path, ...argv], { env, stdio: ['ignore', 'pipe', 'pipe'] })
let service: ChildProcess | undefined
stack.defer(() => kill(service))

async function startService(): Promise<void> {
  service = program('src/main.ts')
  service.stderr?.resume()
  for await (const part of service.stdout ?? []) if (String(part).includes('Ctrl-C stops')) break
  service.stdout?.resume()
}

async function kill(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

async function remit(...argv: readonly string[]): Promise<string> {
  const child = program('src/cli/main.ts', ...argv)
  let said = ''
  child.stdout?.on('data', (part) => (said += String(part)))
  child.stderr?.resume()
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`remit ${argv[0]} ended with ${code}.`)
  return said.trim()
}

interface Ingesting {
  readonly child: ChildProcess
  readonly ended: Promise<string>
  /** Resolves once so many are in. */
  reached(count: number): Promise<void>
}

function ingest(collection: string): Ingesting {
  const child = program(
    'src/cli/main.ts',
    ...['ingest', folder, '--collection', collection, '--service', 'scribe', '--viewer', 'user:bob'],
  )
  let said = ''
  let done = 0
  child.stderr?.on('data', (part) => {
    said += String(part)
    done = Number([...said.matchAll(/^(\d+) of \d+/gm)].at(-1)?.[1] ?? done)
  })
  child.stdout?.resume()
  const ended = once(child, 'close').then(() => said)
  return {
    child,
    ended,
    async reached(count) {
      while (done < count && child.exitCode === null && child.signalCode === null) await sleep(100)
    },
  }
}

const asked = [
  'how to join a group',
  'what a proposal needs',
  'roles of a release',
  'upgrade of a cluster',
  'reporting of a weakness',
]

/** Asks one question after the other until it is over. Gives the milliseconds of each answer. */
async function ask(
  isOver: (count: number) => boolean,
): Promise<{ readonly ms: number[]; readonly refused: number }> {
  const authorization = `Bearer ${await remit('token', '--user', 'bob')}`
  const headers = { authorization, 'content-type': 'application/json' }
  const until = performance.now() + 240_000
  const ms: number[] = []
  let refused = 0
  while (!isOver(ms.length) && performance.now() < until) {
    const since = performance.now()
    const query = `${asked[ms.length % asked.length]} ${ms.length}`
    const response = await fetch(`${url}/retrieve`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ query }),
    })
    await response.arrayBuffer()
    ms.push(performance.now() - since)
    if (!response.ok) refused += 1
    await sleep(200)
  }
  return { ms: ms.sort((a, b) => a - b), refused }
}

const quantile = (ms: readonly number[], share: number): number =>
  ms[Math.min(ms.length - 1, Math.floor(ms.length * share))] ?? Number.NaN
const shown = ({ ms, refused }: Awaited<ReturnType<typeof ask>>): string =>
  `${ms.length} questions, p50 ${quantile(ms, 0.5).toFixed(0)} ms, p95 ${quantile(ms, 0.95).toFixed(0)} ms, most ${ms.at(-1)?.toFixed(0)} ms, ${refused} refused`
const say = (text: string): void => console.log(`${text} (load ${loadavg()[0]?.toFixed(0)})`)
async function timed<T>(work: () => Promise<T>): Promise<readonly [T, number]> {
  const since = performance.now()
  return [await work(), (performance.now() - since) / 1_000] as const
}

await startService()
for (const collection of ['once', 'killed'])
  await remit('collection', 'add', collection, '--title', collection)
await remit('service', 'add', 'scribe', '--collection', 'once', '--collection', 'killed')
const sizes = texts.map(({ length }) => length)
say(
  `${files} files of ${Math.min(...sizes)} to ${Math.max(...sizes)} characters, ${availableParallelism()} cores`,
)

const [first, firstSeconds] = await timed(() => ingest('once').ended)
say(`first: ${firstSeconds.toFixed(1)} s: ${first.trim().split('\n').at(-1)}`)
const [again, againSeconds] = await timed(() => ingest('once').ended)
say(`again: ${againSeconds.toFixed(1)} s: ${again.trim().split('\n').at(-1)}`)
const share = againSeconds / firstSeconds
console.log(`again / first: ${share.toFixed(3)}`)

const alone = await ask((count) => count >= questions)
say(`alone: ${shown(alone)}`)
const run = ingest('killed')
await run.reached(5)
let isKilled = false
const asking = ask((count) => isKilled || count >= questions)
await Promise.race([run.reached(files / 3), asking.then(() => run.reached(files / 3))])
isKilled = true
const meanwhile = await asking
say(`while documents come in: ${shown(meanwhile)}`)
console.log(`p95 while / alone: ${(quantile(meanwhile.ms, 0.95) / quantile(alone.ms, 0.95)).toFixed(2)}`)
await kill(service)
await startService()
say('the service was killed and is back')
await run.reached((files * 2) / 3)
await kill(run.child)
say('the command was killed')
const rest = await ingest('killed').ended
say(`the rest: ${rest.trim().split('\n').at(-1)}`)
await kill(service)

// What is stored, looked at with nothing of the service running.
await using database = await openPglite({ dataDir: join(root, 'home', 'db'), socketDir: root })
const stored = async (collection: string) =>
  database.query<{ name: string; revision: number; text: string; passages: string }>(
    `select split_part(d.id, '/', 2) as name, d.live_revision as revision, t.text,
       (select string_agg(x.text, '' order by c.ordinal) from chunks c join chunk_texts x using (chunk_id) where c.doc_no = d.doc_no) as passages
     from documents d join document_texts t using (doc_no) where d.collection = $1 order by 1`,
    [collection],
  )
const [whole, killed] = [await stored('once'), await stored('killed')]
const [left] = await database.query<{ left: number }>(
  'select (select count(*) from revisions) + (select count(*) from staged_chunks) + (select count(*) from unsettled) as left',
)
const others = killed.filter(({ name, text, passages }, at) => {
  const same = whole[at]
  return same?.name !== name || same.text !== text || same.passages !== passages
})
const anew = killed.filter(({ revision }) => revision > 1).length
console.log(
  `once: ${whole.length} documents; killed: ${killed.length}, ${others.length} with other passages, ${anew} with a second revision, ${left?.left} rows left over`,
)
const isWhole = whole.length === files && killed.length === files && others.length + (left?.left ?? 1) === 0
if (!isWhole || share > 0.1) process.exitCode = 1
