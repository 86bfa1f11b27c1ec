import { extname } from 'node:path'
import {
  type BrokenItem,
  type Change,
  type ChangePage,
  changesByListing,
  type Directory,
  type ItemChange,
  type LoadedItem,
  type Source,
  SourceUnavailable,
} from '@remit/connector'
import type { ParseInput } from '../../../ingest/parse/parsed.ts'
import { printable } from '../../../kernel/printable.ts'
import { fileType } from '../file-type.ts'
import { fileBytesMax as bytesMax } from '../opening.ts'
import { digestOf } from '../saying.ts'
import type { ReadServer, Server } from './server.ts'
import { Moved, type Share } from './share.ts'
import { lookAt, nameOf, readTree, type SeenFile, type Tree, type TreeProblem } from './walk.ts'
import { directoryOf, problemOf, type ZoneOptions, zoneIdOf } from './zones.ts'

/** A share, of which everybody reads what its server lets them read. */
export interface SmbOptions extends ZoneOptions {
  /** Address under which the files lie for whoever follows a citation. Left out: documents have none. */
  readonly baseUrl?: string
}

export interface SmbDeps {
  readonly share: Share
  readonly readServer: ReadServer
  /** A document's own title; undefined where it has none, or cannot be read. */
  readonly titleOf: (input: ParseInput) => Promise<string | undefined>
  /** ms */
  readonly now: () => number
  /** ms of a clock that does not go back. */
  readonly elapsed: () => number
  readonly wait: (ms: number, signal: AbortSignal | undefined) => Promise<void>
}

/** What a directory told, and what items are held against until the next one. */
interface Told {
  readonly tree: Tree
  readonly server: Server
  readonly zones: ReadonlySet<string>
  readonly files: ReadonlyMap<string, SeenFile>
  /** Ids of files that were seen, and cannot be said who may read. */
  readonly closed: ReadonlySet<string>
  /** Before anything of it was read, ms. */
  readonly beganAt: number
}

const attemptsMax = 3

// Times are of seconds: what is changed later than this has other ones.
const tickMs = 1_100

const movedAbove = 'A folder above it changed while it was read.'

const isEqual = (some: readonly string[], others: readonly string[]): boolean =>
  some.length === others.length && some.every((one, index) => one === others[index])

// Times are of seconds, and of the server's clock: until then the content tells one version from another.
const settlingMs = 600_000

/**
 * The files of a share as a source, and its accounts, groups and permissions as the directory. `directory`
 * has to come before `changes` and `item`, each time: who may read an item is what was told then, and an item
 * is only given where that holds still once its content is read. An item is a path for as long as the same
 * file lies there: SMB's own tools tell when a file was made, and no number that would survive a move.
 */
export function createSmbSource(options: SmbOptions, dependencies: SmbDeps): Required<Omit<Source, 'items'>> {
  const source = new SmbSource(options, dependencies)
  // An object of its own members: one that wraps it copies them.
  return {
    directory: (signal) => source.directory(signal),
    changes: (cursor, signal) => source.changes(cursor, signal),
    item: (id, signal) => source.item(id, signal),
  }
}

class SmbSource {
  readonly #options: SmbOptions
  readonly #deps: SmbDeps
  readonly #stillHolds: NonNullable<LoadedItem['stillHolds']>
  /** Of folders, and since when they were seen so. */
  readonly #above = new Map<string, { readonly times: string; readonly seenAt: number }>()
  #last: Told | undefined

  constructor(options: SmbOptions, dependencies: SmbDeps) {
    this.#options = options
    this.#deps = dependencies
    this.#stillHolds = async (signal) => {
      if (textOf(await dependencies.readServer(signal)) !== textOf(this.#told.server))
        throw new SourceUnavailable('The accounts of the server changed while its files were read.')
    }
  }

  /**
   * The accounts and the share are the same before and after: else somebody might have left a group before a
   * file was opened to it.
   */
  async directory(signal?: AbortSignal): Promise<Directory> {
    this.#last = undefined
    const { share, readServer, now } = this.#deps
    const beganAt = now()
    let server = await readServer(signal)
    for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
      const serverBefore = server
      const tree = await readTree(share, { signal })
      server = await readServer(signal)
      if (textOf(server) !== textOf(serverBefore)) continue
      const sayable = tree.files
        .map(({ rule }) => rule)
        .filter((rule) => problemOf(rule, server) === undefined)
      const directory = directoryOf(sayable, server, this.#options)
      this.#last = {
        tree,
        server,
        zones: new Set(directory.zones.map(({ id }) => id)),
        files: new Map(tree.files.map((file) => [this.#idOf(file.key), file])),
        closed: new Set(tree.problems.flatMap(({ key }) => (key === undefined ? [] : this.#idOf(key)))),
        beganAt,
      }
      return directory
    }
    throw new SourceUnavailable('The accounts of the server changed again and again while they were read.')
  }

  changes(cursor: string | undefined, signal?: AbortSignal): AsyncGenerator<ChangePage> {
    return changesByListing((stopping) => this.#list(stopping), cursor, signal)
  }

  async item(id: string, signal?: AbortSignal): Promise<Change> {
    const file = this.#told.files.get(id)
    if (file === undefined) {
      const broken = this.#told.tree.problems
        .map((problem) => this.#brokenOf(problem))
        .find((found) => found.id === id || found.covers?.(id) === true)
      return broken === undefined
        ? { kind: 'deleted', id }
        : { kind: 'broken', id, name: broken.name, problem: broken.problem }
    }
    try {
      const seen = await lookAt(this.#deps.share, file.path, signal)
      this.#assertSame(file, seen)
      return await this.#itemOf(seen, signal)
    } catch (error) {
      if (error instanceof SourceUnavailable || signal?.aborted === true) throw error
      return { kind: 'broken', id, name: nameOf(file.path), problem: messageOf(error) }
    }
  }

  get #told(): Told {
    if (this.#last === undefined) throw new Error('The directory of a share comes before its items.')
    return this.#last
  }

  async #list(signal?: AbortSignal): Promise<readonly (ItemChange | BrokenItem)[]> {
    const { tree, server } = this.#told
    const shareProblem = problemOf(server.share, server)
    const problems = [
      ...(shareProblem === undefined ? [] : [{ name: 'the share', problem: shareProblem }]),
      ...tree.problems,
      ...server.problems,
    ]
    const changes: (ItemChange | BrokenItem)[] = problems.map((problem) => this.#brokenOf(problem))
    for (const file of tree.files) {
      signal?.throwIfAborted()
      changes.push(await this.#itemOf(file, signal))
    }
    return changes
  }

  async #itemOf(file: SeenFile, signal: AbortSignal | undefined): Promise<ItemChange | BrokenItem> {
    const [id, name] = [this.#idOf(file.key), nameOf(file.path)]
    try {
      const problem =
        file.bytes > bytesMax
          ? `It has more than ${bytesMax} bytes.`
          : problemOf(file.rule, this.#told.server)
      if (problem !== undefined) throw new Error(problem)
      const digest = this.#isSettled(file)
        ? undefined
        : digestOf(await this.#deps.share.content(file.path, signal))
      return {
        kind: 'item',
        id,
        name,
        version: this.#versionOf(file, digest),
        access: this.#accessOf(file),
        content: (stopping) => this.#load(file, digest !== undefined, stopping),
      }
    } catch (error) {
      if (error instanceof SourceUnavailable || signal?.aborted === true) throw error
      return { kind: 'broken', id, name, problem: messageOf(error) }
    }
  }

  /**
   * The content, and then who may read it. Where the times do not say that it is that content still, the
   * content again: else one that was taken out could be brought under the readers of what took its place.
   */
  async #load(file: SeenFile, hasDigest: boolean, signal: AbortSignal | undefined): Promise<LoadedItem> {
    const { collection, baseUrl } = this.#options
    const { share, titleOf } = this.#deps
    const above = await this.#standing(file.path, signal)
    const bytes = await share.content(file.path, signal)
    const seen = await lookAt(share, file.path, signal)
    this.#assertSame(file, seen)
    const isSettled = this.#isSettled(seen)
    const isSame =
      seen.bytes === bytes.length && (isSettled || bytes.equals(await share.content(file.path, signal)))
    if (!isSame) throw new Moved('It changed while it was read.')
    if (!isEqual(await share.above(file.path, signal), above)) throw new Moved(movedAbove)
    const name = seen.path.at(-1) ?? ''
    const mimeType = fileType(name) ?? ''
    const writtenAt = Date.parse(seen.written)
    const content = {
      collection,
      title: (await titleOf({ mimeType, bytes })) ?? titleFrom(name),
      ...(baseUrl !== undefined && { uri: uriOf(seen, baseUrl) }),
      content_base64: bytes.toString('base64'),
      mime_type: mimeType,
      ...(Number.isFinite(writtenAt) && { updated_at: new Date(writtenAt).toISOString() }),
    }
    const version = this.#versionOf(seen, hasDigest ? digestOf(bytes) : undefined)
    return {
      version,
      content,
      access: this.#accessOf(seen),
      // Whoever left a group since could read what is older.
      ...(!isSettled && { stillHolds: this.#stillHolds }),
    }
  }

  /**
   * The times of the folders above, as they were a second ago already: so they tell whether anything above
   * moves from now on. Each question is about a path. Without this, two folders could change places between
   * content and permissions, and back.
   */
  async #standing(path: readonly string[], signal: AbortSignal | undefined): Promise<readonly string[]> {
    const { share, elapsed, wait } = this.#deps
    const above = await share.above(path, signal)
    const now = elapsed()
    let seenAt = Number.NEGATIVE_INFINITY
    for (const [depth, times] of above.entries()) {
      const folder = path.slice(0, depth).join('/')
      if (this.#above.get(folder)?.times !== times) this.#above.set(folder, { times, seenAt: now })
      seenAt = Math.max(seenAt, this.#above.get(folder)?.seenAt ?? now)
    }
    const leftMs = seenAt + tickMs - now
    if (leftMs <= 0) return above
    await wait(leftMs, signal)
    if (!isEqual(await share.above(path, signal), above)) throw new Moved(movedAbove)
    return above
  }

  #assertSame(file: SeenFile, seen: SeenFile): void {
    if (seen.key !== file.key) throw new Moved('It was replaced while it was read.')
    if (!this.#told.zones.has(zoneIdOf(seen.rule, this.#options)))
      throw new Moved('Who may read it changed while it was read.')
  }

  /** Whether it has not changed since before the directory was read. */
  #isSettled({ changed, written }: SeenFile): boolean {
    const before = this.#told.beganAt - settlingMs
    return [changed, written].every((time) => Date.parse(time) < before)
  }

  /** What may be there and was not seen is hidden, not gone. */
  #brokenOf({ key, beginning, name, problem }: TreeProblem): BrokenItem {
    const broken = { kind: 'broken', name, problem } as const
    if (key !== undefined) return { ...broken, id: this.#idOf(key) }
    if (beginning === undefined) return broken
    const { files, closed } = this.#told
    const prefix = this.#idOf(beginning)
    return { ...broken, covers: (id) => id.startsWith(prefix) && !files.has(id) && !closed.has(id) }
  }

  #idOf(key: string): string {
    return `${this.#options.prefix}${key}`
  }

  #accessOf({ rule }: SeenFile): { readonly parents: readonly string[] } {
    return { parents: [`zone:${zoneIdOf(rule, this.#options)}`] }
  }

  #versionOf(file: SeenFile, digest: string | undefined): string {
    const { collection, baseUrl } = this.#options
    const { written, changed, bytes, rule } = file
    const uri = baseUrl !== undefined && uriOf(file, baseUrl)
    return digestOf(
      JSON.stringify([written, changed, bytes, zoneIdOf(rule, this.#options), collection, uri, digest]),
    )
  }
}

const textOf = ({ domain, isMember, accounts, groups, problems, share }: Server): string =>
  JSON.stringify([
    [domain, isMember, [...groups]],
    accounts.map(({ sid, subject, sids }) => [sid, subject, [...sids].sort()]),
    problems,
    share,
  ])

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

function titleFrom(name: string): string {
  const text = printable(name)
  return text.slice(0, text.length - extname(text).length) || text
}

const uriOf = ({ path }: SeenFile, baseUrl: string): string =>
  `${baseUrl.replace(/\/$/, '')}/${path.map(encodeURIComponent).join('/')}`
