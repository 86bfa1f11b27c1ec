import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { backends } from '../support/backends.ts'
import { openSourceWorld, type SourceWorld } from './world.ts'

// The two that have nothing in common.
const apart = backends.filter(({ database, openfga }) => (database === 'pglite') === (openfga === 'engine'))

for (const backend of apart)
  describe(`a membership that is refused, on ${backend.name}`, backend.options, () => {
    let at: SourceWorld
    beforeAll(async () => {
      at = await openSourceWorld({ backend })
    })
    beforeEach(() => at.reset())
    afterAll(() => at?.[Symbol.asyncDispose]())

    const groupsAt = async () =>
      (await at.world.database.query<{ groups_at: Date }>('select groups_at from sources'))[0]?.groups_at
    const finds = async () => [await at.finds('zeppelin'), await at.finds('zeppelin', 'bob')]

    test('is named with its reason, and keeps no groups from being confirmed once the source takes it back', async () => {
      at.wiki.groups.set('team', ['anne', '@team'])
      at.wiki.groups.set('other', ['bob'])
      at.wiki.put('plan', { text: 'Zeppelin.', readers: ['@team'] })
      at.wiki.put('minutes', { text: 'Zeppelin.', readers: ['@other'] })
      await at.add()
      await at.sync()
      const name = 'group:wiki/team#member member group:wiki/team'
      expect(await at.shown()).toMatchObject({
        source: { problem: expect.stringContaining('Nothing can be in a relation with itself.') },
        nameless: [{ name, reason: expect.stringContaining('Nothing can be in a relation with itself.') }],
      })
      expect(await finds()).toEqual([['wiki/plan'], ['wiki/minutes']])

      at.wiki.groups.set('team', ['anne'])
      const before = await groupsAt()
      await at.sync()
      expect(await groupsAt()).not.toEqual(before)
      expect(await at.shown()).toMatchObject({ source: { problem: null, hidden: 0 }, nameless: [] })
      expect(await finds()).toEqual([['wiki/plan'], ['wiki/minutes']])
    })

    test('and is there after all hides what names its group, and nothing else', async () => {
      at.wiki.groups.set('team', ['anne'])
      at.wiki.groups.set('other', ['bob'])
      at.wiki.put('plan', { text: 'Zeppelin.', readers: ['@team'] })
      at.wiki.put('minutes', { text: 'Zeppelin.', readers: ['@other'] })
      await at.add()
      await at.sync()
      // Written past the service, which takes no such name: so it refuses to delete it as well.
      const { fga } = at.world.service
      await fga.write({ writes: [{ user: 'user:an!ne', relation: 'member', object: 'group:wiki/team' }] })
      await at.call('dan', 'POST', '/sources/wiki', { action: 'sync', all: true })
      const before = await groupsAt()
      await at.sync()
      expect(await groupsAt()).not.toEqual(before)
      expect(await finds()).toEqual([[], ['wiki/minutes']])
    })
  })
