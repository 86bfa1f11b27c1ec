import { expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { needsOpenfgaProgram, needsToxiproxy } from '../support/native.ts'
import { needsPostgresProgram } from '../support/postgres.ts'
import { startCommand } from './process.ts'

// `npm run full` sets it to all of them.
const count = process.env['CHAOS_FAULTS'] ?? '5'
const needs = [needsPostgresProgram, needsOpenfgaProgram, needsToxiproxy].find(({ skip }) => skip)

test(`under ${count} faults of those that a seed draws nothing leaks, no acknowledged change is lost, no answer lacks its record, and all is whole by itself (FUZZ_SEED=${seed})`, {
  ...needs,
  timeout: 3_600_000,
}, async () => {
  const { OPENFGA_PATH, POSTGRES_PATH, POSTGRES_USER, TOXIPROXY_PATH } = process.env
  const given = { OPENFGA_PATH, POSTGRES_PATH, POSTGRES_USER, TOXIPROXY_PATH }
  const env = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))
  await using driver = startCommand(
    ['--seed', String(seed), '--count', count, ...(count === '5' ? ['--lasting', '1500'] : [])],
    Object.fromEntries(env),
    'benchmarks/chaos/run.ts',
  )
  const { code } = await driver.exit
  process.stdout.write(driver.stdout())
  expect(code, driver.stdout() + driver.stderr()).toBe(0)
})
