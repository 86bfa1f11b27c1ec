import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { SlowFirst } from './test/support/slow-first.ts'

// What Node has compiled once serves all workers, and the programs that tests start.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('node_modules/.cache/node', import.meta.url))
// `.ci/services` says where tests write fastest.
if (process.env.TEST_TMPDIR) process.env.TMPDIR = process.env.TEST_TMPDIR

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts', 'packages/*/test/**/*.test.ts'],
    // Compile-time guards, such as "text cannot be read for what the gate has not cleared".
    // Errors elsewhere are `npm run check`'s to report.
    typecheck: {
      enabled: true,
      include: ['test/**/*.test-d.ts', 'packages/*/test/**/*.test-d.ts'],
      ignoreSourceErrors: true,
    },
    environment: 'node',
    globalSetup: './test/support/global.ts',
    // Processes, not threads: the embedding runtime is native code and PGlite runs in a worker of its own;
    // a crash in either must fail one file, not the run.
    pool: 'forks',
    // One more than there are processors: for a fourth of its time a file waits, for polls, leases, answers
    // that wait by design.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: SlowFirst },
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    passWithNoTests: false,
    // A test that asserts nothing cannot fail. What is waited for may take its time on a machine that is
    // busy.
    expect: { requireAssertions: true, poll: { timeout: 10_000 } },
    reporters: ['default', './test/support/reporter.ts'],
  },
})
