import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { openSourceWorld, type SourceWorld } from './world.ts'

let at: SourceWorld
beforeAll(async () => {
  at = await openSourceWorld()
  await at.world.service.administrators.add('user:bob', ['security.read'])
})
beforeEach(async () => {
  await at.reset()
  at.wiki.put('plan', { text: 'Zeppelin.', readers: ['anne', 'bob'] })
  await at.add()
  await at.sync()
})
afterAll(() => at?.[Symbol.asyncDispose]())

const object = 'document:wiki/plan'
const ask = (path: string, body: object) =>
  vi.waitFor(
    async () => {
      const answer = await at.call('bob', 'POST', path, body)
      expect(answer).toMatchObject({ status: 200, body: { replica: { state: 'ready' } } })
      return answer.body
    },
    { timeout: 20_000, interval: 100 },
  )
const explain = () => ask('/explain', { user: 'user:anne', relation: 'can_read', object })
const whoCan = (relation = 'can_read') => ask('/who-can', { relation, object, limit: 1 })
const everybody = async () =>
  (await at.call('bob', 'POST', '/who-can', { relation: 'can_read', object })).body['subjects']

test('explain says that nobody reads a document whose source is too old, and since when; who-can lists nobody and says why', async () => {
  expect(await explain()).not.toHaveProperty('closed')
  expect(await whoCan()).toMatchObject({ limited_by: null, cursor: expect.any(String) })
  expect(await everybody()).toMatchObject([{ user: 'user:anne' }, { user: 'user:bob' }])

  await at.age(90_000)
  const [{ since } = { since: '' }] = await at.world.database.query<{ since: Date }>(
    'select least(groups_at, items_at) as since from sources',
  )
  const closed = `Nobody reads it: its source wiki has not been confirmed since ${new Date(since).toISOString()}.`
  expect(await explain()).toMatchObject({ decision: 'allowed', closed })
  expect(await whoCan()).toMatchObject({ subjects: [], cursor: null, complete: true, limited_by: closed })
  expect(await at.reads('wiki/plan')).toBe(404)
  // Who is named as a viewer is no question of who reads it.
  expect(await whoCan('viewer')).toMatchObject({ limited_by: null })

  await at.sync()
  expect(await explain()).not.toHaveProperty('closed')
  expect(await everybody()).toMatchObject([{ user: 'user:anne' }, { user: 'user:bob' }])
})

test('they say why an item is hidden, that a source is being removed, and that it is gone', async () => {
  at.wiki.remove('plan')
  await at.sync()
  const missing = 'Nobody reads it: it is hidden. The source does not have it any more.'
  expect(await explain()).toMatchObject({ closed: missing })
  expect(await whoCan()).toMatchObject({ subjects: [], limited_by: missing })
  await at.call('dan', 'POST', '/sources/wiki', { action: 'remove' })
  expect(await explain()).toMatchObject({ closed: 'Nobody reads it: its source wiki is being removed.' })
  await at.world.database.query('delete from sources')
  expect(await explain()).toMatchObject({ closed: 'Nobody reads it: its source wiki is not there.' })
  await at.world.database.query(`update documents set source = '' where id = 'wiki/plan'`)
})

test('they say nothing of a document of no source, and of what is no document', async () => {
  await at.world.put({ 'handbook/tea': { text: 'Tea.', access: { viewers: ['user:anne'] } } })
  const question = { user: 'user:anne', relation: 'can_read', object: 'document:handbook/tea' }
  expect(await ask('/explain', question)).not.toHaveProperty('closed')
  const member = { user: 'user:anne', relation: 'member', object: 'group:wiki/plan' }
  expect(await ask('/explain', member)).not.toHaveProperty('closed')
})
