/**
 * What the batches of this process read and have not stored yet, by size. Without it documents that are small
 * as they are sent, and large once they are read, would fill the memory.
 */
export type ReadBudget = () => BatchBudget

/** One batch's part in it. */
export interface BatchBudget {
  /**
   * Waits until so much may be held besides. At once where the batch holds nothing: no batch waits for
   * another's slow document. Rejects with the signal's reason.
   */
  take(size: number, signal: AbortSignal): Promise<Share>
}

/** What one document holds. */
export interface Share {
  /** It is of another size than was thought. */
  resize(size: number): void
  /** It holds nothing any more. May be called twice. */
  giveBack(): void
}

/** `sizeMax`: of all batches together. What a batch holds alone may be larger. */
export function createReadBudget(sizeMax: number): ReadBudget {
  let held = 0
  const waiting = new Set<() => void>()
  const tryAll = (): void => {
    for (const tryOne of [...waiting]) tryOne()
  }

  return () => {
    let shares = 0
    const share = (firstSize: number): Share => {
      let size = firstSize
      let isHeld = true
      shares += 1
      held += size
      return {
        resize(next) {
          if (!isHeld) return
          held += next - size
          size = next
          tryAll()
        },
        giveBack() {
          if (!isHeld) return
          isHeld = false
          shares -= 1
          held -= size
          tryAll()
        },
      }
    }
    return {
      async take(size, signal) {
        signal.throwIfAborted()
        return new Promise((resolve, reject) => {
          const leave = (): void => {
            waiting.delete(tryOne)
            signal.removeEventListener('abort', onAbort)
          }
          const onAbort = (): void => {
            leave()
            reject(signal.reason)
          }
          const tryOne = (): void => {
            if (shares > 0 && held + size > sizeMax) return
            leave()
            resolve(share(size))
          }
          waiting.add(tryOne)
          signal.addEventListener('abort', onAbort, { once: true })
          tryOne()
        })
      },
    }
  }
}
