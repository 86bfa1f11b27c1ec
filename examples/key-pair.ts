/**
 * Makes a client's key pair (a JWK, ES256): NAME.key.json stays with the program, NAME.jwks.json is registered. Writes over nothing.
 *
 *     npm run -s example -- key-pair NAME
 */
import { writeFile } from 'node:fs/promises'
import { type CryptoKey, exportJWK, generateKeyPair } from 'jose'

const [, , name = 'client'] = process.argv
const pair = await generateKeyPair('ES256', { extractable: true })
const named = async (key: CryptoKey) => ({ ...(await exportJWK(key)), kid: `${name}-1`, alg: 'ES256' })
const once = { flag: 'wx', mode: 0o600 }
await writeFile(`${name}.key.json`, JSON.stringify(await named(pair.privateKey)), once)
await writeFile(`${name}.jwks.json`, JSON.stringify({ keys: [await named(pair.publicKey)] }), once)
