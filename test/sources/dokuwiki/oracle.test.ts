import { describe, expect, test } from 'vitest'
import { createRandom } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import { createSourceFetch } from '../../../src/sources/fetch.ts'
import { createDokuwikiSource } from '../../../src/sources/kinds/dokuwiki/dokuwiki-source.ts'
import { createWiki } from '../../../src/sources/kinds/dokuwiki/wiki.ts'
import { openIngestWorld } from '../../ingest/world.ts'
import { needsOpenfga, needsPostgres } from '../../support/native.ts'
import { openDriver } from '../driven.ts'
import { needsDokuwiki } from './server.ts'
import { openWikiWorld } from './world.ts'

/** `npm run full` takes 20. */
const steps = Number(process.env['ORACLE_STEPS'] || 12)
/** By hand more: `DOKUWIKI_WORLDS=15` is 300 steps. */
const worlds = Number(process.env['DOKUWIKI_WORLDS'] || 1)
const backend = { database: 'postgres', openfga: 'server' } as const
const needed = [needsDokuwiki, needsPostgres, needsOpenfga].find(({ skip }) => skip) ?? {}

describe('a DokuWiki under a random driver', needed, () => {
  test.each(Array.from({ length: worlds }, (_, index) => seed + index))(
    'lets everybody find what the wiki lets them read, and never more than it ever did (FUZZ_SEED=%i)',
    { timeout: 60_000 + steps * 30_000 },
    async (worldSeed) => {
      const random = createRandom(worldSeed)
      await using world = await openWikiWorld({ pages: 14 + random.below(10) }, random)
      await using remit = await openIngestWorld(backend)
      const { server, settings: people } = world
      let throttled = 0
      const driver = openDriver({
        world,
        remit,
        random,
        prefix: 'wiki/',
        open(between) {
          const { fetch } = createSourceFetch({
            async outbound(url, { method, headers, body }) {
              const path = url.slice(server.url.length)
              await between('before a request')
              if (random.chance(0.05)) {
                throttled += 1
                const seconds = random.pick(['1', '2000'])
                return {
                  status: 429,
                  headers: new Headers({ 'retry-after': seconds }),
                  body: new Uint8Array(),
                }
              }
              const answer = await server.fetch(path, {
                ...(method !== undefined && { method }),
                ...(headers !== undefined && { headers }),
                ...(body !== undefined && { body: String(body) }),
              })
              await between('after a request')
              return answer
            },
            origin: server.url,
            perMinute: 600_000,
            now: Date.now,
            sleep: async () => undefined,
            signal: new AbortController().signal,
          })
          return createDokuwikiSource(
            { url: server.url, collection: 'closed', prefix: 'wiki/', people, isPublic: false },
            createWiki({ path: '', secret: server.secret, fetch }),
          )
        },
      })
      for (let step = 0; step < steps; step += 1) await driver.step(step)
      const seen = { ...driver.seen, throttled }
      console.info(`FUZZ_SEED=${worldSeed}`, seen, `in force after ${driver.lagP99()} ms (p99)`)
      // The worlds hold what the promise is about.
      for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0)
    },
  )
})
