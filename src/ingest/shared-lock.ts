/**
 * Work beside each other, or alone: in the order in which it came, but that whoever waits when one that was
 * alone ends goes in before the next alone. Many of those are often one service's.
 */
export interface SharedLock {
  /**
   * Runs `work` once those before it let it: all of them have ended if it, or one of them, is to be alone.
   */
  pass<T>(isAlone: boolean, work: () => Promise<T>): Promise<T>
}

/** A lock with nobody inside. */
export function createSharedLock(): SharedLock {
  const waiting: { readonly isAlone: boolean; readonly enter: () => void }[] = []
  let inside = 0
  let hasAlone = false

  function admit(): void {
    for (let nextWaiting = waiting[0]; nextWaiting !== undefined; nextWaiting = waiting[0]) {
      if (hasAlone || (nextWaiting.isAlone && inside > 0)) return
      waiting.shift()
      inside += 1
      hasAlone = nextWaiting.isAlone
      nextWaiting.enter()
    }
  }

  return {
    async pass(isAlone, task) {
      await new Promise<void>((enter) => {
        waiting.push({ isAlone, enter })
        admit()
      })
      try {
        return await task()
      } finally {
        inside -= 1
        hasAlone = false
        // Who comes later stands behind them: those that are to be alone have their turn too.
        if (isAlone) waiting.sort((a, b) => Number(a.isAlone) - Number(b.isAlone))
        admit()
      }
    },
  }
}
