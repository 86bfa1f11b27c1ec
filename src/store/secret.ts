import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makePrivate } from './private-file.ts'

/** 32 random bytes kept as `name` in `dir` (0700, the file 0600); made at the first call. */
export async function loadSecret(dir: string, name: string): Promise<Uint8Array> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await chmod(dir, 0o700)
  const path = join(dir, name)
  return (await readSecret(path)) ?? (await makeSecret(path))
}

async function readSecret(path: string): Promise<Uint8Array | undefined> {
  try {
    const secret = await readFile(path)
    if (secret.length !== 32) throw new Error(`${path} does not hold 32 bytes.`)
    return secret
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

// Written aside and linked into place: neither a crash nor a second starter can leave or see half a key.
async function makeSecret(path: string): Promise<Uint8Array> {
  await makePrivate(path, randomBytes(32))
  const secret = await readSecret(path)
  if (secret === undefined) throw new Error(`${path} vanished while it was made.`)
  return secret
}
