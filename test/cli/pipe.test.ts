import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

test.each([
  [0, ['--help']],
  // 0 would say that the record is whole.
  [2, ['audit', 'verify', '--help']],
])(
  'whoever has seen enough of the output (remit … | head) gets no stack trace, and %i of %j',
  async (ends, argv) => {
    const root = fileURLToPath(new URL('../../', import.meta.url))
    const child = spawn(process.execPath, ['src/cli/main.ts', ...argv], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout.destroy()
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    const [code] = await once(child, 'close')
    expect({ code, stderr }).toEqual({ code: ends, stderr: '' })
  },
)
