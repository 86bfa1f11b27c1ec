import { SourceUnavailable } from '@remit/connector'
import { printable } from '../../../kernel/printable.ts'
import { fileType } from '../file-type.ts'
import { digestOf } from '../saying.ts'
import type { Rule } from './descriptor.ts'
import { type Entry, isName, Moved, type Share, type Times } from './share.ts'

/** A file to be brought, as it was seen. */
export interface SeenFile extends Times {
  /** Another one for whatever else comes to stand under its path. Begins with that of its folder. */
  readonly key: string
  readonly path: readonly string[]
  readonly bytes: number
  readonly rule: Rule
}

/** What cannot be brought, and why. */
export interface TreeProblem {
  /** Of a file: its key. */
  readonly key?: string
  /** Else with what the keys begin of whatever may be there, and was not seen. Left out: nothing may. */
  readonly beginning?: string
  readonly name: string
  readonly problem: string
}

export interface Tree {
  readonly files: readonly SeenFile[]
  readonly problems: readonly TreeProblem[]
}

const depthMax = 40

export const nameOf = (path: readonly string[]): string => printable(path.join('/')) || '.'

/** Few characters for each folder above: ids are short. Two folders may have the same. */
const folderKey = (folder: readonly string[]): string =>
  folder.map((_, index) => digestOf(folder.slice(0, index + 1).join('/')).slice(0, 3)).join('')

/**
 * Everything that is there. What is moved meanwhile is not in it, and is named.
 *
 * @throws SourceUnavailable where the share cannot be read.
 */
export async function readTree(
  share: Share,
  {
    signal,
    countMax = 1_000_000,
  }: { readonly signal?: AbortSignal | undefined; readonly countMax?: number } = {},
): Promise<Tree> {
  const walk = new Walk(share, signal)
  await walk.run(countMax)
  return walk
}

class Walk implements Tree {
  readonly files: SeenFile[] = []
  readonly problems: TreeProblem[] = []
  readonly #share: Share
  readonly #signal: AbortSignal | undefined
  readonly #folders: (readonly string[])[] = [[]]
  readonly #missed = new Set<string>()

  constructor(share: Share, signal: AbortSignal | undefined) {
    this.#share = share
    this.#signal = signal
  }

  async run(countMax: number): Promise<void> {
    let count = 0
    for (let folder = this.#folders.pop(); folder !== undefined; folder = this.#folders.pop()) {
      for (const entry of await this.#list(folder)) {
        this.#signal?.throwIfAborted()
        count += await this.#take(folder, entry)
        // Folders too: links of the server may lead back.
        if (count > countMax) throw new SourceUnavailable(`It holds more than ${countMax} files and folders.`)
      }
    }
  }

  async #list(folder: readonly string[]): Promise<readonly (Entry | string)[]> {
    try {
      return await this.#share.list(folder, this.#signal)
    } catch (error) {
      if (error instanceof SourceUnavailable || this.#signal?.aborted === true || !(error instanceof Error))
        throw error
      if (folder.length === 0)
        throw new SourceUnavailable(`The share cannot be listed: ${error.message}`, { cause: error })
      this.#miss(folder, error.message)
      return []
    }
  }

  /** How many files and folders it is. */
  async #take(folder: readonly string[], entry: Entry | string): Promise<number> {
    if (typeof entry === 'string') {
      this.#miss(folder, entry)
      return 0
    }
    const { name, isFolder, isReparsePoint } = entry
    if (name.startsWith('.') || !(isFolder || fileType(name) !== undefined)) return 0
    const path = [...folder, name]
    // What cannot be asked for was never there.
    if (!isName(name))
      this.problems.push({ name: nameOf(path), problem: 'It has a name that cannot be asked for.' })
    else if (!isFolder) await this.#see(path, isReparsePoint)
    else if (isReparsePoint) this.#miss(path, elsewhere)
    else if (path.length > depthMax) this.#miss(path, `It lies deeper than ${depthMax} folders.`)
    else this.#folders.push(path)
    return 1
  }

  async #see(path: readonly string[], isReparsePoint: boolean): Promise<void> {
    try {
      if (isReparsePoint) throw new Error(elsewhere)
      this.files.push(await lookAt(this.#share, path, this.#signal))
    } catch (error) {
      if (error instanceof SourceUnavailable || this.#signal?.aborted === true) throw error
      if (error instanceof Unsaid)
        this.problems.push({ key: error.key, name: nameOf(path), problem: error.message })
      else this.#miss(path.slice(0, -1), textOf(error), path)
    }
  }

  /** Nobody knows what of a folder is there: all of it, or one file in it. */
  #miss(folder: readonly string[], problem: string, file?: readonly string[]): void {
    const beginning = `${folderKey(folder)}${file === undefined ? '' : '.'}`
    // Once: whoever reads it looks through all that is known for each.
    const isFirst = !this.#missed.has(beginning)
    this.#missed.add(beginning)
    this.problems.push({ ...(isFirst && { beginning }), name: nameOf(file ?? folder), problem })
  }
}

const elsewhere = 'It leads elsewhere.'

/** Who may read a file cannot be said. */
class Unsaid extends Error {
  readonly key: string
  constructor(key: string, problem: string) {
    super(problem)
    this.key = key
  }
}

/**
 * A file as it is now.
 *
 * @throws SourceUnavailable, {@link Moved}; another error is this file's own.
 */
export async function lookAt(share: Share, path: readonly string[], signal?: AbortSignal): Promise<SeenFile> {
  const seen = await share.look(path, signal)
  const { rule, bytes, created, written, changed } = seen
  if (seen.isFolder) throw new Moved('It was replaced while it was read.')
  const key = `${folderKey(path.slice(0, -1))}.${digestOf(JSON.stringify([path, created]))}`
  if (typeof rule === 'string') throw new Unsaid(key, rule)
  if (seen.isReparsePoint) throw new Unsaid(key, elsewhere)
  return { key, path, bytes, rule, created, written, changed }
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
