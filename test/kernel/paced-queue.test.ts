import { expect, test } from 'vitest'
import { createPacedQueue } from '../../src/kernel/paced-queue.ts'

const full = () => new Error('full')

test('no more is begun in one turn of the event loop, nor under way, than was said; in order, and all of it', async () => {
  const inTurn = createPacedQueue({ atOnce: 5, perTurn: 2, waitingMax: 100, full })
  let turn = 0
  let underWay = 0
  const begunIn: number[] = []
  const order: number[] = []
  let isOver = false
  const count = (): void => {
    turn += 1
    if (!isOver) setImmediate(count)
  }
  setImmediate(count)
  await Promise.all(
    Array.from({ length: 60 }, (_, n) =>
      inTurn(async () => {
        underWay += 1
        expect(underWay).toBeLessThanOrEqual(5)
        begunIn[turn] = (begunIn[turn] ?? 0) + 1
        order.push(n)
        await new Promise((resolve) => setTimeout(resolve, n % 7))
        underWay -= 1
      }),
    ),
  )
  isOver = true
  expect(order).toEqual(Array.from({ length: 60 }, (_, n) => n))
  // Which of two immediates is the first of a turn is not said: at most two of ours fall between two counts.
  expect(Math.max(...begunIn.filter((begun) => begun !== undefined))).toBeLessThanOrEqual(4)
})

test('one that comes alone does not wait for a turn', async () => {
  const inTurn = createPacedQueue({ atOnce: 1, perTurn: 1, waitingMax: 0, full })
  let isTurnOver = false
  setImmediate(() => {
    isTurnOver = true
  })
  await inTurn(async () => expect(isTurnOver).toBe(false))
})

test('whoever comes after all that may wait is told so at once; what fails makes room as well', async () => {
  const inTurn = createPacedQueue({ atOnce: 1, perTurn: 10, waitingMax: 2, full })
  const held = Promise.withResolvers<void>()
  const first = inTurn(() => held.promise)
  const waiting = [inTurn(() => Promise.reject(new Error('wrong'))), inTurn(async () => 'last')]
  await expect(inTurn(async () => 'late')).rejects.toThrow('full')
  held.resolve()
  await first
  await expect(waiting[0]).rejects.toThrow('wrong')
  await expect(waiting[1]).resolves.toBe('last')
  await expect(inTurn(async () => 'again')).resolves.toBe('again')
})
