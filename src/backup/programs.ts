import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { OperatorError } from '../kernel/operator-error.ts'
import { addressOf } from '../store/pg.ts'

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

/**
 * Starts one. Its password is in no list of processes. Where the service looks at the server's certificate,
 * so does the program, and at the name in it. By PGSSLROOTCERT of `env` where the URL names no file of
 * authorities, else by NODE_EXTRA_CA_CERTS, else by those of the system.
 */
export function startProgram(
  name: Program,
  { url, env }: { readonly url?: string; readonly env: Environment },
  args: readonly string[],
): RunningProgram {
  const { address, variables } = url === undefined ? {} : connectionOf(url, env)
  const child = spawn(name, [...(address === undefined ? [] : ['--dbname', address]), ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...env, ...variables },
  })
  // How it ended says why.
  child.stdin.on('error', () => undefined)
  const said = text(child.stderr).catch(() => '')
  const ended = once(child, 'close').then(async ([code]) => {
    if (code === 0) return
    const why = (await said).trim() || String(code)
    throw new ProgramError(
      `${name} failed: ${why}${/certificate/i.test(why) ? `\n${aboutAuthorities}` : ''}`,
      code as number | null,
    )
  })
  // Whoever waits hears of it.
  ended.catch(() => undefined)
  return { stdin: child.stdin, stdout: child.stdout, ended, kill: () => child.kill('SIGKILL') }
}

/** What a program said that did not end well. */
export class ProgramError extends OperatorError {
  /** null: a signal ended it. */
  readonly code: number | null
  constructor(message: string, code: number | null) {
    super(message)
    this.name = 'ProgramError'
    this.code = code
  }
}

// Postgres itself advises to look at no certificate.
const aboutAuthorities =
  'Name the file of the authority in PGSSLROOTCERT. Programs older than 16 do not know those of the system (docs/recovery.md).'

interface ProgramConnection {
  /** Without the password. */
  readonly address: string
  readonly variables: Environment
}

function connectionOf(url: string, env: Environment): ProgramConnection {
  const parsed = new URL(url)
  const { searchParams } = parsed
  const password = parsed.password || encodeURIComponent(searchParams.get('password') ?? '')
  parsed.password = ''
  searchParams.delete('password')
  let authorities: string | undefined
  if (addressOf(url).isVerified) {
    // libpq's own reading of require, prefer and ssl=true looks at no certificate: whoever is between would
    // have the password.
    searchParams.delete('ssl')
    searchParams.set('sslmode', 'verify-full')
    authorities =
      searchParams.get('sslrootcert') || env['PGSSLROOTCERT'] || env['NODE_EXTRA_CA_CERTS'] || 'system'
    searchParams.delete('sslrootcert')
  }
  return {
    address: parsed.href,
    variables: {
      ...(password !== '' && { PGPASSWORD: decodeURIComponent(password) }),
      ...(authorities !== undefined && { PGSSLROOTCERT: authorities }),
    },
  }
}
