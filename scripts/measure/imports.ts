import { posix } from 'node:path'
import { isNode, type Source, walk } from './source.ts'

/** file → the files of the same checkout that it imports, those that it needs for a type alone included or not. */
export type Imports = ReadonlyMap<string, ReadonlySet<string>>

export function importsOf(sources: readonly Source[], withTypes: boolean): Imports {
  const known = new Set(sources.map(({ path }) => path))
  return new Map(sources.map((source) => [source.path, importedBy(source, known, withTypes)]))
}

function importedBy(
  { path, program }: Source,
  known: ReadonlySet<string>,
  withTypes: boolean,
): ReadonlySet<string> {
  const found = new Set<string>()
  walk(program, (node) => {
    if (!isNode(node.source) || typeof node.source.value !== 'string' || !node.source.value.startsWith('.'))
      return
    if (!withTypes && isTypeOnly(node)) return
    const file = posix.join(posix.dirname(path), node.source.value)
    if (known.has(file)) found.add(file)
  })
  return found
}

function isTypeOnly(node: Record<string, unknown>): boolean {
  const specifiers = Array.isArray(node.specifiers) ? node.specifiers.filter(isNode) : []
  const all =
    specifiers.length > 0 &&
    specifiers.every((each) => each.importKind === 'type' || each.exportKind === 'type')
  return node.importKind === 'type' || node.exportKind === 'type' || all
}

/** The circles of a graph: its strongly connected parts of two files or more, the largest first (Tarjan, 1972). */
export function circlesOf(graph: Imports): string[][] {
  const order = new Map<string, { index: number; low: number; open: boolean }>()
  const stack: string[] = []
  const circles: string[][] = []
  for (const file of graph.keys()) if (!order.has(file)) connect(file)
  return circles.sort((one, other) => other.length - one.length)

  function connect(file: string): { low: number } {
    const own = { index: order.size, low: order.size, open: true }
    order.set(file, own)
    stack.push(file)
    for (const next of graph.get(file) ?? []) {
      const seen = order.get(next)
      if (!seen) own.low = Math.min(own.low, connect(next).low)
      else if (seen.open) own.low = Math.min(own.low, seen.index)
    }
    if (own.low === own.index) {
      const circle = stack.splice(stack.indexOf(file))
      for (const each of circle) {
        const seen = order.get(each)
        if (seen) seen.open = false
      }
      if (circle.length > 1) circles.push(circle)
    }
    return own
  }
}

/** The files that exactly one other file imports. */
export function withOneImporter(graph: Imports): string[] {
  const importers = new Map<string, number>()
  for (const files of graph.values())
    for (const file of files) importers.set(file, (importers.get(file) ?? 0) + 1)
  return [...importers].filter(([, count]) => count === 1).map(([file]) => file)
}

/**
 * The arrows that run back up inside a folder: its files and folders are rooms, and the fewest imports between rooms
 * stand against one order of them that a search by moves of one room finds (a bound from above: no search of all orders).
 */
export function arrowsBackUp(graph: Imports, folder: string): [from: string, to: string][] {
  const roomOf = (file: string) =>
    file.startsWith(`${folder}/`) ? file.slice(folder.length + 1).split('/')[0] : undefined
  const arrows = new Map<string, [string, string]>()
  for (const [from, files] of graph)
    for (const to of files) {
      const [a, b] = [roomOf(from), roomOf(to)]
      if (a && b && a !== b) arrows.set(`${a} ${b}`, [a, b])
    }
  const rooms = [...new Set([...arrows.values()].flat())].sort()
  const back = (order: readonly string[]) => {
    const at = new Map(order.map((room, index) => [room, index]))
    return [...arrows.values()].filter(([a, b]) => (at.get(a) ?? 0) > (at.get(b) ?? 0))
  }
  let best = rooms
  for (let better = true; better; ) {
    better = false
    for (const room of rooms)
      for (let place = 0; place < rooms.length; place++) {
        const others = best.filter((each) => each !== room)
        const moved = [...others.slice(0, place), room, ...others.slice(place)]
        if (back(moved).length < back(best).length) [best, better] = [moved, true]
      }
  }
  return back(best)
}
