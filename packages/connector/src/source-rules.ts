import { People } from './people.ts'
import { Places } from './places.ts'
import type { Change, ChangePage, Directory, ItemChange, LoadedItem, Source } from './source.ts'

/** A source with a world behind it that a rule can change. */
export interface SourceWorld {
  readonly source: Source
  /** Makes an item of this name, or gives it another content. Gives its id. */
  put(name: string, content: string): Promise<string>
  remove(name: string): Promise<void>
  /** Makes an item that is there and cannot be brought. */
  spoil(name: string): Promise<void>
}

/** A promise of every source, and what tries it. */
export interface SourceRule {
  readonly title: string
  /** @throws where the source does not keep it. The world is empty at first. */
  check(world: SourceWorld): Promise<void>
}

/**
 * What `syncOnce` rests on. Run each against your source, a new world for each, in whatever framework:
 * `for (const { title, check } of sourceRules) test(title, async () => check(await openWorld()))`.
 */
export const sourceRules: readonly SourceRule[] = [
  {
    title: 'a source tells everything that is there, and ends with its end mark',
    async check(world) {
      const empty = await read(world.source)
      assert(empty.changes.length === 0, 'An empty source tells something.')
      const ids = [await world.put('a', '1'), await world.put('b', '1')]
      const { changes } = await read(world.source)
      assertSame(itemsIn(changes), ids, 'The items that it tells are not those that are there.')
    },
  },
  {
    title: 'a source tells the same changes for the same cursor',
    async check(world) {
      await world.put('a', '1')
      const { cursor } = await read(world.source)
      await world.put('b', '1')
      await world.remove('a')
      const [firstRead, second] = [await read(world.source, cursor), await read(world.source, cursor)]
      assertSame(
        firstRead.changes.map(outline),
        second.changes.map(outline),
        'The second reading is another one.',
      )
    },
  },
  {
    title: 'a source tells a change again until it is asked from a later cursor, and then no more',
    async check(world) {
      const a = await world.put('a', '1')
      const b = await world.put('b', '1')
      const { cursor } = await read(world.source)
      await world.put('a', '2')
      assertSame(itemsIn((await read(world.source, cursor)).changes), [a], 'A change is not told.')
      await world.put('b', '2')
      const later = await read(world.source, cursor)
      assertSame(
        itemsIn(later.changes),
        [a, b],
        'A change that was told and not acknowledged is not told again.',
      )
      assertSame(
        itemsIn((await read(world.source, later.cursor)).changes),
        [],
        'An acknowledged change is told.',
      )
    },
  },
  {
    title: 'a source tells a deletion until it is acknowledged',
    async check(world) {
      const a = await world.put('a', '1')
      await world.put('b', '1')
      const { cursor } = await read(world.source)
      await world.remove('a')
      for (const _ of [1, 2]) {
        const { changes } = await read(world.source, cursor)
        assertSame(changes.map(outline), [`deleted ${a}`], 'A deletion is not told.')
      }
      const now = await world.source.item(a)
      assert(now.kind === 'deleted', 'An item that is gone is still given by its id.')
    },
  },
  {
    title: 'a source says of every item who may read it, listed and loaded',
    async check(world) {
      await world.put('a', '1')
      await world.put('b', '1')
      for (const change of (await read(world.source)).changes.filter((change) => change.kind === 'item'))
        for (const access of [change.access, (await load(change)).access])
          assert(isAccess(access), `Who may read ${change.id} is not said.`)
    },
  },
  {
    title:
      'a source names as parents only what its directory holds, at most 20 folders deep and with at most 3 gates',
    async check(world) {
      await world.put('a', '1')
      const directory = await world.source.directory?.()
      if (directory === undefined) return
      const placesOf = { folders: directory.folders, zones: directory.zones ?? [] }
      // What is denied to somebody who is nobody yet comes back once they are: it is no mistake of the
      // source.
      const places = new Places(withoutDenies(placesOf), new People(directory))
      const known = new Set([
        ...placesOf.folders.map(({ id }) => `folder:${id}`),
        ...placesOf.zones.map(({ id }) => `zone:${id}`),
      ])
      const items = (await read(world.source)).changes.filter((change) => change.kind === 'item')
      for (const { id, access } of items) {
        const parents = [...places.above(access.parents ?? [])]
        const unknown = parents.find((parent) => !parent.startsWith('collection:') && !known.has(parent))
        assert(unknown === undefined, `${id} lies in ${unknown}, which the directory does not hold.`)
        assert(places.problemOf(parents) === undefined, `${id}: ${places.problemOf(parents)}`)
      }
    },
  },
  {
    title: 'a source gives another version with another content, and loads the version that it told',
    async check(world) {
      const id = await world.put('a', '1')
      const itemBefore = await itemOf(world.source, id)
      await world.put('a', '2')
      const itemAfter = await itemOf(world.source, id)
      assert(itemBefore.version !== itemAfter.version, 'Another content has the same version.')
      const loaded = await load(itemAfter)
      assert(loaded.version === itemAfter.version, 'What is loaded has another version than what was told.')
      const [onlyChange] = (await read(world.source)).changes
      assertSame(
        onlyChange && [outline(onlyChange)],
        [outline(itemAfter)],
        'By its id an item is another one than in the changes.',
      )
    },
  },
  {
    title: 'a source names a broken item with its reason, and tells the others all the same',
    async check(world) {
      const a = await world.put('a', '1')
      await world.spoil('broken')
      const z = await world.put('z', '1')
      const readings = await read(world.source)
      const outcomes = await Promise.all(readings.changes.map(outcomeOf))
      const broken = outcomes.filter((outcome) => outcome.problem !== undefined)
      assert(broken.length === 1 && broken[0]?.problem !== '', 'The broken item is not named with a reason.')
      assertSame(
        outcomes.flatMap(({ problem, id }) => (problem === undefined && id !== undefined ? [id] : [])),
        [a, z],
        'The items beside a broken one are not told.',
      )
    },
  },
  {
    title: 'a source tells what became of a broken item once it is whole, and once it is gone',
    async check(world) {
      await world.spoil('broken')
      const { cursor } = await read(world.source)
      const id = await world.put('broken', '1')
      const mended = await read(world.source, cursor)
      assertSame(itemsIn(mended.changes), [id], 'An item that is whole again is not told.')
      await world.remove('broken')
      const readAfterRemoval = await read(world.source, mended.cursor)
      assertSame(readAfterRemoval.changes.map(outline), [`deleted ${id}`], 'Its deletion is not told.')
    },
  },
  {
    title:
      'a source goes on from the cursor of each page of a reading of everything, and tells what vanished meanwhile',
    async check(world) {
      const ids: string[] = []
      for (let index = 0; index < manyItems; index += 1) ids.push(await world.put(`many-${index}`, '1'))
      const pages: ChangePage[] = []
      for await (const page of world.source.changes(undefined)) pages.push(page)
      const [firstPage] = pages
      assert(firstPage !== undefined, 'A reading has no page.')
      if (firstPage.isLast) return
      const gone = itemsIn(firstPage.changes).at(0)
      const index = ids.findIndex((id) => id === gone)
      await world.remove(`many-${index}`)
      const rest = await read(world.source, firstPage.cursor)
      const later = await read(world.source, rest.cursor)
      assertSame(
        [...new Set([firstPage, rest].flatMap(({ changes }) => itemsIn(changes)))],
        ids,
        'The rest of the items is not told from there.',
      )
      const changes = [...rest.changes, ...later.changes]
      assert(
        changes.some(({ kind, id }) => kind === 'deleted' && id === gone),
        'What vanished from an earlier page is not told.',
      )
    },
  },
]

// More than fit a page of `changesByListing`.
const manyItems = 120

interface Reading {
  readonly changes: readonly Change[]
  readonly cursor: string
}

/** All pages from a cursor. Every page but the last one has to be without the end mark. */
async function read(source: Source, cursor?: string): Promise<Reading> {
  const pages: ChangePage[] = []
  for await (const page of source.changes(cursor)) pages.push(page)
  const lastPage = pages.at(-1)
  assert(lastPage !== undefined, 'A reading has no page.')
  assert(
    lastPage.isLast && pages.filter(({ isLast }) => isLast).length === 1,
    'Not the last page alone is marked.',
  )
  return { changes: pages.flatMap(({ changes }) => changes), cursor: lastPage.cursor }
}

type Tree = Required<Pick<Directory, 'folders' | 'zones'>>
const withoutDenies = ({ folders, zones }: Tree): Tree => ({
  folders: folders.map((folder) => ({ ...folder, blocked: [] })),
  zones: zones.map((zone) => ({ ...zone, blocked: [] })),
})

const itemsIn = (changes: readonly Change[]): readonly string[] =>
  changes.flatMap((change) => (change.kind === 'item' ? [change.id] : []))

const outline = (change: Change): string =>
  change.kind === 'item'
    ? `item ${change.id} ${change.version} ${JSON.stringify(change.access)}`
    : `${change.kind} ${change.id ?? ('name' in change ? change.name : '')}`

const load = async ({ version, content, access }: ItemChange): Promise<LoadedItem> =>
  typeof content === 'function' ? content() : { version, content, access }

async function itemOf(source: Source, id: string): Promise<ItemChange> {
  const loaded = await source.item(id)
  assert(loaded.kind === 'item', `${id} is there, and is not given by its id.`)
  return loaded
}

/** A problem where it is broken, or cannot be loaded. */
async function outcomeOf(change: Change): Promise<{ readonly id?: string; readonly problem?: string }> {
  if (change.kind === 'broken') return { problem: change.problem }
  if (change.kind === 'deleted') return {}
  try {
    await load(change)
    return { id: change.id }
  } catch (error) {
    return { id: change.id, problem: error instanceof Error ? error.message : String(error) }
  }
}

const isAccess = (access: unknown): boolean => typeof access === 'object' && access !== null

function assert(holds: boolean, problem: string): asserts holds {
  if (!holds) throw new Error(problem)
}

function assertSame(
  actual: readonly string[] | undefined,
  expected: readonly string[],
  problem: string,
): void {
  const [found, expectedText] = [[...(actual ?? [])].sort(), [...expected].sort()].map((list) =>
    list.join(', '),
  )
  assert(found === expectedText, `${problem} Expected: ${expectedText || 'none'}. Found: ${found || 'none'}.`)
}
