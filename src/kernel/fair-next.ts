/**
 * What is done next of what waits: of those whose owners have fewest running, the first. Undefined where nothing waits, or
 * only for owners who have `most` running. What has no owner has none running.
 */
export function fairNext<T>(
  waiting: Iterable<T>,
  running: Iterable<T>,
  ownerOf: (one: T) => string | null | undefined,
  most: number,
): T | undefined {
  const held = new Map<string, number>()
  for (const one of running) {
    const owner = ownerOf(one)
    if (owner) held.set(owner, (held.get(owner) ?? 0) + 1)
  }
  let best: T | undefined
  let least = most
  for (const one of waiting) {
    const count = held.get(ownerOf(one) ?? '') ?? 0
    if (count < least) [best, least] = [one, count]
  }
  return best
}
