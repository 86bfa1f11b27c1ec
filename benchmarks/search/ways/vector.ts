import { literal } from '../load.ts'
import type { Place } from '../servers.ts'

/** A question as the database takes it fastest: a `halfvec` in binary on native Postgres, text on PGlite. */
export const sentTo = ({ url }: Pick<Place, 'url'>, vector: Float32Array): string | Uint8Array =>
  url === undefined ? literal(vector) : halfvec(vector)

/** pgvector's binary form: how many, nothing, then half floats, all big-endian. */
function halfvec(vector: Float32Array): Uint8Array {
  const bytes = Buffer.alloc(4 + 2 * vector.length)
  bytes.writeInt16BE(vector.length, 0)
  for (const [at, value] of vector.entries()) bytes.writeUInt16BE(bitsOf(value), 4 + 2 * at)
  return bytes
}

/** IEEE 754 binary16 of a number that is one already. */
function bitsOf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const size = Math.abs(value)
  if (size === 0) return sign
  const exponent = Math.floor(Math.log2(size))
  if (exponent < -14) return sign | Math.round(size * 2 ** 24)
  return sign | ((exponent + 15) << 10) | Math.round((size / 2 ** exponent - 1) * 2 ** 10)
}
