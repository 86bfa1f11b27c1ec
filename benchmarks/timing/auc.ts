/**
 * How often a time of `some` is longer than one of `others`, ties by halves: 0.5 tells nothing, 1 or 0 tells
 * them apart each time.
 */
export function auc(some: readonly number[], others: readonly number[]): number {
  const all = [
    ...some.map((value) => ({ value, isSome: true })),
    ...others.map((value) => ({ value, isSome: false })),
  ].sort((a, b) => a.value - b.value)
  let ranks = 0
  for (let start = 0; start < all.length; ) {
    let end = start
    while (end < all.length && all[end]?.value === all[start]?.value) end += 1
    const ofSome = all.slice(start, end).filter(({ isSome }) => isSome).length
    // The middle of the ranks that the equal ones share.
    ranks += ofSome * ((start + 1 + end) / 2)
    start = end
  }
  return (ranks - (some.length * (some.length + 1)) / 2) / (some.length * others.length)
}

/** The value below which `share` of them lie. */
export const quantile = (times: readonly number[], share: number): number =>
  times.toSorted((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN

/** The median of each `size` in a row. */
export function medians(times: readonly number[], size: number): number[] {
  const found: number[] = []
  for (let start = 0; start + size <= times.length; start += size)
    found.push(quantile(times.slice(start, start + size), 0.5))
  return found
}
