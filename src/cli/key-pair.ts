import { type FileHandle, open, rm } from 'node:fs/promises'
import { basename } from 'node:path'
import { type CryptoKey, exportJWK, generateKeyPair } from 'jose'

/**
 * Makes a client's key pair as JWKs (ES256), in two files of 0600: NAME.key.json, and NAME.jwks.json with its
 * public half. Gives their paths. Throws where one is there already: writes over none, and leaves neither.
 */
export async function makeKeyPair(name: string): Promise<readonly string[]> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const kid = `${basename(name)}-1`
  const jwk = async (key: CryptoKey) => ({ ...(await exportJWK(key)), kid, alg: 'ES256' })
  const contents = {
    [`${name}.key.json`]: await jwk(privateKey),
    [`${name}.jwks.json`]: { keys: [await jwk(publicKey)] },
  }
  const paths = Object.keys(contents)
  const opened: [string, FileHandle][] = []
  try {
    // Both before a key is in either: beside another's half it would be registered with that.
    for (const path of paths) opened.push([path, await open(path, 'wx', 0o600)])
    for (const [path, file] of opened) await file.writeFile(JSON.stringify(contents[path]))
  } catch (error) {
    for (const [path] of opened) await rm(path)
    const { code, path } = error as NodeJS.ErrnoException
    throw code === 'EEXIST' ? new Error(`${path} is there already. Nothing was written over it.`) : error
  } finally {
    for (const [, file] of opened) await file.close()
  }
  return paths
}
