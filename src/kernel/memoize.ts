/**
 * Works something out of an object once, and knows it for as long as that object is there. Only for what
 * never changes: a principal's caller is the same object for as long as its token is known.
 */
export function memoize<Key extends object, Value>(compute: (key: Key) => Value): (key: Key) => Value {
  const cache = new WeakMap<Key, { readonly value: Value }>()
  return (key) => {
    const cached = cache.get(key)
    if (cached !== undefined) return cached.value
    const value = compute(key)
    cache.set(key, { value })
    return value
  }
}
