import { isNode, type Node, type Source } from './source.ts'

/** What a file exports by a declaration of its own, and whether a doc comment stands before it. */
export function exportsOf(source: Source): { name: string; isDocumented: boolean }[] {
  const body = Array.isArray(source.program.body) ? source.program.body.filter(isNode) : []
  return body
    .filter((node) => /^Export(Named|Default)Declaration$/.test(node.type) && isNode(node.declaration))
    .map((node) => ({ name: nameOf(node), isDocumented: hasDoc(source, node) }))
}

function hasDoc({ comments, text }: Source, node: Node): boolean {
  const comment = comments.findLast(({ end }) => end <= node.start)
  return (
    comment?.type === 'Block' &&
    comment.value.startsWith('*') &&
    /^\s*$/.test(text.slice(comment.end, node.start))
  )
}

function nameOf({ declaration }: Node): string {
  const declared =
    isNode(declaration) && Array.isArray(declaration.declarations) ? declaration.declarations[0] : declaration
  return isNode(declared) && isNode(declared.id) ? String(declared.id.name) : 'default'
}
