import { randomUUID } from 'node:crypto'
import { chmod, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { FolderLockedError, lockFolder } from '../store/lock.ts'

const signIn = z.strictObject({
  /** Address of the service that gave the tokens, and the only one that they are sent to. */
  url: z.string(),
  access_token: z.string(),
  /** Milliseconds since the epoch. */
  expires_at: z.number(),
  refresh_token: z.string(),
})

/** What is kept of one sign-in. */
export type SignIn = z.infer<typeof signIn>

/** Sign-ins of the person at this machine, one file a service: 0600 in a folder of 0700. */
export interface SignInStore {
  /** Undefined where there is none. Throws where others could read the file, or it is none of ours. */
  read(url: string): Promise<SignIn | undefined>
  save(signIn: SignIn): Promise<void>
  remove(url: string): Promise<void>
  /** Runs alone among all processes: a refresh token that two of them use ends the whole sign-in. */
  alone<T>(work: () => Promise<T>): Promise<T>
}

const aloneMsMax = 20_000
const pauseMs = 50

export function createSignInStore(dir: string): SignInStore {
  // An encoded address is one path segment, whatever the address holds.
  const pathOf = (url: string) => join(dir, `${encodeURIComponent(url)}.json`)

  return {
    async read(url) {
      const path = pathOf(url)
      const text = await readPrivate(path)
      if (text === undefined) return undefined
      const parsed = signIn.safeParse(parseJson(text))
      if (!parsed.success || parsed.data.url !== url)
        throw new Error(`${path} is not a sign-in at ${url}. Remove it and sign in again.`)
      return parsed.data
    },
    async save(kept) {
      await mkdir(dir, { recursive: true, mode: 0o700 })
      await chmod(dir, 0o700)
      await writePrivate(pathOf(kept.url), JSON.stringify(kept))
    },
    remove: (url) => rm(pathOf(url), { force: true }),
    async alone(work) {
      await using _lock = await patiently(() => lockFolder(dir))
      return await work()
    },
  }
}

async function readPrivate(path: string): Promise<string | undefined> {
  try {
    const { mode } = await stat(path)
    // As ssh does: whoever else could read it may have done so.
    if ((mode & 0o077) !== 0)
      throw new Error(`Others can read ${path}. Sign out and in again, or: chmod 600 ${path}`)
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Written whole and then named: a crash leaves the one before. */
async function writePrivate(path: string, text: string): Promise<void> {
  const draft = `${path}.${randomUUID()}`
  const file = await open(draft, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(draft, path)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Cut short, or written by others: what it is not is said by whoever asked.
    return undefined
  }
}

async function patiently(take: () => Promise<AsyncDisposable>): Promise<AsyncDisposable> {
  for (let waited = 0; ; waited += pauseMs) {
    try {
      return await take()
    } catch (error) {
      if (!(error instanceof FolderLockedError) || waited > aloneMsMax) throw error
    }
    await sleep(pauseMs)
  }
}
