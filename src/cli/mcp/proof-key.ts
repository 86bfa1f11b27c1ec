import { join } from 'node:path'
import type { DpopKeyPair } from '@modelcontextprotocol/client'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK } from 'jose'
import { z } from 'zod'
import { parseJson, readPrivate, withExclusiveFolder, writePrivate } from '../../store/private-file.ts'

const alg = 'ES256'

/** A key that tokens are bound to (DPoP, RFC 9449), in the form that both libraries take. */
export type ProofKey = DpopKeyPair

const stored = z.strictObject({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: z.string(),
  y: z.string(),
  d: z.string(),
})

/**
 * The key of one program at one service, kept as 0600 in a folder of 0700; made at the first call, once
 * however many processes ask. Throws where others could read it, or where it is none: a key that somebody
 * else may have is not used.
 */
export async function loadProofKey(dir: string, url: string): Promise<ProofKey> {
  // An encoded address is one path segment, whatever the address holds.
  const path = join(dir, `${encodeURIComponent(url)}.key`)
  const text =
    (await readPrivate(path)) ??
    (await withExclusiveFolder(dir, async () => (await readPrivate(path)) ?? make(path)))
  const parsed = stored.safeParse(parseJson(text))
  if (!parsed.success) throw new Error(`${path} is not a key. Remove it, and sign in again.`)
  const { d, ...publicJwk } = parsed.data
  const [privateKey, publicKey] = await Promise.all([
    importJWK({ ...publicJwk, d }, alg, { extractable: false }),
    importJWK(publicJwk, alg),
  ])
  if (privateKey instanceof Uint8Array || publicKey instanceof Uint8Array)
    throw new Error(`${path} is not a key.`)
  return { privateKey, publicKey, publicJwk, thumbprint: await calculateJwkThumbprint(publicJwk), alg }
}

async function make(path: string): Promise<string> {
  const { privateKey } = await generateKeyPair(alg, { extractable: true })
  const text = JSON.stringify(await exportJWK(privateKey))
  await writePrivate(path, text)
  return text
}
