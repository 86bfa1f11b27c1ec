/** Values by key, bounded in number and together in weight: those not used for longest go first. */
export interface Lru<Value> {
  readonly size: number
  /** The value, which is the latest used from now on. */
  get(key: string): Value | undefined
  /** The value as it stands: whoever only looks does not use it. */
  peek(key: string): Value | undefined
  /** Puts it in as the latest used, weighed now, and drops what is too much; never the one that is put in. */
  set(key: string, value: Value): void
  delete(key: string): void
  clear(): void
  /** Those not used for longest first. A walk stands deletions. */
  entries(): IterableIterator<readonly [key: string, value: Value]>
}

/** Limits on entries or weight; the least recently used go first. */
export interface LruOptions<Value> {
  readonly entriesMax?: number
  /** In what `weightOf` counts: bytes, or names. */
  readonly weightMax?: number
  /** Default: nothing. Called once for each `set`: a value that grows is to be set again. */
  readonly weightOf?: (key: string, value: Value) => number
  /**
   * Told of each value that `delete`, `clear` or another value takes out, but not of one that its own key
   * replaces.
   */
  readonly onDrop?: (value: Value) => void
}

/**
 * An empty cache. Without `entriesMax` and `weightMax` it is not bounded. Ours, not a library's: the latest
 * stays even where it weighs more than all may, which lru-cache refuses to keep.
 */
export function createLru<Value>(options: LruOptions<Value>): Lru<Value> {
  const { entriesMax = Number.POSITIVE_INFINITY, weightMax = Number.POSITIVE_INFINITY } = options
  const { weightOf = () => 0, onDrop } = options
  // A Map keeps the order of insertion: what is used goes to the end.
  const entries = new Map<string, { readonly value: Value; readonly weight: number }>()
  let weight = 0

  function remove(key: string): { readonly value: Value } | undefined {
    const entry = entries.get(key)
    if (entry === undefined) return undefined
    weight -= entry.weight
    entries.delete(key)
    return entry
  }

  function drop(key: string): void {
    const removed = remove(key)
    if (removed !== undefined) onDrop?.(removed.value)
  }

  return {
    get size() {
      return entries.size
    },
    get(key) {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      entries.delete(key)
      entries.set(key, entry)
      return entry.value
    },
    peek: (key) => entries.get(key)?.value,
    set(key, value) {
      remove(key)
      const entry = { value, weight: weightOf(key, value) }
      entries.set(key, entry)
      weight += entry.weight
      for (const oldest of entries.keys()) {
        if ((weight <= weightMax && entries.size <= entriesMax) || oldest === key) break
        drop(oldest)
      }
    },
    delete: drop,
    clear() {
      const dropped = onDrop === undefined ? [] : [...entries.values()]
      entries.clear()
      weight = 0
      for (const { value } of dropped) onDrop?.(value)
    },
    *entries() {
      for (const [key, { value }] of entries) yield [key, value]
    },
  }
}
