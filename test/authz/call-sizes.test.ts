import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { Check } from '../../src/authz/fga.ts'
import { type CallSizes, createCallSizes, createFga, createFgaApi } from '../../src/authz/openfga.ts'
import { batch, modelId, startDouble, storeId } from './double.ts'

const options = { now: 0 } as const
const checksOf = (count: number, relation = 'can_read'): Check[] =>
  Array.from({ length: count }, (_, at) => ({ user: 'user:anne', relation, object: `document:d${at}` }))
const page = checksOf(50)

/** One call after the other, until all are asked; what each takes is `msEach` a check. */
function sizesOf(sizes: CallSizes, checks: readonly Check[], msEach: number): number[] {
  const found: number[] = []
  for (let left = checks; left.length > 0; ) {
    const call = left.slice(0, sizes.next(left))
    sizes.took(call, call.length * msEach, true)
    found.push(call.length)
    left = left.slice(call.length)
  }
  return found
}

describe('how many checks go in a call', () => {
  test('fifty, where calls are quick', () => {
    const sizes = createCallSizes(1_000)
    expect([sizesOf(sizes, page, 1), sizesOf(sizes, page, 1)]).toEqual([[25, 25], [50]])
  })

  test('as many as take no longer than a call should, where a check takes long', () => {
    const sizes = createCallSizes(1_000)
    sizesOf(sizes, page, 1)
    sizesOf(sizes, page, 100)
    expect(sizesOf(sizes, page, 100)).toEqual([10, 10, 10, 10, 10])
  })

  test('four at least, and more again where they are quick', () => {
    const sizes = createCallSizes(1_000)
    sizesOf(sizes, page, 2_000)
    expect(sizes.next(page)).toBe(4)
    expect(sizesOf(sizes, page, 1)).toEqual([4, 8, 16, 22])
  })

  test('few of a slow relation and many of a quick one: neither takes the place of the other', () => {
    const sizes = createCallSizes(1_000)
    const quick = checksOf(50, 'parent')
    sizesOf(sizes, page, 200)
    sizesOf(sizes, quick, 1)
    expect([sizes.next(page), sizes.next(quick)]).toEqual([5, 50])
    expect(sizes.next([...quick.slice(0, 20), ...page])).toBe(20)
    expect(sizes.next([...page.slice(0, 20), ...quick])).toBe(5)
  })

  test('no more for a failure that came at once, and fewer for one that came late', () => {
    const sizes = createCallSizes(1_000)
    sizes.took(page, 1, false)
    expect(sizes.next(page)).toBe(25)
    sizes.took(page.slice(0, 25), 4_000, false)
    expect(sizes.next(page)).toBe(6)
  })
})

/** A server that takes so long for each check, of which a call should take 100 ms. */
async function slow(msEach: number, answersMax = Number.POSITIVE_INFINITY) {
  const double = await startDouble((call, response, nth) => {
    void delay(msEach * (call.body.checks?.length ?? 0)).then(() => {
      response.statusCode = nth < answersMax ? 200 : 503
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify(batch(() => ({ allowed: true }))(call, response, nth)))
    })
  })
  const api = createFgaApi({ apiUrl: double.url, timeoutMs: 20_000 })
  return { double, fga: createFga(api, storeId, () => modelId, 100) }
}

describe('a batch that one call would be too late for', () => {
  test('is answered in several, one after the other, each in its order', async () => {
    const { double, fga } = await slow(12)
    await using _ = double
    expect((await fga.batchCheck(page, options)).verdicts).toEqual(page.map(() => 'allowed'))
    const asked = double.calls.flatMap(({ body }) => body.checks?.map(({ tuple_key }) => tuple_key.object))
    expect(asked).toEqual(page.map(({ object }) => object))
    expect(double.calls[0]?.body.checks).toHaveLength(25)
    expect(double.calls[1]?.body.checks?.length).toBeLessThan(10)
  })

  test('keeps what was answered where a later call fails, asks no further, and lets nothing else through', async () => {
    const { double, fga } = await slow(1, 1)
    await using _ = double
    const { verdicts } = await fga.batchCheck(page, options)
    expect(verdicts).toEqual(page.map((_check, at) => (at < 25 ? 'allowed' : 'error')))
    expect(double.calls).toHaveLength(2)
  })

  test('is unavailable where the first call fails', async () => {
    const { double, fga } = await slow(1, 0)
    await using _ = double
    await expect(fga.batchCheck(page, options)).rejects.toMatchObject({ code: 'authorization_unavailable' })
    expect(double.calls).toHaveLength(1)
  })
})
