/** One bit for each number from 0 on, the lowest of a byte first, as Postgres' `get_bit(bytea, bigint)` counts. */
export const hasBit = (bits: Uint8Array, at: number): boolean =>
  at >= 0 && (((bits[at >> 3] ?? 0) >> (at & 7)) & 1) === 1

/** Does nothing beyond the end. */
export function setBit(bits: Uint8Array, at: number, on = true): void {
  const byte = bits[at >> 3]
  if (byte !== undefined) bits[at >> 3] = on ? byte | (1 << (at & 7)) : byte & ~(1 << (at & 7))
}
