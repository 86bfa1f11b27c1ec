import { lstat, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SourceUnavailable } from '@remit/connector'
import { printable } from '../../../kernel/printable.ts'
import { fileBytesMax } from '../opening.ts'
import { parseRule, type Rule } from './descriptor.ts'
import { isOfServer, SessionEnded, type Shell, statusIn } from './shell.ts'

/** What lies in a folder of a share. */
export interface Entry {
  readonly name: string
  readonly isFolder: boolean
  /** Leads elsewhere, as a link or a file in an archive does. */
  readonly isReparsePoint: boolean
  readonly bytes: number
}

/** A file's times, to the second, as its server says them. */
export interface Times {
  readonly created: string
  readonly written: string
  readonly changed: string
}

/** A file as it was looked at. */
export interface Seen extends Entry, Times {
  /** Who may read it, or why that cannot be said. */
  readonly rule: Rule | string
}

/** What something is not any more, or never was: the next reading tells. */
export class Moved extends Error {
  override readonly name = 'Moved'
}

/** What an account may see of a share. Paths are names from the top down. */
export interface Share {
  /**
   * What lies in a folder, whoever may read it; a string says why something in it cannot be told.
   *
   * @throws Error where it cannot be listed, {@link Moved} where it is gone, SourceUnavailable.
   */
  list(folder: readonly string[], signal?: AbortSignal): Promise<readonly (Entry | string)[]>
  /** Who may read it, and then its times. @throws as `list` does. */
  look(path: readonly string[], signal?: AbortSignal): Promise<Seen>
  /**
   * The times of each folder above, the share's own first: whoever renames, adds or takes away something in a
   * folder changes them.
   *
   * @throws as `list` does.
   */
  above(path: readonly string[], signal?: AbortSignal): Promise<readonly string[]>
  /** @throws as `list` does. `look` has to come after it. */
  content(path: readonly string[], signal?: AbortSignal): Promise<Buffer>
}

// A name that a share can have; no character of it means anything in a command (MS-FSCC 2.1.5).
const nameForm = /^[^\p{C}\p{Zl}\p{Zp}"*/:<>?\\|]{1,255}$/u

/** Whether a file can be asked for by this name. One that begins with @GMT- asks for a snapshot. */
export const isName = (name: string): boolean =>
  nameForm.test(name) && name !== '.' && name !== '..' && !/^@GMT-/i.test(name)

/** Two programs `smbclient`, and the host that both are at. */
export interface ShareShells {
  readonly names: Shell
  /** After `showacls`. It lists nothing of a folder once it may not read the ACL of one file there. */
  readonly files: Shell
  readonly host: string
}

/** A share of Samba, or another server's. */
export function openShare({ names, files, host }: ShareShells): Share {
  let isSwept = false

  async function list(shell: Shell, path: readonly string[], signal: AbortSignal | undefined) {
    const answer = await shell.ask(`ls ${quoted(path)}`, signal)
    // A server can send us to another one (DFS), which nobody registered: nothing of that counts.
    const connections = (await shell.ask('listconnect', signal)).split('\n').filter((line) => line !== '')
    if (connections.length !== 1 || connections[0]?.includes(`server=${host}, `) !== true)
      throw new SourceUnavailable('The server led elsewhere (DFS).')
    return linesOf(answer)
  }

  async function entry(path: readonly string[], signal: AbortSignal | undefined) {
    const name = path.at(-1) ?? ''
    const found = ruledEntry(await list(files, path, signal))
    // A server that tells capitals apart may have another one besides.
    if (found.name !== name) throw new Moved('It was moved, or removed, while it was read.')
    return found
  }

  async function times(path: readonly string[], signal: AbortSignal | undefined): Promise<Times> {
    const answer = await files.ask(`allinfo ${quoted(path.length === 0 ? ['', ''] : path)}`, signal)
    const lines = answer.split('\n')
    // Names of streams come after it.
    const end = lines.findIndex((line) => line.startsWith('attributes: '))
    const told = new Map(lines.slice(0, Math.max(end, 0)).map((line): [string, string] => splitOnce(line)))
    const [created, written, changed] = ['create_time', 'write_time', 'change_time'].map((what) =>
      told.get(what),
    )
    if (created === undefined || written === undefined || changed === undefined) throw refusal(answer)
    return { created, written, changed }
  }

  return {
    list: async (folder, signal) =>
      (await list(names, [...folder, '*'], signal)).flatMap((line) => listedEntry(line) ?? []),
    async look(path, signal) {
      const seen = await entry(path, signal).catch((error: unknown) => {
        if (error instanceof SourceUnavailable || signal?.aborted === true) throw error
        return { ...unseen, name: path.at(-1) ?? '', rule: messageOf(error) }
      })
      return { ...seen, ...(await times(path, signal)) }
    },
    async above(path, signal) {
      const found: string[] = []
      for (let depth = 0; depth < path.length; depth += 1) {
        const { created, written, changed } = await times(path.slice(0, depth), signal)
        found.push(JSON.stringify([created, written, changed]))
      }
      return found
    },
    async content(path, signal) {
      if (!isSwept) await sweep()
      isSwept = true
      // Nobody else can read in it.
      const folder = await mkdtemp(join(tmpdir(), folderPrefix))
      try {
        return await fetched(files, path, join(folder, 'content'), signal)
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    },
  }
}

const unseen = { isFolder: false, isReparsePoint: false, bytes: 0 }
const folderPrefix = 'remit-smb-'
const forgottenMs = 3_600_000

/** Takes away what a process that was killed while it fetched has left, as far as that can be done. */
async function sweep(): Promise<void> {
  for (const name of await readdir(tmpdir()).catch(() => [])) {
    if (!name.startsWith(folderPrefix)) continue
    const path = join(tmpdir(), name)
    const found = await lstat(path).catch(() => undefined)
    if (
      found?.isDirectory() === true &&
      found.uid === process.getuid?.() &&
      Date.now() - found.mtimeMs > forgottenMs
    )
      await rm(path, { recursive: true, force: true }).catch(() => undefined)
  }
}

async function fetched(
  shell: Shell,
  path: readonly string[],
  file: string,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  let answer = ''
  let problem: unknown
  try {
    answer = await shell.ask(`get ${quoted(path)} "${file}"`, signal)
  } catch (error) {
    if (!(error instanceof SessionEnded)) throw error
    problem = error
  }
  try {
    if ((await stat(file)).size > fileBytesMax) throw new Error(`It has more than ${fileBytesMax} bytes.`)
    if (problem !== undefined) throw problem
    if (statusIn(answer) !== undefined) throw refusal(answer)
    return await readFile(file)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT') throw problem ?? refusal(answer)
    if (code === undefined) throw error
    throw new SourceUnavailable(`smbclient wrote no file (${code}).`, { cause: error })
  }
}

const quoted = (path: readonly string[]): string => `"${path.join('\\')}"`

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

function splitOnce(line: string): [string, string] {
  const at = line.indexOf(':')
  return [line.slice(0, Math.max(at, 0)), line.slice(at + 1).trim()]
}

/** The lines of a listing. @throws where it is not whole. */
function linesOf(answer: string): readonly string[] {
  const lines = answer.split('\n')
  const [before, mark, after] = lines.slice(-3)
  const isWhole =
    before === '' && after === '' && /^\t\t\d+ blocks of size \d+\. \d+ blocks available$/.test(mark ?? '')
  if (!isWhole || statusIn(answer) !== undefined) throw refusal(answer)
  return lines.slice(0, -3)
}

/** What a line of `ls` says: `  %-30s%7.7s %8.0f  ` and the time, with widths in bytes. */
function listedEntry(line: string): Entry | string | undefined {
  const [size, time] = [line.slice(0, -26), line.slice(-24)]
  let digits = 0
  while (isDigit(size.at(-1 - digits))) digits += 1
  const end = size.length - Math.max(8, digits) - 8
  const name = size.slice(2, Math.max(2, end))
  const isWhole =
    line.startsWith('  ') &&
    line.slice(-26, -24) === '  ' &&
    /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/.test(time) &&
    /^[ A-Za-z]{7} {1,8}\d+$/.test(size.slice(Math.max(2, end))) &&
    Buffer.byteLength(name) >= nameWidth
  if (!isWhole) return `The server lists what cannot be read: ${printable(line)}`
  const mode = size.slice(end, end + 7)
  const entry = {
    name: Buffer.byteLength(name) === nameWidth ? name.trimEnd() : name,
    isFolder: mode.includes('D'),
    isReparsePoint: mode.includes('r'),
    bytes: Number(size.slice(-digits)),
  }
  return entry.name === '.' || entry.name === '..' ? undefined : entry
}

const nameWidth = 30
const isDigit = (character: string | undefined): boolean =>
  character !== undefined && character >= '0' && character <= '9'

/** The one file that `ls` lists after `showacls`. */
function ruledEntry(lines: readonly string[]): Entry & { readonly rule: Rule | string } {
  const [name, mode, size] = ['FILENAME:', 'MODE:', 'SIZE:'].map((word, index) =>
    lines[index]?.startsWith(word) === true ? lines[index].slice(word.length) : undefined,
  )
  if (name === undefined) throw new Moved('It was moved, or removed, while it was read.')
  const isOne = mode !== undefined && /^\d+$/.test(size ?? '') && !lines.slice(1).some(isFirst)
  if (!isOne) throw new Error('The server lists what cannot be read.')
  return {
    name,
    isFolder: mode.includes('D'),
    isReparsePoint: mode.includes('r'),
    bytes: Number(size),
    rule: ruleIn(lines.slice(4).join('\n')),
  }
}

const isFirst = (line: string): boolean => line.startsWith('FILENAME:')

function ruleIn(text: string): Rule | string {
  try {
    return parseRule(text)
  } catch (error) {
    return messageOf(error)
  }
}

const gone: ReadonlySet<string | undefined> = new Set(
  ['OBJECT_NAME_NOT_FOUND', 'OBJECT_PATH_NOT_FOUND', 'NO_SUCH_FILE', 'NOT_A_DIRECTORY', 'DELETE_PENDING'].map(
    (status) => `NT_STATUS_${status}`,
  ),
)

function refusal(answer: string): Error {
  const status = statusIn(answer)
  if (gone.has(status)) return new Moved('It was moved, or removed, while it was read.')
  if (status !== undefined && isOfServer(status))
    return new SourceUnavailable(`The server does not answer (${printable(status)}).`)
  return new Error(`It cannot be read (${printable(status ?? 'unknown reason')}).`)
}
