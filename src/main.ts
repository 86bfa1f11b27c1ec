import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { loadConfig } from './config/config.ts'
import { AppError } from './kernel/errors.ts'
import { logLine } from './kernel/log.ts'
import { assertNode } from './kernel/node.ts'
import { OperatorError } from './kernel/operator-error.ts'
import { isSeeding, seedApart } from './seed-apart.ts'

// Files made by libraries too are for this user alone, whatever their folder allows.
process.umask(0o077)

// The environment wins over the file. Node's own flag for this would say so on every start without one.
if (existsSync('.env')) process.loadEnvFile('.env')

const print = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

const stopping = new AbortController()
const stopped = new OperatorError('Stopped before it was ready. The next start goes on from here.')
// A terminal's Ctrl-C arrives twice under `npm start`: from the terminal and from npm, which passes it on.
const sameSignalMs = 1_000
// A start that is asked to end closes what it opened; what takes longer than this is left to the next start.
const startEndsMs = 3_000
let stoppedAt: number | undefined

function stop(): void {
  if (stoppedAt === undefined) {
    stoppedAt = Date.now()
    stopping.abort(stopped)
    return
  }
  // A second one means it: open requests are not waited for.
  if (Date.now() - stoppedAt > sameSignalMs) process.exit(130)
}

process.on('SIGINT', stop)
process.on('SIGTERM', stop)

const whenStopping = new Promise<void>((resolve) => {
  stopping.signal.addEventListener('abort', () => resolve(), { once: true })
})

try {
  assertNode()
  const seedsOnly = isSeeding(process.env)
  // Whoever waits for it is gone.
  if (seedsOnly) process.on('disconnect', () => process.exit(1))
  const config = loadConfig(process.env)
  const isFirst = config.demoSample && !existsSync(join(config.home, 'db'))
  const seeded = isFirst && !seedsOnly ? seedApart(process.env, stopping.signal) : 0
  // Loaded only now: an older Node cannot even parse it.
  const modules = Promise.all([import('./start.ts'), import('./start-nominator.ts')])
  const [failed, [{ seed, start }, { startNominator }]] = await Promise.all([seeded, modules])
  if (failed !== 0) process.exit(failed)
  stopping.signal.throwIfAborted()
  const run = seedsOnly ? seed : config.roles.nominator ? startNominator : start
  const starting = run(config, {
    clock: { now: () => Date.now() },
    log: (event, fields) => process.stderr.write(`${logLine(new Date(), event, fields)}\n`),
    fetch,
    print,
    isTerminal: process.stderr.isTTY,
    // Whoever waits has been told nothing, and nothing is lost: what was acknowledged is on the disk.
    onStorageLost: () => process.exit(1),
    onRefused: () => process.exit(1),
    signal: stopping.signal,
  })
  const tooLate = whenStopping.then(
    () => new Promise<never>((_, reject) => setTimeout(reject, startEndsMs, stopped).unref()),
  )
  const service = await Promise.race([starting, tooLate])
  if (service === undefined) process.exit(0)
  await whenStopping
  print('Stopping: open requests are finished first. Ctrl-C again stops at once.')
  await service[Symbol.asyncDispose]()
  process.exit(0)
} catch (error) {
  process.stderr.write(`${explain(error)}\n`)
  process.exit(error === stopped ? 130 : 1)
}

/** For what whoever starts it can mend, the message alone; for a defect, where it happened. */
function explain(error: unknown): string {
  if (error instanceof OperatorError) return error.message
  if (error instanceof AppError) return `Could not start: ${error.message}`
  return error instanceof Error ? (error.stack ?? error.message) : 'Could not start.'
}
