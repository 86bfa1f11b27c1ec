import type { ModelAst, RewriteAst } from '../../src/core/model-json.ts'

/**
 * Whether a model has `x from parent` on objects whose parents may be of another type that has a `parent` of
 * its own: OpenFGA v1.22.1 walks that one too, and so grants from objects to which no rule of the model
 * leads. The engine does not, which is no fault of it.
 */
export const recursesThroughStrangers = ({ types }: ModelAst): boolean =>
  types.some(({ type, relations, restrictions }) =>
    [...relations].some(([name, rewrite]) =>
      leaves(rewrite).some((leaf) => {
        if (leaf.kind !== 'ttu' || leaf.computed !== name) return false
        const parents = new Set(restrictions.get(leaf.tupleset)?.map((parent) => parent.type))
        return (
          parents.has(type) &&
          types.some(
            (other) => other.type !== type && parents.has(other.type) && other.relations.has(leaf.tupleset),
          )
        )
      }),
    ),
  )

function leaves(rewrite: RewriteAst): RewriteAst[] {
  if (rewrite.kind === 'union' || rewrite.kind === 'intersection') return rewrite.children.flatMap(leaves)
  return rewrite.kind === 'exclusion' ? [...leaves(rewrite.base), ...leaves(rewrite.subtract)] : [rewrite]
}
