import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
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
