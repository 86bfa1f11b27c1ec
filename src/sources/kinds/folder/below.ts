import { isUtf8 } from 'node:buffer'
import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, lstat, readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import {
  asDirectory,
  asItself,
  contentOf,
  failed,
  fileBytesMax,
  openBelow,
  opened,
  openFolder,
  readAtMost,
  unreadable,
} from '../opening.ts'

/** A file's content. */
export interface FileContent {
  readonly bytes: Buffer
  readonly modifiedAt: Date
}

/** What lies in a folder. */
export interface Entry {
  readonly name: string
  /** False: its name is no UTF-8, and `name` says only what of it is. By that nobody can open it. */
  readonly isNamed: boolean
  /** Undefined: anything else, such as a link. */
  readonly kind: 'file' | 'folder' | undefined
}

/**
 * Reads below a folder, by names from there down, and nowhere else, whatever somebody moves meanwhile. Each
 * answers undefined where there is none, or something else by now, a symbolic link say; else why it cannot be
 * read.
 */
export interface Below {
  list(names: readonly string[]): Promise<readonly Entry[] | string | undefined>
  read(names: readonly string[]): Promise<FileContent | string | undefined>
}

/** @throws SourceUnavailable from each where the folder itself cannot be opened. */
export const below = (root: string, isLinux: boolean): Below => (isLinux ? byHandles(root) : byPaths(root))

const tooLarge = `it has more than ${fileBytesMax} bytes`
const isNoFile = 'it is no file'

const byHandles = (root: string): Below => ({
  async list(names) {
    const way = await openBelow(await openFolder(root), names.map(bufferOf), asDirectory)
    if (way === undefined || typeof way === 'string') return way
    await using open = way
    return await entriesOf(`/proc/self/fd/${open.last.fd}/`)
  },
  async read(names) {
    const way = await openBelow(await openFolder(root), names.map(bufferOf), asItself)
    if (way === undefined || typeof way === 'string') return way
    await using open = way
    const stat = await open.last.stat()
    if (stat.isSymbolicLink()) return undefined
    if (!stat.isFile()) return isNoFile
    return await contentOf(open.last, fileBytesMax)
      .then((bytes) => (bytes === undefined ? tooLarge : { bytes, modifiedAt: stat.mtime }))
      .catch(failed)
  },
})

const entriesOf = async (path: string): Promise<readonly Entry[] | string | undefined> => {
  const entries = await readdir(path, { withFileTypes: true, encoding: 'buffer' }).catch(failed)
  if (entries === undefined || typeof entries === 'string') return entries
  return entries.map((entry) => ({
    name: entry.name.toString(),
    isNamed: isUtf8(entry.name),
    kind: entry.isFile() ? 'file' : entry.isDirectory() ? 'folder' : undefined,
  }))
}

const bufferOf = (name: string): Buffer => Buffer.from(name)

// Of macOS's fcntl.h: no symbolic link anywhere in the path. Elsewhere its bit means something else.
const O_NOFOLLOW_ANY = process.platform === 'darwin' ? 0x20000000 : 0

/**
 * Where nothing can be opened inside an open directory. What was opened is held against what lies there by
 * plain folders alone, afterwards. macOS follows no link to begin with; on Windows who swaps a folder and a
 * link several times at exactly the right moments gets past it.
 */
const byPaths = (root: string): Below => ({
  async list(names) {
    const path = join(await realRoot(root), ...names)
    const entries = await entriesOf(path)
    const plain = await plainStat(await realRoot(root), names)
    return plain === undefined || typeof plain === 'string' ? plain : entries
  },
  async read(names) {
    const real = await realRoot(root)
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW | O_NOFOLLOW_ANY
    const handle = await opened(join(real, ...names), flags)
    if (handle === undefined || typeof handle === 'string') return handle
    await using open = handle
    const plain = await plainStat(real, names)
    return plain === undefined || typeof plain === 'string' ? plain : await readIfSame(open, plain)
  },
})

async function readIfSame(handle: FileHandle, plain: BigIntStats): Promise<FileContent | string | undefined> {
  const stat = await handle.stat({ bigint: true })
  if (stat.ino !== plain.ino || stat.dev !== plain.dev) return undefined
  if (!stat.isFile()) return isNoFile
  const bytes = await readAtMost(handle, fileBytesMax)
  return bytes === undefined ? tooLarge : { bytes, modifiedAt: stat.mtime }
}

const realRoot = (root: string): Promise<string> =>
  realpath(root).catch((error: unknown) => {
    throw unreadable(root, error)
  })

/**
 * Of what is reached by folders alone; undefined where a link is on the way, or nothing is there; else why
 * nobody can say.
 */
async function plainStat(real: string, names: readonly string[]): Promise<BigIntStats | string | undefined> {
  let path = real
  let stat = await lstat(path, { bigint: true }).catch(failed)
  for (const name of names) {
    if (typeof stat === 'string') return stat
    if (stat?.isDirectory() !== true) return undefined
    path = join(path, name)
    stat = await lstat(path, { bigint: true }).catch(failed)
  }
  return typeof stat !== 'string' && stat?.isSymbolicLink() === true ? undefined : stat
}
