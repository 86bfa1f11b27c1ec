import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { native } from './native.ts'
import { freePort } from './port.ts'

/** A server of OpenFGA of a test's own. */
export interface OwnOpenFga extends AsyncDisposable {
  readonly url: string
  readonly token: string
  pid(): number | undefined
  signal(kind: NodeJS.Signals): void
  /** After SIGKILL: resolves once it answers again. */
  startAgain(): Promise<void>
}

/** On a database of Postgres that may be empty; undefined: in memory. */
export async function startOpenFga(
  datastore: string | undefined,
  port?: number,
  settings: Readonly<Record<string, string>> = {},
): Promise<OwnOpenFga> {
  const program = native.openfgaProgram
  if (program === undefined) throw new Error('This needs OPENFGA_PATH.')
  const listens = port ?? (await freePort())
  const token = 'a-key-of-this-test-alone'
  const env = {
    ...(datastore === undefined
      ? { OPENFGA_DATASTORE_ENGINE: 'memory' }
      : { OPENFGA_DATASTORE_ENGINE: 'postgres', OPENFGA_DATASTORE_URI: datastore }),
    OPENFGA_HTTP_ADDR: `127.0.0.1:${listens}`,
    OPENFGA_GRPC_ADDR: `127.0.0.1:${await freePort()}`,
    OPENFGA_AUTHN_METHOD: 'preshared',
    OPENFGA_AUTHN_PRESHARED_KEYS: token,
    OPENFGA_PLAYGROUND_ENABLED: 'false',
    OPENFGA_METRICS_ENABLED: 'false',
    OPENFGA_LOG_LEVEL: 'error',
    ...settings,
  }
  if (datastore !== undefined) {
    const migrating = spawn(program, ['migrate'], { env, stdio: 'ignore' })
    const [code] = await once(migrating, 'close')
    if (code !== 0) throw new Error('OpenFGA could not prepare its database.')
  }
  const url = `http://127.0.0.1:${listens}`
  const start = async () => {
    const child = spawn(program, ['run'], { env, stdio: 'ignore' })
    const ended = once(child, 'close')
    for (let tries = 0; ; tries += 1) {
      const answer = await fetch(`${url}/healthz`).catch(() => undefined)
      if (answer?.ok === true) return { child, ended }
      if (tries > 600 || child.exitCode !== null) {
        child.kill('SIGKILL')
        await ended
        throw new Error('OpenFGA does not answer.')
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  let running = await start()
  return {
    url,
    token,
    pid: () => running.child.pid,
    signal: (kind) => void running.child.kill(kind),
    async startAgain() {
      await running.ended
      running = await start()
    },
    async [Symbol.asyncDispose]() {
      running.child.kill('SIGTERM')
      await running.ended
    },
  }
}
