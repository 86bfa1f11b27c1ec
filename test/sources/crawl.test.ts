import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { openSourceWorld, type SourceWorld } from './world.ts'

let at: SourceWorld
beforeAll(async () => {
  at = await openSourceWorld({ untold: ['permissions of a space'] })
})
beforeEach(() => at.reset())
afterAll(() => at?.[Symbol.asyncDispose]())

const names = ['a', 'b', 'c', 'd', 'e', 'f']
const times = async () =>
  (
    await at.world.database.query<Record<'crawled_at' | 'items_at' | 'began_at' | 'crawl_began_at', Date>>(
      'select crawled_at, items_at, began_at, crawl_began_at from sources',
    )
  )[0]
const stopAt = (call: string): void => {
  at.wiki.before = (now) => {
    at.wiki.isClosed = now === call
  }
}
const goOn = (): void => {
  at.wiki.before = () => undefined
  at.wiki.isClosed = false
}
beforeEach(async () => {
  goOn()
  for (const name of names) at.wiki.put(name, { text: `Zeppelin ${name}.`, readers: ['anne'] })
  await at.add()
  await at.sync()
  expect(await at.finds('zeppelin')).toHaveLength(6)
  await at.call('dan', 'POST', '/sources/wiki', { action: 'sync', all: true })
})

test('a reading of everything goes on where it was cut short, and confirms as of when it began', async () => {
  const before = await times()
  stopAt('text d')
  await at.sync()
  const halfway = await times()
  expect(halfway?.items_at).toEqual(before?.items_at)
  goOn()
  at.wiki.calls.length = 0
  await at.sync()
  expect(at.wiki.calls.filter((call) => /^text [ab]/.test(call))).toEqual([])
  const after = await times()
  expect(after?.items_at).toEqual(halfway?.crawl_began_at)
  expect(after?.crawled_at).toEqual(halfway?.crawl_began_at)
  expect(after?.items_at.getTime()).toBeLessThan(after?.began_at.getTime() ?? 0)
  expect(await at.finds('zeppelin')).toHaveLength(6)
})

test('what vanished between two halves of it is hidden, on a page that was told and on one that was not', async () => {
  stopAt('text d')
  await at.sync()
  at.wiki.remove('a')
  at.wiki.pages.delete('f')
  goOn()
  await at.sync()
  await at.sync()
  expect(await at.finds('zeppelin')).toEqual(['wiki/b', 'wiki/c', 'wiki/d', 'wiki/e'])
  expect(await at.shown()).toMatchObject({ source: { missing: 2 } })
  // One that comes back and goes again before the end is not taken for told.
  expect(await at.world.database.query(`select told_in from source_items where document = 'wiki/a'`)).toEqual(
    [{ told_in: null }],
  )
})

test('one that is wanted while it stands half read comes after it', async () => {
  stopAt('text d')
  await at.sync()
  await at.call('dan', 'POST', '/sources/wiki', { action: 'sync', all: true })
  at.wiki.unshareSilently('a')
  goOn()
  await at.sync()
  expect(await at.finds('zeppelin')).toContain('wiki/a')
  await at.sync()
  expect(await at.finds('zeppelin')).toEqual(['wiki/b', 'wiki/c', 'wiki/d', 'wiki/e', 'wiki/f'])
})

test('one whose cursor the source does not know any more begins anew', async () => {
  stopAt('text d')
  await at.sync()
  const halfway = await times()
  at.wiki.loseCursors()
  goOn()
  at.wiki.calls.length = 0
  await at.sync()
  expect(at.wiki.calls).toContain('text a')
  const after = await times()
  expect(after?.items_at.getTime()).toBeGreaterThan(halfway?.crawl_began_at.getTime() ?? Infinity)
})
