import { ConfigError, loadConfig } from './config.ts'
import { FolderLockedError } from './store/lock.ts'
import { start } from './start.ts'

const print = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

try {
  const config = loadConfig(process.env)
  const service = await start(config, {
    clock: { now: () => Date.now() },
    log: (event, fields) => process.stderr.write(`${JSON.stringify({ at: new Date().toISOString(), event, ...fields })}\n`),
    fetch,
    print,
    isTerminal: process.stderr.isTTY,
  })
  let stopping = false
  const stop = (): void => {
    // A second Ctrl-C means it: do not wait for open requests.
    if (stopping) process.exit(130)
    stopping = true
    print('Stopping: open requests are finished first.')
    service[Symbol.asyncDispose]().then(
      () => process.exit(0),
      (error: unknown) => {
        print(error instanceof Error ? error.message : 'Could not stop cleanly.')
        process.exit(1)
      },
    )
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
} catch (error) {
  const known = error instanceof ConfigError || error instanceof FolderLockedError
  print(error instanceof Error ? (known ? error.message : (error.stack ?? error.message)) : 'Could not start.')
  process.exit(1)
}
