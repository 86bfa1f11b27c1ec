import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import type { Waiting } from '../../src/embed/batch-queue.ts'
import { createLocalEmbedder, takeAlike } from '../../src/embed/local.ts'
import type { WorkerReply, WorkerRequest, WorkerStart } from '../../src/embed/local-worker.ts'
import { readTokens } from '../../src/embed/tokens.ts'

/**
 * The local model through the service's own embedder, asked by many documents at once, beside its own bound:
 * the same batches in as many threads of the same kind, which are never without the next one, and nothing
 * else. In turn, the least of several rounds. Needs EMBEDDINGS_MODEL_PATH. Ends with 1 where the embedder
 * does less than 80 % of the bound.
 */
const { values } = parseArgs({
  options: {
    documents: { type: 'string', default: '160' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    /** Another checkout, whose embedder is asked the same in the same turn. */
    against: { type: 'string' },
    /** The first words of one kind of documents; left out: all. */
    only: { type: 'string', default: '' },
  },
})
const folder = process.env.EMBEDDINGS_MODEL_PATH
if (folder === undefined) throw new Error('Set EMBEDDINGS_MODEL_PATH.')
const threads = values.threads === '1' ? 1 : 2
const tokens = readTokens(folder)

const words = 'travel costs hotel booking policy manager approves invoice number system record'.split(' ')
const passage = (seed: number, length: number): string =>
  Array.from({ length }, (_, index) => words[(seed * (index + 3) + index * index) % words.length]).join(' ')

/** Most documents have one short passage, some have many long ones. */
const kinds = {
  'one passage of 10 to 60 words': (at: number) => [passage(at, 10 + ((at * 7) % 50))],
  'one to five of 20 to 230 words': (at: number) =>
    Array.from({ length: 1 + (at % 5) }, (_, index) =>
      passage(at + index, 20 + ((at * 13 + index * 71) % 210)),
    ),
}

interface Figures {
  readonly wallMs: number
  readonly processorMs: number
}

async function measured(work: () => Promise<unknown>): Promise<Figures> {
  const [from, before] = [performance.now(), process.cpuUsage()]
  await work()
  const { user, system } = process.cpuUsage(before)
  return { wallMs: performance.now() - from, processorMs: (user + system) / 1_000 }
}

/** All batches, as the embedder makes them where all documents wait. */
function batchesOf(documents: readonly (readonly string[])[]): string[][] {
  const made: string[][] = []
  let lines: Waiting[][] = documents.map((texts) =>
    texts
      .map((text) => ({ text, tokens: Math.min(256, tokens.count(text)), bytes: 0 }))
      .sort((a, b) => b.tokens - a.tokens),
  )
  while (lines.length > 0) {
    const { items } = takeAlike(lines)
    made.push(items.map(({ text }) => text))
    const [first = [], ...others] = lines
    lines = [...others, first].map((line) => line.filter((item) => !items.includes(item)))
    lines = lines.filter((line) => line.length > 0)
  }
  return made
}

/** Threads that have two batches each at any time, but for the last ones: none waits for the other's. */
async function openBound(modelFolder: string) {
  const workers = Array.from({ length: threads }, (_, index) => {
    const workerData: WorkerStart = { folder: modelFolder, tokensMax: 256, givesWay: index > 0 }
    return new Worker(new URL('../../src/embed/local-worker.ts', import.meta.url), {
      workerData,
      execArgv: [],
    })
  })
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
  return {
    async run(batches: readonly (readonly string[])[]): Promise<void> {
      let next = 0
      let left = batches.length
      const underWay = new Map<Worker, number>()
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const give = (worker: Worker): void => {
        const texts = batches[next]
        if (texts === undefined) return
        worker.postMessage({ kind: 'embed', id: next++, texts } satisfies WorkerRequest)
        underWay.set(worker, (underWay.get(worker) ?? 0) + 1)
      }
      const listeners = workers.map((worker) => (reply: WorkerReply) => {
        if (reply.kind !== 'vectors') return reject(new Error('The model failed.'))
        underWay.set(worker, (underWay.get(worker) ?? 0) - 1)
        const isNearEnd = next >= batches.length - workers.length
        if (!isNearEnd || underWay.get(worker) === 0) give(worker)
        if (--left === 0) resolve()
      })
      for (const [index, worker] of workers.entries()) {
        const listener = listeners[index]
        if (listener) worker.on('message', listener)
        give(worker)
        if (batches.length > 4 * workers.length) give(worker)
      }
      await promise
      for (const [index, worker] of workers.entries()) {
        const listener = listeners[index]
        if (listener) worker.off('message', listener)
      }
    },
    close: () => Promise.all(workers.map((worker) => worker.terminate())),
  }
}

type OpenEmbedder = typeof createLocalEmbedder
const openers: Record<string, OpenEmbedder> = { 'this checkout': createLocalEmbedder }
if (values.against !== undefined) {
  const other: { readonly createLocalEmbedder: OpenEmbedder } = await import(
    new URL(`${values.against}/src/embed/local.ts`, 'file:').href
  )
  openers[values.against] = other.createLocalEmbedder
}

const bound = await openBound(folder)
const embedders = await Promise.all(
  Object.entries(openers).map(async ([name, open]) => ({
    name,
    embedder: await open({ folder, model: 'bench', threads }),
  })),
)
let isReached = true
for (const [kind, make] of Object.entries(kinds)) {
  if (!kind.startsWith(values.only)) continue
  const documents = Array.from({ length: Number(values.documents) }, (_, at) => make(at))
  const batches = batchesOf(documents)
  const runs = [
    { name: 'bound', work: () => bound.run(batches) },
    ...embedders.map(({ name, embedder }) => ({
      name,
      work: () => Promise.all(documents.map((texts) => embedder.embedPassages(texts))),
    })),
  ]
  const least = new Map<string, Figures>()
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const { name, work } of runs) {
      const { wallMs, processorMs } = await measured(work)
      const before = least.get(name) ?? { wallMs: Infinity, processorMs: Infinity }
      least.set(name, {
        wallMs: Math.min(wallMs, before.wallMs),
        processorMs: Math.min(processorMs, before.processorMs),
      })
    }
  }
  const texts = documents.flat().length
  console.log(
    `${kind}: ${documents.length} documents, ${texts} passages, ${batches.length} batches, ${threads} threads`,
  )
  const boundMs = least.get('bound')?.wallMs ?? Number.NaN
  for (const [name, { wallMs, processorMs }] of least) {
    const share = (100 * boundMs) / wallMs
    if (name === 'this checkout' && !(share >= 80)) isReached = false
    console.log(
      `  ${name.padEnd(16)} ${((1_000 * texts) / wallMs).toFixed(1).padStart(7)} passages/s   ${(processorMs / texts).toFixed(1)} ms of processor each   ${share.toFixed(0)} % of the bound`,
    )
  }
}
for (const { embedder } of embedders) await embedder[Symbol.asyncDispose]()
await bound.close()
process.exitCode = isReached ? 0 : 1
