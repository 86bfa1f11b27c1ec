import { describe, expect, test } from 'vitest'
import { createRandom, type Random } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import { openIngestWorld } from '../../ingest/world.ts'
import { needsOpenfga, needsPostgres } from '../../support/native.ts'
import { openDriver } from '../driven.ts'
import { needsSamba } from './samba.ts'
import { openShareWorld } from './tree.ts'

/** `npm run full` takes 20. */
const steps = Number(process.env['ORACLE_STEPS'] || 12)
/** By hand more: `SMB_WORLDS=15` is 300 steps. */
const worlds = Number(process.env['SMB_WORLDS'] || 1)
const sizeOf = (random: Random) => ({ people: 3, groups: 2, files: 4 + random.below(2) })

const needed = [needsSamba, needsPostgres, needsOpenfga].find(({ skip }) => skip) ?? {}

describe('a share under a random driver', needed, () => {
  test.each(Array.from({ length: worlds }, (_, index) => seed + index))(
    `lets everybody find what its server lets them read, and never more than it ever did (FUZZ_SEED=%i)`,
    { timeout: 60_000 + steps * 60_000 },
    async (worldSeed) => {
      // Where the share lets nobody read anything, as in one world of many, another one is driven as well.
      const isRead: boolean[] = []
      for (let drawn = worldSeed; !isRead.includes(true) && isRead.length < 4; drawn += 1_000)
        isRead.push(await drive(drawn))
      expect(isRead).toContain(true)
    },
  )
})

/** Whether anybody was let read anything. */
async function drive(worldSeed: number): Promise<boolean> {
  const random = createRandom(worldSeed)
  await using share = await openShareWorld(sizeOf(random), random)
  await using remit = await openIngestWorld({ database: 'postgres', openfga: 'server' })
  let isChanged = false
  let compared = 0
  const world = {
    people: share.people.map((name) => ({ name })),
    change() {
      isChanged = true
      return share.change(random)
    },
    // At a comparison each person asks for everything: at every eighth by a smbclient of their own.
    readers() {
      const ask = isChanged ? 'changed' : compared % 8 === 0 ? 'smbclient' : 'all'
      compared += isChanged ? 0 : 1
      isChanged = false
      return share.readers(ask)
    },
  }
  const driver = openDriver({ world, remit, random, prefix: 'smb/', open: () => share.open() })
  for (let step = 0; step < steps; step += 1) await driver.step(step)
  console.info(`FUZZ_SEED=${worldSeed}`, driver.seen, `in force after ${driver.lagP99()} ms (p99)`)
  // The worlds hold what the promise is about.
  const { readable, ...seen } = driver.seen
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0)
  return readable > 0
}
