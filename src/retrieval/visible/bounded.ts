/** Values by key, all together bounded in bytes. Those not asked for longest go first. */
export interface Bounded<Value> {
  /** As one that was asked for now. */
  get(key: string): Value | undefined
  set(key: string, value: Value): void
  values(): Iterable<Value>
}

/** The latest stays, even where it is larger than all may be. */
export function createBounded<Value extends { readonly bits: Uint8Array }>(bytesMax: number): Bounded<Value> {
  // The latest last.
  const kept = new Map<string, { readonly value: Value; readonly bytes: number }>()
  let bytes = 0

  function drop(key: string): void {
    bytes -= kept.get(key)?.bytes ?? 0
    kept.delete(key)
  }

  function set(key: string, value: Value): void {
    drop(key)
    const one = { value, bytes: value.bits.length + key.length }
    kept.set(key, one)
    bytes += one.bytes
    for (const oldest of kept.keys()) {
      if (bytes <= bytesMax || oldest === key) break
      drop(oldest)
    }
  }

  return {
    get(key) {
      const one = kept.get(key)
      if (one === undefined) return undefined
      kept.delete(key)
      kept.set(key, one)
      return one.value
    },
    set,
    values: () => [...kept.values()].map(({ value }) => value),
  }
}
