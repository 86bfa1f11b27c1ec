import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { createPrioritySemaphore, currentBackground, inBackground } from '../../src/kernel/background.ts'

/** Serves what waits for one place, and says in which order. */
async function served(comers: readonly ('question' | 'document')[], places = 1): Promise<string[]> {
  const enter = createPrioritySemaphore(places)
  const leaves = await Promise.all(Array.from({ length: places }, enter))
  const order: string[] = []
  const come = async (name: string) => {
    const leave = await enter()
    order.push(name)
    await new Promise((resolve) => setImmediate(resolve))
    leave()
  }
  const all = comers.map((kind, at) =>
    kind === 'question' ? come(`question ${at}`) : inBackground(() => come(`document ${at}`)),
  )
  for (const leave of leaves) leave()
  await Promise.all(all)
  return order
}

test('a question goes before all documents that wait, and each kind in its order', async () => {
  expect(await served(['document', 'document', 'question', 'document', 'question'])).toEqual([
    'question 2',
    'question 4',
    'document 0',
    'document 1',
    'document 3',
  ])
})

test('a document that waits gets the ninth place, however many questions come', async () => {
  const order = await served(['document', 'document', ...Array<'question'>(20).fill('question')])
  expect([order.indexOf('document 0'), order.indexOf('document 1')]).toEqual([8, 17])
})

test('as many go in at once as there are places, and each place is given again', async () => {
  const order = await served(Array<'document'>(7).fill('document'), 3)
  expect(order).toHaveLength(7)
})

test('a thread that gives way is slowed down alone, not the whole process', {
  skip: process.platform !== 'linux',
}, async () => {
  const script = `
    const { parentPort } = require('node:worker_threads')
    const { getPriority } = require('node:os')
    import(${JSON.stringify(new URL('../../src/kernel/lower-priority.ts', import.meta.url).href)}).then(({ lowerPriority }) => {
      const before = getPriority()
      lowerPriority()
      parentPort.postMessage(getPriority() - before)
    })`
  const worker = new Worker(script, { eval: true, execArgv: [] })
  const { getPriority } = await import('node:os')
  const before = getPriority()
  expect(await new Promise((resolve) => worker.once('message', resolve))).toBe(5)
  expect(getPriority()).toBe(before)
  await worker.terminate()
})

test('a document that waits goes next once somebody has come to wait for it', async () => {
  const enter = createPrioritySemaphore(1)
  const leave = await enter()
  const order: string[] = []
  const come = async (name: string) => {
    const end = await enter()
    order.push(name)
    end()
  }
  const { patience, document } = inBackground(() => ({
    patience: currentBackground(),
    document: come('document'),
  }))
  const questions = [come('question'), come('question')]
  if (patience !== undefined) patience.isOver = true
  leave()
  await Promise.all([document, ...questions])
  expect(order).toEqual(['document', 'question', 'question'])
})
