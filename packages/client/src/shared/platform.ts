import { abandonable } from './abandon.ts'
import type { Fetch } from './fetch-json.ts'

/** What the client takes from the platform; a test, or a platform that lacks one, gives its own. */
export interface PlatformOptions {
  /** Default: the platform's. */
  readonly fetch?: Fetch
  /** Milliseconds since the epoch. Default: the system's clock. */
  readonly now?: () => number
  /** Resolves after so many milliseconds, or rejects with the signal's reason. Default: `setTimeout`. */
  readonly sleep?: (milliseconds: number, signal?: AbortSignal) => Promise<void>
}

export type Platform = Required<PlatformOptions>

/** The clock, the sleep and the `fetch` to use; each defaults to the platform's own. */
export const platformOf = ({ fetch, now, sleep }: PlatformOptions): Platform => ({
  // Looked up at each call: some platforms, and tests, put theirs in place later.
  fetch: fetch ?? ((url, init) => globalThis.fetch(url, init)),
  now: now ?? Date.now,
  sleep: sleep ?? pause,
})

async function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted()
  let timer: ReturnType<typeof setTimeout> | undefined
  const elapsed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds)
  })
  await abandonable(elapsed, signal).finally(() => clearTimeout(timer))
}
