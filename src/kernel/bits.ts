/**
 * One bit for each number from 0 on, the lowest of a byte first, as Postgres' `get_bit(bytea, bigint)`
 * counts.
 */
export const hasBit = (bits: Uint8Array, position: number): boolean =>
  position >= 0 && (((bits[position >> 3] ?? 0) >> (position & 7)) & 1) === 1

/** Does nothing beyond the end. */
export function setBit(bits: Uint8Array, position: number, on = true): void {
  const byte = bits[position >> 3]
  if (byte !== undefined)
    bits[position >> 3] = on ? byte | (1 << (position & 7)) : byte & ~(1 << (position & 7))
}

/** Those that are set, ascending. */
export function* bitsIn(bits: Uint8Array): Generator<number> {
  for (let index = 0; index < bits.length; index++) {
    // The lowest bit that is set, and then without it.
    for (let remaining = bits[index] ?? 0; remaining !== 0; remaining &= remaining - 1)
      yield 8 * index + 31 - Math.clz32(remaining & -remaining)
  }
}

/** How many bits are set. */
export function countBits(bits: Uint8Array): number {
  let count = 0
  for (let index = 0; index < bits.length; index++)
    for (let remaining = bits[index] ?? 0; remaining !== 0; remaining &= remaining - 1) count += 1
  return count
}

/** A bit for each number, in pages that are there only where there is one. */
export class PagedBits {
  readonly #pages = new Map<number, Uint8Array>()

  add(number: number): void {
    const index = Math.floor(number / pageBits)
    const page = this.#pages.get(index) ?? new Uint8Array(pageBits / 8)
    this.#pages.set(index, page)
    setBit(page, number % pageBits)
  }

  has(number: number): boolean {
    return hasBit(this.#pages.get(Math.floor(number / pageBits)) ?? noBits, number % pageBits)
  }
}

const pageBits = 65_536
const noBits = new Uint8Array()
