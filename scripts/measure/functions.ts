import { boundBy } from './names.ts'
import { childrenOf, isNode, type Node, type Source } from './source.ts'

/** A named function, a method, or a variable that holds a function, with a block as its body. */
export type Measured = {
  path: string
  name: string
  lines: number
  /**
   * How many `let`s of its own the functions inside it read or write: state that no type and no field shows.
   */
  captured: number
}

export function functionsOf(source: Source): Measured[] {
  const found: Measured[] = []
  const rootFrame = frame(undefined)
  visit(source.program, undefined, rootFrame)
  return found

  function visit(node: Node, parent: Node | undefined, inside: Frame): void {
    if (!isFunction(node)) {
      note(node, parent, inside)
      for (const child of childrenOf(node)) visit(child, node, inside)
      return
    }
    if (isNode(node.id) && node.type === 'FunctionDeclaration') inside.declared.add(String(node.id.name))
    const ownFrame = frame(inside)
    if (Array.isArray(node.params))
      for (const param of node.params)
        if (isNode(param)) for (const { name } of boundBy(param)) ownFrame.declared.add(name)
    for (const child of childrenOf(node)) visit(child, node, ownFrame)
    const name = nameOf(node, parent)
    if (name === undefined || !isNode(node.body) || node.body.type !== 'BlockStatement') return
    found.push({
      path: source.path,
      name,
      lines: source.lineOf(node.end) - source.lineOf(node.start) + 1,
      captured: [...ownFrame.lets].filter((binding) => ownFrame.below.some((inner) => reads(inner, binding)))
        .length,
    })
  }
}

/** What one function declares and names, and the functions directly inside it. */
type Frame = { declared: Set<string>; lets: Set<string>; named: Set<string>; below: Frame[] }

function frame(around: Frame | undefined): Frame {
  const newFrame: Frame = { declared: new Set(), lets: new Set(), named: new Set(), below: [] }
  around?.below.push(newFrame)
  return newFrame
}

function note(node: Node, parent: Node | undefined, inside: Frame): void {
  if (node.type === 'VariableDeclarator' && isNode(node.id))
    for (const { name } of boundBy(node.id)) {
      inside.declared.add(name)
      if (parent?.kind === 'let') inside.lets.add(name)
    }
  const isMember = parent?.type === 'MemberExpression' && parent.property === node && parent.computed !== true
  if (node.type === 'Identifier' && !isMember) inside.named.add(String(node.name))
}

function reads(inner: Frame, name: string): boolean {
  if (inner.declared.has(name)) return false
  return inner.named.has(name) || inner.below.some((frameBelow) => reads(frameBelow, name))
}

function isFunction(node: Node): boolean {
  return ['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression'].includes(node.type)
}

function nameOf(node: Node, parent: Node | undefined): string | undefined {
  const named = [
    node.id,
    parent?.type === 'VariableDeclarator' ? parent.id : parent?.value === node ? parent.key : undefined,
  ]
  const found = named.find((candidate) => isNode(candidate) && typeof candidate.name === 'string')
  return isNode(found) ? String(found.name) : undefined
}
