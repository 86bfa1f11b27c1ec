import { chmod, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import { type Clock, clocksApartMs } from '../../kernel/clock.ts'
import { makePrivate, writePrivate } from '../../store/private-file.ts'
import { type KeySource, localKeys } from './remote-keys.ts'

/** The key by which tokens are signed, and its public half. */
export interface SigningKey {
  readonly kid: string
  readonly privateKey: CryptoKey
  /** With its private members: for the authorization server's own library alone. */
  readonly privateJwk: JWK
}

type Algorithm = 'ES256' | 'RS256'

/** The built-in issuer's keys: those that sign, and retired ones that are still published. */
export interface KeyRing {
  /** Signs access tokens, and ID tokens of clients that are registered so: ES256. */
  current(): SigningKey
  /**
   * Signs ID tokens, of clients that are registered so, and nothing else: RS256, which OpenID Connect Core
   * §15.1 wants of every provider. Made when it is first needed. `find` does not know it: no access token is
   * signed by it.
   */
  idTokens(): Promise<SigningKey>
  /** For `/oauth/jwks`: public members only, the signing one of each algorithm first. */
  jwks(): Promise<{ readonly keys: readonly JWK[] }>
  /** Finds the key of an access token of ours. */
  readonly find: KeySource
  /**
   * A new key of each algorithm signs from now on. The old ones stay published for a day, so that what they
   * signed still counts. By this machine's clock: one that is set back makes that day longer, by a day at
   * most, and by more it ends them at once.
   */
  rotate(): Promise<SigningKey>
  /** Drops retired keys that are over, and returns how many. */
  sweep(): Promise<number>
}

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
  const elliptic = await openRing(dir, 'ES256', clock)
  let opening: ReturnType<typeof openRing> | undefined
  const rsa = () =>
    (opening ??= openRing(dir, 'RS256', clock).catch((error: unknown) => {
      opening = undefined
      throw error
    }))
  const found = () => localKeys({ keys: [...elliptic.published()] })
  let find = found()

  return {
    current: elliptic.current,
    idTokens: async () => (await rsa()).current(),
    jwks: async () => ({ keys: [...elliptic.published(), ...(await rsa()).published()] }),
    find: Object.assign((header: Parameters<KeySource>[0]) => find(header), {
      edition: () => find.edition(),
    }),
    async rotate() {
      await (await rsa()).rotate()
      await elliptic.rotate()
      find = found()
      return elliptic.current()
    },
    async sweep() {
      const sweptCount = (await elliptic.sweep()) + ((await (await opening)?.sweep()) ?? 0)
      find = found()
      return sweptCount
    },
  }
}

/** The keys of one algorithm. */
async function openRing(dir: string, alg: Algorithm, clock: Clock) {
  const name = `issuer-${alg.toLowerCase()}`
  const path = join(dir, `${name}.json`)
  let current = await keyOf((await readJson<JWK>(path)) ?? (await makeKey(path, alg)), alg, path)
  let retired = await readRetired(dir, name)

  // What ends later than that was retired by a clock that was set back since: it would live on for as long.
  const isLive = ({ until: retiredUntil }: Retired) => {
    const leftMs = retiredUntil - clock.now()
    return leftMs > 0 && leftMs <= retiredMs + clocksApartMs
  }
  return {
    current: (): SigningKey => current,
    published: (): readonly JWK[] => [
      publicHalf(current.privateJwk),
      ...retired.filter(isLive).map(({ jwk }) => publicHalf(jwk)),
    ],
    async rotate(): Promise<void> {
      const old = current
      const resting = join(dir, `${name}.retired.${old.kid}.json`)
      const retiredUntil = clock.now() + retiredMs
      const jwk = publicHalf(old.privateJwk)
      // Retired first, then replaced: a crash between leaves the old key signing, and published twice.
      await writePrivate(resting, JSON.stringify({ jwk, until: retiredUntil }))
      const next = await newKey(alg)
      await writePrivate(path, JSON.stringify(next))
      current = await keyOf(next, alg, path)
      retired = [...retired, { jwk, until: retiredUntil, path: resting }]
    },
    async sweep(): Promise<number> {
      const expiredKeys = retired.filter((key) => !isLive(key))
      for (const key of expiredKeys) await rm(key.path, { force: true })
      retired = retired.filter(isLive)
      return expiredKeys.length
    },
  }
}

const newKey = async (alg: Algorithm): Promise<JWK> =>
  exportJWK((await generateKeyPair(alg, { extractable: true })).privateKey)

async function keyOf(jwk: JWK, alg: Algorithm, path: string): Promise<SigningKey> {
  const isIt = alg === 'ES256' ? jwk.kty === 'EC' && jwk.crv === 'P-256' : jwk.kty === 'RSA'
  if (!isIt) throw new Error(`${path} is not a key for ${alg}.`)
  const privateKey = await importJWK(jwk, alg)
  if (privateKey instanceof Uint8Array || privateKey.type !== 'private')
    throw new Error(`${path} is not a private key.`)
  const kid = await calculateJwkThumbprint(jwk)
  return { kid, privateKey, privateJwk: { ...jwk, kid, use: 'sig', alg } }
}

const publicHalf = (jwk: JWK): JWK =>
  Object.fromEntries(Object.entries(jwk).filter(([member]) => publicMembers.has(member)))

const publicMembers: ReadonlySet<string> = new Set(['kty', 'crv', 'x', 'y', 'n', 'e', 'kid', 'use', 'alg'])

async function readRetired(dir: string, name: string): Promise<Retired[]> {
  const retiredPrefix = `${name}.retired.`
  const names = (await readdir(dir)).filter(
    (file) => file.startsWith(retiredPrefix) && /^[\w-]{43}\.json$/.test(file.slice(retiredPrefix.length)),
  )
  return Promise.all(
    names.map(async (file) => {
      const path = join(dir, file)
      const { jwk, until: retiredUntil } = JSON.parse(await readFile(path, 'utf8')) as {
        jwk: JWK
        until: number
      }
      return { jwk, until: retiredUntil, path }
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
async function makeKey(path: string, alg: Algorithm): Promise<JWK> {
  await makePrivate(path, JSON.stringify(await newKey(alg)))
  const storedKey = await readJson<JWK>(path)
  if (storedKey === undefined) throw new Error(`${path} cannot be read back.`)
  return storedKey
}
