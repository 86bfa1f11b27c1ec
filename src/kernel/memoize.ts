/**
 * Works something out of an object once, and knows it for as long as that object is there. Only for what never changes: a
 * principal's caller is the same object for as long as its token is known.
 */
export function memoize<Key extends object, Value>(work: (key: Key) => Value): (key: Key) => Value {
  const known = new WeakMap<Key, { readonly value: Value }>()
  return (key) => {
    const before = known.get(key)
    if (before !== undefined) return before.value
    const value = work(key)
    known.set(key, { value })
    return value
  }
}
