/** Any class of errors. */
// biome-ignore lint/suspicious/noExplicitAny: whatever its constructor takes.
type Refusal = new (...args: any[]) => Error

/** What `read` gives; undefined where it refuses as it promises. Whatever else it throws is a finding. */
export function unlessRefused<T>(refusals: readonly Refusal[], read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (refusals.some((refusal) => error instanceof refusal)) return undefined
    throw error
  }
}

const longBytes = 65_536
const cpuMsMax = 4_000

/**
 * Whether the same again and again, to 64 KiB, is read in a time that grows with its length alone: what is
 * quadratic takes minutes. Of one input in 64, by what it holds: it costs more than all the rest.
 */
export async function assertLinear(bytes: Uint8Array, read: (bytes: Uint8Array) => unknown): Promise<void> {
  const sum = bytes.reduce((all, byte) => (all * 31 + byte) % 65_521, 7)
  if (bytes.length === 0 || sum % 64 !== 0) return
  const times = Math.ceil(longBytes / bytes.length)
  const long = Buffer.concat(Array.from({ length: times }, () => bytes))
  const before = process.cpuUsage()
  await read(long)
  const { user, system } = process.cpuUsage(before)
  const ms = (user + system) / 1_000
  if (ms > cpuMsMax) throw new Error(`${long.length} bytes took ${ms} ms of processor.`)
}

/** The bytes as UTF-8; what is none becomes U+FFFD. */
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8')
