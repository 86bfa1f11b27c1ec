import { crc32, inflateRawSync } from 'node:zlib'

/** One file inside a zip archive. `sizeDeclared` is the archive's own claim and may be a lie. */
export interface ZipEntry {
  readonly name: string
  readonly sizeDeclared: number
  /** Unpacks. Throws `ZipError('too_large')` as soon as more than `bytesMax` bytes come out. */
  read(bytesMax: number): Uint8Array
}

/**
 * `unreadable`: not a zip, damaged, encrypted or of a kind not read here. `too_large`: unpacks to too much.
 */
export class ZipError extends Error {
  readonly code: 'unreadable' | 'too_large'

  constructor(code: 'unreadable' | 'too_large', message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'ZipError'
    this.code = code
  }
}

const END_OF_DIRECTORY = 0x06054b50
const DIRECTORY_ENTRY = 0x02014b50
const LOCAL_ENTRY = 0x04034b50

/**
 * Lists a zip archive by its central directory (APPNOTE 6.3.10, §4.3) without unpacking anything.
 * Reads stored and deflated entries. Not read: ZIP64, encryption, several volumes.
 * Does NOT check that names are safe as paths: never write one to disk.
 */
export function readZip(archive: Uint8Array): ZipEntry[] {
  const view = new DataView(archive.buffer, archive.byteOffset, archive.byteLength)
  try {
    return listEntries(archive, view)
  } catch (cause) {
    if (cause instanceof RangeError) throw new ZipError('unreadable', 'The archive is cut short.', cause)
    throw cause
  }
}

function listEntries(archive: Uint8Array, view: DataView): ZipEntry[] {
  const directoryEnd = findEnd(view)
  const count = view.getUint16(directoryEnd + 10, true)
  let offset = view.getUint32(directoryEnd + 16, true)
  const entries: ZipEntry[] = []
  for (let index = 0; index < count; index++) {
    if (view.getUint32(offset, true) !== DIRECTORY_ENTRY) {
      throw new ZipError('unreadable', 'The archive has a damaged directory.')
    }
    const nameLength = view.getUint16(offset + 28, true)
    entries.push(entryAt(archive, view, offset, nameLength))
    offset += 46 + nameLength + view.getUint16(offset + 30, true) + view.getUint16(offset + 32, true)
  }
  return entries
}

/** The end record is the last 22 bytes, or earlier when a comment of up to 64 KiB follows it. */
function findEnd(view: DataView): number {
  const lowestOffset = Math.max(0, view.byteLength - 22 - 0xffff)
  for (let offset = view.byteLength - 22; offset >= lowestOffset; offset--) {
    if (view.getUint32(offset, true) === END_OF_DIRECTORY) return offset
  }
  throw new ZipError('unreadable', 'This is not a zip archive.')
}

function entryAt(archive: Uint8Array, view: DataView, offset: number, nameLength: number): ZipEntry {
  const encrypted = (view.getUint16(offset + 8, true) & 1) === 1
  const method = view.getUint16(offset + 10, true)
  const checksum = view.getUint32(offset + 16, true)
  const sizePacked = view.getUint32(offset + 20, true)
  const sizeDeclared = view.getUint32(offset + 24, true)
  const local = view.getUint32(offset + 42, true)
  const name = new TextDecoder().decode(archive.subarray(offset + 46, offset + 46 + nameLength))

  function read(bytesMax: number): Uint8Array {
    if (encrypted || (method !== 0 && method !== 8)) {
      throw new ZipError(
        'unreadable',
        `The archive packs ${JSON.stringify(name)} in a way that is not read here.`,
      )
    }
    const packed = packedBytes(archive, view, local, sizePacked)
    const bytes = method === 0 ? packed : inflate(packed, name, bytesMax)
    if (bytes.length > bytesMax) throw tooLarge(name, bytesMax)
    if (crc32(bytes) !== checksum) throw new ZipError('unreadable', `${JSON.stringify(name)} is damaged.`)
    return bytes
  }
  return { name, sizeDeclared, read }
}

function packedBytes(archive: Uint8Array, view: DataView, local: number, size: number): Uint8Array {
  if (local + 30 > view.byteLength || view.getUint32(local, true) !== LOCAL_ENTRY) {
    throw new ZipError('unreadable', 'The archive has a damaged entry.')
  }
  const dataStart = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true)
  if (dataStart + size > archive.length) throw new ZipError('unreadable', 'The archive is cut short.')
  return archive.subarray(dataStart, dataStart + size)
}

/** `maxOutputLength` stops zlib while it unpacks, so that a bomb never gets the memory that it asks for. */
function inflate(packed: Uint8Array, name: string, bytesMax: number): Uint8Array {
  try {
    return inflateRawSync(packed, { maxOutputLength: Math.max(1, bytesMax) })
  } catch (cause) {
    if (cause instanceof RangeError) throw tooLarge(name, bytesMax, cause)
    throw new ZipError('unreadable', `${JSON.stringify(name)} is damaged.`, cause)
  }
}

const tooLarge = (name: string, bytesMax: number, cause?: unknown): ZipError =>
  new ZipError('too_large', `${JSON.stringify(name)} unpacks to more than ${bytesMax} bytes.`, cause)

/**
 * Writes an archive of stored (not packed) entries: what was checked once can be handed on
 * without a second reader seeing anything else in it. Names must be unique.
 */
export function writeZip(
  files: readonly { readonly name: string; readonly bytes: Uint8Array }[],
): Uint8Array {
  const chunks: Uint8Array[] = []
  const directory: Uint8Array[] = []
  let offset = 0
  for (const file of files) {
    const name = new TextEncoder().encode(file.name)
    const shared = sharedFields(name, file.bytes)
    const local = header(LOCAL_ENTRY, 30, [[4, shared]])
    const entry = header(DIRECTORY_ENTRY, 46, [[6, shared]])
    new DataView(entry.buffer).setUint16(4, 20, true)
    new DataView(entry.buffer).setUint32(42, offset, true)
    chunks.push(local, name, file.bytes)
    directory.push(entry, name)
    offset += local.length + name.length + file.bytes.length
  }
  const size = directory.reduce((sum, chunk) => sum + chunk.length, 0)
  const endRecord = header(END_OF_DIRECTORY, 22, [])
  const view = new DataView(endRecord.buffer)
  view.setUint16(8, files.length, true)
  view.setUint16(10, files.length, true)
  view.setUint32(12, size, true)
  view.setUint32(16, offset, true)
  return Buffer.concat([...chunks, ...directory, endRecord])
}

/** The 26 bytes that a local header and a directory entry have in common. */
function sharedFields(name: Uint8Array, bytes: Uint8Array): Uint8Array {
  const fields = new DataView(new ArrayBuffer(26))
  fields.setUint16(0, 20, true)
  fields.setUint16(2, 0x0800, true)
  fields.setUint16(8, 0x21, true)
  fields.setUint32(10, crc32(bytes), true)
  fields.setUint32(14, bytes.length, true)
  fields.setUint32(18, bytes.length, true)
  fields.setUint16(22, name.length, true)
  return new Uint8Array(fields.buffer)
}

function header(signature: number, length: number, copies: readonly [number, Uint8Array][]): Uint8Array {
  const bytes = new Uint8Array(length)
  new DataView(bytes.buffer).setUint32(0, signature, true)
  for (const [chunkOffset, chunk] of copies) bytes.set(chunk, chunkOffset)
  return bytes
}
