import { createHash } from 'node:crypto'

/** One seal, without its signature. */
export interface SealHead {
  readonly seal: number
  /** ISO 8601. */
  readonly sealed_at: string
  readonly records: number
  readonly first: number
  readonly last: number
  readonly sealed_to: number
  readonly newest_at: string
  /** Hexadecimal, as both below. */
  readonly digest: string
  /** Head of the seal before; zeros for the first. */
  readonly previous: string
}

const schema = 1

/** Before the first seal. */
export const noHead = '0'.repeat(64)

/** SHA-256 of a seal and, with it, of every one before. */
export const headOf = (head: SealHead): Buffer =>
  createHash('sha256')
    .update(
      JSON.stringify([
        schema,
        head.seal,
        head.sealed_at,
        head.records,
        head.first,
        head.last,
        head.sealed_to,
        head.newest_at,
        head.digest,
        head.previous,
      ]),
    )
    .digest()

/** Over the digests of its records, 32 bytes each, in their order. */
export const digestOfLeaves = (digests: Uint8Array): Buffer => createHash('sha256').update(digests).digest()
