import { describe, expect, test } from 'vitest'
import { createRandom, type Random } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import { createGuardedFetch } from '../../../src/outbound/guarded-fetch.ts'
import { createSourceFetch } from '../../../src/sources/fetch.ts'
import { redmineKind } from '../../../src/sources/kinds/redmine/kind.ts'
import { openIngestWorld } from '../../ingest/world.ts'
import { needsOpenfga, needsPostgres, needsRedmine } from '../../support/native.ts'
import { type DriverDeps, openDriver } from '../driven.ts'
import { openRedmineWorld, type RedmineWorld, subjectOf } from './world.ts'

/** `npm run full` takes 20. */
const steps = Number(process.env['ORACLE_STEPS'] || 12)
/** By hand more: `REDMINE_WORLDS=15` is 300 steps. */
const worlds = Number(process.env['REDMINE_WORLDS'] || 1)
const sizeOf = (random: Random) => ({
  people: 5 + random.below(3),
  groups: 2,
  roles: 3,
  projects: 3 + random.below(2),
  issues: 8 + random.below(5),
  pages: 4 + random.below(3),
})

const backend = { database: 'postgres', openfga: 'server' } as const
const needed = [needsRedmine, needsPostgres, needsOpenfga].find(({ skip }) => skip) ?? {}

// Each reading asks for rights, lists and texts, one request after the other.
const manyCalls = { killWithin: 60, change: 0.06, look: 0.01 }

describe('a Redmine under a random driver', needed, () => {
  test.each(Array.from({ length: worlds }, (_, index) => seed + index))(
    `lets everybody find what Redmine shows them, and never more than it ever did (FUZZ_SEED=%i)`,
    { timeout: 120_000 + steps * 30_000 },
    async (worldSeed) => {
      const random = createRandom(worldSeed)
      await using redmine = await openRedmineWorld(sizeOf(random), random)
      await using remit = await openIngestWorld(backend)
      const world = {
        people: redmine.people.map(({ login }) => ({ name: login })),
        change: redmine.change,
        readers: redmine.readers,
        textOf: (stored: string) => /text\d+/.exec(stored)?.[0],
      }
      let [asked, throttled] = [0, 0]
      const open = sourceOf(redmine, () => {
        const isThrottled = random.chance(0.02)
        if (isThrottled) throttled += 1
        return isThrottled
      })
      const driver = openDriver({
        world,
        remit,
        random,
        prefix: 'redmine/',
        open,
        pace: manyCalls,
        // Redmine does not tell of every role which trackers it is limited to: docs/sources-redmine.md.
        hidesMore: ({ name }) => /^roles? \d/.test(name ?? ''),
      })
      let step = 0
      // Of a few steps nearly each may have such a role: then it goes on, or nothing is compared.
      const isVain = () =>
        (driver.seen.compared === 0 || driver.seen.readable === 0 || driver.hiddenSteps() === step) &&
        step < 4 * steps
      for (; step < steps || isVain(); step += 1) {
        const expected = await driver.step(step)
        // What Redmine answers over HTTP to one of them is what its own code says.
        const { login } = random.pick(redmine.people)
        const texts = [...expected].flatMap(([text, names]) => (names.has(login) ? [text] : []))
        expect([...(await redmine.answers(login))].sort()).toEqual(texts.sort())
        asked += 1
      }
      const seen = { ...driver.seen, asked, throttled }
      console.info(
        `FUZZ_SEED=${worldSeed}`,
        seen,
        `in force after ${driver.lagP99()} ms (p99), ${driver.hiddenSteps()} of ${step} steps with a role that is not known`,
      )
      expect(driver.hiddenSteps()).toBeLessThan(step)
      // The worlds hold what the promise is about.
      for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0)
    },
  )
})

/** Opens a Redmine as a source, which answers 429 where it is throttled. */
const sourceOf =
  (redmine: RedmineWorld, isThrottled: () => boolean): DriverDeps['open'] =>
  (between) => {
    const { url } = redmine.server
    const guarded = createGuardedFetch({ lookup: async () => [], allowedOrigins: [url] })
    const { fetch } = createSourceFetch({
      origin: url,
      perMinute: 1_000_000,
      now: Date.now,
      sleep: async () => undefined,
      signal: new AbortController().signal,
      async outbound(link, request) {
        await between(`GET ${link.slice(url.length)}`)
        return isThrottled()
          ? { status: 429, headers: new Headers({ 'retry-after': '1' }), body: new Uint8Array() }
          : guarded(link, request)
      },
    })
    const people = redmine.people.map(({ id, login }) => ({ account: id, subject: subjectOf(login) }))
    return redmineKind.read({ url, people, non_member_role: redmine.nonMemberRole }).open({
      prefix: 'redmine/',
      collections: ['closed'],
      fetch,
      secret: redmine.key,
      titleOf: async () => undefined,
    })
  }
