import { writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { type CryptoKey, exportJWK, generateKeyPair } from 'jose'

/**
 * Makes a client's key pair as JWKs (ES256), in two files of 0600: NAME.key.json, and NAME.jwks.json with its
 * public half. Gives their paths. Throws where one is there already, and writes over none.
 */
export async function makeKeyPair(name: string): Promise<readonly string[]> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const kid = `${basename(name)}-1`
  const jwk = async (key: CryptoKey) => ({ ...(await exportJWK(key)), kid, alg: 'ES256' })
  const files = [
    [`${name}.key.json`, await jwk(privateKey)],
    [`${name}.jwks.json`, { keys: [await jwk(publicKey)] }],
  ] as const
  for (const [path, content] of files)
    await writeFile(path, JSON.stringify(content), { flag: 'wx', mode: 0o600 }).catch(
      (error: NodeJS.ErrnoException) => {
        throw error.code === 'EEXIST'
          ? new Error(`${path} is there already. Nothing was written over it.`)
          : error
      },
    )
  return files.map(([path]) => path)
}
