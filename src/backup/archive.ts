import { createHash, createHmac, hash, hkdfSync, timingSafeEqual } from 'node:crypto'
import { open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption'
import { z } from 'zod'
import { OperatorError } from '../kernel/operator-error.ts'
import { makePrivate, readPrivate } from '../store/private-file.ts'

const part = z.strictObject({
  /** Of the encrypted file. */
  bytes: z.int(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
})

const manifest = z.strictObject({
  format: z.literal(1),
  /** Of Remit. */
  version: z.string(),
  taken_at: z.iso.datetime(),
  /** Every file of migrations that the database has: one with a lower number may be the newer one. */
  migrations: z.array(z.string()).min(1),
  /** Of Postgres. */
  server_major: z.int(),
  remit: part,
  openfga: part.nullable(),
  /** The store's newest entry in OpenFGA's log. */
  log_place: z.string().nullable(),
  /** The record's newest seal. */
  seal: z.int(),
  mac: z.string().regex(/^[0-9a-f]{64}$/),
})

/** What an archive says of itself. It has no secret in it. */
export type Manifest = z.output<typeof manifest>
export type PartName = 'remit' | 'openfga'

const manifestName = 'manifest.json'
export const fileOf = (folder: string, name: PartName): string => join(folder, `${name}.dump.age`)

/** The key by which an installation knows its own archives; from `oauth.key`, which is in none of them. */
const archiveKey = (secret: Uint8Array): Buffer =>
  Buffer.from(hkdfSync('sha256', secret, '', 'remit backup 1', 32))

/** Makes none where there is none: nobody could restore what a key that was made here vouches for. */
export async function readArchiveKey(keysDir: string): Promise<Buffer> {
  const path = join(keysDir, 'oauth.key')
  const secret = await readFile(path).catch((error: unknown) => {
    throw new OperatorError(
      `There is no ${path}. Set REMIT_HOME to the service's folder, with the keys of this installation in it (docs/recovery.md).`,
      error,
    )
  })
  return archiveKey(secret)
}

const macOf = (key: Uint8Array, said: Omit<Manifest, 'mac'>): string =>
  createHmac('sha256', key).update(JSON.stringify(said)).digest('hex')

/** Written last: a folder without it is no archive. */
export async function writeManifest(
  folder: string,
  key: Uint8Array,
  said: Omit<Manifest, 'mac'>,
): Promise<Manifest> {
  const whole = manifest.parse({ ...said, mac: macOf(key, manifest.omit({ mac: true }).parse(said)) })
  await makePrivate(join(folder, manifestName), `${JSON.stringify(whole, null, 2)}\n`)
  return whole
}

/** An archive of which every byte was what it was. */
export interface Verified {
  readonly manifest: Manifest
  /** For each part the digests of its blocks, by which whoever reads it again knows them. */
  readonly blocks: Readonly<Partial<Record<PartName, readonly Buffer[]>>>
}

/**
 * What the archive says, once every byte of it is what it was. Throws OperatorError for one that was cut
 * short or altered, for one of another installation, and for what is none.
 */
export async function verifyArchive(folder: string, key: Uint8Array): Promise<Verified> {
  const text = await readFile(join(folder, manifestName), 'utf8').catch((error: unknown) => {
    throw new OperatorError(`${folder} is no archive: ${manifestName} cannot be read.`, error)
  })
  const parsed = manifest.safeParse(jsonOf(text))
  if (!parsed.success)
    throw new OperatorError(`${folder} is no archive that this version can read, or it was altered.`)
  const { mac, ...said } = parsed.data
  if (!timingSafeEqual(Buffer.from(mac, 'hex'), Buffer.from(macOf(key, said), 'hex')))
    throw new OperatorError(
      `${folder} was altered, or belongs to another installation: put the keys of this one into REMIT_HOME/keys first (docs/recovery.md).`,
    )
  const blocks: Partial<Record<PartName, Buffer[]>> = {}
  for (const name of ['remit', 'openfga'] as const) {
    const expected = said[name]
    if (expected === null) continue
    const path = fileOf(folder, name)
    const { size } = await stat(path).catch(() => ({ size: -1 }))
    if (size !== expected.bytes)
      throw new OperatorError(`${path} is cut short or altered: it has ${size} bytes of ${expected.bytes}.`)
    const whole = createHash('sha256')
    const digests: Buffer[] = []
    for await (const block of blocksOf(path)) {
      whole.update(block)
      digests.push(digestOf(block))
      // It grows while it is read.
      if (digests.length * blockBytes > expected.bytes + blockBytes) break
    }
    if (whole.digest('hex') !== expected.sha256) throw new OperatorError(`${path} was altered.`)
    blocks[name] = digests
  }
  return { manifest: parsed.data, blocks }
}

// Of a terabyte the digests are 32 MB.
const blockBytes = 1_048_576

const digestOf = (block: Uint8Array): Buffer => hash('sha256', block, 'buffer')

async function* blocksOf(path: string): AsyncGenerator<Buffer> {
  await using file = await open(path)
  for (let length = blockBytes; length === blockBytes; ) {
    const block = Buffer.allocUnsafe(blockBytes)
    length = 0
    for (let bytesRead = -1; bytesRead !== 0 && length < blockBytes; length += bytesRead)
      ({ bytesRead } = await file.read(block, length))
    if (length > 0) yield block.subarray(0, length)
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Makes a key and writes it into a file that is not there yet. Gives the public half. */
export async function makeIdentity(path: string): Promise<string> {
  const identity = await generateX25519Identity()
  const recipient = await identityToRecipient(identity)
  await (await open(path, 'wx', 0o600)).close()
  const file = await open(path, 'w', 0o600)
  try {
    await file.writeFile(`# public key: ${recipient}\n${identity}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  return recipient
}

/** Those of a file of age's. Throws OperatorError for one that is not there, or that others can read. */
export async function readIdentities(path: string): Promise<readonly string[]> {
  const text = await readPrivate(path).catch((error: unknown) => {
    throw new OperatorError(error instanceof Error ? error.message : `${path} cannot be read.`, error)
  })
  if (text === undefined) throw new OperatorError(`There is no ${path}.`)
  const lines = text.split('\n').map((line) => line.trim())
  const found = lines.filter((line) => line.startsWith('AGE-SECRET-KEY-'))
  if (found.length === 0) throw new OperatorError(`${path} holds no key of age's (AGE-SECRET-KEY-…).`)
  return found
}

/** Throws OperatorError for what is no public key of age's. */
export function encrypterFor(recipient: string): Encrypter {
  const encrypter = new Encrypter()
  try {
    encrypter.addRecipient(recipient)
  } catch (error) {
    throw new OperatorError('--recipient takes a public key of age’s: age1…', error)
  }
  return encrypter
}

/** Encrypts a stream into a new file. Removes nothing where it throws. */
export async function encryptTo(
  path: string,
  encrypter: Encrypter,
  source: Readable,
): Promise<z.output<typeof part>> {
  const encrypted = await encrypter.encrypt(Readable.toWeb(source) as ReadableStream<Uint8Array>)
  const chunks = Readable.fromWeb(encrypted as Parameters<typeof Readable.fromWeb>[0])
  const hash = createHash('sha256')
  let bytes = 0
  const file = await open(path, 'wx', 0o600)
  try {
    for await (const chunk of chunks as AsyncIterable<Uint8Array>) {
      hash.update(chunk)
      bytes += chunk.length
      // All of it: a write on a disk that fills up may end early, and says so only by its count.
      await file.appendFile(chunk)
    }
    await file.sync()
  } finally {
    await file.close()
  }
  return { bytes, sha256: hash.digest('hex') }
}

/**
 * Decrypts a file. No byte goes on of a block that is not the one of these digests: who keeps the archive
 * could give others at a second reading. The stream fails there, and where the end is missing.
 */
export async function decryptFrom(
  path: string,
  identities: readonly string[],
  blocks: readonly Buffer[],
): Promise<Readable> {
  const decrypter = new Decrypter()
  for (const identity of identities) decrypter.addIdentity(identity)
  const source = Readable.from(known(path, blocks), { objectMode: false })
  try {
    const opened = await decrypter.decrypt(Readable.toWeb(source) as ReadableStream<Uint8Array>)
    return Readable.fromWeb(opened as Parameters<typeof Readable.fromWeb>[0])
  } catch (error) {
    source.destroy()
    if (error instanceof OperatorError) throw error
    throw error instanceof Error && 'syscall' in error
      ? new OperatorError(`${path} cannot be read: ${error.message}`, error)
      : new OperatorError(`The key of --identity does not open ${path}.`, error)
  }
}

async function* known(path: string, blocks: readonly Buffer[]): AsyncGenerator<Buffer> {
  const altered = () => new OperatorError(`${path} was altered while it was read. Nothing of it is there.`)
  let number = 0
  for await (const block of blocksOf(path)) {
    if (blocks[number]?.equals(digestOf(block)) !== true) throw altered()
    number += 1
    yield block
  }
  if (number !== blocks.length) throw altered()
}
