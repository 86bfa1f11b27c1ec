import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { faults } from '../../benchmarks/chaos/faults.ts'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { native, needsOpenfgaProgram, needsToxiproxy } from '../support/native.ts'
import { needsPostgresProgram } from '../support/postgres.ts'
import { startCommand } from './process.ts'

const needs = [needsPostgresProgram, needsOpenfgaProgram, needsToxiproxy].find(({ skip }) => skip)

test('every fault has a name of its own, by which a run may ask for it', () => {
  const names = faults.map(({ name }) => name)
  expect(names.filter((name, nth) => names.indexOf(name) !== nth)).toEqual([])
  expect(names.length).toBeGreaterThan(130)
})

// Half an hour for all of them, and the whole machine: `npm run full` alone.
const count = process.env['CHAOS_FAULTS']
if (count !== undefined)
  test(`under ${count} faults of those that a seed draws nothing leaks, no acknowledged change is lost, no answer lacks its record, and all is whole by itself (FUZZ_SEED=${seed})`, {
    ...needs,
    timeout: 7_200_000,
  }, async () => {
    const { OPENFGA_PATH, OPENSEARCH_TEST_URL, POSTGRES_PATH, POSTGRES_USER, TOXIPROXY_PATH } = process.env
    const given = { OPENFGA_PATH, OPENSEARCH_TEST_URL, POSTGRES_PATH, POSTGRES_USER, TOXIPROXY_PATH }
    const env = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))
    // Half of the seeds with an engine: a run has either.
    const isOnEngine = native.opensearch !== undefined && seed % 2 === 1
    await using driver = startCommand(
      ['--seed', String(seed), '--count', count, ...(isOnEngine ? ['--engine'] : [])],
      Object.fromEntries(env),
      'benchmarks/chaos/run.ts',
    )
    await using _ = {
      async [Symbol.asyncDispose]() {
        // All that it started ends with it, also where this takes too long.
        driver.kill('SIGTERM')
        await Promise.race([driver.exit, sleep(20_000, undefined, { ref: false })])
      },
    }
    const { code } = await driver.exit
    process.stdout.write(driver.stdout())
    expect(code, driver.stdout() + driver.stderr()).toBe(0)
  })
