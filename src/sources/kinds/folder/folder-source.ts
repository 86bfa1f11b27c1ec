import { createHash } from 'node:crypto'
import { basename, extname } from 'node:path'
import type { DocumentAccess } from '@remit/client'
import {
  type BrokenItem,
  type Change,
  type ChangePage,
  changesByListing,
  type ItemChange,
  type LoadedItem,
  type Source,
  SourceUnavailable,
} from '@remit/connector'
import type { ParseInput } from '../../../ingest/parse/parsed.ts'
import { printable } from '../../../kernel/printable.ts'
import { fileType } from '../file-type.ts'
import { type Below, below, type FileContent } from './below.ts'

/** A folder of files, all of which the same people may read. */
export interface FolderOptions {
  readonly folder: string
  readonly collection: string
  readonly access: DocumentAccess
  /** Put before each file's path to make its id. */
  readonly prefix: string
  /** Address under which the files lie for whoever follows a citation. Left out: documents have none. */
  readonly baseUrl?: string
}

export interface FolderDeps {
  /** A document's own title; undefined where it has none, or cannot be read. */
  readonly titleOf: (input: ParseInput) => Promise<string | undefined>
  /** What is read of the folder. Default: as this machine can. */
  readonly folder?: Below
}

/** A file of a kind that is read. */
export interface FolderFile {
  /** Relative to the folder, with slashes. */
  readonly path: string
  /** Undefined: it can have none, as `problem` says. */
  readonly id?: string
  readonly problem?: string
  /** @throws FileProblem where it cannot be read. */
  load(): Promise<LoadedFile>
}

/** Whoever reads it is named as in Remit: a folder has no accounts. */
type LoadedFile = LoadedItem & { readonly access: DocumentAccess }

export interface FolderSource extends Source {
  /**
   * The files in order, and the paths of those that are no kind of document.
   *
   * @throws SourceUnavailable where a folder cannot be listed.
   */
  files(): Promise<{ readonly files: readonly FolderFile[]; readonly skipped: readonly string[] }>
}

interface FoundFiles {
  readonly files: readonly FolderFile[]
  readonly skipped: readonly string[]
  readonly unlisted: readonly Unlisted[]
}

/** A folder that cannot be listed. */
type Unlisted = BrokenItem & Required<Pick<BrokenItem, 'covers'>>

/** What is wrong with one file. */
export class FileProblem extends Error {
  override readonly name = 'FileProblem'
}

const noUtf8 = 'its name is no UTF-8. Rename it.'

// Of which isId speaks.
const idLengthMax = 200

/**
 * The files of a folder as a source. What of a file's name ids do not take is percent-encoded in its id
 * ({@link pathId}); a file whose id is too long, or another file's, is broken. A folder has no feed: each
 * reading lists it, and reads every file to know its version, since two changes within a tick of the clock
 * have one time. Names are listed once for a reading, which ends with its changes: what `item` goes by until
 * then is what they are told by.
 */
export function createFolderSource(options: FolderOptions, deps: FolderDeps): FolderSource {
  const { titleOf, folder = below(options.folder, process.platform === 'linux') } = deps

  async function readFolder(signal?: AbortSignal): Promise<FoundFiles> {
    const { paths, unnamed, unlisted } = await listFiles(folder, options.folder, signal)
    const readable = paths.filter((path) => fileType(path) !== undefined)
    const idOf = idsOf(readable, options.prefix)
    return {
      files: [
        ...readable.map((path) => ({ path, ...idOf(path), load: () => load(path) })),
        ...unnamed.map((path) => ({ path, problem: noUtf8, load: () => load(path) })),
      ],
      skipped: paths.filter((path) => fileType(path) === undefined),
      unlisted: unlisted.map(({ path, problem }): Unlisted => {
        const prefix = `${options.prefix}${pathId(path)}/`
        return { kind: 'broken', name: path, problem, covers: (id) => id.startsWith(prefix) }
      }),
    }
  }

  async function files(signal?: AbortSignal) {
    const { unlisted, ...found } = await readFolder(signal)
    for (const { problem } of unlisted) throw new SourceUnavailable(problem)
    return found
  }

  let listing: Promise<FoundFiles> | undefined
  let byId: ReadonlyMap<string | undefined, FolderFile> | undefined
  async function readOnce(signal: AbortSignal | undefined): Promise<FoundFiles> {
    listing ??= readFolder(signal)
    try {
      return await listing
    } catch (error) {
      listing = undefined
      throw error
    }
  }

  async function list(signal?: AbortSignal): Promise<readonly (ItemChange | BrokenItem)[]> {
    const { files: found, unlisted } = await readOnce(signal)
    const items: (ItemChange | BrokenItem)[] = [...unlisted]
    for (const file of found) {
      signal?.throwIfAborted()
      items.push(await itemOf(file))
    }
    return items
  }

  async function* changes(cursor: string | undefined, signal?: AbortSignal): AsyncGenerator<ChangePage> {
    try {
      yield* changesByListing(list, cursor, signal)
    } finally {
      listing = undefined
      byId = undefined
    }
  }

  async function item(id: string, signal?: AbortSignal): Promise<Change> {
    const { files: found, unlisted } = await readOnce(signal)
    byId ??= new Map(found.map((file) => [file.id, file]))
    const file = byId.get(id)
    if (file !== undefined) return itemOf(file)
    const part = unlisted.find(({ covers }) => covers(id))
    return part === undefined ? { kind: 'deleted', id } : { ...part, id }
  }

  async function itemOf({ path: name, id, problem, load }: FolderFile): Promise<ItemChange | BrokenItem> {
    if (id === undefined) return { kind: 'broken', name, problem: problem ?? 'It has no id.' }
    try {
      const { bytes } = await read(name)
      const version = versionOf(bytes, options)
      return { kind: 'item', id, name, version, access: options.access, content: load }
    } catch (error) {
      if (error instanceof FileProblem) return { kind: 'broken', id, name, problem: error.message }
      throw error
    }
  }

  async function load(path: string): Promise<LoadedFile> {
    const { collection, baseUrl, access } = options
    const { bytes, modifiedAt } = await read(path)
    const mimeType = fileType(path) ?? ''
    const content = {
      collection,
      title: (await titleOf({ mimeType, bytes })) ?? basename(path, extname(path)),
      ...(baseUrl !== undefined && {
        uri: `${baseUrl.replace(/\/$/, '')}/${path.split('/').map(encodeURIComponent).join('/')}`,
      }),
      content_base64: bytes.toString('base64'),
      mime_type: mimeType,
      updated_at: modifiedAt.toISOString(),
    }
    return { version: versionOf(bytes, options), content, access }
  }

  /** A file that is gone or closed by now is a problem of its own, and none of the others'. */
  async function read(path: string): Promise<FileContent> {
    const found = await folder.read(path.split('/'))
    if (found === undefined) throw new FileProblem('it is gone, or is no file by now.')
    if (typeof found === 'string') throw new FileProblem(`it cannot be read (${found}).`)
    return found
  }

  return { files, changes, item }
}

function versionOf(bytes: Buffer, { collection, access, baseUrl }: FolderOptions): string {
  const settings = JSON.stringify([collection, access, baseUrl])
  return createHash('sha256').update(settings).update('\0').update(bytes).digest('base64url')
}

interface FoundPaths {
  readonly paths: readonly string[]
  /** Files and folders whose names are no UTF-8: by these paths nobody can open them. */
  readonly unnamed: readonly string[]
  /** Folders that cannot be listed, and why. */
  readonly unlisted: readonly { readonly path: string; readonly problem: string }[]
}

/**
 * Relative paths of the plain files, in order. Hidden ones and links are left out: a link may lead elsewhere.
 *
 * @throws SourceUnavailable where the folder itself cannot be listed.
 */
async function listFiles(folder: Below, root: string, signal: AbortSignal | undefined): Promise<FoundPaths> {
  const paths: string[] = []
  const unnamed: string[] = []
  const unlisted: { readonly path: string; readonly problem: string }[] = []
  const directories: (readonly string[])[] = [[]]
  for (let names = directories.pop(); names !== undefined; names = directories.pop()) {
    signal?.throwIfAborted()
    const entries = await folder.list(names)
    const path = printable([root, ...names].join('/'))
    const problem = `The folder ${path} cannot be read (${typeof entries === 'string' ? entries : 'it is gone'}).`
    if (typeof entries === 'string' && names.length > 0) {
      unlisted.push({ path: names.join('/'), problem })
      continue
    }
    if (typeof entries === 'string' || (entries === undefined && names.length === 0))
      throw new SourceUnavailable(problem)
    for (const entry of entries ?? []) {
      if (entry.name.startsWith('.')) continue
      const below = [...names, entry.name]
      if (entry.kind === 'folder' && entry.isNamed) directories.push(below)
      else if (entry.kind === 'file' && entry.isNamed) paths.push(below.join('/'))
      else if (entry.kind === 'folder' || (entry.kind === 'file' && fileType(entry.name) !== undefined))
        unnamed.push(below.join('/'))
    }
  }
  return { paths: paths.sort(), unnamed: unnamed.sort(), unlisted }
}

/**
 * The id of each file, or why it can have none. A name that is as it stands wins over one that had to be
 * encoded.
 */
function idsOf(
  paths: readonly string[],
  prefix: string,
): (path: string) => { readonly id: string } | { readonly problem: string } {
  const owners = new Map<string, string>()
  for (const path of paths)
    if (pathId(path) === path || !owners.has(pathId(path))) owners.set(pathId(path), path)
  return (path) => {
    const encoded = pathId(path)
    const id = `${prefix}${encoded}`
    const owner = owners.get(encoded)
    if (owner !== undefined && owner !== path)
      return { problem: `its id (${id}) is that of ${printable(owner)}. Rename one of them.` }
    if (id.length > idLengthMax)
      return {
        problem: `its id would have ${id.length} characters, more than ${idLengthMax} (${printable(id)}).`,
      }
    return { id }
  }
}

const unsafeCharacters = /[^A-Za-z0-9._@+=-]/gu

/**
 * A file's path as part of a document's id: a folder or file whose name ids take stays as it is, so that ids
 * of earlier runs stay theirs; in any other name each character that ids do not take is percent-encoded (RFC
 * 3986, UTF-8), `%` included. Two paths have the same one only where a name on disk is another's encoded form
 * (`a%20b` beside `a b`): the caller refuses the second.
 */
const pathId = (path: string): string => path.split('/').map(nameId).join('/')

const nameId = (name: string): string =>
  /^(?:[A-Za-z0-9._@+=-]|%[0-9A-Fa-f]{2})*$/.test(name) ? name : name.replace(unsafeCharacters, encoded)

const encoded = (character: string): string =>
  Buffer.from(character).toString('hex').toUpperCase().replace(/../g, '%$&')
