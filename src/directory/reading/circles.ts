/**
 * Takes out whatever leads from a group back into itself. Whatever lies between two such circles goes with
 * them.
 *
 * @param edges group → the groups in it
 */
export function withoutCircles(edges: ReadonlyMap<string, ReadonlySet<string>>): {
  readonly edges: ReadonlyMap<string, ReadonlySet<string>>
  /** Groups of which something was taken out. */
  readonly broken: readonly string[]
} {
  const inCircles = new Set(edges.keys())
  const reverse = new Map<string, Set<string>>()
  for (const [group, members] of edges)
    for (const member of members) reverse.set(member, (reverse.get(member) ?? new Set()).add(group))
  // What holds no group, or is in none, is in no circle; then what is left when that is gone.
  for (const [forward, backward] of [
    [edges, reverse],
    [reverse, edges],
  ] as const) {
    const open = (group: string): boolean =>
      [...(forward.get(group) ?? [])].some((member) => inCircles.has(member))
    const ends = [...inCircles].filter((group) => !open(group))
    for (let group = ends.pop(); group !== undefined; group = ends.pop()) {
      if (!inCircles.delete(group)) continue
      for (const before of backward.get(group) ?? [])
        if (inCircles.has(before) && !open(before)) ends.push(before)
    }
  }
  return {
    edges: new Map(
      [...edges].map(([group, members]) => [
        group,
        inCircles.has(group) ? new Set([...members].filter((member) => !inCircles.has(member))) : members,
      ]),
    ),
    broken: [...inCircles],
  }
}
