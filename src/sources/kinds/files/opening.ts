import { constants } from 'node:fs'
import { type FileHandle, open, statfs } from 'node:fs/promises'
import { SourceUnavailable } from '@remit/connector'
import { printable } from '../../../kernel/printable.ts'
import { chainOf, type Seen } from './seen.ts'

/** Something is not what it was a moment ago. */
export class Moved extends Error {
  override readonly name = 'Moved'
}

// Of Linux's fcntl.h: a file without its content, which nothing about it forbids to open.
const O_PATH = 0o10000000
export const asItself = O_PATH | constants.O_NOFOLLOW
export const asDirectory = asItself | constants.O_DIRECTORY
export const withoutWaiting = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY

/**
 * File systems of Linux (statfs(2)) whose permissions are POSIX ACLs and nothing else, and whose inodes stay
 * what they are: ext4, XFS, Btrfs, F2FS, tmpfs, overlayfs. NFS, SMB and FUSE have a word of their own.
 */
const fileSystems: ReadonlySet<number> = new Set([
  0xef53, 0x58465342, 0x9123683e, 0xf2f52010, 0x01021994, 0x794c7630,
])

export const at = (directory: FileHandle, name: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`/proc/self/fd/${directory.fd}/`), name])

/** Undefined where it is gone, or something else by now; else why it cannot be opened. */
export const opened = (path: Buffer, flags: number): Promise<FileHandle | string | undefined> =>
  open(path, flags).catch(failed)

/**
 * Why something cannot be read; undefined where it is gone. @throws SourceUnavailable where we are at our
 * limits.
 */
export function failed(error: unknown): string | undefined {
  const code = codeOf(error)
  if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(code)) return undefined
  if (['EMFILE', 'ENFILE', 'ENOMEM'].includes(code))
    throw new SourceUnavailable(`This machine is at its limits (${code}).`, { cause: error })
  return code
}

export const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason'

/** A file or directory and all above it, from the root on. */
export async function openWay(
  root: string,
  seen: Seen,
): Promise<AsyncDisposable & { readonly handles: readonly FileHandle[] }> {
  const handles: FileHandle[] = []
  const close = async () => void (await Promise.all(handles.map((handle) => handle.close())))
  try {
    for (const { name, above } of chainOf(seen)) {
      const last = handles.at(-1)
      const handle =
        above === undefined || last === undefined
          ? await openRoot(root)
          : await opened(at(last, name), asItself)
      if (typeof handle === 'string') throw new Moved(`It cannot be read (${handle}).`)
      if (handle === undefined) throw new Moved('It was moved, or removed, while it was read.')
      handles.push(handle)
    }
    return { handles, [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}

/** @throws SourceUnavailable where it cannot be read, or is none of the file systems that are covered. */
export async function openRoot(root: string): Promise<FileHandle> {
  try {
    const handle = await open(root, O_PATH | constants.O_DIRECTORY)
    const { type } = await statfs(`/proc/self/fd/${handle.fd}/`)
    if (fileSystems.has(type)) return handle
    await handle.close()
  } catch (error) {
    throw new SourceUnavailable(`The folder ${printable(root)} cannot be read (${codeOf(error)}).`, {
      cause: error,
    })
  }
  throw new SourceUnavailable(
    `The folder ${printable(root)} is on a file system of a kind that is not covered.`,
  )
}
