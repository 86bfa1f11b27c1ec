import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRandom } from '../../packages/engine/test/support/random.ts'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { type Explored, explore } from '../support/interleavings.ts'
import { needsOpenfga, needsPostgres } from '../support/native.ts'
import { type ProviderDouble, startProvider } from '../support/provider.ts'
import { openExchange, redeemsAgain } from './interleavings/exchange.ts'
import { pairs } from './interleavings/pairs.ts'
import { openTwo, type Plant, type Two } from './interleavings/two.ts'

// How often a worker is left for the other: all orders with that many. Minutes: `npm run full` alone.
const switches = process.env['INTERLEAVINGS']
const sampleOf = 3

let two: Two
let double: ProviderDouble
const said = (name: string, { wrong: _, ...counts }: Explored): void =>
  void process.stdout.write(`${name}: ${JSON.stringify(counts)}\n`)

describe('two processes at once', needsPostgres.skip ? needsPostgres : needsOpenfga, () => {
  beforeAll(async () => {
    two = await openTwo()
    double = await startProvider()
  })
  afterAll(async () => {
    await double?.[Symbol.asyncDispose]()
    await two?.[Symbol.asyncDispose]()
  })

  test.each(pairs)(
    `keep what they promise in each order that is run, one of them ended or standing still: $name (FUZZ_SEED=${seed})`,
    async ({ name, open }) => {
      const explored = await explore(
        await open(two, double),
        switches === undefined
          ? { ordersMax: sampleOf, random: createRandom(seed), switchesMax: 1 }
          : { switchesMax: Number(switches) },
      )
      said(name, explored)
      expect(explored.wrong).toEqual([])
      expect(explored.orders).toBeGreaterThanOrEqual(sampleOf)
    },
    7_200_000,
  )

  const planted = switches === undefined ? pairs.slice(0, 1) : pairs
  test.each(planted)(
    'are caught where a race is planted: $name',
    async ({ name, open, plant, says }) => {
      const pair = await open(two, double)
      two.plant = plant
      try {
        const until = { switchesMax: 1, stopsAtWrong: true }
        // Most races need nobody who ends or stands still, and without those there are far fewer orders.
        let explored = await explore(pair, { ...until, noFaults: true })
        if (explored.isAll) explored = await explore(pair, until)
        said(`${name}, planted`, explored)
        expect(explored.wrong.join()).toContain(says)
        expect(explored.wrong).toHaveLength(1)
      } finally {
        two.plant = {}
      }
    },
    7_200_000,
  )

  // Three whole services: seconds before the first order.
  if (switches !== undefined)
    test('redeem a code once, in each order that is run, and are caught where they do not look', async () => {
      let plant: Plant = {}
      await using pair = await openExchange(() => plant)
      const explored = await explore(pair, { switchesMax: Number(switches) })
      said(pair.name, explored)
      expect(explored.wrong).toEqual([])
      plant = redeemsAgain
      const found = await explore(pair, { switchesMax: 1, stopsAtWrong: true })
      said(`${pair.name}, planted`, found)
      expect(found.wrong.join()).toContain('two tokens for one code')
    }, 7_200_000)
})
