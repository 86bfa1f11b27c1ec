import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { OperatorError } from './kernel/operator-error.ts'

const variable = 'REMIT_SEEDS'
type Env = Readonly<Record<string, string | undefined>>

/** Whether another process of ours waits for this one to take in the demo's documents, and to end. */
export const isSeeding = (env: Env): boolean => env[variable] !== undefined && process.send !== undefined

/**
 * Runs this very program once more, as one that only seeds, and waits for its end: what it took of memory
 * goes back with it, 110 MB that an allocator would keep. It says itself what it does, and what fails, and
 * ends with this process, whatever ends that. Answers with its exit code; throws `OperatorError` where a
 * signal ended it.
 */
export async function seedApart(env: Env, signal: AbortSignal): Promise<number> {
  const seeding = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    env: { ...env, [variable]: 'true' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const stop = (): void => void seeding.kill('SIGTERM')
  signal.addEventListener('abort', stop)
  try {
    const [code, by]: (number | string | null)[] = await once(seeding, 'exit')
    // It has said why, unless it was killed.
    if (typeof code === 'number') return code
    throw new OperatorError(
      `The process that takes in the demo’s documents was ended by ${by}. Start once more.`,
    )
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
