/** One bit for each number from 0 on, the lowest of a byte first, as Postgres' `get_bit(bytea, bigint)` counts. */
export const hasBit = (bits: Uint8Array, at: number): boolean =>
  at >= 0 && (((bits[at >> 3] ?? 0) >> (at & 7)) & 1) === 1

/** Does nothing beyond the end. */
export function setBit(bits: Uint8Array, at: number, on = true): void {
  const byte = bits[at >> 3]
  if (byte !== undefined) bits[at >> 3] = on ? byte | (1 << (at & 7)) : byte & ~(1 << (at & 7))
}

/** Those that are set, ascending. */
export function* bitsIn(bits: Uint8Array): Generator<number> {
  for (let index = 0; index < bits.length; index++) {
    // The lowest bit that is set, and then without it.
    for (let rest = bits[index] ?? 0; rest !== 0; rest &= rest - 1)
      yield 8 * index + 31 - Math.clz32(rest & -rest)
  }
}

export function countBits(bits: Uint8Array): number {
  let count = 0
  for (let index = 0; index < bits.length; index++)
    for (let rest = bits[index] ?? 0; rest !== 0; rest &= rest - 1) count += 1
  return count
}
