/** Group → the groups in it. */
export type Edges = ReadonlyMap<string, ReadonlySet<string>>

/**
 * Takes what matters most first, and of each rank leaves out whatever would lead from a group back into
 * itself: else whoever may fill one group could have another one leave a group that is denied something.
 * Whatever of a rank lies between two such circles goes with them.
 */
export function withoutCircles(ranks: readonly Edges[]): {
  readonly edges: Edges
  /** Groups of which something was left out. */
  readonly broken: readonly string[]
} {
  const broken = new Set<string>()
  let taken: Edges = new Map()
  for (const rank of ranks) {
    const circles = inCircles(union(taken, rank))
    const leadsBack = (group: string, member: string) =>
      circles.has(group) && circles.has(member) && taken.get(group)?.has(member) !== true
    const open = new Map<string, ReadonlySet<string>>()
    for (const [group, members] of rank) {
      const left = new Set([...members].filter((member) => !leadsBack(group, member)))
      if (left.size < members.size) broken.add(group)
      open.set(group, left)
    }
    taken = union(taken, open)
  }
  return { edges: taken, broken: [...broken] }
}

/** Groups that lie on a circle, or between two. */
function inCircles(edges: Edges): ReadonlySet<string> {
  const left = new Set(edges.keys())
  const reverse = new Map<string, Set<string>>()
  for (const [group, members] of edges)
    for (const member of members) reverse.set(member, (reverse.get(member) ?? new Set()).add(group))
  // What holds no group, or is in none, is in no circle; then what is left when that is gone.
  for (const [forward, backward] of [
    [edges, reverse],
    [reverse, edges],
  ] as const) {
    const open = (group: string): boolean =>
      [...(forward.get(group) ?? [])].some((member) => left.has(member))
    const ends = [...left].filter((group) => !open(group))
    for (let group = ends.pop(); group !== undefined; group = ends.pop()) {
      if (!left.delete(group)) continue
      for (const before of backward.get(group) ?? []) if (left.has(before) && !open(before)) ends.push(before)
    }
  }
  return left
}

const union = (one: Edges, other: Edges): Edges =>
  new Map(
    [...one.keys(), ...other.keys()].map((group) => [
      group,
      new Set([...(one.get(group) ?? []), ...(other.get(group) ?? [])]),
    ]),
  )
