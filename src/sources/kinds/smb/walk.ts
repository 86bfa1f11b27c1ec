import { SourceUnavailable } from '@remit/connector'
import { printable } from '../../../kernel/printable.ts'
import { fileType } from '../file-type.ts'
import { digestOf } from '../saying.ts'
import type { Rule } from './descriptor.ts'
import { isName, Moved, type Share, type Times } from './share.ts'

/** A file to be brought, as it was seen. */
export interface SeenFile extends Times {
  /** Another one for whatever else comes to stand under its path. */
  readonly key: string
  readonly path: readonly string[]
  readonly bytes: number
  readonly rule: Rule
}

/** What cannot be brought, and why. */
export interface TreeProblem {
  /** Of a file: its key. */
  readonly key?: string
  readonly name: string
  readonly problem: string
}

export interface Tree {
  readonly files: readonly SeenFile[]
  readonly problems: readonly TreeProblem[]
}

const depthMax = 100
const filesMax = 1_000_000

export const nameOf = (path: readonly string[]): string => printable(path.join('/')) || '.'

/**
 * Everything that is there. A file that is moved meanwhile may be missing in it.
 *
 * @throws SourceUnavailable where the share cannot be read.
 */
export async function readTree(share: Share, signal?: AbortSignal): Promise<Tree> {
  const files: SeenFile[] = []
  const problems: TreeProblem[] = []
  const folders: (readonly string[])[] = [[]]
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    signal?.throwIfAborted()
    const found = await listed(share, folder, problems, signal)
    for (const { name, isFolder, isReparsePoint } of found) {
      if (name.startsWith('.') || !(isFolder || fileType(name) !== undefined)) continue
      const path = [...folder, name]
      const problem = problemOf(path, isReparsePoint)
      if (problem !== undefined) problems.push({ name: nameOf(path), problem })
      else if (isFolder) folders.push(path)
      else await see(share, path, { files, problems }, signal)
    }
    if (files.length > filesMax) throw new SourceUnavailable(`It holds more than ${filesMax} files.`)
  }
  return { files, problems }
}

function problemOf(path: readonly string[], isReparsePoint: boolean): string | undefined {
  if (!path.every(isName)) return 'It has a name that cannot be asked for.'
  if (isReparsePoint) return 'It leads elsewhere.'
  return path.length > depthMax ? `It lies deeper than ${depthMax} folders.` : undefined
}

async function listed(
  share: Share,
  folder: readonly string[],
  problems: TreeProblem[],
  signal: AbortSignal | undefined,
) {
  try {
    return await share.list(folder, signal)
  } catch (error) {
    if (error instanceof SourceUnavailable || folder.length === 0 || signal?.aborted === true)
      throw unavailable(error)
    if (!(error instanceof Moved)) problems.push({ name: nameOf(folder), problem: textOf(error) })
    return []
  }
}

const unavailable = (error: unknown): unknown =>
  error instanceof SourceUnavailable || !(error instanceof Error)
    ? error
    : new SourceUnavailable(`The share cannot be listed: ${error.message}`, { cause: error })

async function see(
  share: Share,
  path: readonly string[],
  { files, problems }: { readonly files: SeenFile[]; readonly problems: TreeProblem[] },
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    files.push(await lookAt(share, path, signal))
  } catch (error) {
    if (error instanceof SourceUnavailable || signal?.aborted === true) throw error
    if (!(error instanceof Moved))
      problems.push({
        ...(error instanceof Unsaid && { key: error.key }),
        name: nameOf(path),
        problem: textOf(error),
      })
  }
}

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
  const { rule, bytes, isFolder, created, written, changed } = await share.look(path, signal)
  if (isFolder) throw new Moved('It was replaced while it was read.')
  const key = digestOf(JSON.stringify([path, created]))
  if (typeof rule === 'string') throw new Unsaid(key, rule)
  return { key, path, bytes, rule, created, written, changed }
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
