import { AsyncResource } from 'node:async_hooks'
import { expect, test, vi } from 'vitest'
import { createLocks, type LocksDeps } from '../../src/ingest/locks.ts'
import { createPrioritySemaphore, inBackground, isInBackground } from '../../src/kernel/background.ts'

// On PGlite beside an embedded engine nothing of these is asked: holds are in this process's memory.
const inMemory = { database: { kind: 'pglite' }, isApart: false } as LocksDeps
const document = ['document:1']
/** As a request, whoever runs it. */
const fromOutside = AsyncResource.bind(<T>(work: () => Promise<T>): Promise<T> => work())
const aTurn = () => new Promise((resolve) => setImmediate(resolve))

/** A session of one statement at a time, of whose turns `questions` take all they get until `until` ends. */
async function busy(questions: number, until: (statement: () => Promise<void>) => Promise<unknown>) {
  const enter = createPrioritySemaphore(1)
  let turns = 0
  const statement = async () => {
    const leave = await enter()
    turns += 1
    await aTurn()
    leave()
  }
  let isOver = false
  const asking = Array.from({ length: questions }, async () => {
    while (!isOver) await statement()
  })
  await until(statement)
  isOver = true
  await Promise.all(asking)
  return turns
}

/** A job that holds the document for twelve statements; `then` runs once it holds it. */
const jobThen = (then: (locks: ReturnType<typeof createLocks>) => Promise<unknown>) =>
  busy(4, async (statement) => {
    const locks = createLocks(inMemory)
    let began = (): void => undefined
    const begun = new Promise<void>((resolve) => {
      began = resolve
    })
    const job = inBackground(() =>
      locks.hold(document, async () => {
        began()
        for (let nth = 0; nth < 12; nth++) await statement()
      }),
    )
    await begun
    await aTurn()
    await Promise.all([job, then(locks)])
  })

test('a removal that waits for a document which a job holds is not behind all questions', async () => {
  // Each of the twelve waits for the four that ask, not for eight: 12 × 5, and the one on the way.
  expect(await jobThen((locks) => locks.hold(document, async () => undefined))).toBeLessThan(75)
})

test('a job that nobody waits for stays behind questions, and so does one that only a job waits for', async () => {
  expect(await jobThen(async () => undefined)).toBeGreaterThan(95)
  const other = (locks: ReturnType<typeof createLocks>) =>
    inBackground(() => locks.hold(document, async () => undefined))
  expect(await jobThen(other)).toBeGreaterThan(95)
})

test('a job whose hold was hurried is patient again after it', async () => {
  const locks = createLocks(inMemory)
  const seen: boolean[] = []
  let removal: Promise<void> | undefined
  await inBackground(async () => {
    await locks.hold(document, async () => {
      seen.push(isInBackground())
      removal = fromOutside(() => locks.hold(document, async () => undefined))
      await aTurn()
      seen.push(isInBackground())
    })
    seen.push(isInBackground())
  })
  await removal
  expect(seen).toEqual([true, false, true])
})

test('what a request does patiently while it holds a document goes next once somebody waits for that', async () => {
  const locks = createLocks(inMemory)
  const enter = createPrioritySemaphore(1)
  const leave = await enter()
  const order: string[] = []
  const place = async (name: string) => {
    const leavePlace = await enter()
    order.push(name)
    leavePlace()
  }
  const others = ['1', '2', '3'].map((name) => inBackground(() => place(name)))
  const held = locks.hold(document, (_, patience) => inBackground(() => place('held'), patience))
  const waiting = locks.hold(document, async () => void order.push('waiting'))
  await aTurn()
  leave()
  await Promise.all([...others, held, waiting])
  expect(order.slice(0, 1)).toEqual(['held'])
})

test('who waits in this process gives up after 30 s, and keeps nobody after that', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  try {
    const locks = createLocks(inMemory)
    const { promise: endless, resolve } = Promise.withResolvers<void>()
    const holding = locks.hold(document, () => endless)
    const outcome = expect(locks.hold(document, async () => undefined)).rejects.toMatchObject({
      code: 'storage_unavailable',
    })
    await vi.advanceTimersByTimeAsync(30_000)
    await outcome
    resolve()
    await holding
    expect(await locks.hold(document, async () => 'held')).toBe('held')
  } finally {
    vi.useRealTimers()
  }
})
