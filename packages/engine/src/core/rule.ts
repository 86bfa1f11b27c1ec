/** A rule of a relation: operators over leaves. */
export type Rule<Leaf> = Leaf | Operator<Leaf>

/** `or`, `and` and `but not`. */
export type Operator<Leaf> =
  | { readonly kind: 'union' | 'intersection'; readonly children: readonly Rule<Leaf>[] }
  | { readonly kind: 'exclusion'; readonly base: Rule<Leaf>; readonly subtract: Rule<Leaf> }

/** A leaf of a rule, and where it stands. */
export interface PlacedLeaf<Leaf> {
  readonly leaf: Leaf
  /** Whether the leaf alone grants: it stands under no `and` and no `but not`. */
  readonly isSure: boolean
  /** Whether it stands on the subtracted side of some `but not`. */
  readonly isSubtracted: boolean
}

/** Whether a rule is made of others. */
export const isOperator = <Leaf extends { readonly kind: string }>(
  rule: Rule<Leaf>,
): rule is Operator<Leaf> =>
  rule.kind === 'union' || rule.kind === 'intersection' || rule.kind === 'exclusion'

/** The parts of a rule that read tuples or other relations, in their order. */
export function leavesOf<Leaf extends { readonly kind: string }>(
  rule: Rule<Leaf>,
  isSure = true,
  isSubtracted = false,
): PlacedLeaf<Leaf>[] {
  if (!isOperator(rule)) return [{ leaf: rule, isSure, isSubtracted }]
  if (rule.kind === 'exclusion')
    return [...leavesOf(rule.base, false, isSubtracted), ...leavesOf(rule.subtract, false, true)]
  const isUnion = rule.kind === 'union'
  return rule.children.flatMap((child) => leavesOf(child, isSure && isUnion, isSubtracted))
}
