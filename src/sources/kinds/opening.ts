import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { buffer } from 'node:stream/consumers'
import { SourceUnavailable } from '@remit/connector'
import { printable } from '../../kernel/printable.ts'

// Of Linux's fcntl.h: a file without its content, which nothing about it forbids to open.
const O_PATH = 0o10000000
export const asItself = O_PATH | constants.O_NOFOLLOW
export const asDirectory = asItself | constants.O_DIRECTORY
const withoutWaiting = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY

/** The most bytes of a file that is brought. */
export const fileBytesMax = 50_000_000

export const at = (directory: FileHandle, name: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`/proc/self/fd/${directory.fd}/`), name])

/** Undefined where it is gone, or something else by now; else why it cannot be opened. */
export const opened = (path: Buffer | string, flags: number): Promise<FileHandle | string | undefined> =>
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

export const unreadable = (root: string, error: unknown): SourceUnavailable =>
  new SourceUnavailable(`The folder ${printable(root)} cannot be read (${codeOf(error)}).`, { cause: error })

/** @throws SourceUnavailable where it cannot be opened. */
export const openFolder = (root: string): Promise<FileHandle> =>
  open(root, O_PATH | constants.O_DIRECTORY).catch((error: unknown) => {
    throw unreadable(root, error)
  })

/** Open files from a root down to what was asked for, the last. */
export interface Way extends AsyncDisposable {
  readonly handles: readonly FileHandle[]
  readonly last: FileHandle
}

/**
 * What lies below an open root, by the names from there down. Each is opened inside the open one above it,
 * and never through a symbolic link: nobody who moves things meanwhile can lead it elsewhere. The root is
 * closed with the rest, and where nothing can be opened. Linux only.
 */
export async function openBelow(
  root: FileHandle,
  names: readonly Buffer[],
  flags: number,
): Promise<Way | string | undefined> {
  const handles = [root]
  const close = async () => void (await Promise.all(handles.map((handle) => handle.close())))
  try {
    let last = root
    for (const [index, name] of names.entries()) {
      const handle = await opened(at(last, name), index === names.length - 1 ? flags : asDirectory)
      if (handle === undefined || typeof handle === 'string') {
        await close()
        return handle
      }
      handles.push(handle)
      last = handle
    }
    return { handles, last, [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}

/** The content of a file that was opened as itself; undefined where it has more bytes. Linux only. */
export async function contentOf(handle: FileHandle, bytesMax: number): Promise<Buffer | undefined> {
  const { size } = await handle.stat()
  if (size > bytesMax) return undefined
  await using content = await open(`/proc/self/fd/${handle.fd}`, withoutWaiting)
  return await readAtMost(content, bytesMax)
}

/** Undefined where it has more bytes, of which none is kept. */
export async function readAtMost(handle: FileHandle, bytesMax: number): Promise<Buffer | undefined> {
  const { size } = await handle.stat()
  if (size > bytesMax) return undefined
  const bytes = await buffer(handle.createReadStream({ end: bytesMax, autoClose: false }))
  return bytes.length > bytesMax ? undefined : bytes
}
