import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SourceUnavailable } from '@remit/connector'
import { printable } from '../../../kernel/printable.ts'
import { fileBytesMax } from '../opening.ts'
import { parseRule, type Rule } from './descriptor.ts'
import { type Shell, statusIn } from './shell.ts'

/** What lies in a folder of a share. */
export interface Entry {
  readonly name: string
  readonly isFolder: boolean
  /** Leads elsewhere, as a link or a file in an archive does. */
  readonly isReparsePoint: boolean
  readonly bytes: number
  /** Who may read it, or why that cannot be said. */
  readonly rule: Rule | string
}

/** A file's times, to the second, as its server says them. */
export interface Times {
  readonly created: string
  readonly written: string
  readonly changed: string
}

/** What something is not any more, or never was: the next reading tells. */
export class Moved extends Error {
  override readonly name = 'Moved'
}

/** What an account may see of a share. Paths are names from the top down. */
export interface Share {
  /** @throws Error where it cannot be listed, {@link Moved} where it is gone. */
  list(folder: readonly string[], signal?: AbortSignal): Promise<readonly Entry[]>
  /** @throws as `list` does. */
  look(path: readonly string[], signal?: AbortSignal): Promise<Entry & Times>
  /** @throws as `list` does. Has to be asked first and `look` after it. */
  content(path: readonly string[], signal?: AbortSignal): Promise<Buffer>
}

// A name that a share can have; no character of it means anything in a command (MS-FSCC 2.1.5).
const nameForm = /^[^\p{C}"*/:<>?\\|]{1,255}$/u

/** Whether a file can be asked for by this name. */
export const isName = (name: string): boolean => nameForm.test(name) && name !== '.' && name !== '..'

/** A share by `smbclient` after `showacls`: Samba's, or another server's. `host` is the one it is at. */
export function openShare(shell: Shell, host: string): Share {
  async function list(folder: readonly string[], pattern: string, signal: AbortSignal | undefined) {
    const path = quoted([...folder, pattern])
    const answer = await shell.ask(`ls ${path}`, signal)
    await assertAtHome(signal)
    return entriesIn(answer)
  }

  /** A server can send us to another one (DFS), which nobody registered: nothing of that counts. */
  async function assertAtHome(signal: AbortSignal | undefined): Promise<void> {
    const lines = (await shell.ask('listconnect', signal)).split('\n').filter((line) => line !== '')
    if (lines.length !== 1 || lines[0]?.includes(`server=${host}, `) !== true)
      throw new SourceUnavailable('The server led elsewhere (DFS).')
  }

  async function times(path: readonly string[], signal: AbortSignal | undefined): Promise<Times> {
    const answer = await shell.ask(`allinfo ${quoted(path)}`, signal)
    const time = (what: string) =>
      new Map(answer.split('\n').map((line): [string, string] => splitOnce(line))).get(what)
    const [created, written, changed] = ['create_time', 'write_time', 'change_time'].map(time)
    if (created === undefined || written === undefined || changed === undefined) throw refusal(answer)
    return { created, written, changed }
  }

  return {
    list: (folder, signal) => list(folder, '*', signal),
    async look(path, signal) {
      const name = path.at(-1) ?? ''
      const entry = (await list(path.slice(0, -1), name, signal)).find((found) => found.name === name)
      if (entry === undefined) throw new Moved('It was moved, or removed, while it was read.')
      return { ...entry, ...(await times(path, signal)) }
    },
    async content(path, signal) {
      // Nobody else can read in it.
      const folder = await mkdtemp(join(tmpdir(), 'remit-smb-'))
      const file = join(folder, 'content')
      try {
        const answer = await shell.ask(`get ${quoted(path)} "${file}"`, signal)
        if (statusIn(answer) !== undefined) throw refusal(answer)
        const { size } = await stat(file)
        if (size > fileBytesMax) throw new Error(`It has more than ${fileBytesMax} bytes.`)
        return await readFile(file)
      } catch (error) {
        if (error instanceof Error && 'code' in error)
          throw new SourceUnavailable(`smbclient wrote no file (${error.code}).`, { cause: error })
        throw error
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    },
  }
}

const quoted = (path: readonly string[]): string => `"${path.join('\\')}"`

function splitOnce(line: string): [string, string] {
  const at = line.indexOf(':')
  return [line.slice(0, Math.max(at, 0)), line.slice(at + 1).trim()]
}

const endMark = /^\n\t\t\d+ blocks of size \d+\. \d+ blocks available$/m

/** @throws where the listing is not whole. */
function entriesIn(answer: string): readonly Entry[] {
  if (/^NT_STATUS_\w+ listing /m.test(answer) || !endMark.test(answer)) throw refusal(answer)
  const [, ...blocks] = `\n${answer}`.split('\nFILENAME:')
  return blocks.map(entryIn)
}

function entryIn(block: string): Entry {
  const head = /^(.*)\nMODE:([A-Za-z]*)\nSIZE:(\d+)\nMTIME:.*\n/.exec(block)
  if (head === null) throw new SourceUnavailable('The server lists what cannot be read.')
  const [{ length }, name = '', mode = '', size] = head
  return {
    name,
    isFolder: mode.includes('D'),
    isReparsePoint: mode.includes('r'),
    bytes: Number(size),
    rule: ruleIn(block.slice(length)),
  }
}

function ruleIn(text: string): Rule | string {
  try {
    return parseRule(text)
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

// What is about this one file or folder, and not about the server.
const gone: ReadonlySet<string | undefined> = new Set(
  ['OBJECT_NAME_NOT_FOUND', 'OBJECT_PATH_NOT_FOUND', 'NO_SUCH_FILE', 'NOT_A_DIRECTORY', 'DELETE_PENDING'].map(
    (status) => `NT_STATUS_${status}`,
  ),
)
const closed: ReadonlySet<string | undefined> = new Set(
  [
    'ACCESS_DENIED',
    'SHARING_VIOLATION',
    'FILE_LOCK_CONFLICT',
    'FILE_IS_A_DIRECTORY',
    'OBJECT_NAME_INVALID',
    'STOPPED_ON_SYMLINK',
    'IO_REPARSE_TAG_NOT_HANDLED',
  ].map((status) => `NT_STATUS_${status}`),
)

function refusal(answer: string): Error {
  const status = statusIn(answer)
  if (gone.has(status)) return new Moved('It was moved, or removed, while it was read.')
  if (closed.has(status)) return new Error(`It cannot be read (${status}).`)
  return new SourceUnavailable(`The server does not answer (${printable(status ?? 'unknown reason')}).`)
}
