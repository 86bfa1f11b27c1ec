import { expect, test } from 'vitest'
import { openSourceWorld } from './world.ts'

test('where a feed does not tell every change, only a reading of all of it confirms permissions', async () => {
  await using at = await openSourceWorld({ untold: ['that a page is unshared'] })
  at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
  await at.add({ crawl_seconds: 43_200 })
  await at.sync()
  expect(await at.finds('zeppelin')).toEqual(['wiki/plan'])
  at.wiki.unshareSilently('plan')
  await at.age(40_000)
  await at.world.database.query(`update sources set crawled_at = crawled_at - interval '40000 seconds'`)
  await at.sync()
  // The feed told nothing, and confirmed nothing.
  expect(await at.finds('zeppelin')).toEqual(['wiki/plan'])
  await at.age(40_000)
  await at.world.database.query(`update sources set crawled_at = crawled_at - interval '40000 seconds'`)
  await at.sync()
  expect(await at.finds('zeppelin')).toEqual([])
  expect(await at.shown()).toMatchObject({ source: { fresh: true, hidden: 0 } })

  expect(
    await at.call('dan', 'POST', '/sources', {
      ...{ id: 'slow', kind: 'wiki', settings: {}, collections: ['wiki-more'] },
      ...{ crawl_seconds: 90_000, permissions_max_age_seconds: 86_400 },
    }),
  ).toMatchObject({ status: 422, body: { field: 'crawl_seconds' } })
}, 120_000)
