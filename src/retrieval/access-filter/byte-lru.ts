/** Values by key, bounded in number and all together in bytes. Those not asked for longest go first. */
export interface ByteLru<Value> {
  /** As one that was asked for now. */
  get(key: string): Value | undefined
  set(key: string, value: Value): void
  /** Not to be changed while they are walked. */
  values(): Iterable<Value>
}

export interface Bounds<Value> {
  readonly bytesMax: number
  /** What is small is many, and each costs more than its bytes. */
  readonly entriesMax: number
  bytesOf(key: string, value: Value): number
}

/** The latest stays, even where it is larger than all may be. */
export function createByteLru<Value>({ bytesMax, entriesMax, bytesOf }: Bounds<Value>): ByteLru<Value> {
  // The latest last.
  const kept = new Map<string, { readonly value: Value; readonly bytes: number }>()
  let bytes = 0

  function drop(key: string): void {
    bytes -= kept.get(key)?.bytes ?? 0
    kept.delete(key)
  }

  return {
    get(key) {
      const one = kept.get(key)
      if (one === undefined) return undefined
      kept.delete(key)
      kept.set(key, one)
      return one.value
    },
    set(key, value) {
      drop(key)
      const one = { value, bytes: bytesOf(key, value) }
      kept.set(key, one)
      bytes += one.bytes
      for (const oldest of kept.keys()) {
        if ((bytes <= bytesMax && kept.size <= entriesMax) || oldest === key) break
        drop(oldest)
      }
    },
    *values() {
      for (const { value } of kept.values()) yield value
    },
  }
}
