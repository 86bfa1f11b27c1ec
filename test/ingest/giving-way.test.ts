import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createGivingWay } from '../../src/ingest/giving-way.ts'
import { type Background, inBackground } from '../../src/kernel/background.ts'
import { createQuestions, noQuestions } from '../../src/kernel/questions.ts'

/** A question that is answered once it is told so. */
function asked(questions = createQuestions()) {
  const { promise, resolve } = Promise.withResolvers<void>()
  const answered = questions.during(() => promise)
  return {
    questions,
    async end(): Promise<void> {
      resolve()
      await answered
    },
  }
}

describe('ingestion beside questions', () => {
  test('begins a piece of work where nobody waits for an answer', async () => {
    const { questions, end } = asked()
    const { fewAtATime } = createGivingWay(questions)
    await end()
    await fewAtATime(async () => undefined)
    const again = asked(questions)
    let isDone = false
    const work = fewAtATime(async () => {
      isDone = true
    })
    await pause(50)
    expect(isDone).toBe(false)
    await again.end()
    await work
    expect(isDone).toBe(true)
  })

  test('stands still for half a second at most where questions never end, and does one piece then', async () => {
    const { questions, end } = asked()
    const { fewAtATime } = createGivingWay(questions)
    // Nothing went before the first: it is due.
    await fewAtATime(async () => undefined)
    const since = performance.now()
    let [done, atOnce, most] = [0, 0, 0]
    const pieces = Promise.all(
      Array.from({ length: 6 }, () =>
        fewAtATime(async () => {
          atOnce += 1
          most = Math.max(most, atOnce)
          await pause(5)
          atOnce -= 1
          done += 1
        }),
      ),
    )
    await expect.poll(() => done, { timeout: 10_000, interval: 10 }).toBe(2)
    expect(performance.now() - since).toBeGreaterThan(900)
    await end()
    await pieces
    expect(most).toBe(1)
  })

  test('gives way to nobody with what somebody waits for', async () => {
    const { questions, end } = asked()
    const { fewAtATime } = createGivingWay(questions)
    await fewAtATime(async () => undefined)
    const since = performance.now()
    const hurried: Background = { isOver: true }
    for (let piece = 0; piece < 5; piece++)
      await inBackground(() => fewAtATime(async () => undefined), hurried)
    expect(performance.now() - since).toBeLessThan(400)
    await end()
  })

  test('does smaller pieces while anybody asks, and whole ones where nobody does', async () => {
    const { questions, end } = asked()
    expect(createGivingWay(questions).pieceOf(128)).toBe(16)
    expect(createGivingWay(questions).pieceOf(8)).toBe(8)
    await end()
    // They ask again before long.
    expect(createGivingWay(questions).pieceOf(128)).toBe(16)
    expect(createGivingWay(noQuestions).pieceOf(128)).toBe(128)
  })

  test('begins though what was asked failed', async () => {
    const questions = createQuestions()
    await expect(questions.during(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(questions.isOpen()).toBe(false)
    await questions.gap(60_000)
  })
})
