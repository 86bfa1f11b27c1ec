import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { native } from './native.ts'

/**
 * wardowl's own HTTP service as a process of its own, with these settings of `prove/wardowl/service.py`.
 * Resolves once it listens, with its origin. Throws where it does not start.
 */
export async function startWardowl(settings: object): Promise<AsyncDisposable & { readonly at: string }> {
  await using stack = new AsyncDisposableStack()
  const program = fileURLToPath(new URL('../prove/wardowl/service.py', import.meta.url))
  const child = spawn('python3', [program], {
    env: {
      PATH: process.env['PATH'],
      PYTHONPATH: native.wardowl,
      WARDOWL: JSON.stringify(settings),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close')
  stack.defer(async () => {
    child.kill()
    await ended
  })
  const said = createInterface(child.stdout)[Symbol.asyncIterator]()
  const { value: port, done } = await said.next()
  if (done === true) throw new Error('wardowl did not start.')
  const owned = stack.move()
  return { at: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}
