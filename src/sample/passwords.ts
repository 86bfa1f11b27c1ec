import { join } from 'node:path'
import type { Passwords } from '../delegation/people/passwords.ts'
import { readPrivate, writePrivate } from '../store/private-file.ts'

export interface SamplePasswordsDeps {
  readonly passwords: Pick<Passwords, 'set'>
  readonly randomBytes: (size: number) => Buffer
}

/** Where the passwords of the sample's people are, in REMIT_HOME. */
export const samplePasswordsFile = (home: string): string => join(home, 'demo-passwords')

/**
 * Gives the sample's people passwords of their own and writes them down (0600), unless that was done. Random
 * ones: whatever stands in a repository is known to everybody. Without the file all of them are made anew.
 */
export async function giveSamplePasswords(
  home: string,
  people: readonly { readonly key: string }[],
  { passwords, randomBytes }: SamplePasswordsDeps,
): Promise<void> {
  const path = samplePasswordsFile(home)
  if ((await readPrivate(path)) !== undefined) return
  const newPasswords = people.map(({ key }) => ({ key, password: randomBytes(12).toString('base64url') }))
  // Set before they are written down: a crash between makes new ones, and leaves none that is written and
  // wrong.
  await Promise.all(newPasswords.map(({ key, password }) => passwords.set(key, password)))
  const width = Math.max(...people.map(({ key }) => key.length))
  const lines = newPasswords.map(({ key, password }) => `${key.padEnd(width)}  ${password}`)
  await writePrivate(path, `${[...lines].join('\n')}\n`)
}
