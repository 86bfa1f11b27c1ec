import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const run = promisify(execFile)
const script = fileURLToPath(new URL('../../../benchmarks/index/bytes.ts', import.meta.url))

// A fifth more than was seen: other versions of V8 lay things out otherwise.
test.each([
  { shape: 'folders', most: 450 },
  { shape: 'owned', most: 420 },
])(
  'a tuple of the replica takes $most bytes at most, of 50,000 as in "$shape"',
  async ({ shape, most }) => {
    const { stdout } = await run(process.execPath, ['--expose-gc', script, shape, '50000'])
    const bytes = Number(/^50000 tuples, .*: (\d+) bytes each/.exec(stdout)?.[1])
    expect(bytes).toBeGreaterThan(100)
    expect(bytes).toBeLessThan(most)
  },
  60_000,
)
