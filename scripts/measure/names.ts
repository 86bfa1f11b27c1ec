import { isNode, type Node, type Source, walk } from './source.ts'

/** A name that a declaration makes, and where. */
export type Declared = { name: string; path: string }

/** Every variable, parameter, function, class and type that a file declares; not the members of types. */
export function declaredIn({ path, program }: Source): Declared[] {
  const found: Declared[] = []
  const add = (names: readonly { name: string }[]) => found.push(...names.map(({ name }) => ({ name, path })))
  walk(program, (node) => {
    if (node.type === 'VariableDeclarator' && isNode(node.id)) add(boundBy(node.id))
    if (Array.isArray(node.params) && /Function/.test(node.type))
      add(node.params.filter(isNode).flatMap(boundBy))
    if (
      /^(Function|Class|TSInterface|TSTypeAlias|TSEnum)Declaration$|^FunctionExpression$/.test(node.type) &&
      isNode(node.id)
    )
      add(boundBy(node.id))
  })
  return found
}

/** The names that a pattern binds: of `{ a, b: [c] }`, a and c. */
export function boundBy(pattern: Node): { name: string }[] {
  if (pattern.type === 'Identifier') return [{ name: String(pattern.name) }]
  const inside = [pattern.properties, pattern.elements, pattern.left, pattern.argument, pattern.parameter]
  if (pattern.type === 'Property' && isNode(pattern.value)) return boundBy(pattern.value)
  return inside.flat().filter(isNode).flatMap(boundBy)
}

/** Participles that stand alone as a name: what was told, and by whom, the name does not say. */
export const participles = wordSet(`
  told kept held asked given known wanted shown said done seen lent made begun refused tried left taken put settled
  presented met standing gone spent proven`)

/** Words that name almost anything, in almost any file. */
export const vague = wordSet(`
  one at other others rest what who all own mine thing things data item items info stuff whole part parts way
  place places work look looks end start begin first last before after next from to by of since until over within
  where why more most none yes plain fresh late left right live active best same such some any each every else
  whatever whoever both either deps side sides word words room door doors lock locks cell cells ear reach fact facts tags
  open complete again still here there now`)

function wordSet(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/))
}
