/**
 * Prints what a client proves itself with at `/oauth` (`private_key_jwt`, RFC 7523 §3): good once, for a minute.
 *
 *     npx node examples/assertion.ts CLIENT_ID [KEY_FILE]
 */
import { readFile } from 'node:fs/promises'
import { importJWK, type JWK, SignJWT } from 'jose'

const { REMIT_URL: api = 'http://localhost:8787', REMIT_HOME: home = '.remit' } = process.env
const [, , clientId = '', file = `${home}/demo-clients/${clientId}.json`] = process.argv
const key = await importJWK(JSON.parse(await readFile(file, 'utf8')) as JWK, 'ES256')
const assertion = new SignJWT({ jti: crypto.randomUUID() })
  .setProtectedHeader({ alg: 'ES256' })
  .setIssuer(clientId)
  .setSubject(clientId)
  .setAudience(`${api}/oauth`)
  .setIssuedAt()
  .setExpirationTime('60s')
console.log(await assertion.sign(key))
