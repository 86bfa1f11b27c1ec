import type { Fga } from './fga.ts'

/**
 * Called once a write that went through this process is in, also when it failed: it may have been stored all
 * the same. Whoever wrote goes on only when it resolves. Must not throw: the write has happened.
 */
export type WriteObserver = (change: Parameters<Fga['write']>[0]) => Promise<void> | void

/** The same OpenFGA, whose writes are told to each observer in turn before their caller hears of them. */
export function observeWrites(fga: Fga, observers: readonly WriteObserver[]): Fga {
  return {
    ...fga,
    get modelId() {
      return fga.modelId
    },
    async write(change, nextTurn) {
      try {
        await fga.write(change, nextTurn)
      } finally {
        for (const observe of observers) await observe(change)
      }
    },
  }
}
