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
    return encode((BigInt(time) << 80n) | random)
  }
}

/** Milliseconds since the epoch held in a ULID. */
export const ulidTime = (ulid: string): number => Number(decode(ulid.slice(0, 10)))

/** The least ULID of a millisecond: what `start_time` is turned into. */
export const ulidFloor = (time: number): string => encode(BigInt(Math.max(0, time)) << 80n)

/** Whether a text has the form of a ULID. */
export const isUlid = (value: string): boolean => /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(value)

function randomBits(): bigint {
  return globalThis.crypto
    .getRandomValues(new Uint8Array(10))
    .reduce((sum, byte) => sum * 256n + BigInt(byte), 0n)
}

function encode(value: bigint): string {
  const characters: string[] = []
  for (let remaining = value; characters.length < 26; remaining >>= 5n)
    characters.push(alphabet.charAt(Number(remaining & 31n)))
  // Joined at once: of texts that are added to one another V8 keeps each.
  return characters.reverse().join('')
}

function decode(text: string): bigint {
  let value = 0n
  for (const char of text) value = value * 32n + BigInt(Math.max(0, alphabet.indexOf(char)))
  return value
}
