import type { Directory, SourceFolder } from './source.ts'

/** Folders without those that say nothing of their own, and what takes their place as a parent. */
export interface Folded {
  readonly folders: readonly SourceFolder[]
  /** What an item or a folder is to name in place of a parent. */
  parentsOf(parent: string): readonly string[]
}

/**
 * Folds away folders without viewers and denies of their own, for trees that are deeper than Remit takes.
 * Whoever reads an item below is the same. What is folded away cannot be lent, or marked sensitive, by
 * itself; and a folder that gets permissions of its own becomes another parent of all that is in it. A folder
 * stays where its parent is filed in another collection, and where it lies in itself.
 */
export function foldPlain({ folders, zones = [] }: Pick<Directory, 'folders' | 'zones'>): Folded {
  const byPlace = new Map(folders.map((folder) => [`folder:${folder.id}`, folder]))
  const homes = new Map<string, string>([
    ...folders.map(({ id, collection }) => [`folder:${id}`, collection] as const),
    ...zones.map(({ id, collection }) => [`zone:${id}`, collection] as const),
  ])
  const homeOf = (place: string): string | undefined =>
    homes.get(place) ?? (place.startsWith('collection:') ? place.slice('collection:'.length) : undefined)
  const isPlain = ({ viewers, blocked = [], parents, collection }: SourceFolder): boolean =>
    viewers.length === 0 && blocked.length === 0 && parents.every((parent) => homeOf(parent) === collection)
  const folded = new Map<string, readonly string[]>()

  // By a stack of its own: how deep a tree is its source says.
  function parentsOf(start: string): readonly string[] {
    const open = new Set<string>()
    const left = [start]
    for (let place = left.at(-1); place !== undefined; place = left.at(-1)) {
      const folder = byPlace.get(place)
      const waiting = (folder?.parents ?? []).filter((parent) => !folded.has(parent))
      if (folder === undefined || !isPlain(folder) || waiting.some((parent) => open.has(parent)))
        folded.set(place, [place])
      else if (waiting.length > 0) {
        open.add(place)
        left.push(...waiting)
        continue
      } else folded.set(place, [...new Set(folder.parents.flatMap((parent) => folded.get(parent) ?? []))])
      open.delete(place)
      left.pop()
    }
    return folded.get(start) ?? [start]
  }

  const kept = folders.filter((folder) => parentsOf(`folder:${folder.id}`)[0] === `folder:${folder.id}`)
  return {
    parentsOf,
    folders: kept.map((folder) => ({
      ...folder,
      parents: [...new Set(folder.parents.flatMap(parentsOf))],
    })),
  }
}
