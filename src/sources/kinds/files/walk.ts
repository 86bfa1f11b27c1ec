import type { BigIntStats } from 'node:fs'
import { type FileHandle, lstat, readdir } from 'node:fs/promises'
import { SourceUnavailable } from '@remit/connector'
import { asDirectory, asItself, at, contentOf, failed, opened } from '../opening.ts'
import { type Acl, aclsAtOnce, readAcls } from './acl.ts'
import { Moved, openRoot, openWay } from './opening.ts'
import {
  aclKeyOf,
  chainOf,
  isSameAcl,
  keyOf,
  nameOf,
  type Seen,
  type SeenDirectory,
  type SeenFile,
  statOf,
  whatIs,
} from './seen.ts'

/** What cannot be brought, and why. */
export interface TreeProblem {
  readonly name: string
  readonly problem: string
  /** Whether what was there before may be in it: then nothing that is not listed counts as gone. */
  readonly mayHoldMore: boolean
}

/** A tree as it was: each file with the permissions of one moment, and those above it of the same. */
export interface Tree {
  readonly root: SeenDirectory
  readonly files: readonly SeenFile[]
  readonly problems: readonly TreeProblem[]
}

export interface TreeOptions {
  readonly root: string
  /** Whether a file of this name is to be brought. */
  readonly isWanted: (name: Buffer) => boolean
  /** ms */
  readonly now: () => number
  /** Default `getfacl`. */
  readonly getfacl?: string
}

// Each is an open descriptor while what is in it is read.
const depthMax = 100

// Far longer than a tick of the clock that ctime is of.
const settlingMs = 1_000

/**
 * Reads a tree, again and again. Whatever it opens it opens inside the open directory above, and never
 * through a symbolic link: nobody who moves things meanwhile can lead it elsewhere. ACLs of what did not
 * change since are not read again.
 */
export class TreeReader {
  readonly #options: TreeOptions
  /** By key and ctime, of what was settled. */
  #acls = new Map<string, Acl>()

  constructor(options: TreeOptions) {
    this.#options = options
  }

  /**
   * Everything that is there. A file that is moved meanwhile may be missing in it.
   *
   * @throws SourceUnavailable where the root cannot be read.
   */
  async read(signal?: AbortSignal): Promise<Tree> {
    const walk: Walk = {
      settledNs: this.#settledNs(),
      acls: new Map(),
      files: [],
      directories: [],
      problems: [],
    }
    await using handle = await openRoot(this.#options.root)
    const [root] = await this.#see(
      [{ handle, name: Buffer.alloc(0), stat: await statOf(handle) }],
      undefined,
      walk,
    )
    if (root === undefined) throw new SourceUnavailable('The permissions of the folder cannot be read.')
    const directory = { ...root, isSteady: true }
    await this.#visit(handle, directory, walk, signal)
    for (const visitedDirectory of walk.directories) await this.#confirm(visitedDirectory, signal)
    this.#acls = walk.acls
    return { root: directory, files: walk.files, problems: walk.problems }
  }

  /**
   * A file and all above it as they are now, by its path.
   *
   * @throws Moved where one of them is another one than it was, or gone.
   */
  async look(file: SeenFile): Promise<SeenFile> {
    await using path = await openWay(this.#options.root, file)
    const { handles } = path
    const settledNs = this.#settledNs()
    const stats = await Promise.all(handles.map(statOf))
    const acls = await this.#aclsOf(handles.map((handle, index) => ({ handle, stat: stats[index] })))
    let above: SeenDirectory | undefined
    for (const [index, was] of chainOf(file).entries()) {
      const [stat, acl] = [stats[index], acls[index]]
      if (stat === undefined || acl === undefined || keyOf(stat) !== was.key)
        throw new Moved('It was moved, or replaced, while it was read.')
      const entry = { key: was.key, name: was.name, above, acl, stat, isSettled: stat.ctimeNs < settledNs }
      if (index === handles.length - 1 && above !== undefined) return { ...entry, above }
      above = { ...entry, isSteady: true }
    }
    throw new Moved('It lies nowhere.')
  }

  /**
   * The content of a file; undefined where it has more than `bytesMax`.
   *
   * @throws Moved as `look` does.
   */
  async content(file: SeenFile, bytesMax: number): Promise<Buffer | undefined> {
    await using path = await openWay(this.#options.root, file)
    const stat = await statOf(path.last)
    if (keyOf(stat) !== file.key || !stat.isFile()) throw new Moved('It was replaced while it was read.')
    return await contentOf(path.last, bytesMax)
  }

  async #visit(
    handle: FileHandle,
    directory: SeenDirectory,
    walk: Walk,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    walk.directories.push(directory)
    const path = Buffer.from(`/proc/self/fd/${handle.fd}/`)
    const names = await readdir(path, { encoding: 'buffer' }).catch(failed)
    if (typeof names === 'string') return leaveOut(walk, directory, `cannot be listed (${names})`)
    if (names === undefined) return
    const visible = names.filter((name) => name[0] !== dot).sort(Buffer.compare)
    for (let offset = 0; offset < visible.length; offset += aclsAtOnce) {
      signal?.throwIfAborted()
      const children = await this.#children(
        handle,
        directory,
        visible.slice(offset, offset + aclsAtOnce),
        walk,
      )
      for (const child of children) {
        if (child.stat.isDirectory()) await this.#enter(handle, { ...child, isSteady: true }, walk, signal)
        else walk.files.push({ ...child, above: directory })
      }
    }
  }

  async #enter(
    above: FileHandle,
    directory: SeenDirectory,
    walk: Walk,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (chainOf(directory).length > depthMax)
      return refuse(walk, directory, `It lies deeper than ${depthMax} folders.`)
    const handle = await opened(at(above, directory.name), asDirectory)
    if (typeof handle === 'string') return leaveOut(walk, directory, `cannot be read (${handle})`)
    if (handle === undefined) return
    await using open = handle
    if (keyOf(await statOf(open)) === directory.key) await this.#visit(open, directory, walk, signal)
  }

  /** Those of these names that are directories, or files to be brought. */
  async #children(
    handle: FileHandle,
    above: SeenDirectory,
    names: readonly Buffer[],
    walk: Walk,
  ): Promise<readonly Seen[]> {
    const opened: Opened[] = []
    try {
      for (const name of names) {
        const child = await this.#child(handle, above, name, walk)
        if (child !== undefined) opened.push(child)
      }
      return await this.#see(opened, above, walk)
    } finally {
      for (const child of opened) await child.handle?.close()
    }
  }

  async #child(
    directory: FileHandle,
    above: SeenDirectory,
    name: Buffer,
    walk: Walk,
  ): Promise<Opened | undefined> {
    const path = at(directory, name)
    const place = { name, above }
    let stat = await lstat(path, { bigint: true }).catch(failed)
    if (typeof stat === 'string') return leaveOut(walk, place, `cannot be read (${stat})`)
    if (stat === undefined || !(stat.isDirectory() || this.#options.isWanted(name))) return undefined
    let handle: FileHandle | undefined
    // What is known as it stands needs no look at its permissions.
    if ((stat.isDirectory() || stat.isFile()) && !this.#acls.has(aclKeyOf(stat))) {
      const found = await opened(path, asItself)
      if (typeof found === 'string') return leaveOut(walk, place, `cannot be read (${found})`)
      if (found === undefined) return undefined
      handle = found
      stat = await statOf(handle)
    }
    const problem =
      stat.dev !== above.stat.dev
        ? 'Another file system is mounted there.'
        : stat.birthtimeNs <= 0n
          ? 'Its file system does not say when it was made.'
          : stat.isDirectory() || stat.isFile()
            ? undefined
            : `It is no file but ${whatIs(stat)}.`
    if (problem === undefined) return { handle, name, stat }
    await handle?.close()
    return refuse(walk, place, problem)
  }

  async #see(
    opened: readonly Opened[],
    above: SeenDirectory | undefined,
    walk: Walk,
  ): Promise<readonly Seen[]> {
    const acls = await this.#aclsOf(opened)
    return opened.flatMap(({ name, stat }, index) => {
      const acl = acls[index]
      if (acl === undefined) {
        leaveOut(walk, { name, above }, 'has permissions that cannot be read')
        return []
      }
      const isSettled = stat.ctimeNs < walk.settledNs
      if (isSettled) walk.acls.set(aclKeyOf(stat), acl)
      return [{ key: keyOf(stat), name, above, acl, stat, isSettled }]
    })
  }

  async #aclsOf(
    opened: readonly { readonly handle: FileHandle | undefined; readonly stat: BigIntStats | undefined }[],
  ): Promise<readonly (Acl | undefined)[]> {
    const knownAcls = opened.map(({ stat }) => stat && this.#acls.get(aclKeyOf(stat)))
    const unknown = opened.flatMap(({ handle }, index) =>
      knownAcls[index] === undefined && handle !== undefined ? [{ handle, index }] : [],
    )
    const read = await readAcls(
      unknown.map(({ handle }) => handle),
      this.#options.getfacl,
    )
    const found = [...knownAcls]
    for (const [place, { index }] of unknown.entries()) found[index] = read[place]
    return found
  }

  /** A directory is steady where, once all is read, it is the same one with the same permissions. */
  async #confirm(directory: SeenDirectory, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted()
    try {
      await using path = await openWay(this.#options.root, directory)
      const stat = await statOf(path.last)
      const isSame = keyOf(stat) === directory.key
      const isUntouched = isSame && directory.isSettled && stat.ctimeNs === directory.stat.ctimeNs
      if (isUntouched) return
      const [acl] = isSame ? await readAcls([path.last], this.#options.getfacl) : []
      directory.isSteady = acl !== undefined && isSameAcl(acl, directory.acl)
    } catch (error) {
      if (error instanceof SourceUnavailable) throw error
      directory.isSteady = false
    }
  }

  #settledNs(): bigint {
    return BigInt(Math.floor(this.#options.now() - settlingMs)) * 1_000_000n
  }
}

interface Walk {
  readonly settledNs: bigint
  readonly acls: Map<string, Acl>
  readonly files: SeenFile[]
  readonly directories: SeenDirectory[]
  readonly problems: TreeProblem[]
}

type Place = Pick<Seen, 'name' | 'above'>

const refuse = (walk: Walk, place: Place, problem: string): undefined =>
  void walk.problems.push({ name: nameOf(place), problem, mayHoldMore: false })

function leaveOut(walk: Walk, place: Place, what: string): undefined {
  const name = nameOf(place)
  walk.problems.push({ name, problem: `${name} ${what}.`, mayHoldMore: true })
}

interface Opened {
  /** Undefined: its ACL is known. */
  readonly handle: FileHandle | undefined
  readonly name: Buffer
  readonly stat: BigIntStats
}

const dot = 0x2e
