import { randomUUID } from 'node:crypto'
import { chmod, link, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import type { Clock } from '../kernel/clock.ts'
import { type KeySource, localKeys } from './remote-keys.ts'

export interface SigningKey {
  readonly kid: string
  readonly privateKey: CryptoKey
  /** With its private members: for the authorization server's own library alone. */
  readonly privateJwk: JWK
}

/** The built-in issuer's ES256 keys: one that signs, and retired ones that are still published. */
export interface KeyRing {
  current(): SigningKey
  /** For `/oauth/jwks`: public members only, the signing one first. */
  jwks(): { readonly keys: readonly JWK[] }
  /** Finds the key of a token of ours. */
  readonly find: KeySource
  /** A new key signs from now on. The old one stays published for a day, so that what it signed still counts. */
  rotate(): Promise<SigningKey>
  /** Drops retired keys that are over, and returns how many. */
  sweep(): Promise<number>
}

const currentName = 'issuer-es256.json'
const retiredName = /^issuer-es256\.retired\.[A-Za-z0-9_-]{43}\.json$/
const retiredMs = 86_400_000

interface Retired {
  readonly jwk: JWK
  /** Milliseconds since the epoch. */
  readonly until: number
  readonly path: string
}

/** Opens the keys kept in `dir` (0700) as files of mode 0600; the first is made at the first start. */
export async function openKeyRing(dir: string, clock: Clock): Promise<KeyRing> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await chmod(dir, 0o700)
  const path = join(dir, currentName)
  let current = await keyOf((await readJson<JWK>(path)) ?? (await makeKey(path)), path)
  let retired = await readRetired(dir)

  const isLive = ({ until }: Retired) => until > clock.now()
  const jwks = () => ({
    keys: [current, ...retired.filter(isLive).map(({ jwk }) => ({ privateJwk: jwk }))].map(({ privateJwk }) =>
      publicHalf(privateJwk),
    ),
  })
  let find = localKeys(jwks())

  return {
    current: () => current,
    jwks,
    find: Object.assign((header: Parameters<KeySource>[0]) => find(header), {
      edition: () => find.edition(),
    }),
    async rotate() {
      const old = current
      const resting = join(dir, `issuer-es256.retired.${old.kid}.json`)
      const until = clock.now() + retiredMs
      const jwk = publicHalf(old.privateJwk)
      // Retired first, then replaced: a crash between leaves the old key signing, and published twice.
      await writeAside(resting, JSON.stringify({ jwk, until }), rename)
      const { privateKey } = await generateKeyPair('ES256', { extractable: true })
      const next = await exportJWK(privateKey)
      await writeAside(path, JSON.stringify(next), rename)
      current = await keyOf(next, path)
      retired = [...retired, { jwk, until, path: resting }]
      find = localKeys(jwks())
      return current
    },
    async sweep() {
      const over = retired.filter((key) => !isLive(key))
      for (const key of over) await rm(key.path, { force: true })
      retired = retired.filter(isLive)
      find = localKeys(jwks())
      return over.length
    },
  }
}

async function keyOf(jwk: JWK, path: string): Promise<SigningKey> {
  const { kty, crv, x, y } = jwk
  if (kty !== 'EC' || crv !== 'P-256' || x === undefined || y === undefined)
    throw new Error(`${path} is not a P-256 key.`)
  const privateKey = await importJWK(jwk, 'ES256')
  if (privateKey instanceof Uint8Array) throw new Error(`${path} is not a private EC key.`)
  const kid = await calculateJwkThumbprint({ kty, crv, x, y })
  return { kid, privateKey, privateJwk: { ...jwk, kid, use: 'sig', alg: 'ES256' } }
}

const publicHalf = ({ kty, crv, x, y, kid }: JWK): JWK => ({
  ...(kty !== undefined && { kty }),
  ...(crv !== undefined && { crv }),
  ...(x !== undefined && { x }),
  ...(y !== undefined && { y }),
  ...(kid !== undefined && { kid }),
  use: 'sig',
  alg: 'ES256',
})

async function readRetired(dir: string): Promise<Retired[]> {
  const names = (await readdir(dir)).filter((name) => retiredName.test(name))
  return Promise.all(
    names.map(async (name) => {
      const path = join(dir, name)
      const { jwk, until } = JSON.parse(await readFile(path, 'utf8')) as { jwk: JWK; until: number }
      return { jwk, until, path }
    }),
  )
}

async function readJson<T>(path: string): Promise<T | undefined> {
  try {
    const text = await readFile(path, 'utf8')
    await chmod(path, 0o600)
    return JSON.parse(text) as T
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Whoever names it first wins: two first starts agree on one key. */
async function makeKey(path: string): Promise<JWK> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  await writeAside(path, JSON.stringify(await exportJWK(privateKey)), async (draft, name) => {
    try {
      await link(draft, name)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    }
  })
  const kept = await readJson<JWK>(path)
  if (kept === undefined) throw new Error(`${path} cannot be read back.`)
  return kept
}

/** Written whole and then named, so that a crash leaves no half key. */
async function writeAside(
  path: string,
  text: string,
  name: (draft: string, path: string) => Promise<void>,
): Promise<void> {
  const draft = `${path}.${randomUUID()}`
  const file = await open(draft, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  try {
    await name(draft, path)
  } finally {
    await rm(draft, { force: true })
  }
}
