import { chmodSync } from 'node:fs'
import { memoryState, syncOnce } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { createRandom, type Random } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import { createFilesSource } from '../../../src/sources/kinds/files/files-source.ts'
import { openIngestWorld } from '../../ingest/world.ts'
import { needsOpenfga, needsPostgres } from '../../support/native.ts'
import { asText, interrupted, openDriver, readersIn } from '../driven.ts'
import { ingestWriter } from '../ingest-writer.ts'
import { needsRootAndAcls, openKernel } from './kernel.ts'
import { openTree, type TreeWorld } from './tree.ts'

/** `npm run full` takes 20. */
const steps = Number(process.env['ORACLE_STEPS'] || 12)
/** By hand more: `FILES_WORLDS=15` is 300 steps. */
const worlds = Number(process.env['FILES_WORLDS'] || 1)
const sizeOf = (random: Random) => ({
  people: 6 + random.below(5),
  groups: 3 + random.below(3),
  files: 18 + random.below(13),
})

const openSource = (tree: TreeWorld) =>
  createFilesSource(
    { root: tree.root, collection: 'closed', prefix: 'files/', people: tree.settings },
    { readAccounts: tree.readAccounts, titleOf: async () => undefined, now: Date.now },
  )

const backend = { database: 'postgres', openfga: 'server' } as const
const needed = [needsRootAndAcls, needsPostgres, needsOpenfga].find(({ skip }) => skip) ?? {}

describe('a tree of files under a random driver', needed, () => {
  test.each(Array.from({ length: worlds }, (_, index) => seed + index))(
    `lets everybody find what the kernel lets them read, and never more than it ever did (FUZZ_SEED=%i)`,
    { timeout: 60_000 + steps * 30_000 },
    async (worldSeed) => {
      const random = createRandom(worldSeed)
      await using kernel = openKernel()
      await using tree = openTree(sizeOf(random), random)
      await using remit = await openIngestWorld(backend)
      const world = {
        people: tree.people,
        change: async (chance: Random) => tree.change(chance),
        readers: () => tree.readers(kernel),
      }
      const driver = openDriver({ world, remit, random, prefix: 'files/', open: () => openSource(tree) })
      for (let step = 0; step < steps; step += 1) await driver.step(step)
      console.info(`FUZZ_SEED=${worldSeed}`, driver.seen, `in force after ${driver.lagP99()} ms (p99)`)
      // The worlds hold what the promise is about.
      for (const count of Object.values(driver.seen)) expect(count).toBeGreaterThan(0)
    },
  )
})

describe('a change of permissions', needed, () => {
  test('of a folder high up is in force for all below, and reads, brings and embeds none of it anew', {
    timeout: 300_000,
  }, async () => {
    await using kernel = openKernel()
    await using tree = openTree({ people: 6, groups: 3, files: 30 }, createRandom(seed))
    await using remit = await openIngestWorld(backend)
    const source = openSource(tree)
    const state = memoryState()
    const calls: string[] = []
    const writer = interrupted(ingestWriter(remit, 'files/'), async (call) => void calls.push(call))
    await syncOnce(source, writer, state)
    // What changed within a tick of the clock is told twice.
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    await syncOnce(source, writer, state)
    let prepared = 0
    remit.onPrepared = () => {
      prepared += 1
    }
    calls.length = 0
    for (const mode of [0o700, 0o755]) {
      chmodSync(tree.root, mode)
      const { failed, reapplied } = await syncOnce(source, writer, state)
      expect({ failed: failed.filter(({ id }) => id !== undefined), reapplied }).toEqual({
        failed: [],
        reapplied: 0,
      })
      expect(asText(await readersIn(remit, tree))).toEqual(asText(await tree.readers(kernel)))
    }
    expect(asText(await readersIn(remit, tree)).length).toBeGreaterThan(0)
    expect(new Set(calls)).toEqual(new Set(['before changeAccess', 'after changeAccess']))
    expect(prepared).toBe(0)
  })
})
