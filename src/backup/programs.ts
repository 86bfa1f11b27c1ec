import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { OperatorError } from '../kernel/operator-error.ts'

/** What Postgres brings for copies of a database. */
export type Program = 'pg_dump' | 'pg_restore' | 'psql'

/** Of the command: where the programs are, and certificates of the server. */
export type Environment = Readonly<Record<string, string | undefined>>

/** A program of Postgres that runs. */
export interface RunningProgram {
  readonly stdin: Writable
  readonly stdout: Readable
  /** Rejects with what it said where it did not end well. */
  readonly ended: Promise<void>
  /** At once. What it was doing in a transaction is undone by the server. */
  kill(): void
}

// By what a program can, not by its number: distributions mend older ones. With both, psql runs nothing in a
// dump but SQL (`\restrict`); else a name that somebody gave to a table could run a command on this machine.
const restricting: Readonly<Partial<Record<Program, readonly [help: string, word: string]>>> = {
  pg_restore: ['--help', '--restrict-key'],
  psql: ['--help=commands', '\\restrict'],
}

/**
 * Throws where one is not there, or older than the server: that would refuse it, or lose what it lacks. And
 * where what it reads could have it run commands (CVE-2025-8714, CVE-2025-8715).
 */
export async function assertPrograms(
  programs: readonly Program[],
  serverMajor: number,
  env: Environment,
): Promise<void> {
  for (const name of programs) {
    const said = await promisify(execFile)(name, ['--version'], { env }).catch((error: unknown) => {
      throw new OperatorError(
        `${name} is not there. Install the client programs of Postgres ${serverMajor} or newer, or put their folder into PATH.`,
        error,
      )
    })
    const major = Number(/PostgreSQL\) (\d{1,4})/.exec(said.stdout)?.[1])
    if (!(major >= serverMajor))
      throw new OperatorError(
        `${name} is of Postgres ${major}, and the server is ${serverMajor}. Put the folder of newer programs into PATH.`,
      )
    const [help, word = ''] = restricting[name] ?? []
    if (help !== undefined && !(await promisify(execFile)(name, [help], { env })).stdout.includes(word))
      throw new OperatorError(
        `${name} could run commands that a dump holds (CVE-2025-8714). Install 13.22, 14.19, 15.14, 16.10, 17.6 or newer.`,
      )
  }
}

/** Starts one. Its password is in no list of processes. */
export function startProgram(
  name: Program,
  { url, env }: { readonly url?: string; readonly env: Environment },
  args: readonly string[],
): RunningProgram {
  const { address, password } = url === undefined ? {} : withoutPassword(url)
  const child = spawn(name, [...(address === undefined ? [] : ['--dbname', address]), ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...env, ...(password !== undefined && { PGPASSWORD: password }) },
  })
  // How it ended says why.
  child.stdin.on('error', () => undefined)
  const said = text(child.stderr).catch(() => '')
  const ended = once(child, 'close').then(async ([code]) => {
    if (code !== 0) throw new OperatorError(`${name} failed: ${(await said).trim() || String(code)}`)
  })
  // Whoever waits hears of it.
  ended.catch(() => undefined)
  return { stdin: child.stdin, stdout: child.stdout, ended, kill: () => child.kill('SIGKILL') }
}

function withoutPassword(url: string): { readonly address: string; readonly password: string | undefined } {
  const parsed = new URL(url)
  const password = parsed.password || encodeURIComponent(parsed.searchParams.get('password') ?? '')
  parsed.password = ''
  parsed.searchParams.delete('password')
  return { address: parsed.href, password: password === '' ? undefined : decodeURIComponent(password) }
}
