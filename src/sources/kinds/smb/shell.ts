import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { SourceUnavailable } from '@remit/connector'
import { createSerialQueue } from '../../../kernel/serial-queue.ts'
import { fileBytesMax } from '../opening.ts'

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
  /** Command that each session begins with. */
  readonly begin?: string
  /** Asked after a session that ended without an answer: one to this says that the server is there. */
  readonly probe?: string
  /** For how long it may say nothing, ms. Default: two minutes. */
  readonly silenceMs?: number
}

/** Runs commands one after the other, in one session with the server. */
export interface Shell {
  /**
   * What the program prints for a command. Answers are in the order of the questions.
   *
   * @throws SourceUnavailable where the program does not run, or the server does not let it in;
   * {@link SessionEnded} where what was asked may be why.
   */
  ask(command: string, signal?: AbortSignal): Promise<string>
}

/** A session that was let in ended without an answer. The next question gets a session of its own. */
export class SessionEnded extends Error {
  override readonly name = 'SessionEnded'
}

// So many one after another are nothing of what is asked.
const endsInTurnMax = 5

const timeout = 'NT_STATUS_IO_TIMEOUT'
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
  let endsInTurn = 0
  async function current(signal: AbortSignal | undefined): Promise<Session> {
    clearTimeout(idle)
    if (session === undefined || session.isOver) {
      session = new Session(options)
      await session.begin(signal)
      if (endsInTurn > 0 && options.probe !== undefined) {
        const answer = await session.ask(options.probe, signal)
        if (statusIn(answer) === undefined) endsInTurn = 0
      }
    }
    return session
  }
  return {
    ask: (command, signal) =>
      queue.run(async () => {
        signal?.throwIfAborted()
        try {
          const open = await current(signal)
          const answer = await open.ask(command, signal)
          if (answer.includes(timeout) && statusIn(answer) === timeout) throw open.late()
          endsInTurn = 0
          return answer
        } catch (error) {
          signal?.throwIfAborted()
          if (error instanceof SessionEnded) endsInTurn += 1
          if (endsInTurn < endsInTurnMax) throw error
          throw new SourceUnavailable(messageOf(error), { cause: error })
        } finally {
          idle = setTimeout(() => session?.end(), idleMs)
        }
      }),
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/**
 * Settings of its own, no file's; every packet encrypted, so that nobody on the way changes a permission. A
 * file that grows while it is fetched ends the program: prlimit (util-linux). Into a pipe Samba's programs
 * print by the block, and wait for a third line before they see the second of two that come at once: stdbuf
 * (coreutils) changes both.
 */
export const argumentsFor = ({
  program,
  target,
  account,
}: Pick<ShellOptions, 'program' | 'target' | 'account'>): readonly string[] => [
  ...[`--fsize=${fileBytesMax + 1}`, '--core=0', 'stdbuf'],
  ...['-i0', '-oL', program],
  ...['--configfile=/dev/null', '--client-protection=encrypt'],
  ...[`--user=${account}`, target],
]

interface Waiting {
  readonly nonce: string
  readonly timer: NodeJS.Timeout
  readonly settle: (answer: string | Error) => void
}

class Session {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #program: string
  readonly #begin: string
  readonly #silenceMs: number
  #isIn = false
  #output = ''
  #errors = ''
  #waiting: Waiting | undefined
  #end: string | undefined

  constructor({ program, target, account, password, begin = '', silenceMs = 120_000 }: ShellOptions) {
    this.#program = program
    this.#begin = begin
    this.#silenceMs = silenceMs
    this.#child = spawn('prlimit', argumentsFor({ program, target, account }), {
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
    this.#child.stdin.on('error', () => undefined)
    this.#child.on('error', (error) => this.#over(error.message))
    this.#child.on('close', (code, signal) => {
      // Before the server lets it in, it prints nothing that somebody named.
      const printed = this.#isIn ? this.#errors : this.#errors + this.#output
      const status = /\bNT_STATUS_\w+/.exec(printed)?.[0]
      this.#over(status ?? `${signal ?? code}`)
    })
  }

  /** @throws SourceUnavailable where the server does not let it in. */
  async begin(signal: AbortSignal | undefined): Promise<void> {
    await this.ask(this.#begin, signal)
    this.#isIn = true
  }

  get isOver(): boolean {
    return this.#end !== undefined
  }

  /** A request that is still under way answers into nothing. */
  late(): SessionEnded {
    this.#kill('the server took too long')
    return new SessionEnded(this.#reason())
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
      const timer = setTimeout(() => this.#kill('it took too long'), this.#silenceMs)
      const abort = () => this.#kill('the reading was stopped')
      signal?.addEventListener('abort', abort, { once: true })
      this.#waiting = {
        nonce,
        timer,
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
    this.#waiting?.timer.refresh()
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
    this.#waiting?.settle(
      this.#isIn ? new SessionEnded(this.#reason()) : new SourceUnavailable(this.#reason()),
    )
  }

  #reason(): string {
    return `${this.#program} does not answer (${this.#end}).`
  }
}

/**
 * The status of a command that failed. It begins a line, or ends one that begins with a path: names can hold
 * such words too.
 */
export function statusIn(answer: string): string | undefined {
  for (const line of answer.split('\n')) {
    const status = /^(?:result was |Error |getattrib: )?((?:NT_STATUS|WERR)_[A-Z0-9_]+|NT code 0x)/.exec(
      line,
    )?.[1]
    if (status !== undefined) return status
    if (line.startsWith('do_list: [') || line.startsWith('Failed to open '))
      return line.slice(line.lastIndexOf(' ') + 1)
  }
  return undefined
}

/** Whether a status is about the connection, the session or the sign-in, and nothing that was asked for. */
export const isOfServer = (status: string): boolean => {
  const word = status.replace('NT_STATUS_', '')
  return ofServer.has(word) || beginningsOfServer.some((beginning) => word.startsWith(beginning))
}

const beginningsOfServer = [
  ...['CONNECTION_', 'NETWORK_', 'UNEXPECTED_NETWORK_', 'BAD_NETWORK_', 'REMOTE_'],
  ...['LOGON_', 'LOGIN_', 'ACCOUNT_', 'PASSWORD_', 'PIPE_', 'RPC_', 'HOST_', 'PORT_', 'PROTOCOL_'],
]
const ofServer: ReadonlySet<string> = new Set([
  ...[
    'USER_SESSION_DELETED',
    'NO_LOGON_SERVERS',
    'NO_SUCH_LOGON_SESSION',
    'WRONG_PASSWORD',
    'NO_SUCH_DOMAIN',
  ],
  ...['VIRTUAL_CIRCUIT_CLOSED', 'LOCAL_DISCONNECT', 'TRANSPORT_FULL', 'REQUEST_NOT_ACCEPTED'],
  ...['TOO_MANY_SESSIONS', 'INSUFF_SERVER_RESOURCES', 'SERVER_DISABLED', 'INVALID_SERVER_STATE'],
])
