import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { parseJson, readPrivate, withExclusiveFolder, writePrivate } from '../store/private-file.ts'

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

/** Sign-ins as private files, one for each service. */
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
        throw new Error(`${path} is not a sign-in at ${url}. Sign in again.`)
      return parsed.data
    },
    save: (signIn) => writePrivate(pathOf(signIn.url), JSON.stringify(signIn)),
    remove: (url) => rm(pathOf(url), { force: true }),
    alone: (task) => withExclusiveFolder(dir, task),
  }
}
