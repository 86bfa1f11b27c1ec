import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openPeopleWorld, type PeopleWorld } from './world.ts'

let at: PeopleWorld
beforeAll(async () => {
  at = await openPeopleWorld()
  for (const key of ['anne', 'bob', 'guest', 'outsider']) await at.person(key, `${key}@acme.test`)
})
beforeEach(() => at.reset())
afterAll(() => at?.[Symbol.asyncDispose]())

const inAnHour = () => new Date(Date.now() + 3_600_000).toISOString()

describe('what a source shares without naming anybody', () => {
  // A document stays in its collection: each has pages of its own.
  const fill = (begin = '') => {
    at.intranet.accounts.set('1', { email: 'anne@acme.test' })
    at.intranet.accounts.set('2', { email: 'guest@acme.test', isGuest: true })
    at.intranet.pages.set(`${begin}link`, { readers: [], share: 'anyone_with_link' })
    at.intranet.pages.set(`${begin}organization`, { readers: [], share: 'organization' })
    at.intranet.pages.set(`${begin}public`, { readers: [], share: 'public' })
    at.intranet.pages.set(`${begin}guests`, { readers: ['2'] })
  }
  const people = [{ account: '2', subject: 'user:acme/guest' }]
  const all = async () => ({
    anne: await at.reads('anne'),
    guest: await at.reads('guest'),
    outsider: await at.reads('outsider'),
  })

  test('by a link is nobody’s; in the organization its accounts’ and no guest’s; publicly everybody’s where the collection allows it', async () => {
    fill()
    await at.add({ people })
    expect(await all()).toEqual({
      anne: ['organization', 'public'],
      guest: ['guests', 'public'],
      outsider: ['public'],
    })
  })

  test('publicly is the organization’s where the collection does not allow everybody, and who has no account reads nothing', async () => {
    fill('closed-')
    await at.add({ people }, 'closed')
    const shared = ['closed-organization', 'closed-public']
    expect(await all()).toEqual({ anne: shared, guest: ['closed-guests'], outsider: [] })
    at.intranet.accounts.set('3', { email: 'bob@acme.test' })
    await at.sync()
    expect(await at.reads('bob')).toEqual(shared)
    at.intranet.accounts.delete('3')
    await at.sync()
    expect(await at.reads('bob')).toEqual([])
  })
})

test('a share that ends is open until then, and not after', async () => {
  at.intranet.accounts.set('1', { email: 'anne@acme.test' })
  at.intranet.pages.set('open', { readers: [], until: { account: '1', expires_at: inAnHour() } })
  at.intranet.pages.set('over', { readers: [], until: { account: '1', expires_at: '2026-01-01T00:00:00Z' } })
  await at.add()
  expect(await at.reads('anne')).toEqual(['open'])
})
