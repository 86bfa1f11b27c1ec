import { randomUUID } from 'node:crypto'
import { chmod, link, mkdir, open, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'

export interface SigningKey {
  readonly kid: string
  readonly privateKey: CryptoKey
  /** For `/oauth/jwks`: public members only. */
  readonly jwks: { readonly keys: readonly JWK[] }
}

/** The built-in issuer's ES256 key, made at the first start and kept in `dir` (0700) as a file of mode 0600. */
export async function loadSigningKey(dir: string): Promise<SigningKey> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await chmod(dir, 0o700)
  const path = join(dir, 'issuer-es256.json')
  const jwk = (await readKey(path)) ?? (await makeKey(path))
  const privateKey = await importJWK(jwk, 'ES256')
  if (privateKey instanceof Uint8Array) throw new Error(`${path} is not a private EC key.`)
  const { kty, crv, x, y } = jwk
  if (kty !== 'EC' || crv !== 'P-256' || x === undefined || y === undefined)
    throw new Error(`${path} is not a P-256 key.`)
  const kid = await calculateJwkThumbprint({ kty, crv, x, y })
  return { kid, privateKey, jwks: { keys: [{ kty, crv, x, y, kid, use: 'sig', alg: 'ES256' }] } }
}

async function readKey(path: string): Promise<JWK | undefined> {
  try {
    const text = await readFile(path, 'utf8')
    await chmod(path, 0o600)
    return JSON.parse(text) as JWK
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Written whole and then named, so that a crash leaves no half key; whoever names it first wins. */
async function makeKey(path: string): Promise<JWK> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const jwk = await exportJWK(privateKey)
  const draft = `${path}.${randomUUID()}`
  const file = await open(draft, 'wx', 0o600)
  try {
    await file.writeFile(JSON.stringify(jwk))
    await file.sync()
  } finally {
    await file.close()
  }
  try {
    await link(draft, path)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  } finally {
    await rm(draft, { force: true })
  }
  const kept = await readKey(path)
  if (kept === undefined) throw new Error(`${path} cannot be read back.`)
  return kept
}
