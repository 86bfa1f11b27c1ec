import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../../test/support/port.ts'

/** One `remit ingest` under way. */
export interface Ingesting {
  /** What it said, once it ended: by itself, or killed. */
  readonly ended: Promise<string>
  isRunning(): boolean
  /** By SIGKILL. Gives whether it was still at work. */
  kill(): Promise<boolean>
}

/** The demo and its command line, each a program of its own. Disposed, it kills what still runs. */
export interface Programs extends AsyncDisposable {
  readonly url: string
  /** Resolves when it serves; rejects with what it said where it ends before. */
  startService(): Promise<void>
  /** By SIGKILL. */
  killService(): Promise<void>
  /** Gives what the command printed; rejects where it fails. */
  remit(...argv: readonly string[]): Promise<string>
  ingest(folder: string, collection: string): Ingesting
  /** Passages that the model was asked for since the service started. */
  embedded(): Promise<number>
}

export async function createPrograms(home: string): Promise<Programs> {
  const [port, opsPort] = [await freePort(), await freePort()]
  const env = { ...process.env, REMIT_HOME: home, PORT: String(port), OPS_PORT: String(opsPort) }
  const running = new Set<ChildProcess>()
  let service: ChildProcess | undefined

  function program(path: string, ...argv: readonly string[]) {
    const child = spawn(process.execPath, [path, ...argv], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    running.add(child)
    child.once('exit', () => running.delete(child))
    const said = { out: '', err: '' }
    child.stdout.on('data', (part) => (said.out += String(part)))
    child.stderr.on('data', (part) => (said.err += String(part)))
    return { child, said, ended: once(child, 'close') }
  }

  return {
    url: `http://localhost:${port}`,
    async startService() {
      const { child, said } = program('src/main.ts')
      service = child
      while (!said.out.includes('Ctrl-C stops')) {
        if (!running.has(child)) throw new Error(`The service ended at its start: ${said.err}`)
        await sleep(50)
      }
    },
    killService: async () => void (service && (await kill(service))),
    async remit(...argv) {
      const { said, ended } = program('src/cli/main.ts', ...argv)
      const [code] = await ended
      if (code !== 0) throw new Error(`remit ${argv.join(' ')} ended with ${code}: ${said.err}`)
      return said.out.trim()
    },
    ingest(folder, collection) {
      const into = ['--collection', collection, '--service', 'scribe', '--viewer', 'user:bob']
      const { child, said, ended } = program('src/cli/main.ts', 'ingest', folder, ...into)
      return {
        ended: ended.then(() => said.err.trim()),
        isRunning: () => running.has(child),
        kill: () => kill(child),
      }
    },
    async embedded() {
      const text = await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text()
      return Number(/^remit_passages_embedded_total (\d+)$/m.exec(text)?.[1] ?? Number.NaN)
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...running].map(kill))
    },
  }
}

async function kill(child: ChildProcess): Promise<boolean> {
  if (child.exitCode !== null || child.signalCode !== null) return false
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
  return child.signalCode === 'SIGKILL'
}
