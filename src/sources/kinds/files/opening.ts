import { type FileHandle, statfs } from 'node:fs/promises'
import { SourceUnavailable } from '@remit/connector'
import { printable } from '../../../kernel/printable.ts'
import { asItself, openBelow, openFolder, unreadable, type Way } from '../opening.ts'
import { chainOf, type Seen } from './seen.ts'

/** Something is not what it was a moment ago. */
export class Moved extends Error {
  override readonly name = 'Moved'
}

/**
 * File systems of Linux (statfs(2)) whose permissions are POSIX ACLs and nothing else, and whose inodes stay
 * what they are: ext4, XFS, Btrfs, F2FS, tmpfs, overlayfs. NFS, SMB and FUSE have a word of their own.
 */
const fileSystems: ReadonlySet<number> = new Set([
  0xef53, 0x58465342, 0x9123683e, 0xf2f52010, 0x01021994, 0x794c7630,
])

/** A file or directory and all above it, from the root on. */
export async function openWay(root: string, entry: Seen): Promise<Way> {
  const names = chainOf(entry)
    .slice(1)
    .map(({ name }) => name)
  const way = await openBelow(await openRoot(root), names, asItself)
  if (typeof way === 'string') throw new Moved(`It cannot be read (${way}).`)
  if (way === undefined) throw new Moved('It was moved, or removed, while it was read.')
  return way
}

/** @throws SourceUnavailable where it cannot be read, or is none of the file systems that are covered. */
export async function openRoot(root: string): Promise<FileHandle> {
  const handle = await openFolder(root)
  try {
    const { type } = await statfs(`/proc/self/fd/${handle.fd}/`)
    if (fileSystems.has(type)) return handle
  } catch (error) {
    await handle.close()
    throw unreadable(root, error)
  }
  await handle.close()
  throw new SourceUnavailable(
    `The folder ${printable(root)} is on a file system of a kind that is not covered.`,
  )
}
