/**
 * What the batches of this process read and have not stored yet, by size. Without it documents that are small
 * as they are sent, and large once they are read, would fill the memory.
 */
export type ReadBudget = (owner: string) => BatchBudget

/** One batch's part in it. */
export interface BatchBudget {
  /**
   * Waits until so much may be held besides. At once where the batch holds nothing and what was read is
   * within the bound: no batch waits for another's slow document. What is large waits for a place of its own
   * instead. Rejects with the signal's reason.
   */
  take(size: number, signal: AbortSignal): Promise<Share>
}

/** What one document holds. */
export interface Share {
  /** It was read, and is of another size than was thought. */
  resize(size: number): void
  /** It holds nothing any more. May be called twice. */
  giveBack(): void
}

/** Large documents in all batches together; one of an owner: another's is not kept waiting by it. */
const largeMax = 2

/**
 * `sizeMax`: of all batches together, without what is larger than `largeFrom`. What a batch reads alone may
 * be more: so at most `sizeMax`, `largeFrom` for each batch and two large ones are held.
 */
export function createReadBudget(sizeMax: number, largeFrom: number): ReadBudget {
  let heldSize = 0
  /** Of that, what was read and waits to be stored. */
  let readSize = 0
  const largeOwners = new Set<string>()
  const waiting = new Set<() => void>()
  const tryAll = (): void => {
    for (const tryOne of [...waiting]) tryOne()
  }

  return (owner) => {
    let shares = 0
    const share = (firstSize: number): Share => {
      let size = firstSize
      let isHeld = true
      let isRead = false
      shares += 1
      heldSize += size
      return {
        resize(next) {
          if (!isHeld) return
          heldSize += next - size
          readSize += next - (isRead ? size : 0)
          size = next
          isRead = true
          tryAll()
        },
        giveBack() {
          if (!isHeld) return
          isHeld = false
          shares -= 1
          heldSize -= size
          if (isRead) readSize -= size
          tryAll()
        },
      }
    }
    const largeShare = (): Share => {
      let isHeld = true
      largeOwners.add(owner)
      return {
        resize: () => undefined,
        giveBack() {
          if (!isHeld) return
          isHeld = false
          largeOwners.delete(owner)
          tryAll()
        },
      }
    }
    const fits = (size: number): boolean => {
      if (size > largeFrom) return largeOwners.size < largeMax && !largeOwners.has(owner)
      return heldSize + size <= sizeMax || (shares === 0 && readSize <= sizeMax)
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
            if (!fits(size)) return
            leave()
            resolve(size > largeFrom ? largeShare() : share(size))
          }
          waiting.add(tryOne)
          signal.addEventListener('abort', onAbort, { once: true })
          tryOne()
        })
      },
    }
  }
}
