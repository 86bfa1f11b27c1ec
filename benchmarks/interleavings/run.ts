import { parseArgs } from 'node:util'
import { createRandom } from '../../packages/engine/test/support/random.ts'
import { pairs } from '../../test/security/interleavings/pairs.ts'
import { openTwo } from '../../test/security/interleavings/two.ts'
import { type ExploreOptions, explore } from '../../test/support/interleavings.ts'
import { startProvider } from '../../test/support/provider.ts'

/**
 * Every order of one pair of workers, with one of them ended or standing still (docs/decisions/0079), and how
 * far it is, once a minute. Minutes; those of a publication a quarter of an hour and more. Ends with 1 where
 * an order was wrong, or the planted race was not found; with 2 where it was asked for no pair.
 *
 *   npm run interleavings                                  # names the pairs
 *   npm run interleavings -- 'publish × move'
 *   npm run interleavings -- 'publish × move' --planted    # until the race that is planted there is found
 *   npm run interleavings -- 'publish × move' --draw 60 --seed 7
 *
 * Needs TEST_DATABASE_URL, OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN (`.ci/services`).
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    /** How often a worker is left for the other that could go on. */
    switches: { type: 'string', default: '1' },
    planted: { type: 'boolean', default: false },
    /** So many orders by chance, in the place of all. */
    draw: { type: 'string' },
    seed: { type: 'string', default: '1' },
  },
})
const chosen = pairs.filter(({ name }) => positionals.includes(name))
if (chosen.length === 0 || chosen.length < positionals.length) {
  console.log(`The pairs are: ${pairs.map(({ name }) => `'${name}'`).join(', ')}.`)
  process.exit(2)
}

const switchesMax = Number(values.switches)
const beganAt = performance.now()
await using two = await openTwo()
await using double = await startProvider()
for (const { name, open, plant, says } of chosen) {
  const pair = await open(two, double)
  let begun = 0
  const progress = setInterval(
    () => console.log(`${((performance.now() - beganAt) / 1_000).toFixed(0)} s  ${name}: ${begun} begun`),
    60_000,
  )
  const counted = {
    ...pair,
    begin(mark: string) {
      begun += 1
      return pair.begin(mark)
    },
  }
  const run = async (options: ExploreOptions): Promise<readonly string[]> => {
    const { wrong, ...counts } = await explore(counted, { switchesMax, ...options })
    console.log(`${name}: ${JSON.stringify({ ...counts, wrong: wrong.length })}`)
    for (const order of wrong) console.log(order)
    return wrong
  }
  try {
    if (values.planted) {
      two.plant = plant
      // Most races need nobody who ends or stands still, and without those there are far fewer orders.
      const [quickly] = await run({ stopsAtWrong: true, noFaults: true })
      const [found] = quickly === undefined ? await run({ stopsAtWrong: true }) : [quickly]
      if (found?.includes(says) !== true) process.exitCode = 1
    } else {
      const drawn = { ordersMax: Number(values.draw), random: createRandom(Number(values.seed)) }
      if ((await run(values.draw === undefined ? {} : drawn)).length > 0) process.exitCode = 1
    }
  } finally {
    two.plant = {}
    clearInterval(progress)
  }
}
