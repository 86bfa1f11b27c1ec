import type { BigIntStats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { printable } from '../../../kernel/printable.ts'
import type { Acl } from './acl.ts'

/** A file or directory as it was seen. */
export interface Seen {
  /** Its inode and birth: another one for whatever else comes to stand under its name. */
  readonly key: string
  /** In the directory above it, as bytes. Of the root: empty. */
  readonly name: Buffer
  readonly above: SeenDirectory | undefined
  readonly acl: Acl
  readonly stat: BigIntStats
  /**
   * Whether a later change would show by another ctime: it changed longer ago than the file system's clock
   * ticks.
   */
  readonly isSettled: boolean
}

export interface SeenDirectory extends Seen {
  /** False: who may search it changed while the tree was read. */
  isSteady: boolean
}

export interface SeenFile extends Seen {
  readonly above: SeenDirectory
}

/** From the root down, itself the last. */
export function chainOf(entry: Seen): readonly Seen[] {
  const chain: Seen[] = []
  for (let place: Seen | undefined = entry; place !== undefined; place = place.above) chain.unshift(place)
  return chain
}

/** The directories above a file, from the root down. */
export function directoriesAbove({ above }: SeenFile): readonly SeenDirectory[] {
  const directories: SeenDirectory[] = []
  for (let place: SeenDirectory | undefined = above; place !== undefined; place = place.above)
    directories.unshift(place)
  return directories
}

/** Its path below the root, as bytes. */
export const pathOf = (entry: Pick<Seen, 'name' | 'above'>): Buffer => {
  const names =
    entry.above === undefined
      ? []
      : [
          ...chainOf(entry.above)
            .slice(1)
            .map(({ name }) => name),
          entry.name,
        ]
  return Buffer.concat(names.flatMap((name, index) => (index === 0 ? [name] : [Buffer.from('/'), name])))
}

/** The same for people to read: what is no UTF-8 is replaced. */
export const nameOf = (entry: Pick<Seen, 'name' | 'above'>): string =>
  printable(pathOf(entry).toString()) || '.'

export const statOf = (handle: FileHandle): Promise<BigIntStats> => handle.stat({ bigint: true })

export const keyOf = ({ ino, birthtimeNs }: BigIntStats): string =>
  `${ino.toString(36)}-${birthtimeNs.toString(36)}`

export const aclKeyOf = (stat: BigIntStats): string => `${keyOf(stat)}-${stat.ctimeNs.toString(36)}`

export const isSameAcl = (a: Acl, b: Acl): boolean => textOf(a) === textOf(b)
const textOf = ({ users, groups, ...rest }: Acl): string => JSON.stringify([rest, [...users], [...groups]])

export const whatIs = (stat: BigIntStats): string =>
  stat.isSymbolicLink()
    ? 'a symbolic link'
    : stat.isFIFO()
      ? 'a pipe'
      : stat.isSocket()
        ? 'a socket'
        : stat.isDirectory()
          ? 'a directory'
          : 'a device'
