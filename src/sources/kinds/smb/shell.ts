import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { SourceUnavailable } from '@remit/connector'
import { createSerialQueue } from '../../../kernel/serial-queue.ts'

/** A program of Samba's that takes commands line by line, and what it is begun with. */
export interface ShellOptions {
  /** `smbclient` or `rpcclient`. */
  readonly program: string
  /** `//host/share`, or a host. */
  readonly target: string
  /** `DOMAIN/name`, or a name. */
  readonly account: string
  /** Goes by the environment: everybody on a machine sees its arguments. */
  readonly password: string
  /** Commands that each session begins with. */
  readonly begin?: string
}

/** Runs commands one after the other, in one session with the server. */
export interface Shell {
  /**
   * What the program prints for a command. Answers are in the order of the questions.
   *
   * @throws SourceUnavailable where the program does not run or ends, or the server does not let it in.
   */
  ask(command: string, signal?: AbortSignal): Promise<string>
}

const limitMs = 120_000
const idleMs = 2_000
const bytesMax = 64_000_000

/** Samba's programs cut a longer line in two, and take the rest for another command. */
export const lineMax = 4_000

/**
 * A session that begins with the first command, and ends when nothing was asked for a while: what becomes of
 * the account then holds for the next one.
 */
export function createShell(options: ShellOptions): Shell {
  const queue = createSerialQueue()
  let session: Session | undefined
  let idle: NodeJS.Timeout | undefined
  function current(): Session {
    clearTimeout(idle)
    if (session === undefined || session.isOver) session = new Session(options)
    return session
  }
  return {
    ask: (command, signal) =>
      queue.run(async () => {
        signal?.throwIfAborted()
        const open = current()
        try {
          return await open.ask(command, signal)
        } finally {
          idle = setTimeout(() => open.end(), idleMs)
        }
      }),
  }
}

/**
 * Settings of its own, no file's; every packet encrypted, so that nobody on the way changes a permission.
 * Into a pipe Samba's programs print by the block, and wait for a third line before they see the second of
 * two that come at once: stdbuf (coreutils) changes both.
 */
export const argumentsFor = ({
  program,
  target,
  account,
}: Omit<ShellOptions, 'password'>): readonly string[] => [
  ...['-i0', '-oL', program],
  ...['--configfile=/dev/null', '--client-protection=encrypt'],
  ...[`--user=${account}`, target],
]

class Session {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #program: string
  #output = ''
  #errors = ''
  #waiting: { readonly nonce: string; readonly settle: (answer: string | Error) => void } | undefined
  #end: string | undefined

  constructor({ program, target, account, password, begin = '' }: ShellOptions) {
    this.#program = program
    this.#child = spawn('stdbuf', argumentsFor({ program, target, account }), {
      cwd: '/',
      env: {
        PATH: '/usr/local/bin:/usr/bin:/bin',
        HOME: '/nonexistent',
        LC_ALL: 'C.UTF-8',
        TZ: 'UTC',
        PASSWD: password,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => this.#take(text))
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-4_000)
    })
    // It ended: `close` says so.
    this.#child.stdin.on('error', () => undefined).write(`${begin}\n`)
    this.#child.on('error', (error) => this.#over(error.message))
    this.#child.on('close', (code, signal) => {
      const status = /\bNT_STATUS_\w+/.exec(this.#errors + this.#output)?.[0]
      this.#over(status ?? `${signal ?? code}`)
    })
  }

  get isOver(): boolean {
    return this.#end !== undefined
  }

  end(): void {
    this.#child.stdin.end()
    this.#end ??= 'it was idle'
  }

  ask(command: string, signal: AbortSignal | undefined): Promise<string> {
    if (/[\n\r\0]/.test(command) || Buffer.byteLength(command) > lineMax)
      throw new Error('It cannot be asked for: its path is too long, or none.')
    const nonce = `remit-${randomBytes(8).toString('hex')}`
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#kill('it took too long'), limitMs)
      const abort = () => this.#kill('the reading was stopped')
      signal?.addEventListener('abort', abort, { once: true })
      this.#waiting = {
        nonce,
        settle: (answer) => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', abort)
          this.#waiting = undefined
          if (answer instanceof Error) reject(answer)
          else resolve(answer)
        },
      }
      if (this.#end !== undefined) this.#over(this.#end)
      // No command: they say so by its name, which nobody can have put into what they print before.
      else this.#child.stdin.write(`${command}\n${nonce}\n`)
    })
  }

  #take(text: string): void {
    this.#output += text
    if (this.#output.length > bytesMax) return this.#kill('it printed too much')
    const { nonce } = this.#waiting ?? {}
    const at =
      nonce === undefined
        ? -1
        : this.#output.indexOf(nonce, Math.max(0, this.#output.length - text.length - 100))
    const end = at === -1 ? -1 : this.#output.indexOf('\n', at)
    if (end === -1) return
    const answer = this.#output.slice(0, this.#output.lastIndexOf('\n', at) + 1)
    this.#output = this.#output.slice(end + 1)
    this.#waiting?.settle(answer)
  }

  #kill(why: string): void {
    this.#child.kill('SIGKILL')
    this.#over(why)
  }

  #over(why: string): void {
    this.#end ??= why
    this.#waiting?.settle(new SourceUnavailable(`${this.#program} does not answer (${this.#end}).`))
  }
}

/** The status of a command that failed. It begins a line: names can hold such words too. */
export const statusIn = (answer: string): string | undefined =>
  /^(?:result was )?((?:NT_STATUS|WERR)_[A-Z0-9_]+)/m.exec(answer)?.[1]
