/**
 * Prints what a client proves itself with at `/oauth` (`private_key_jwt`, RFC 7523 §3): good once, for a
 * minute.
 *
 *     npm run -s example -- assertion CLIENT_ID [KEY_FILE]
 */
import { readFile } from 'node:fs/promises'
import { importJWK, type JWK, SignJWT } from 'jose'

// As for `npm start`: with ports or a folder of your own, set the same here.
const {
  PORT = '8787',
  PUBLIC_URL: api = `http://localhost:${PORT}`,
  REMIT_HOME: home = '.remit',
} = process.env
const [, , clientId = '', file = `${home}/demo-clients/${clientId}.json`] = process.argv
try {
  const key = await importJWK(JSON.parse(await readFile(file, 'utf8')) as JWK, 'ES256')
  const assertion = new SignJWT({ jti: crypto.randomUUID() })
    .setProtectedHeader({ alg: 'ES256' })
    .setIssuer(clientId)
    .setSubject(clientId)
    .setAudience(`${api}/oauth`)
    .setIssuedAt()
    .setExpirationTime('60s')
  console.log(await assertion.sign(key))
} catch {
  console.error(`There is no private key (a JWK, ES256) in ${file}.`)
  process.exitCode = 1
}
