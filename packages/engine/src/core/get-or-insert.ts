/** What a map holds for the key; where it holds nothing, what `make` gives, which it holds from then on. */
export function getOrInsert<Key, Value extends string | number | boolean | object>(
  map: { get(key: Key): Value | undefined; set(key: Key, value: Value): unknown },
  key: Key,
  make: () => Value,
): Value {
  const found = map.get(key)
  if (found !== undefined) return found
  const newValue = make()
  map.set(key, newValue)
  return newValue
}
