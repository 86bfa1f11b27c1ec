import { describe, expect, test } from 'vitest'
import { createRandom } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import { createFilesSource } from '../../../src/sources/kinds/files/files-source.ts'
import { readersOf } from '../readers.ts'
import { needsRootAndAcls, openKernel } from './kernel.ts'
import { openTree, subjectOf, type TreeWorld } from './tree.ts'

const worlds = Number(process.env['FUZZ_WORLDS'] || 4)

/** The text of each file → who reads it by what the source tells. */
async function told(world: TreeWorld, source: ReturnType<typeof createFilesSource>) {
  const directory = await source.directory?.()
  if (directory === undefined) throw new Error('It tells no directory.')
  const zones = new Map(directory.zones?.map((zone) => [`zone:${zone.id}`, zone]))
  const found = new Map<string, ReadonlySet<string>>()
  for await (const { changes } of source.changes(undefined))
    for (const change of changes) {
      if (change.kind !== 'item') continue
      const zone = zones.get(change.access.parents?.[0] ?? '')
      if (zone === undefined) throw new Error(`${change.name} has no zone.`)
      const text = world.textAt(change.name ?? '')
      found.set(text, new Set([...(found.get(text) ?? []), ...readersOf(zone, directory)]))
    }
  return { found, directory }
}

describe('who may read a file of a tree', needsRootAndAcls, () => {
  test(`is told exactly as the kernel answers, whatever the ACLs, owners and groups are (FUZZ_SEED=${seed})`, {
    timeout: 60_000 + worlds * 20_000,
  }, async () => {
    await using kernel = openKernel()
    const seen = { pairs: 0, readable: 0, gates: 0, denied: 0, only: 0, all: 0 }
    for (let index = 0; index < worlds; index += 1) {
      const random = createRandom(seed + index)
      await using world = openTree({ people: 6, groups: 4, files: 24 }, random)
      const source = createFilesSource(
        { root: world.root, collection: 'files', prefix: 'files/', people: world.settings },
        { readAccounts: world.readAccounts, titleOf: async () => undefined, now: Date.now },
      )
      const done: string[] = []
      for (let round = 0; round < 12; round += 1) {
        for (let step = 0; step < 6 && round > 0; step += 1) done.push(world.change(random))
        const { found, directory } = await told(world, source)
        const expected = await world.readers(kernel)
        const asText = (map: ReadonlyMap<string, ReadonlySet<string>>) =>
          [...map].map(([text, readers]) => `${text}: ${[...readers].sort()}`).sort()
        expect(asText(found), done.slice(-12).join('\n')).toEqual(
          asText(
            new Map(
              [...expected].map(([text, readers]) => [
                text,
                new Set([...readers].map((name) => subjectOf({ name }))),
              ]),
            ),
          ),
        )
        for (const readers of expected.values()) {
          seen.pairs += world.people.length
          seen.readable += readers.size
        }
        seen.gates += directory.zones?.filter(({ gates }) => gates.length > 1).length ?? 0
        seen.denied += directory.zones?.filter(({ blocked = [] }) => blocked.length > 0).length ?? 0
        seen.only += directory.groups.filter(({ id }) => id.includes('/only/')).length
        seen.all += directory.groups.filter(({ id }) => id.includes('/all/')).length
      }
    }
    // The worlds hold what the promise is about.
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0)
  })
})
