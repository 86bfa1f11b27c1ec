import { type BrokenItem, type Change, type ChangePage, CursorExpired, type ItemChange } from './source.ts'

/** Everything that a source holds, complete: one that is cut short has to throw. */
export type Listing = (signal?: AbortSignal) => Promise<readonly (ItemChange | BrokenItem)[]>

// A cursor holds the versions of all items: few pages keep what is written of it small.
const pageSizeMin = 100
const pagesMax = 20

/**
 * Instead of the version of an item that is broken: it is told again until it is not, and its deletion is
 * told.
 */
const brokenVersion = ''

/**
 * `changes` for a source that can only list. The cursor holds the version of each item, so that what is other
 * and what is gone can be told.
 */
export async function* changesByListing(
  list: Listing,
  cursor: string | undefined,
  signal?: AbortSignal,
): AsyncGenerator<ChangePage> {
  const versions = versionsOf(cursor)
  const changes = difference(withoutClashes(await list(signal)), versions)
  const pageSize = Math.max(pageSizeMin, Math.ceil(changes.length / pagesMax))
  for (let offset = 0; offset === 0 || offset < changes.length; offset += pageSize) {
    const page = changes.slice(offset, offset + pageSize)
    for (const change of page) acknowledge(change, versions)
    yield {
      changes: page,
      cursor: JSON.stringify([...versions]),
      isLast: offset + pageSize >= changes.length,
    }
  }
}

/** `item` for such a source. Each call lists all of it. */
export async function itemByListing(list: Listing, id: string, signal?: AbortSignal): Promise<Change> {
  const [found] = await itemsByListing(list, [id], signal)
  return found ?? { kind: 'deleted', id }
}

/** `items` for such a source, all from one listing. */
export async function itemsByListing(
  list: Listing,
  ids: readonly string[],
  signal?: AbortSignal,
): Promise<readonly Change[]> {
  const changes = withoutClashes(await list(signal))
  const byId = new Map(changes.map((change) => [change.id, change]))
  const parts = changes.filter(isPart)
  return ids.map((id): Change => {
    const part = parts.find(({ covers }) => covers(id))
    return byId.get(id) ?? (part ? { ...part, id } : { kind: 'deleted', id })
  })
}

function versionsOf(cursor: string | undefined): Map<string, string> {
  if (cursor === undefined) return new Map()
  try {
    const entries: unknown = JSON.parse(cursor)
    if (Array.isArray(entries) && entries.every(isEntry)) return new Map(entries)
  } catch {
    // Told below, as one of another shape is.
  }
  throw new CursorExpired('The cursor is none of this source.')
}

const isEntry = (entry: unknown): entry is [string, string] =>
  Array.isArray(entry) && entry.length === 2 && entry.every((member) => typeof member === 'string')

/** Two items under one id would take turns: the first one has it, and the others are named. */
function withoutClashes(changes: readonly (ItemChange | BrokenItem)[]): readonly (ItemChange | BrokenItem)[] {
  const owners = new Map<string, string>()
  return changes.map((change) => {
    const { id } = change
    const name = change.name ?? id ?? ''
    const owner = id === undefined ? undefined : owners.get(id)
    if (owner !== undefined) return { kind: 'broken', name, problem: `its id (${id}) is that of ${owner}.` }
    if (id !== undefined) owners.set(id, name)
    return change
  })
}

/** Deletions come first: they take access away. */
function difference(
  changes: readonly (ItemChange | BrokenItem)[],
  versions: ReadonlyMap<string, string>,
): readonly Change[] {
  const ids = new Set(changes.map(({ id }) => id))
  const parts = changes.filter(isPart)
  const deleted = [...versions.keys()].filter((id) => !ids.has(id) && !parts.some(({ covers }) => covers(id)))
  return [
    ...deleted.map((id): Change => ({ kind: 'deleted', id })),
    ...changes.filter((change) => change.kind === 'broken' || versions.get(change.id) !== change.version),
  ]
}

function acknowledge(change: Change, versions: Map<string, string>): void {
  if (change.kind === 'deleted') versions.delete(change.id)
  else if (change.kind === 'item') versions.set(change.id, change.version)
  else if (change.id !== undefined) versions.set(change.id, brokenVersion)
  else if (isPart(change))
    for (const id of versions.keys()) if (change.covers(id)) versions.set(id, brokenVersion)
}

/** Whether it is a part of the source that could not be listed. */
const isPart = (change: Change): change is BrokenItem & Required<Pick<BrokenItem, 'covers'>> =>
  change.kind === 'broken' && change.covers !== undefined
