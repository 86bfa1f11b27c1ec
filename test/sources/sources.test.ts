import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { describeBackends } from '../support/backends.ts'
import { openSourceWorld, type SourceWorld } from './world.ts'

describeBackends('a source', (backend) => {
  let at: SourceWorld
  beforeAll(async () => {
    at = await openSourceWorld({ backend })
  })
  beforeEach(() => at.reset())
  afterAll(() => at?.[Symbol.asyncDispose]())

  test('brings pages with who may read them, and takes away what the source takes away', async () => {
    at.wiki.groups.set('team', ['anne'])
    at.wiki.put('plan', { text: 'The zeppelin leaves on Monday.', readers: ['anne', 'bob'] })
    at.wiki.put('minutes', { text: 'The zeppelin was discussed.', readers: ['@team'] })
    at.wiki.put('secret', { text: 'The zeppelin is leaking.', readers: ['bob'] })
    await at.add()
    const during: object[] = []
    at.wiki.before = async (call) => {
      if (call === 'changes') during.push(await at.shown())
    }
    await at.sync()
    // Who looks meanwhile sees since when it is read.
    expect(during).toMatchObject([{ source: { began_at: expect.any(String), ended_at: null } }])
    at.wiki.before = () => undefined
    expect(await at.finds('zeppelin')).toEqual(['wiki/minutes', 'wiki/plan'])
    expect(await at.finds('zeppelin', 'bob')).toEqual(['wiki/plan', 'wiki/secret'])
    expect(await at.shown()).toMatchObject({ source: { fresh: true, items: 3, hidden: 0, problem: null } })

    at.wiki.put('plan', { readers: ['bob'] })
    at.wiki.groups.set('team', [])
    await at.sync()
    expect(await at.finds('zeppelin')).toEqual([])
    expect(await at.reads('wiki/plan')).toBe(404)
    expect(await at.reads('wiki/plan', 'bob')).toBe(200)
  })

  test('whose credential ends hides all that it brought once that is too old, at the read itself, and it comes back', async () => {
    at.wiki.put('plan', { text: 'The zeppelin leaves on Monday.', readers: ['anne'] })
    await at.add({ permissions_max_age_seconds: 3_600 })
    await at.sync()
    // The attack: the secret ends, and then the page is unshared.
    at.wiki.isClosed = true
    at.wiki.unshareSilently('plan')
    await at.sync()
    expect(await at.finds('zeppelin')).toEqual(['wiki/plan'])
    await at.age(3_500)
    expect(await at.reads('wiki/plan')).toBe(200)
    await at.age(200)
    // Nothing has swept since: reading refuses by itself.
    expect(await at.reads('wiki/plan')).toBe(404)
    expect(await at.finds('zeppelin')).toEqual([])
    await at.sync()
    const answer = await at.world.retrieve(await at.world.token({ user: 'anne' }), { query: 'zeppelin' })
    expect(answer).toMatchObject({ results: [], complete: true })
    expect(await at.shown()).toMatchObject({ source: { fresh: false, failures: 2, items: 1 } })

    at.wiki.isClosed = false
    at.wiki.put('plan', { readers: ['anne'] })
    await at.sync()
    expect(await at.finds('zeppelin')).toEqual(['wiki/plan'])
    expect(await at.reads('wiki/plan')).toBe(200)
  })

  test('that is paused keeps what it brought only for as long as its permissions count', async () => {
    at.wiki.put('plan', { text: 'The zeppelin leaves.', readers: ['anne'] })
    await at.add()
    await at.sync()
    await at.call('dan', 'POST', '/sources/wiki', { action: 'pause' })
    expect(await at.finds('zeppelin')).toEqual(['wiki/plan'])
    await at.age(86_400)
    expect(await at.finds('zeppelin')).toEqual([])
    expect(await at.reads('wiki/plan')).toBe(404)
    await at.call('dan', 'POST', '/sources/wiki', { action: 'resume' })
    await at.sync()
    expect(await at.reads('wiki/plan')).toBe(200)
  })
})
