import { isPlace, notAnId } from './ids.ts'
import type { People } from './people.ts'
import {
  type Directory,
  depthMax,
  gatesMax,
  type SourceFolder,
  type SourceSubject,
  type SourceZone,
} from './source.ts'

type Place =
  | { readonly kind: 'folder'; readonly folder: SourceFolder }
  | { readonly kind: 'zone'; readonly zone: SourceZone }

/**
 * The folders and zones of a source: what Remit can say of them exactly, and what is closed since it cannot.
 * What is below a closed one is hidden.
 */
export class Places {
  readonly #places = new Map<string, Place>()
  readonly #people: People
  readonly #closed = new Map<string, string>()
  readonly #depths: ReadonlyMap<string, number>

  constructor({ folders, zones = [] }: Pick<Directory, 'folders' | 'zones'>, people: People) {
    this.#people = people
    for (const folder of folders) this.#places.set(`folder:${folder.id}`, { kind: 'folder', folder })
    for (const zone of zones) this.#places.set(`zone:${zone.id}`, { kind: 'zone', zone })
    this.#depths = depthsOf(folders)
    for (const [name, place] of this.#places) {
      const problem = this.#problemIn(name, place)
      if (problem !== undefined) this.close(name, problem)
    }
  }

  /** All that are closed by themselves, with why. */
  get closed(): ReadonlyMap<string, string> {
    return this.#closed
  }

  /** It is not in Remit as the source has it. The first reason counts. */
  close(place: string, problem: string): void {
    if (!this.#closed.has(place)) this.#closed.set(place, problem)
  }

  /** Why what has these parents is hidden. */
  problemOf(parents: readonly string[] = []): string | undefined {
    for (const place of this.above(parents)) {
      const problem = this.#closed.get(place)
      if (problem !== undefined) return `${place}: ${problem}`
    }
    return undefined
  }

  /** These places and all above them. */
  above(parents: readonly string[]): ReadonlySet<string> {
    const found = new Set(parents)
    for (const name of found) {
      const place = this.#places.get(name)
      for (const parent of place?.kind === 'folder' ? place.folder.parents : []) found.add(parent)
    }
    return found
  }

  /** All tuples that are to stand on them. A closed one lets nobody read. */
  *tuples(): Generator<string> {
    for (const [name, place] of this.#places) {
      const filed = filedIn(place)
      if (!isPlace(name) || !isPlace(filed)) continue
      yield `${filed} filed_in ${name}`
      // Of a list that cannot be said whole, what can be said.
      for (const named of deniedIn(place)) {
        const denied = this.#people.deny([named])
        if (denied.ok) for (const subject of denied.value) yield `${subject} blocked ${name}`
      }
      const lists: readonly Listed[] =
        place.kind === 'zone' ? listsOf(place.zone) : [{ relation: 'viewer', subjects: place.folder.viewers }]
      if (place.kind === 'folder' && this.#depths.get(name) !== Infinity)
        for (const parent of place.folder.parents) if (isPlace(parent)) yield `${parent} parent ${name}`
      if (this.#closed.has(name)) continue
      for (const { relation, subjects } of lists) {
        const reading = this.#people.let(subjects)
        if (reading.ok) for (const subject of reading.value) yield `${subject} ${relation} ${name}`
      }
    }
  }

  /** Whom any of them denies. */
  denied(): readonly string[] {
    return [...this.#places.values()].flatMap(deniedIn).filter((named) => typeof named === 'string')
  }

  /** Those that let read by one of these groups. */
  lettingBy(groups: ReadonlySet<string>): readonly string[] {
    return this.#naming(groups, (place) => readingIn(place).flat())
  }

  /** Those that deny by one of these groups. */
  denyingBy(groups: ReadonlySet<string>): readonly string[] {
    return this.#naming(groups, deniedIn)
  }

  #naming(
    groups: ReadonlySet<string>,
    listOf: (place: Place) => readonly SourceSubject[],
  ): readonly string[] {
    return [...this.#places].flatMap(([name, place]) => {
      const names = listOf(place).filter((named) => typeof named === 'string')
      return this.#people.groupsIn(names).some((group) => groups.has(group)) ? [name] : []
    })
  }

  /** Closes what lets read, or denies, by a group that is not up to date. */
  closeInexact(): void {
    for (const [name, place] of this.#places) {
      const problem = this.#problemOfLists(place)
      if (problem !== undefined) this.close(name, problem)
    }
  }

  #problemIn(name: string, place: Place): string | undefined {
    const names = [name, filedIn(place), ...(place.kind === 'folder' ? place.folder.parents : [])]
    const bad = names.find((named) => !isPlace(named))
    if (bad !== undefined) return notAnId(bad)
    const depth = this.#depths.get(name) ?? 0
    if (depth === Infinity) return 'It lies in itself.'
    if (depth > depthMax) return `It lies deeper than ${depthMax} folders.`
    if (place.kind === 'zone' && place.zone.gates.length > gatesMax)
      return `It has ${place.zone.gates.length} gates, more than ${gatesMax}.`
    return this.#problemOfLists(place)
  }

  #problemOfLists(place: Place): string | undefined {
    const said = [
      this.#people.deny(deniedIn(place)),
      ...readingIn(place).map((list) => this.#people.let(list)),
    ]
    return said.flatMap((list) => (list.ok ? [] : [list.problem]))[0]
  }
}

const filedIn = (place: Place): string =>
  `collection:${place.kind === 'folder' ? place.folder.collection : place.zone.collection}`

const deniedIn = (place: Place): readonly SourceSubject[] =>
  (place.kind === 'folder' ? place.folder.blocked : place.zone.blocked) ?? []

const readingIn = (place: Place): readonly (readonly SourceSubject[])[] =>
  place.kind === 'folder' ? [place.folder.viewers] : [place.zone.audience, ...place.zone.gates]

interface Listed {
  readonly relation: string
  readonly subjects: SourceFolder['viewers']
}

// In one order, whichever the source gives them in: else a gate would change places for nothing.
function listsOf({ audience, gates }: SourceZone): readonly Listed[] {
  const sorted = gates
    .map((gate) => ({ gate, text: JSON.stringify(gate) }))
    .sort((a, b) => (a.text < b.text ? -1 : 1))
  return [
    { relation: 'audience', subjects: audience },
    ...Array.from({ length: gatesMax }, (_, index) => ({
      relation: `gate_${index + 1}`,
      // One that is not needed lets everybody through.
      subjects: sorted[index]?.gate ?? ['user:*'],
    })),
  ]
}

/** How many folders each is from the top, itself included. Infinity: it lies in itself. */
function depthsOf(folders: readonly SourceFolder[]): ReadonlyMap<string, number> {
  const parents = new Map(folders.map((folder) => [`folder:${folder.id}`, folder.parents]))
  const depths = new Map<string, number>()
  for (const start of parents.keys()) {
    const open = new Set<string>()
    const left = [start]
    for (let place = left.at(-1); place !== undefined; place = left.at(-1)) {
      const above = (parents.get(place) ?? []).filter((parent) => parents.has(parent))
      const waiting = above.filter((parent) => !depths.has(parent))
      if (waiting.length > 0 && !waiting.some((parent) => open.has(parent) || parent === place)) {
        open.add(place)
        left.push(...waiting)
        continue
      }
      if (!depths.has(place))
        depths.set(
          place,
          waiting.length > 0
            ? Number.POSITIVE_INFINITY
            : 1 + Math.max(0, ...above.map((parent) => depths.get(parent) ?? 0)),
        )
      open.delete(place)
      left.pop()
    }
  }
  return depths
}

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
