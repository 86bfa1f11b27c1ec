/**
 * Makes a client's key pair (a JWK, ES256): NAME.key.json stays with the program, NAME.jwks.json is
 * registered. Both lie in the folder where it runs; git leaves them out there. Writes over nothing.
 *
 *     npm run -s example -- key-pair NAME
 */
import { writeFile } from 'node:fs/promises'
import { type CryptoKey, exportJWK, generateKeyPair } from 'jose'

const [, , name = 'client'] = process.argv
const pair = await generateKeyPair('ES256', { extractable: true })
const named = async (key: CryptoKey) => ({ ...(await exportJWK(key)), kid: `${name}-1`, alg: 'ES256' })
async function write(file: string, content: object): Promise<void> {
  await writeFile(file, JSON.stringify(content), { flag: 'wx', mode: 0o600 })
  console.error(`Written: ${file}`)
}

await write(`${name}.key.json`, await named(pair.privateKey))
await write(`${name}.jwks.json`, { keys: [await named(pair.publicKey)] })
