import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Database, Sql } from '../../../src/store/sql.ts'
import { openSourceWorld, type SourceWorld } from '../world.ts'

let count = 0
/** Of each test another one: it is disabled for good. */
let old: string
/** Once who the accounts are was decided. */
let afterLinking: () => Promise<unknown> = async () => undefined
const wrap = (database: Database): Database => ({
  ...database,
  async transaction(work, options) {
    let isLinking = false
    const seen = (sql: Sql): Sql => ({
      query: (text, values) => {
        isLinking ||= text.includes('where source = $1 and gives')
        return sql.query(text, values)
      },
    })
    const result = await database.transaction((sql) => work(seen(sql)), options)
    const hook = afterLinking
    if (isLinking) afterLinking = async () => undefined
    if (isLinking) await hook()
    return result
  },
})

let at: SourceWorld
beforeAll(async () => {
  at = await openSourceWorld({ wrap })
})
beforeEach(async () => {
  await at.reset()
  count += 1
  old = `acme/anne-${count}`
  at.wiki.groups.set('team', ['a', 'bob'])
  at.wiki.put('plan', { text: 'The secret plan of the team.', readers: ['@team'] })
})
afterAll(() => at?.[Symbol.asyncDispose]())

const on = async (object: `${string}:${string}`) => {
  const found: string[] = []
  for await (const { user, relation } of at.world.service.fga.read({ object }))
    found.push(`${user} ${relation}`)
  return found.sort()
}
const team = () => on('group:wiki/team')
const shutOut = () => on('group:wiki/suspended')
const move = () => at.world.service.personMove.move(old, 'anne')
const look = () => at.world.service.sources.runDue()
const path = '/sources/wiki/people'
const suspend = (account: string) => at.call('dan', 'POST', path, { action: 'suspend', account })
const everything = () => at.world.database.query('update sources set crawl_wanted_at = now()')

async function link(account: string, subject: string): Promise<void> {
  const body = { action: 'propose', people: [{ account, subject }] }
  const { body: answer } = await at.call('dan', 'POST', path, body)
  const { digest } = answer['proposed'] as { readonly digest: string }
  expect((await at.call('carol', 'POST', path, { action: 'confirm', digest })).status).toBe(200)
}

describe.each([
  [
    'that the settings go on to name by the old key',
    async () => at.add({ settings: { people: { a: old } } }),
  ],
  [
    'that two administrators linked',
    async () => {
      await at.add({ settings: { people: { a: null } } })
      await at.sync()
      await link('a', `user:${old}`)
    },
  ],
])('of a person who was moved, an account %s', (_, add) => {
  beforeEach(async () => {
    await add()
    await at.sync()
    expect(await team()).toEqual([`user:${old} member`, 'user:bob member'])
  })

  test.each([
    ['before the next reading', async () => undefined],
    ['after a reading', () => at.sync()],
    ['after a reading of everything', async () => (await everything(), at.sync())],
  ])(
    'gives what the source gives it, and what the source takes away %s is gone at its reading',
    async (_when, before) => {
      await move()
      expect(await at.reads('wiki/plan')).toBe(200)
      await before()
      expect(await at.reads('wiki/plan')).toBe(200)
      expect(await team()).toEqual(['user:anne member', 'user:bob member'])
      at.wiki.groups.set('team', ['bob'])
      await at.sync()
      expect([await at.reads('wiki/plan'), await team()]).toEqual([404, ['user:bob member']])
    },
  )

  test('that is suspended then shuts the person out at once, and for as long as they have what it gave', async () => {
    await move()
    at.wiki.isClosed = true
    await suspend('a')
    await look()
    expect([await at.reads('wiki/plan'), await shutOut()]).toEqual([404, ['user:anne member']])
    at.wiki.isClosed = false
    await at.sync()
    await look()
    expect([await at.reads('wiki/plan'), await team(), await shutOut()]).toEqual([
      404,
      ['user:bob member'],
      [],
    ])
  })

  test('that is suspended, and the person moved then, gives nothing once the person is let go', async () => {
    at.wiki.isClosed = true
    await suspend('a')
    await look()
    await move()
    await look()
    expect([await at.reads('wiki/plan'), await shutOut()]).toEqual([404, ['user:anne member']])
    at.wiki.isClosed = false
    await at.sync()
    await look()
    expect([await at.reads('wiki/plan'), await team(), await shutOut()]).toEqual([
      404,
      ['user:bob member'],
      [],
    ])
  })

  test('that a version before this remembers by the old key, is remembered by the new one', async () => {
    await move()
    const { database } = at.world
    await database.query(`update source_people set subject = $1 where account = 'a'`, [`user:${old}`])
    await database.query(`insert into source_tuples values ('wiki', $1, true) on conflict do nothing`, [
      `user:${old} member group:wiki/team`,
    ])
    at.wiki.groups.set('team', ['bob'])
    await at.sync()
    expect([await at.reads('wiki/plan'), await team()]).toEqual([404, ['user:bob member']])
  })

  test('that is suspended, and was noted by the old key by a version before this, lets the person go once it is linked again', async () => {
    await move()
    const { database } = at.world
    at.wiki.isClosed = true
    await suspend('a')
    await database.query(`update source_people set subject = $1 where account = 'a'`, [`user:${old}`])
    await look()
    expect([await at.reads('wiki/plan'), await shutOut()]).toEqual([404, ['user:anne member']])
    await link('a', 'user:anne')
    await look()
    expect([await at.reads('wiki/plan'), await shutOut()]).toEqual([200, []])
  })

  test('takes its groups away with the source', async () => {
    await move()
    await at.world.database.query(`update sources set state = 'removing', next_at = now()`)
    await look()
    expect(await team()).toEqual([])
  })
})

test('a person who is moved to one with another account there has what that one gives, and what the other gave is gone before they are let in again', async () => {
  at.wiki.groups.set('others', ['b'])
  at.wiki.put('other', { text: 'Of the others.', readers: ['@others'] })
  await at.add({ settings: { people: { a: null, b: null } } })
  await at.sync()
  await link('a', `user:${old}`)
  await at.sync()
  await link('b', 'user:anne')
  await at.sync()
  const reads = async () => [await at.reads('wiki/plan'), await at.reads('wiki/other')]
  expect(await reads()).toEqual([404, 200])
  await move()
  await look()
  for (let reading = 0; reading < 3; reading += 1) {
    await at.sync()
    expect((await reads())[0]).toBe(404)
  }
  expect(await reads()).toEqual([404, 200])
  expect([await team(), await shutOut()]).toEqual([['user:bob member'], []])
})

test('whom two administrators name by the old key is linked by the new one', async () => {
  await at.add({ settings: { people: { a: null } } })
  await at.sync()
  const { fga } = at.world.service
  await fga.write({ writes: [{ user: `user:${old}`, relation: 'member', object: 'group:before' }] })
  await move()
  await link('a', `user:${old}`)
  await at.sync()
  expect(await at.world.database.query(`select subject from source_people where account = 'a'`)).toEqual([
    { subject: 'user:anne' },
  ])
  await suspend('a')
  await at.sync()
  await look()
  expect([await at.reads('wiki/plan'), await team()]).toEqual([404, ['user:bob member']])
})

describe('what a source denies by the old key', () => {
  const folder = () => on('folder:wiki/folder')
  const denied = (keys: readonly string[]) => ({ denied: keys.map((key) => `user:${key} blocked`) })
  const isDenied = async () => ({ denied: (await folder()).filter((text) => text.endsWith('blocked')) })
  beforeEach(async () => {
    at.wiki.denied = [`user:${old}`]
    await at.add({ settings: { people: { a: null } } })
    await at.sync()
    expect(await isDenied()).toEqual(denied([old]))
  })

  test('stays denied to the person through each reading, of everything too, and is lifted with the source’s word', async () => {
    await move()
    for (const want of [async () => undefined, everything, everything]) {
      await want()
      await at.sync()
      expect(await isDenied()).toEqual(denied(['anne']))
    }
    at.wiki.denied = ['user:bob']
    await at.sync()
    expect(await isDenied()).toEqual(denied(['bob']))
  })

  test('stays denied though they are moved in the middle of a reading of everything', async () => {
    await everything()
    let isMoved = false
    afterLinking = async () => {
      isMoved = true
      await move()
    }
    await at.sync()
    expect([isMoved, await isDenied()]).toEqual([true, denied(['anne'])])
    await at.settle()
    expect(await isDenied()).toEqual(denied(['anne']))
  })
})
