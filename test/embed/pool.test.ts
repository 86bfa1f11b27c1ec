import { EventEmitter } from 'node:events'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import type { WorkerRequest } from '../../src/embed/local-worker.ts'
import { createPool } from '../../src/embed/pool.ts'

/** Says that it is ready, answers each batch, and ends at the text "die". */
const script = `
  const { parentPort } = require('node:worker_threads')
  parentPort.on('message', ({ kind, id, texts }) => {
    if (kind === 'close' || texts[0] === 'die') process.exit()
    parentPort.postMessage({ kind: 'vectors', id, vectors: texts.map(() => new Float32Array([1])) })
  })
  parentPort.postMessage({ kind: 'ready', dimensions: 1 })`

test('a thread that the system does not give costs one batch, and the next is tried with another', async () => {
  let isRefused = false
  const pool = await createPool({
    start: { folder: '', tokensMax: 1 },
    workers: 1,
    startWorker: () => {
      if (isRefused) throw Object.assign(new Error('EAGAIN'), { code: 'ERR_WORKER_INIT_FAILED' })
      return new Worker(script, { eval: true, execArgv: [] })
    },
  })
  const embed = (text: string) => pool.submit([text], { urgent: false })
  isRefused = true
  await expect(embed('die')).rejects.toMatchObject({ code: 'unavailable' })
  await expect(embed('refused')).rejects.toMatchObject({ code: 'unavailable' })
  isRefused = false
  await expect(embed('fine')).resolves.toEqual([new Float32Array([1])])
  await pool.close()
})

test('a thread that never is ready costs one batch, and the next is tried with another', async () => {
  let isStill = false
  let late = (): void => undefined
  const pool = await createPool({
    start: { folder: '', tokensMax: 1 },
    workers: 1,
    timer: (_, then) => {
      late = then
      return () => undefined
    },
    startWorker: () =>
      new Worker(isStill ? 'setInterval(() => undefined, 1000)' : script, { eval: true, execArgv: [] }),
  })
  const embed = (text: string) => pool.submit([text], { urgent: false })
  await expect(embed('die')).rejects.toMatchObject({ code: 'unavailable' })
  isStill = true
  const still = embed('still')
  late()
  await expect(still).rejects.toMatchObject({ code: 'unavailable' })
  isStill = false
  await expect(embed('fine')).resolves.toEqual([new Float32Array([1])])
  await pool.close()
})

/** Ends what it is at when it is told to. */
class SteeredThread extends EventEmitter {
  readonly got: string[] = []
  private at = 0
  private readonly starting: NodeJS.Immediate
  readonly givesWay: boolean
  constructor(givesWay: boolean) {
    super()
    this.givesWay = givesWay
    this.starting = setImmediate(() => this.emit('message', { kind: 'ready', dimensions: 1 }))
  }
  die(): void {
    clearImmediate(this.starting)
    this.emit('exit')
  }
  postMessage(request: WorkerRequest): void {
    if (request.kind === 'close') return void this.emit('exit')
    this.at = request.id
    this.got.push(request.texts.join())
  }
  end(): void {
    this.emit('message', { kind: 'vectors', id: this.at, vectors: [new Float32Array([1])] })
  }
  ref(): void {}
  unref(): void {}
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** A pool of two whose first thread alone was started, and what ends the second that idles. */
async function steeredPool() {
  const threads: SteeredThread[] = []
  const idle = { pass: (): void => undefined, isWatched: false }
  const pool = await createPool({
    start: { folder: '', tokensMax: 1 },
    workers: 2,
    startWorker: (_, { workerData }) => {
      const { givesWay } = workerData as { readonly givesWay: boolean }
      const thread = new SteeredThread(givesWay)
      threads.push(thread)
      return thread as unknown as Worker
    },
    timer: (_, then) => {
      Object.assign(idle, { pass: then, isWatched: true })
      return () => {
        idle.isWatched = false
      }
    },
  })
  return { pool, threads, idle }
}

/** The same once both have worked. */
async function steeredPair() {
  const steered = await steeredPool()
  const { pool, threads } = steered
  const passages = ['', ''].map((text) => pool.submit([text], { urgent: false }))
  await turn()
  const [first, second] = threads as [SteeredThread, SteeredThread]
  for (const thread of [first, second]) {
    thread.end()
    thread.got.length = 0
  }
  await Promise.all(passages)
  return { ...steered, first, second }
}

test('the second thread starts once something waits, what waits does not wait for its start, and it ends when it idles', async () => {
  const { pool, threads, idle } = await steeredPool()
  const alone = pool.submit(['alone'], { urgent: false })
  expect(threads).toHaveLength(1)
  const [first] = threads as [SteeredThread]
  first.end()
  await alone
  const passages = ['a', 'b', 'c'].map((text) => pool.submit([text], { urgent: false }))
  const [, second] = threads as [SteeredThread, SteeredThread]
  first.end()
  expect([first.got, second.got]).toEqual([['alone', 'a', 'b'], []])
  await turn()
  expect([first.got, second.got]).toEqual([['alone', 'a', 'b'], ['c']])
  expect(idle.isWatched).toBe(false)
  first.end()
  second.end()
  await Promise.all(passages)
  expect(idle.isWatched).toBe(true)
  let isOver = false
  second.once('exit', () => {
    isOver = true
  })
  idle.pass()
  expect(isOver).toBe(true)
  // The next that waits has another.
  const more = ['d', 'e'].map((text) => pool.submit([text], { urgent: false }))
  await turn()
  expect(threads.map(({ got }) => got.at(-1))).toEqual(['d', 'c', 'e'])
  for (const thread of [first, threads[2] as SteeredThread]) thread.end()
  await Promise.all(more)
  await pool.close()
})

test('a second thread that does not start is tried again after a minute, not with each text', async () => {
  const { pool, threads, idle } = await steeredPool()
  const [first] = threads as [SteeredThread]
  const ask = (text: string) => pool.submit([text], { urgent: false })
  const texts = ['a', 'b'].map(ask)
  threads[1]?.die()
  await turn()
  texts.push(...['c', 'd'].map(ask))
  expect(threads).toHaveLength(2)
  idle.pass()
  texts.push(ask('e'))
  expect(threads).toHaveLength(3)
  threads[2]?.die()
  for (const _ of texts) first.end()
  await Promise.all(texts)
  await pool.close()
})

test('a question goes before all passages that wait, in a thread that gives way to nobody', async () => {
  const { pool, threads, first, second } = await steeredPair()
  expect(threads.map(({ givesWay }) => givesWay)).toEqual([false, true])
  const passages = ['a', 'b', 'c', 'd'].map((text) => pool.submit([text], { urgent: false }))
  const question = pool.submit(['question'], { urgent: true })
  second.end()
  expect(second.got).toEqual(['b', 'c'])
  first.end()
  expect(first.got).toEqual(['a', 'question'])
  first.end()
  await question
  expect(first.got).toEqual(['a', 'question', 'd'])
  second.end()
  first.end()
  await Promise.all(passages)
  // Nothing else waits: both take what is asked.
  void pool.submit(['more'], { urgent: true }).catch(() => undefined)
  void pool.submit(['still more'], { urgent: true }).catch(() => undefined)
  expect([first.got.at(-1), second.got.at(-1)]).toEqual(['more', 'still more'])
  await pool.close()
})

test('while the thread that gives way to nobody starts anew, a question goes first in the next one', async () => {
  const { pool, threads, first, second } = await steeredPair()
  const passages = ['a', 'b', 'c', 'd', 'e'].map((text) => pool.submit([text], { urgent: false }))
  const questions = ['one', 'two', 'three'].map((text) => pool.submit([text], { urgent: true }))
  first.die()
  await expect(passages[0]).rejects.toMatchObject({ code: 'unavailable' })
  const anew = threads[2] as SteeredThread
  // What waits for its start is a passage.
  expect([anew.givesWay, anew.got]).toEqual([false, ['c']])
  second.end()
  second.end()
  expect(second.got).toEqual(['b', 'one', 'two'])
  await turn()
  // It is ready: each does its own part again.
  anew.end()
  second.end()
  expect([anew.got, second.got]).toEqual([
    ['c', 'three'],
    ['b', 'one', 'two', 'd'],
  ])
  anew.end()
  second.end()
  anew.end()
  await Promise.all([...questions, ...passages.slice(1)])
  await pool.close()
})
