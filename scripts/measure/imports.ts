import { posix } from 'node:path'
import { isNode, type Source, walk } from './source.ts'

/**
 * file → the files of the same checkout that it imports, those that it needs for a type alone included or
 * not.
 */
export type Imports = ReadonlyMap<string, ReadonlySet<string>>

export function importsOf(sources: readonly Source[], withTypes: boolean): Imports {
  const knownPaths = new Set(sources.map(({ path }) => path))
  return new Map(sources.map((source) => [source.path, importedBy(source, knownPaths, withTypes)]))
}

function importedBy(
  { path, program }: Source,
  knownPaths: ReadonlySet<string>,
  withTypes: boolean,
): ReadonlySet<string> {
  const found = new Set<string>()
  walk(program, (node) => {
    if (!isNode(node.source) || typeof node.source.value !== 'string' || !node.source.value.startsWith('.'))
      return
    if (!withTypes && isTypeOnly(node)) return
    const file = posix.join(posix.dirname(path), node.source.value)
    if (knownPaths.has(file)) found.add(file)
  })
  return found
}

function isTypeOnly(node: Record<string, unknown>): boolean {
  const specifiers = Array.isArray(node.specifiers) ? node.specifiers.filter(isNode) : []
  const isAllTypes =
    specifiers.length > 0 &&
    specifiers.every((specifier) => specifier.importKind === 'type' || specifier.exportKind === 'type')
  return node.importKind === 'type' || node.exportKind === 'type' || isAllTypes
}

/**
 * The circles of a graph: its strongly connected parts of two files or more, the largest first (Tarjan,
 * 1972).
 */
export function circlesOf(graph: Imports): string[][] {
  const order = new Map<string, { index: number; low: number; open: boolean }>()
  const stack: string[] = []
  const circles: string[][] = []
  for (const file of graph.keys()) if (!order.has(file)) connect(file)
  return circles.sort((a, b) => b.length - a.length)

  function connect(file: string): { low: number } {
    const ownEntry = { index: order.size, low: order.size, open: true }
    order.set(file, ownEntry)
    stack.push(file)
    for (const neighbour of graph.get(file) ?? []) {
      const neighbourEntry = order.get(neighbour)
      if (!neighbourEntry) ownEntry.low = Math.min(ownEntry.low, connect(neighbour).low)
      else if (neighbourEntry.open) ownEntry.low = Math.min(ownEntry.low, neighbourEntry.index)
    }
    if (ownEntry.low === ownEntry.index) {
      const circle = stack.splice(stack.indexOf(file))
      for (const circleFile of circle) {
        const circleEntry = order.get(circleFile)
        if (circleEntry) circleEntry.open = false
      }
      if (circle.length > 1) circles.push(circle)
    }
    return ownEntry
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
 * The arrows that run back up inside a folder: its files and folders are rooms, and the fewest imports
 * between rooms stand against one order of them that a search by moves of one room finds (a bound from above:
 * no search of all orders).
 */
export function arrowsBackUp(graph: Imports, folder: string): [from: string, to: string][] {
  const roomOf = (file: string) =>
    file.startsWith(`${folder}/`) ? file.slice(folder.length + 1).split('/')[0] : undefined
  const arrows = new Map<string, [string, string]>()
  for (const [fromFile, files] of graph)
    for (const toFile of files) {
      const [a, b] = [roomOf(fromFile), roomOf(toFile)]
      if (a && b && a !== b) arrows.set(`${a} ${b}`, [a, b])
    }
  const rooms = [...new Set([...arrows.values()].flat())].sort()
  const back = (order: readonly string[]) => {
    const orderOfRoom = new Map(order.map((roomName, index) => [roomName, index]))
    return [...arrows.values()].filter(([a, b]) => (orderOfRoom.get(a) ?? 0) > (orderOfRoom.get(b) ?? 0))
  }
  let bestOrder = rooms
  for (let better = true; better; ) {
    better = false
    for (const movedRoom of rooms)
      for (let position = 0; position < rooms.length; position++) {
        const otherRooms = bestOrder.filter((roomName) => roomName !== movedRoom)
        const moved = [...otherRooms.slice(0, position), movedRoom, ...otherRooms.slice(position)]
        if (back(moved).length < back(bestOrder).length) [bestOrder, better] = [moved, true]
      }
  }
  return back(bestOrder)
}
