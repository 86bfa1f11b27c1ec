import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { native } from '../support/native.ts'
import { freePort } from '../support/port.ts'
import { programEnv } from '../support/program-env.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A process of ours: what it said so far, and its end. */
export interface Running extends AsyncDisposable {
  stdout(): string
  /** Without what a start on a busy machine says of itself. */
  stderr(): string
  /** Resolves once stdout holds the text; rejects with all that was said when the process ends before. */
  said(text: string): Promise<void>
  kill(signal: NodeJS.Signals): void
  readonly pid: number | undefined
  /**
   * Ends it as a crash does, and waits until it is gone; rejects with all that was said when it had ended by
   * itself.
   */
  crash(): Promise<void>
  readonly exit: Promise<Exit>
}

/**
 * Settings of one service: a fresh folder, free ports, and a model that is there or is none: nothing is
 * fetched.
 */
export interface Settings extends AsyncDisposable {
  readonly home: string
  readonly url: string
  readonly opsUrl: string
  readonly env: Readonly<Record<string, string>>
}

/** A folder with the local model, where this machine has one already. */
export const modelFolder =
  native.modelFolder ??
  globSync('models/*/model.onnx', { cwd: cacheFolder() })
    .map((file) => join(cacheFolder(), file, '..'))
    .find((folder) => existsSync(join(folder, 'tokenizer.json')))

function cacheFolder(): string {
  return process.env.EMBEDDINGS_CACHE ?? join(homedir(), '.cache', 'remit')
}

/** `model`: left out for a service that has none. */
export async function freshSettings(model: string | undefined): Promise<Settings> {
  const folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  const none = join(folder, 'no-model')
  await mkdir(none)
  const [port, opsPort] = [await freePort(), await freePort()]
  return {
    home: join(folder, 'home'),
    url: `http://localhost:${port}`,
    opsUrl: `http://127.0.0.1:${opsPort}`,
    env: {
      REMIT_HOME: join(folder, 'home'),
      PORT: String(port),
      OPS_PORT: String(opsPort),
      // Where `remit login` keeps sign-ins: not this machine's own.
      XDG_CONFIG_HOME: join(folder, 'config'),
      // A named folder is the only place that is looked at: nothing is fetched.
      EMBEDDINGS_MODEL_PATH: model ?? none,
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}

export const startService = (env: Readonly<Record<string, string>>): Running => run(['src/main.ts'], env)

/** As {@link startService}, from another checkout, with packages of its own. */
export const startServiceOf = (checkout: string, env: Readonly<Record<string, string>>): Running =>
  run(['src/main.ts'], env, process.execPath, checkout)

/** As {@link startService}, after this ES module has run. */
export const startServiceAfter = (module: string, env: Readonly<Record<string, string>>): Running =>
  run(['--import', `data:text/javascript,${encodeURIComponent(module)}`, 'src/main.ts'], env)

/**
 * Resolves once this very process listens; rejects with all that it said when it ends before. An answer at
 * its address alone says nothing: whoever else has its port gives it as well.
 */
export const listens = (service: Running): Promise<void> => service.said('Ctrl-C stops.')

/** One command line, under way. */
export const startCommand = (
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  script = 'src/cli/main.ts',
): Running => run([script, ...args], env)

/** One command line, ended. */
export async function remit(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  await using command = run(['src/cli/main.ts', ...args], env)
  const { code } = await command.exit
  return { code, stdout: command.stdout(), stderr: command.stderr() }
}

/** A script of the shell, in the repository's folder. */
export const startShell = (script: string, env: Readonly<Record<string, string>>): Running =>
  run(['-euc', script], env, 'sh')

/** Only the given settings: this shell's own would make another service of it. */
function run(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  program: string = process.execPath,
  cwd: string = root,
): Running {
  const { HOME = '' } = process.env
  const child = spawn(program, [...args], {
    cwd,
    env: { ...programEnv, HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.stderr += text
  })
  const all = () => `${said.stdout}\n${said.stderr}`
  let ended = false
  const exit = once(child, 'close').then(([code, signal]): Exit => {
    ended = true
    return { code, signal }
  })
  return {
    stdout: () => said.stdout,
    stderr: () => said.stderr.replaceAll(/^.*"event":"still_starting".*\n/gm, ''),
    async said(text) {
      while (!said.stdout.includes(text)) {
        if (ended) throw new Error(`It ended before it said “${text}”:\n${all()}`)
        await Promise.race([once(child.stdout, 'data'), exit])
      }
    },
    kill: (signal) => child.kill(signal),
    pid: child.pid,
    async crash() {
      child.kill('SIGKILL')
      const { code, signal } = await exit
      if (signal !== 'SIGKILL') throw new Error(`It ended by itself (${code ?? signal}):\n${all()}`)
    },
    exit,
    async [Symbol.asyncDispose]() {
      if (!ended) child.kill('SIGKILL')
      await exit
    },
  }
}
