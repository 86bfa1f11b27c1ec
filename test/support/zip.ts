import { deflateRawSync } from 'node:zlib'
import { writeZip } from '../../src/kernel/zip.ts'

/** An archive whose one entry is deflated and claims to unpack to `sizeDeclared`. */
export function deflated(name: string, bytes: Uint8Array, sizeDeclared = bytes.length): Uint8Array {
  const packed = deflateRawSync(bytes)
  const archive = Buffer.from(writeZip([{ name, bytes: packed }]))
  const whole = Buffer.from(writeZip([{ name, bytes }]))
  const directory = 30 + name.length + packed.length
  for (const [at, crc] of [
    [0, 14],
    [directory, 16],
  ] as const) {
    archive.writeUInt16LE(8, at + crc - 6)
    whole.copy(archive, at + crc, 14, 18)
    archive.writeUInt32LE(sizeDeclared, at + crc + 8)
  }
  return archive
}
