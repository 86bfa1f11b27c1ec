import type { Batch, TakeBatch, Waiting } from './batch-queue.ts'

/** What an endpoint takes in one call. */
export interface CallLimits {
  readonly inputs: number
  /** Of all inputs together, as {@link Embedder.countTokens} counts. */
  readonly tokens: number
  /** Of the inputs as they are sent. */
  readonly bytes: number
}

/**
 * Few enough for most endpoints that speak the API: OpenAI's takes 2,048 inputs and 300,000 tokens
 * (platform.openai.com/docs/api-reference/embeddings), common proxies a body of 1 MiB. An answer to 128
 * inputs has some megabytes.
 */
export const callLimitsDefault: CallLimits = { inputs: 128, tokens: 100_000, bytes: 1_000_000 }

/**
 * As many as one call may have, whichever limit is met first; one that alone is over a limit goes alone.
 * `limits` is asked each time.
 */
export const takeWithin =
  (limits: () => CallLimits): TakeBatch =>
  <T extends Waiting>(lines: readonly (readonly T[])[]): Batch<T> => {
    const { inputs, tokens, bytes } = limits()
    const items: T[] = []
    let tokensTaken = 0
    let bytesTaken = 0
    for (const line of lines) {
      for (const item of line) {
        tokensTaken += item.tokens
        bytesTaken += item.bytes
        const fits = items.length < inputs && tokensTaken <= tokens && bytesTaken <= bytes
        if (!fits && items.length > 0) return { items, isFull: true }
        items.push(item)
      }
    }
    return { items, isFull: items.length >= inputs }
  }
