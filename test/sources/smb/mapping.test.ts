import { describe, expect, test } from 'vitest'
import { createRandom } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import { readersOf } from '../readers.ts'
import { needsSamba } from './samba.ts'
import { openShareWorld, type ShareWorld, subjectOf } from './tree.ts'

const worlds = Number(process.env['SMB_MAPPING_WORLDS'] || 1)
const rounds = 3

/** The text of each file → who reads it by what the source tells. */
async function told(world: ShareWorld, source: ReturnType<ShareWorld['open']>) {
  const directory = await source.directory()
  const zones = new Map(directory.zones?.map((zone) => [`zone:${zone.id}`, zone]))
  const found = new Map<string, ReadonlySet<string>>()
  for await (const { changes } of source.changes(undefined))
    for (const change of changes) {
      if (change.kind !== 'item') continue
      const zone = zones.get(change.access.parents?.[0] ?? '')
      if (zone === undefined) throw new Error(`${change.name} has no zone.`)
      found.set(world.textAt(change.name ?? ''), readersOf(zone, directory))
    }
  return { found, directory }
}

describe('who may read a file of a share', needsSamba, () => {
  test(`is told exactly as its server answers, whatever the ACLs, owners and groups are (FUZZ_SEED=${seed})`, {
    timeout: 60_000 + (worlds + 4) * 120_000,
  }, async () => {
    const seen = { pairs: 0, readable: 0, denied: 0, only: 0, gates: 0 }
    const isUnseen = () => Object.entries(seen).some(([what, count]) => what !== 'gates' && count === 0)
    // One world may be without a denial: then another shows it.
    for (let index = 0; index < worlds || (isUnseen() && index < worlds + 4); index += 1) {
      const random = createRandom(seed + index)
      await using world = await openShareWorld({ people: 4, groups: 3, files: 12 }, random)
      const source = world.open()
      const done: string[] = []
      for (let round = 0; round < rounds; round += 1) {
        for (let step = 0; step < 8 && round > 0; step += 1) done.push(await world.change(random))
        const { found, directory } = await told(world, source)
        const expected = await world.readers()
        const asText = (map: ReadonlyMap<string, ReadonlySet<string>>) =>
          [...map].map(([text, readers]) => `${text}: ${[...readers].sort()}`).sort()
        expect(asText(found), done.slice(-16).join('\n')).toEqual(
          asText(new Map([...expected].map(([text, names]) => [text, new Set([...names].map(subjectOf))]))),
        )
        for (const names of expected.values()) {
          seen.pairs += world.people.length
          seen.readable += names.size
        }
        seen.denied += directory.zones?.filter(({ blocked = [] }) => blocked.length > 0).length ?? 0
        seen.gates += directory.zones?.filter(({ gates }) => gates.length > 0).length ?? 0
        seen.only += directory.groups.filter(({ id }) => id.includes('/only/')).length
      }
    }
    console.info(seen)
    expect(isUnseen()).toBe(false)
  })
})
