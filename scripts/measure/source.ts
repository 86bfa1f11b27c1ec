import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseSync } from 'oxc-parser'

/** A node of the syntax tree (ESTree with TypeScript), read by shape alone. */
export type Node = { type: string; start: number; end: number } & Record<string, unknown>

/** One source file of a checkout, parsed. */
export type Source = {
  /** From the checkout's root, with `/`. */
  path: string
  text: string
  lines: readonly string[]
  program: Node
  comments: readonly { start: number; end: number; type: string; value: string }[]
  /** The line, from 0, in which an offset lies. */
  lineOf(offset: number): number
}

/**
 * The TypeScript of a checkout that runs in the service, its packages' sources and its commands; no test, no
 * benchmark.
 */
export function sourcesOf(root: string): Source[] {
  return filesOf(root, /^(src|packages\/[^/]+\/src)\/.*\.tsx?$/).map((path) => parse(root, path))
}

/** Every tracked file of a checkout whose path matches. */
export function filesOf(root: string, matches: RegExp): string[] {
  const listed = execFileSync('git', ['-C', root, 'ls-files'], { encoding: 'utf8' })
  return listed.split('\n').filter((path) => matches.test(path) && !path.endsWith('.d.ts'))
}

export function parse(root: string, path: string): Source {
  const text = readFileSync(join(root, path), 'utf8')
  const { program, comments, errors } = parseSync(path, text)
  if (errors[0]) throw new Error(`${path} cannot be parsed: ${errors[0].message}`)
  const starts = [0, ...[...text.matchAll(/\n/g)].map(({ index }) => index + 1)]
  return {
    path,
    text,
    lines: text.replace(/\n$/, '').split('\n'),
    program: isNode(program) ? program : never(path),
    comments,
    lineOf(offset) {
      let [low, high] = [0, starts.length - 1]
      while (low < high) {
        const middle = Math.ceil((low + high) / 2)
        if ((starts[middle] ?? 0) <= offset) low = middle
        else high = middle - 1
      }
      return low
    },
  }
}

/** The nodes directly below one. */
export function childrenOf(node: Node): Node[] {
  return Object.values(node).flatMap((value) =>
    Array.isArray(value) ? value.filter(isNode) : isNode(value) ? [value] : [],
  )
}

/** Calls `visit` for a node and everything below it, the parents first. */
export function walk(
  node: Node,
  visit: (node: Node, parents: readonly Node[]) => void,
  parents: readonly Node[] = [],
): void {
  visit(node, parents)
  const below = [...parents, node]
  for (const child of childrenOf(node)) walk(child, visit, below)
}

export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string'
}

/** The lines of a file that hold code: no blank ones, and none with nothing but a comment. */
export function codeLines({ text, lines, comments }: Source): number {
  const blanked = [...text]
  for (const { start, end } of comments)
    for (let offset = start; offset < end; offset++) if (blanked[offset] !== '\n') blanked[offset] = ' '
  const codeOnly = blanked.join('').split('\n')
  return lines.filter((_, index) => (codeOnly[index] ?? '').trim() !== '').length
}

function never(path: string): never {
  throw new Error(`${path} has no program`)
}
