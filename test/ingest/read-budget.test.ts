import { expect, test } from 'vitest'
import { createReadBudget } from '../../src/ingest/read-budget.ts'

const { signal } = new AbortController()
/** Whether it is given within this turn of the event loop. */
const isGiven = async (taking: Promise<unknown>): Promise<boolean> => {
  const later = new Promise((resolve) => setImmediate(resolve, 'later'))
  return (await Promise.race([taking, later])) !== 'later'
}

test('so many are read as fit, and one by each batch that holds nothing', async () => {
  const budget = createReadBudget(10, 8)
  const [first, second] = [budget('a'), budget('a')]
  await first.take(6, signal)
  const more = first.take(6, signal)
  expect(await isGiven(more)).toBe(false)
  const share = await second.take(6, signal)
  share.giveBack()
  expect(await isGiven(more)).toBe(false)
})

test('none is read while what was read and is not stored is more than the bound, however many batches there are', async () => {
  const budget = createReadBudget(10, 8)
  const shares = await Promise.all([budget('a'), budget('b')].map((batch) => batch.take(4, signal)))
  for (const share of shares) share.resize(30)
  const third = budget('c').take(1, signal)
  expect(await isGiven(third)).toBe(false)
  shares[0]?.giveBack()
  expect(await isGiven(third)).toBe(false)
  shares[1]?.giveBack()
  expect(await isGiven(third)).toBe(true)
})

test('two large ones are read at a time, none two of one service, and small ones beside them', async () => {
  const budget = createReadBudget(10, 8)
  const large = await budget('a').take(50, signal)
  const again = budget('a').take(50, signal)
  const other = budget('b').take(50, signal)
  const third = budget('c').take(50, signal)
  expect(await isGiven(again)).toBe(false)
  expect(await isGiven(other)).toBe(true)
  expect(await isGiven(third)).toBe(false)
  expect(await isGiven(budget('a').take(8, signal))).toBe(true)
  ;(await other).giveBack()
  expect(await isGiven(third)).toBe(true)
  large.giveBack()
  large.giveBack()
  expect(await isGiven(again)).toBe(true)
})

test('who waits for a place of a large one leaves when its signal fires', async () => {
  const budget = createReadBudget(10, 8)
  await budget('a').take(50, signal)
  const leaving = new AbortController()
  const again = budget('a').take(50, leaving.signal)
  leaving.abort(new Error('over'))
  await expect(again).rejects.toThrow('over')
})
