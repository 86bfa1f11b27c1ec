import { describe, expect, test } from 'vitest'
import type { JsonObject } from '../src/core/condition-values.ts'
import { addTo, compareWorld, createTally, type Difference } from './support/differ.ts'
import { insisting, patiently } from './support/patience.ts'
import { createRandom } from './support/random.ts'
import { seed } from './support/seed.ts'
import { engineTarget, serverTarget } from './support/target.ts'

const wanted = Number(process.env['FUZZ_ANSWERS'] ?? 2000)

const worldsAtOnce = 2
// Worlds in which the server meets its own deadline three times over, before their share counts.
const leftOutMax = 5

const server = serverTarget()

describe.skipIf(server === undefined)('the engine against the real server (OPENFGA_TEST_URL)', () => {
  test(
    `gives the same ${wanted} answers in random worlds (FUZZ_SEED=${seed})`,
    async () => {
      if (server === undefined) throw new Error('no server')
      const engine = engineTarget()
      const tally = createTally()
      let world = 0
      let repeated = 0
      let leftOut = 0
      // A wrong answer always fails; a server too slow to give one is told, and fails only where it gave none
      // at all.
      const isTooSlow = (): boolean => leftOut > leftOutMax && leftOut * 4 > world
      // Some at once: most of the time of one goes by between the processes.
      const work = async (): Promise<void> => {
        while (tally.answers < wanted && tally.differences.length < 5 && !isTooSlow()) {
          const own = seed + world++
          // From the beginning where the server was too slow: half a world is not comparable. Some are too
          // much for it.
          const part = await patiently(
            async () => {
              const one = createTally()
              await compareWorld(own, createRandom(own), engine, insisting(server), one)
              return one
            },
            () => (repeated += 1),
          )
          if (part === undefined) leftOut += 1
          else addTo(tally, part)
        }
      }
      await Promise.all(Array.from({ length: worldsAtOnce }, work))
      const kinds = [...tally.byKind].map(([kind, count]) => `${kind} ${count}`).join(', ')
      console.log(
        `seed ${seed}: ${tally.answers} answers (${kinds}), ${tally.positive} of them positive; models refused by both ${tally.refused}; unsteady at the server ${tally.unsteady}; errors against denials where context lacks ${tally.loose}; known (recursion through an operator) ${tally.knownCycles}; granted by the server through other types ${tally.strangers}; left out of a list of users by the server ${tally.unlisted}; hidden at the server by a condition that does not hold ${tally.hidden}; worlds begun again for a slow server ${repeated}, left out ${leftOut}`,
      )
      expect(tally.differences.map(describeDifference).join('\n\n')).toBe('')
      if (isTooSlow()) console.warn(`the server was too slow: ${tally.answers} of ${wanted} answers compared`)
      expect(tally.answers).toBeGreaterThan(0)
      const { knownCycles, strangers, unlisted, hidden, unsteady } = tally
      expect(knownCycles + strangers + unlisted + hidden + unsteady).toBeLessThan(
        Math.max(5, tally.answers / 200),
      )
    },
    30 * 60_000,
  )
})

function describeDifference(difference: Difference): string {
  const { seed: world, question, engine, server: theirs, model, tuples } = difference
  return [
    `seed ${world}: ${question.kind} ${JSON.stringify(question.body)}`,
    `engine ${JSON.stringify(engine)}, server ${JSON.stringify(theirs)}`,
    showModel(model),
    tuples.map((tuple) => JSON.stringify(tuple)).join('\n'),
  ].join('\n')
}

function showModel(model: JsonObject): string {
  return JSON.stringify(model)
}
