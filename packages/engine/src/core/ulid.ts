const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/**
 * A source of ULIDs that always grow, even when the clock stands still or goes back: the change log and
 * its continuation tokens are ordered by them. `floor` is the greatest one already stored.
 */
export function createUlids(now: () => number, floor = ''): () => string {
  let time = floor === '' ? 0 : ulidTime(floor)
  let random = floor === '' ? 0n : decode(floor.slice(10))
  return () => {
    const current = now()
    if (current > time) {
      time = current
      random = randomBits() >> 1n
    } else random += 1n
    return encode(BigInt(time), 10) + encode(random, 16)
  }
}

/** Milliseconds since the epoch held in a ULID. */
export const ulidTime = (ulid: string): number => Number(decode(ulid.slice(0, 10)))

/** The least ULID of a millisecond: what `start_time` is turned into. */
export const ulidFloor = (time: number): string => encode(BigInt(Math.max(0, time)), 10) + '0'.repeat(16)

/** Whether a text has the form of a ULID. */
export const isUlid = (value: string): boolean => /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(value)

function randomBits(): bigint {
  return globalThis.crypto
    .getRandomValues(new Uint8Array(10))
    .reduce((sum, byte) => sum * 256n + BigInt(byte), 0n)
}

function encode(value: bigint, length: number): string {
  let text = ''
  for (let remaining = value; text.length < length; remaining >>= 5n)
    text = alphabet.charAt(Number(remaining & 31n)) + text
  return text
}

function decode(text: string): bigint {
  let value = 0n
  for (const char of text) value = value * 32n + BigInt(Math.max(0, alphabet.indexOf(char)))
  return value
}
