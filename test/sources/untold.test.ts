import { expect, test } from 'vitest'
import { createSourceState } from '../../src/sources/state.ts'
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

test('an access that comes to something else without the source’s word is no younger for it', async () => {
  await using at = await openSourceWorld()
  at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne'] })
  await at.add()
  await at.sync()
  await at.age(1_000)
  const { database } = at.world
  const stored = () => database.query('select settled, confirmed_at from source_items')
  const before = await stored()
  const state = createSourceState({
    ...{ id: 'wiki', beganAt: new Date(), crawls: false },
    transaction: (work) => database.transaction(work),
  })
  await state.apply({ begun: ['wiki/plan'] })
  await state.apply({ resettled: ['wiki/plan'] })
  expect(await stored()).toEqual(before)
  await state.apply({ settled: ['wiki/plan'] })
  expect(await stored()).not.toEqual(before)
})
