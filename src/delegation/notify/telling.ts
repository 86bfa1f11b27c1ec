import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'

/** How those outside are told that something waits for them: how long one try may take, and how often it is tried. */
export const tries = {
  timeoutMs: 5_000,
  /** Of an answer, which nobody reads. */
  bytesMax: 16_384,
  /** Longer than one try lasts: only who died with it is taken up again. */
  takenMs: 30_000,
  /** Seconds until the next try after the first, second, … one that failed for a while. */
  pauses: [2, 10, 60, 300],
} as const

export interface Telling extends AsyncDisposable {
  /** Aborted when it ends. */
  readonly signal: AbortSignal
  /** Looks now for what there is to tell of this approval; nobody waits for it. */
  wake(approval?: string): void
}

export interface TellingDeps {
  /** In the log, of a look that failed: `NAME_failed`. */
  readonly name: string
  readonly run: (approval?: string) => Promise<void>
  readonly log: Log
  /** Milliseconds between two looks for what nobody woke us for: that of a process that died before it told anybody. */
  readonly everyMs: number
}

export function startTelling({ name, run, log, everyMs }: TellingDeps): Telling {
  const stopping = new AbortController()
  const running = new Set<Promise<void>>()

  function wake(approval?: string): void {
    if (stopping.signal.aborted) return
    const mine = run(approval)
      .catch((error: unknown) => log(`${name}_failed`, { reason: reasonOf(error) }))
      .finally(() => running.delete(mine))
    running.add(mine)
  }

  const timer = setInterval(() => wake(), everyMs).unref()
  return {
    signal: stopping.signal,
    wake,
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      stopping.abort()
      await Promise.all(running)
    },
  }
}
