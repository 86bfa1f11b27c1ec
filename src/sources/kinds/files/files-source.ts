import { extname } from 'node:path'
import {
  type BrokenItem,
  type Change,
  type ChangePage,
  CursorExpired,
  changesByListing,
  type Directory,
  type ItemChange,
  type LoadedItem,
  type Source,
  SourceUnavailable,
} from '@remit/connector'
import type { ParseInput } from '../../../ingest/parse/parsed.ts'
import { printable } from '../../../kernel/printable.ts'
import { createSerialQueue } from '../../../kernel/serial-queue.ts'
import type { Before } from '../../kind.ts'
import { fileType } from '../file-type.ts'
import { fileBytesMax as bytesMax } from '../opening.ts'
import { digestOf } from '../saying.ts'
import { type KnownAccounts, knownAccounts, type Person, type ReadAccounts } from './accounts.ts'
import { Moved } from './opening.ts'
import { nameOf, pathOf, type SeenFile } from './seen.ts'
import { type Tree, TreeReader } from './walk.ts'
import { directoryOf, wayTo, zoneIdOf } from './zones.ts'

/** A tree of files, of which everybody reads what the machine lets them read. */
export interface FilesOptions {
  /** Whoever is in `people` can reach it: what stands above it does not count. */
  readonly root: string
  readonly collection: string
  /** Put before each id. */
  readonly prefix: string
  readonly people: readonly Person[]
  /** Address under which the files lie for whoever follows a citation. Left out: documents have none. */
  readonly baseUrl?: string
  /** See `Opening.before`. */
  readonly before?: Before | undefined
}

export interface FilesDeps {
  /** A document's own title; undefined where it has none, or cannot be read. */
  readonly titleOf: (input: ParseInput) => Promise<string | undefined>
  readonly readAccounts: ReadAccounts
  /** ms */
  readonly now: () => number
  /** Default `getfacl`. */
  readonly getfacl?: string
}

/** What a directory told, and what items are held against until the next one. */
interface Told {
  readonly tree: Tree
  readonly known: KnownAccounts
  readonly zones: ReadonlySet<string>
  readonly files: ReadonlyMap<string, SeenFile>
}

const attemptsMax = 3

/**
 * The files of a tree as a source, and its accounts, groups and permissions as the directory. `directory` has
 * to come before `changes` and `item`, each time: who may read an item is what was told then, and an item is
 * only given where that holds still once its content is read. An item is a file for as long as it exists,
 * wherever it is moved; a file with several names is an item for each, since who knows one need not know
 * another.
 */
export function createFilesSource(
  options: FilesOptions,
  dependencies: FilesDeps,
): Required<Omit<Source, 'items'>> {
  const files = new FilesSource(options, dependencies)
  // An object of its own members: one that wraps it copies them.
  return {
    directory: (signal) => files.directory(signal),
    changes: (cursor, signal) => files.changes(cursor, signal),
    item: (id) => files.item(id),
  }
}

class FilesSource {
  readonly #options: FilesOptions
  readonly #deps: FilesDeps
  readonly #reader: TreeReader
  readonly #knownNow: () => Promise<KnownAccounts>
  #last: Told | undefined
  /** By file and ctime, of those that were not settled when they were told first. */
  #digests = new Map<string, { readonly digest: string; readonly isSettled: boolean }>()

  constructor(options: FilesOptions, dependencies: FilesDeps) {
    const { now, getfacl } = dependencies
    this.#options = options
    this.#deps = dependencies
    this.#reader = new TreeReader({
      root: options.root,
      now,
      isWanted: (name) => fileType(name.toString('latin1')) !== undefined,
      ...(getfacl !== undefined && { getfacl }),
    })
    this.#knownNow = createSerialQueue().shared(() => this.#readKnown())
  }

  /**
   * The accounts are the same before and after: else somebody might have left a group before a file was
   * opened to it.
   */
  async directory(signal?: AbortSignal): Promise<Directory> {
    this.#last = undefined
    let known = await this.#readKnown(signal)
    for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
      const knownBefore = known
      const tree = await this.#reader.read(signal)
      known = await this.#readKnown(signal)
      if (!isSame(known, knownBefore)) continue
      const directory = directoryOf(tree.files, known.accounts, this.#options)
      const zones = new Set(directory.zones.map(({ id }) => id))
      const files = new Map(tree.files.map((file) => [this.#idOf(file), file]))
      this.#last = { tree, known, zones, files }
      const moments = new Set(tree.files.map(momentOf))
      this.#digests = new Map([...this.#digests].filter(([moment]) => moments.has(moment)))
      return directory
    }
    throw new SourceUnavailable('The accounts of the machine changed again and again while they were read.')
  }

  /**
   * Each cursor says of which root it is: an empty folder where nothing is mounted any more is another one,
   * also where everything is read again.
   */
  async *changes(cursor: string | undefined, signal?: AbortSignal): AsyncGenerator<ChangePage> {
    this.#assertPlace(cursor)
    const { key } = this.#told.tree.root
    const inner = cursor === undefined ? undefined : splitOnce(cursor)[1]
    for await (const page of changesByListing((stopping) => this.#list(stopping), inner, signal))
      yield { ...page, cursor: `${key}\n${page.cursor}` }
  }

  #assertPlace(cursor: string | undefined): void {
    const { root, before } = this.#options
    const { tree } = this.#told
    const last = cursor ?? before?.cursor
    const isOther = last !== undefined && splitOnce(last)[0] !== tree.root.key
    if (isOther && before?.takesOther !== true)
      throw new SourceUnavailable(
        `Another folder lies at ${printable(root)} than the one that was read before.`,
      )
    // Where nothing is mounted any more an empty folder lies.
    if ((isOther || last === undefined) && before?.hasItems === true && tree.files.length === 0)
      throw new SourceUnavailable(
        `No document lies in ${printable(root)}. What was there before counts as gone once one does.`,
      )
    if (isOther && cursor !== undefined) throw new CursorExpired('Another folder was read up to this cursor.')
  }

  async item(id: string): Promise<Change> {
    const { files, tree } = this.#told
    const file = files.get(id)
    const [part] = tree.problems.filter(({ mayHoldMore }) => mayHoldMore)
    if (file === undefined)
      return part === undefined
        ? { kind: 'deleted', id }
        : { kind: 'broken', id, name: id, problem: part.problem }
    try {
      const seen = await this.#reader.look(file)
      this.#assertWay(file, seen)
      return await this.#itemOf(seen)
    } catch (error) {
      if (!(error instanceof Moved)) throw error
      return { kind: 'broken', id, name: nameOf(file), problem: error.message }
    }
  }

  get #told(): Told {
    if (this.#last === undefined) throw new Error('The directory of a tree of files comes before its items.')
    return this.#last
  }

  async #readKnown(signal?: AbortSignal): Promise<KnownAccounts> {
    const { people } = this.#options
    const names = people.map(({ name }) => name)
    return knownAccounts(people, await this.#deps.readAccounts(names, signal))
  }

  async #list(signal?: AbortSignal): Promise<readonly (ItemChange | BrokenItem)[]> {
    const { tree, known, files } = this.#told
    const part = tree.problems.find(({ mayHoldMore }) => mayHoldMore)
    // By its id nobody can say where a file lay: whatever is not listed may lie there.
    const covers = (id: string) => !files.has(id)
    const problems = known.problems.map(({ name, problem }) => ({
      name: `account ${printable(name)}`,
      problem,
    }))
    const changes = [...tree.problems, ...problems].map((told): ItemChange | BrokenItem => ({
      ...{ kind: 'broken', name: told.name, problem: told.problem },
      ...(told === part && { covers }),
    }))
    for (const file of tree.files) {
      signal?.throwIfAborted()
      changes.push(await this.#itemOf(file))
    }
    return changes
  }

  async #itemOf(file: SeenFile): Promise<ItemChange | BrokenItem> {
    const [id, name] = [this.#idOf(file), nameOf(file)]
    try {
      if (file.stat.size > bytesMax) throw new Error(`It has more than ${bytesMax} bytes.`)
      const digest = await this.#digestFor(file)
      return {
        kind: 'item',
        id,
        name,
        version: this.#versionOf(file, digest),
        access: this.#accessOf(file),
        content: () => this.#load(file, digest !== undefined),
      }
    } catch (error) {
      if (error instanceof SourceUnavailable) throw error
      return { kind: 'broken', id, name, problem: error instanceof Error ? error.message : String(error) }
    }
  }

  /**
   * Of what changed a moment ago the content tells one version from another: its ctime may not. It is read
   * once more when the ctime can be relied on, and then goes on being part of the version.
   */
  async #digestFor(file: SeenFile): Promise<string | undefined> {
    const moment = momentOf(file)
    const known = this.#digests.get(moment)
    if (known?.isSettled ?? file.isSettled) return known?.digest
    const digest = digestOf(await this.#contentOf(file))
    this.#digests.set(moment, { digest, isSettled: file.isSettled })
    return digest
  }

  /**
   * The content; then who may read it; then whether all that was told of the way to it, and of who is who,
   * holds.
   */
  async #load(file: SeenFile, hasDigest: boolean): Promise<LoadedItem> {
    const { collection, baseUrl } = this.#options
    const bytes = await this.#contentOf(file)
    const seen = await this.#reader.look(file)
    this.#assertWay(file, seen)
    if (!isSame(await this.#knownNow(), this.#told.known))
      throw new SourceUnavailable('The accounts of the machine changed while its files were read.')
    const mimeType = fileType(file.name.toString('latin1')) ?? ''
    const content = {
      collection,
      title: (await this.#deps.titleOf({ mimeType, bytes })) ?? baseNameOf(file),
      ...(baseUrl !== undefined && { uri: uriOf(file, baseUrl) }),
      content_base64: bytes.toString('base64'),
      mime_type: mimeType,
      updated_at: new Date(Number(seen.stat.mtimeMs)).toISOString(),
    }
    const version = this.#versionOf(seen, hasDigest ? digestOf(bytes) : undefined)
    return { version, content, access: this.#accessOf(seen) }
  }

  #assertWay(file: SeenFile, seen: SeenFile): void {
    if (wayTo(seen) !== wayTo(file)) throw new Moved('Who may reach it changed while it was read.')
    if (!this.#told.zones.has(zoneIdOf(seen, this.#options)))
      throw new Moved('Who may read it changed while it was read.')
  }

  async #contentOf(file: SeenFile): Promise<Buffer> {
    const bytes = await this.#reader.content(file, bytesMax)
    if (bytes === undefined) throw new Error(`It has more than ${bytesMax} bytes.`)
    return bytes
  }

  #idOf(file: SeenFile): string {
    const suffix = file.stat.nlink > 1n ? `-${digestOf(pathOf(file))}` : ''
    return `${this.#options.prefix}${file.key}${suffix}`
  }

  #accessOf(file: SeenFile): { readonly parents: readonly string[] } {
    return { parents: [`zone:${zoneIdOf(file, this.#options)}`] }
  }

  #versionOf(file: SeenFile, digest: string | undefined): string {
    const { collection, baseUrl } = this.#options
    const { ctimeNs, size } = file.stat
    const parts = [
      String(ctimeNs),
      String(size),
      file.name.toString('latin1'),
      zoneIdOf(file, this.#options),
      collection,
      baseUrl !== undefined && uriOf(file, baseUrl),
      digest,
    ]
    return digestOf(JSON.stringify(parts))
  }
}

const momentOf = ({ key, stat }: SeenFile): string => `${key} ${stat.ctimeNs}`

const isSame = (a: KnownAccounts, b: KnownAccounts): boolean => textOf(a) === textOf(b)
const textOf = ({ accounts, problems }: KnownAccounts): string =>
  JSON.stringify([
    accounts.map(({ uid, gids, subject }) => [uid, [...gids].sort((a, b) => a - b), subject]),
    problems,
  ])

function splitOnce(cursor: string): readonly [string, string] {
  const end = cursor.indexOf('\n')
  return [cursor.slice(0, Math.max(end, 0)), cursor.slice(end + 1)]
}

function baseNameOf({ name }: SeenFile): string {
  const text = printable(name.toString())
  return text.slice(0, text.length - extname(text).length) || text
}

/** Of the bytes of its path, percent-encoded (RFC 3986). */
const uriOf = (file: SeenFile, baseUrl: string): string =>
  `${baseUrl.replace(/\/$/, '')}/${pathOf(file).toString('latin1').split('/').map(escaped).join('/')}`

const escaped = (name: string): string =>
  name.replace(
    /[^A-Za-z0-9._~-]/g,
    (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  )
