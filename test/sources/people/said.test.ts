import { createHash } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openPeopleWorld, type PeopleWorld } from './world.ts'

let at: PeopleWorld
beforeAll(async () => {
  at = await openPeopleWorld()
  for (const key of ['anne', 'bob', 'carl']) await at.person(key, `${key}@acme.test`)
})
beforeEach(() => at.reset())
afterAll(() => at?.[Symbol.asyncDispose]())

const [anne, bob] = ['user:acme/anne', 'user:acme/bob']
const path = '/sources/intranet/people'

describe('the table in the settings', () => {
  test('links whatever the address says, and takes the person from every other account', async () => {
    at.intranet.accounts.set('7', { email: 'anne@acme.test' })
    at.intranet.accounts.set('8', { email: 'bob@acme.test' })
    at.intranet.pages.set('of-7', { readers: ['7'] })
    at.intranet.pages.set('of-8', { readers: ['8'] })
    await at.add({ people: [{ account: '8', subject: anne }] })
    expect(await at.people()).toEqual([
      '7 suspended This person is, or was, another account.',
      `8 linked ${anne}`,
    ])
    expect([await at.reads('anne'), await at.reads('bob')]).toEqual([['of-8'], []])
  })

  test('that names a person twice names nobody by it', async () => {
    at.intranet.accounts.set('7', {})
    at.intranet.accounts.set('8', {})
    at.intranet.pages.set('plan', { readers: ['7', '8'] })
    await at.add({
      people: [
        { account: '7', subject: anne },
        { account: '8', subject: anne },
      ],
    })
    expect(await at.reads('anne')).toEqual([])
    expect((await at.people())[0]).toBe(`7 suspended ${anne} The settings name two accounts for this person.`)
  })
})

test('a folder that names the person of an account means the account: it ends with the link', async () => {
  at.intranet.accounts.set('7', {})
  at.intranet.folder = [anne]
  at.intranet.pages.set('in-folder', { readers: [] })
  await at.add({ people: [{ account: '7', subject: anne }] })
  expect(await at.reads('anne')).toEqual(['in-folder'])
  await at.suspend('7')
  await at.sync()
  await at.directory.service.sources.runDue()
  expect(await at.reads('anne')).toEqual([])
})

describe('what administrators say', () => {
  test('leaves no account of theirs on record once a person is erased from it', async () => {
    at.intranet.accounts.set('carl.berg@corp.example', {})
    at.intranet.accounts.set('nobody@corp.example', {})
    await at.add({ people: [{ account: 'carl.berg@corp.example', subject: 'user:acme/carl' }] })
    expect((await at.suspend('carl.berg@corp.example')).status).toBe(200)
    expect((await at.suspend('nobody@corp.example')).status).toBe(200)
    const people = [{ account: 'carl.berg@corp.example', subject: 'user:acme/carl' }]
    expect(await at.call('dan', 'POST', path, { action: 'propose', people })).toMatchObject({ status: 200 })
    const recorded = async () =>
      JSON.stringify(
        await at.directory.database.query(
          `select event, detail from decision_records where event like 'source_people_%' and detail->>'source' = 'intranet'`,
        ),
      )
    expect(await recorded()).toContain('carl.berg@corp.example')
    const keeping = at.directory.service.record
    await keeping.erase('user:acme/carl')
    expect(await recorded()).not.toMatch(/carl|nobody/)
    expect(await keeping.verify([])).toMatchObject({ found: 0 })
  })

  test('takes two of them to link, and one to suspend, whatever the settings say', async () => {
    at.intranet.accounts.set('7', {})
    at.intranet.accounts.set('8', {})
    at.intranet.pages.set('of-7', { readers: ['7'] })
    at.intranet.pages.set('of-8', { readers: ['8'] })
    await at.add({ people: [{ account: '7', subject: anne }] })
    const people = [{ account: '8', subject: bob }]
    const proposed = await at.call('dan', 'POST', path, { action: 'propose', people })
    const { digest } = proposed.body['proposed'] as { readonly digest: string }
    await at.sync()
    expect(await at.reads('bob')).toEqual([])
    const confirm = (user: string, more = {}) =>
      at.call(user, 'POST', path, { action: 'confirm', digest, ...more })
    expect(await confirm('dan')).toMatchObject({ status: 409 })
    expect(await confirm('carol', { digest: 'another' })).toMatchObject({
      status: 409,
      body: { field: 'digest' },
    })
    await at.directory.service.administrators.remove('user:dan')
    expect(await confirm('carol')).toMatchObject({ status: 403 })
    await at.directory.service.administrators.add('user:dan', ['security.write'])
    expect(await confirm('carol')).toMatchObject({ status: 200, body: { proposed: null } })
    expect(await confirm('carol')).toMatchObject({ status: 409 })
    await at.sync()
    expect([await at.reads('anne'), await at.reads('bob')]).toEqual([['of-7'], ['of-8']])
    expect((await at.suspend('7')).status).toBe(200)
    await at.sync()
    expect([await at.reads('anne'), await at.reads('bob')]).toEqual([[], ['of-8']])
    const rows = await at.directory.database.query<{ event: string; subject: string }>(
      `select event, subject from decision_records where event like 'source_people_%' and event <> 'source_people_read'
       order by record_no desc limit 4`,
    )
    expect(rows.map(({ event, subject }) => `${event} ${subject}`)).toEqual([
      'source_people_changed user:dan',
      'source_people_changed user:carol',
      'source_people_proposed user:dan',
      'source_people_changed service:source/intranet',
    ])
  })

  test('is on record by an HMAC where it never was anybody: whoever tries out accounts finds none', async () => {
    at.intranet.accounts.set('7', { name: 'Anne' })
    await at.add()
    expect((await at.suspend('7')).status).toBe(200)
    const [row] = await at.directory.database.query<{ account: string }>(
      `select detail #>> '{people,0,account}' as account from decision_records
       where event = 'source_people_changed' order by record_no desc limit 1`,
    )
    expect(row?.account).toMatch(/^hmac:[\w-]{43}$/)
    const guessed = createHash('sha256')
      .update(JSON.stringify(['intranet', '7']))
      .digest('base64url')
    expect(row?.account).not.toContain(guessed)
  })

  test('is refused by name where it cannot be, and to whoever is no administrator', async () => {
    at.intranet.accounts.set('7', { email: 'anne@acme.test' })
    await at.add()
    const propose = (people: unknown, user = 'dan') =>
      at.call(user, 'POST', path, { action: 'propose', people })
    expect(await propose([{ account: '7', subject: 'group:eng#member' }])).toMatchObject({
      status: 422,
      body: { field: 'people.0.subject' },
    })
    expect(await propose([{ account: 'a\u0000', subject: bob }])).toMatchObject({ status: 422 })
    expect(
      await propose([
        { account: '8', subject: bob },
        { account: '9', subject: bob },
      ]),
    ).toMatchObject({ status: 422, body: { field: 'people.1' } })
    expect(await propose([{ account: '8', subject: bob }], 'anne')).toMatchObject({ status: 403 })
    expect(await at.call('anne', 'GET', path)).toMatchObject({ status: 403 })
    expect(await at.call('dan', 'GET', '/sources/nowhere/people')).toMatchObject({ status: 404 })
    expect(await at.call('dan', 'POST', path, { action: 'suspend', account: 'none' })).toMatchObject({
      status: 404,
    })
    // Anne is account 7, which has to go first.
    expect(await at.link('8', anne)).toMatchObject({ status: 409 })
    await at.suspend('7')
    expect(await at.link('8', anne)).toMatchObject({ status: 200 })
    expect(await at.people()).toEqual([
      `7 suspended ${anne} An administrator suspended it.`,
      `8 linked ${anne}`,
    ])
  })

  test('of two people who change places counts in one yes, once what the accounts gave is taken away', async () => {
    at.intranet.accounts.set('7', { email: 'anne@acme.test' })
    at.intranet.accounts.set('8', { email: 'bob@acme.test' })
    at.intranet.pages.set('of-7', { readers: ['7'] })
    await at.add()
    const people = [
      { account: '7', subject: bob },
      { account: '8', subject: anne },
    ]
    const proposed = await at.call('dan', 'POST', path, { action: 'propose', people })
    const { digest } = proposed.body['proposed'] as { readonly digest: string }
    const confirm = async () => (await at.call('carol', 'POST', path, { action: 'confirm', digest })).status
    expect(await confirm()).toBe(409)
    for (const { account } of people)
      expect((await at.call('carol', 'POST', path, { action: 'suspend', account })).status).toBe(200)
    expect(await confirm()).toBe(409)
    await at.sync()
    expect(await confirm()).toBe(200)
    await at.sync()
    expect([await at.reads('anne'), await at.reads('bob')]).toEqual([[], ['of-7']])
  })

  test('outlives that the directory held the person for a while, and not that it ended them', async () => {
    await at.person('flo', 'flo@acme.test')
    at.intranet.accounts.set('9', {})
    at.intranet.pages.set('of-9', { readers: ['9'] })
    await at.add()
    await at.link('9', 'user:acme/flo')
    await at.sync()
    const turn = (isActive: boolean, isHeld: boolean) =>
      at.directory.database.query(
        `update directory_users set is_active = $1, is_held = $2 where account = 'acme/flo'`,
        [isActive, isHeld],
      )
    await turn(false, true)
    expect((await at.people())[0]).toMatch(/^9 suspended/)
    await turn(true, false)
    await at.sync()
    expect(await at.reads('flo')).toEqual(['of-9'])
    await turn(false, true)
    await turn(false, false)
    await turn(true, false)
    await at.sync()
    expect((await at.people())[0]).toMatch(/^9 suspended/)
  })

  test('links nobody whom the directory deactivated meanwhile', async () => {
    const id = await at.person('eve', 'eve@acme.test')
    at.intranet.accounts.set('9', {})
    await at.add()
    const people = [{ account: '9', subject: 'user:acme/eve' }]
    const proposed = await at.call('dan', 'POST', path, { action: 'propose', people })
    const { digest } = proposed.body['proposed'] as { readonly digest: string }
    await at.change(id, 'active', false)
    expect(await at.call('carol', 'POST', path, { action: 'confirm', digest })).toMatchObject({
      status: 409,
      body: { detail: expect.stringContaining('deactivated user:acme/eve') },
    })
  })

  test('is listed in pages, and by how it stands', async () => {
    for (let account = 0; account < 25; account += 1)
      at.intranet.accounts.set(`a${String(account).padStart(2, '0')}`, {})
    at.intranet.accounts.set('z', { email: 'anne@acme.test' })
    await at.add()
    const page = async (query: string) => (await at.call('dan', 'GET', `${path}?${query}`)).body
    const first = await page('limit=20')
    expect(first).toMatchObject({ counts: { linked: 1, suspended: 0, unknown: 25 }, next: 'a19' })
    expect(await page('limit=20&after=a19')).toMatchObject({ next: null })
    expect((await page('state=linked'))['people']).toMatchObject([{ account: 'z', subject: anne }])
  })
})

test('a deny for a contractor who is nobody hides the page, and counts from the moment when they are somebody', async () => {
  at.intranet.accounts.set('1', { email: 'bob@acme.test' })
  at.intranet.accounts.set('66', { name: 'contractor' })
  at.intranet.pages.set('open', { readers: ['*'], denied: ['66'] })
  at.intranet.pages.set('of-bob', { readers: ['1'] })
  await at.add()
  expect([await at.reads('bob'), await at.reads('carl')]).toEqual([['of-bob'], []])
  // A week later. From here on carl never reads it.
  const read: string[][] = []
  expect((await at.link('66', 'user:acme/carl')).status).toBe(200)
  at.intranet.before = async () => {
    read.push(await at.reads('carl'))
  }
  await at.sync()
  read.push(await at.reads('carl'))
  expect(await at.reads('bob')).toEqual(['of-bob', 'open'])
  await at.suspend('66')
  await at.sync()
  read.push(await at.reads('carl'))
  expect(await at.reads('bob')).toEqual(['of-bob'])
  expect(read).toEqual([[], [], [], []])
})
