import { randomUUID } from 'node:crypto'
import { chmod, link, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FolderLockedError, lockFolder } from './lock.ts'

/** Files of one user: 0600 in folders of 0700. */

/** Undefined where there is none; throws where others could read it. */
export async function readPrivate(path: string): Promise<string | undefined> {
  try {
    const { mode } = await stat(path)
    // As ssh does: whoever else could read it may have done so.
    if ((mode & 0o077) !== 0)
      throw new Error(`Others can read ${path}. Make it anew, or keep it to yourself: chmod 600 ${path}`)
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * Written whole and then named: a crash leaves the one before. `name`: by `link` whoever comes first wins,
 * and every other gets EEXIST.
 */
export async function writePrivate(
  path: string,
  content: string | Uint8Array,
  name: (draft: string, path: string) => Promise<void> = rename,
): Promise<void> {
  const dir = dirname(path)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await chmod(dir, 0o700)
  const draft = `${path}.${randomUUID()}`
  const file = await open(draft, 'wx', 0o600)
  try {
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
  try {
    await name(draft, path)
  } finally {
    await rm(draft, { force: true })
  }
}

/** The same for a file that is not there yet; one that another process has named meanwhile stays. */
export async function makePrivate(path: string, content: string | Uint8Array): Promise<void> {
  try {
    await writePrivate(path, content, link)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
}

/** The JSON value of a text; undefined where it is not JSON. Does NOT check its shape. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Cut short, or written by others: what it is not is said by whoever asked.
    return undefined
  }
}

const waitMsMax = 20_000
const pauseMs = 50

/** Runs alone among all processes that work on the folder. */
export async function withExclusiveFolder<T>(dir: string, operation: () => Promise<T>): Promise<T> {
  await using _lock = await patiently(() => lockFolder(dir))
  return await operation()
}

async function patiently(take: () => Promise<AsyncDisposable>): Promise<AsyncDisposable> {
  for (let waited = 0; ; waited += pauseMs) {
    try {
      return await take()
    } catch (error) {
      if (!(error instanceof FolderLockedError) || waited > waitMsMax) throw error
    }
    await sleep(pauseMs)
  }
}
