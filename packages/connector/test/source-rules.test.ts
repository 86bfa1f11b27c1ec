import { describe, expect, test } from 'vitest'
import { type Change, type Directory, type Source, sourceRules } from '../src/index.ts'
import { mapPages, memoryWorld } from './memory-source.ts'

describe('the rules of a source', () => {
  for (const { title, check } of sourceRules)
    test(`hold for a source in memory: ${title}`, async () => {
      await expect(check(memoryWorld())).resolves.toBeUndefined()
    })

  /** Which source breaks which rule. */
  const broken: readonly [string, (source: Source) => Source, string][] = [
    [
      'never says that it has told all',
      (source) => mapPages(source, (page) => ({ ...page, isLast: false })),
      'end mark',
    ],
    [
      'has no page where nothing changed',
      (source) => mapPages(source, (page) => (page.changes.length > 0 ? page : undefined)),
      'end mark',
    ],
    ['tells a change once, whatever the cursor', tellingOnce, 'the same changes for the same cursor'],
    ['forgets that a change was not acknowledged', tellingOnce, 'until it is asked from a later cursor'],
    [
      'tells everything each time',
      (source) => ({ ...source, changes: () => source.changes(undefined) }),
      'until it is asked from a later cursor',
    ],
    ['tells no deletion', (source) => withoutKind(source, 'deleted'), 'a deletion until it is acknowledged'],
    [
      'leaves out who may read an item',
      (source) => mapItems(source, ({ access: _, ...item }) => item as Change),
      'who may read it',
    ],
    [
      'gives one version for all contents',
      (source) => mapItems(source, (item) => ({ ...item, version: '1' })),
      'another version',
    ],
    ['passes a broken item over', (source) => withoutKind(source, 'broken'), 'names a broken item'],
    [
      'ends at a broken item',
      (source) =>
        mapPages(source, (page) => {
          const at = page.changes.findIndex(({ kind }) => kind === 'broken')
          return at < 0 ? page : { ...page, changes: page.changes.slice(0, at + 1) }
        }),
      'names a broken item',
    ],
    ['forgets an item that was broken', (source) => onlyFirst(source), 'what became of a broken item'],
    [
      'names a folder that its directory lacks',
      (source) => below(source, 'folder:none', {}),
      'names as parents',
    ],
    ['lies too deep', (source) => below(source, 'folder:20', { folders: chain }), 'names as parents'],
    [
      'needs more gates than a zone has',
      (source) => {
        const zone = { id: 'z', collection: 'docs', audience: [], gates: [[], [], [], []] }
        return below(source, 'zone:z', { zones: [zone] })
      },
      'names as parents',
    ],
  ]
  for (const [what, breakIt, rule] of broken)
    test(`catch a source that ${what}`, async () => {
      const found = sourceRules.find(({ title }) => title.includes(rule))
      expect(found).toBeDefined()
      await expect(found?.check(memoryWorld(breakIt))).rejects.toThrow(/\.$/)
    })
})

const chain = Array.from({ length: 21 }, (_, nth) => ({
  id: `${nth}`,
  collection: 'docs',
  parents: nth === 0 ? [] : [`folder:${nth - 1}`],
  viewers: [],
}))

/** Each item of the source in this folder or zone. */
const below = (source: Source, parent: string, directory: Partial<Directory>): Source => ({
  ...mapItems(source, (item) => ({ ...item, access: { parents: [parent] } })),
  directory: async () => ({ accounts: [], groups: [], folders: [], ...directory }),
})

test('the rules of a source let it lie 20 folders deep', async () => {
  const source = (world: Source) => below(world, 'folder:19', { folders: chain })
  const rule = sourceRules.find(({ title }) => title.includes('names as parents'))
  await expect(rule?.check(memoryWorld(source))).resolves.toBeUndefined()
})

const withoutKind = (source: Source, kind: Change['kind']): Source =>
  mapPages(source, (page) => ({ ...page, changes: page.changes.filter((change) => change.kind !== kind) }))

const mapItems = (source: Source, map: (item: Extract<Change, { kind: 'item' }>) => Change): Source => ({
  ...mapPages(source, (page) => ({
    ...page,
    changes: page.changes.map((change) => (change.kind === 'item' ? map(change) : change)),
  })),
  async item(id, signal) {
    const item = await source.item(id, signal)
    return item.kind === 'item' ? map(item) : item
  },
})

/** What it has told from one cursor it does not tell from that one again. */
function tellingOnce(source: Source): Source {
  const told = new Set<string>()
  return mapPages(source, (page, cursor) => {
    if (cursor === undefined) return page
    const changes = page.changes.filter((change) => !told.has(JSON.stringify(change)))
    for (const change of changes) told.add(JSON.stringify(change))
    return { ...page, changes }
  })
}

/** It tells everything once, and nothing afterwards. */
const onlyFirst = (source: Source): Source =>
  mapPages(source, (page, cursor) => (cursor === undefined ? page : { ...page, changes: [] }))
