import type { WriteBarrier } from '../store/barrier.ts'
import type { Fga, Writing } from './fga.ts'

/**
 * Called once a write that went through this process is in, also when it failed: it may have been stored all
 * the same. Whoever wrote goes on only when it resolves. Must not throw: the write has happened.
 */
export type WriteObserver = (change: Writing) => Promise<void> | void

/** The same OpenFGA, whose writes are told to each observer in turn before their caller hears of them. */
export function observeWrites(fga: Fga, observers: readonly WriteObserver[]): Fga {
  return {
    ...fga,
    get modelId() {
      return fga.modelId
    },
    write: (change, nextTurn) => observed([change], () => fga.write(change, nextTurn)),
    writeEach: (changes, nextTurn) => observed(changes, () => fga.writeEach(changes, nextTurn)),
  }

  async function observed(changes: readonly Writing[], write: () => Promise<void>): Promise<void> {
    try {
      await write()
    } finally {
      for (const observe of observers) for (const change of changes) await observe(change)
    }
  }
}

/** The same OpenFGA, whose writes wait while a backup begins. Marks that lend nothing need not. */
export const behindBarrier = (fga: Fga, barrier: Pick<WriteBarrier, 'pass'>): Fga => ({
  ...fga,
  get modelId() {
    return fga.modelId
  },
  write: (change, nextTurn) => barrier.pass(() => fga.write(change, nextTurn)),
  writeEach: (changes, nextTurn) => barrier.pass(() => fga.writeEach(changes, nextTurn)),
})
