/**
 * What is done next of what waits: of those whose owners have fewest running, the first. Undefined where
 * nothing waits, or only for owners who have `most` running. What has no owner has none running.
 */
export function fairNext<T>(
  waiting: Iterable<T>,
  running: Iterable<T>,
  ownerOf: (one: T) => string | null | undefined,
  perKeyMax: number,
): T | undefined {
  const runningCounts = new Map<string, number>()
  for (const entry of running) {
    const owner = ownerOf(entry)
    if (owner) runningCounts.set(owner, (runningCounts.get(owner) ?? 0) + 1)
  }
  let chosen: T | undefined
  let least = perKeyMax
  for (const entry of waiting) {
    const count = runningCounts.get(ownerOf(entry) ?? '') ?? 0
    if (count < least) [chosen, least] = [entry, count]
  }
  return chosen
}
