import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import { emails, openPeopleWorld, type PeopleWorld } from './world.ts'

let at: PeopleWorld
beforeAll(async () => {
  at = await openPeopleWorld()
})
beforeEach(() => at.reset())
afterAll(() => at?.[Symbol.asyncDispose]())

// Each test has people and addresses of its own: what a directory gave somebody once is never forgotten.
let count = 0
const somebody = async (): Promise<{ key: string; id: string; mail: string; subject: string }> => {
  count += 1
  const key = `p${count}`
  const mail = `${key}@acme.test`
  return { key, mail, id: await at.person(key, mail), subject: `user:acme/${key}` }
}

describe('an account whose address source and directory both verified', () => {
  test('is the person to whom the directory gives it, and reads what the source lets them read', async () => {
    const anne = await somebody()
    at.intranet.accounts.set('7', { name: 'Anne', email: anne.mail.toUpperCase() })
    at.intranet.pages.set('plan', { readers: ['7'] })
    await at.add()
    expect(await at.people()).toEqual([`7 linked ${anne.subject}`])
    expect(await at.reads(anne.key)).toEqual(['plan'])
    const [row] = await at.directory.database.query<{ detail: object; subject: string }>(
      `select subject, detail from decision_records where event = 'source_people_changed' order by record_no desc limit 1`,
    )
    expect(row).toMatchObject({
      subject: 'service:source/intranet',
      detail: { source: 'intranet', people: [{ account: '7', state: 'linked', subject: anne.subject }] },
    })
  })

  test('is nobody where the kind does not verify addresses', async () => {
    const anne = await somebody()
    at.intranet.accounts.set('7', { email: anne.mail })
    at.intranet.pages.set('plan', { readers: ['7'] })
    await at.add({ verified: false })
    expect(await at.people()).toEqual(['7 unknown This source does not verify addresses.'])
    expect(await at.reads(anne.key)).toEqual([])
  })

  test('is nobody where a guest has it, and whoever the settings name for it all the same', async () => {
    const [anne, bob] = [await somebody(), await somebody()]
    at.intranet.accounts.set('7', { email: anne.mail, isGuest: true })
    at.intranet.accounts.set('8', { email: anne.mail, isGuest: true })
    at.intranet.pages.set('plan', { readers: ['7', '8'] })
    await at.add({ people: [{ account: '8', subject: bob.subject }] })
    expect(await at.people()).toEqual([
      '7 unknown It is a guest: no address links it.',
      `8 linked ${bob.subject}`,
    ])
    expect([await at.reads(anne.key), await at.reads(bob.key)]).toEqual([[], ['plan']])
  })
})

describe('addresses that only look alike, or are asserted by somebody else', () => {
  test('link nobody: another alphabet, full width, an accent, a dot, a sub-address, another domain, none', async () => {
    const anne = await somebody()
    const name = anne.mail.split('@')[0] ?? ''
    const others = [
      `${name}@аcme.test`,
      `${name}@ａｃｍｅ.test`,
      `${name}@acme.teſt`,
      `${name}＠acme.test`,
      `${name}@acmé.test`,
      `${name}@acme.test.`,
      `${name}.@acme.test`,
      `${name}+wiki@acme.test`,
      `${name}@sub.acme.test`,
      `${name}@acme.test.attacker.example`,
      ` ${name}@acme.test`,
      `"${name}"@acme.test`,
      `x@attacker.example,${anne.mail}`,
      `Anne <${anne.mail}>`,
      `${name}@acme.test\u0000`,
      '',
    ]
    for (const [index, email] of others.entries()) at.intranet.accounts.set(String(100 + index), { email })
    at.intranet.pages.set('plan', { readers: [...at.intranet.accounts.keys()] })
    await at.add()
    expect((await at.people()).map((line) => line.split(' ')[1])).toEqual(others.map(() => 'unknown'))
    expect(await at.reads(anne.key)).toEqual([])
  })

  test('a letter whose small form is ASCII is not ASCII: neither in the source nor in the directory', async () => {
    count += 1
    // The Kelvin sign: small it is k.
    const [latin, kelvin] = [`mi\u006be${count}@acme.test`, `mi\u212ae${count}@acme.test`]
    await at.person(`mike${count}`, kelvin)
    at.intranet.accounts.set('7', { email: latin })
    const [zoe] = [await somebody()]
    await at.change(zoe.id, 'emails', emails(`zoe-k${count}@acme.test`))
    at.intranet.accounts.set('8', { email: `zoe-\u212a${count}@acme.test` })
    await at.add()
    expect((await at.people()).map((line) => line.split(' ')[1])).toEqual(['unknown', 'unknown'])
  })

  test('a partner’s directory says nothing of the addresses of another’s domain', async () => {
    const { service, database } = at.directory
    const ceo = 'ceo@acme.test'
    // As a feeder of the partner's namespace writes it.
    await database.query(
      `insert into directories (name, issuer, namespace, prefix, key_attribute, created_at)
       select 'partner', issuer || '/partner', 'partner', 'partner/', key_attribute, now() from directories where name = 'acme'`,
    )
    await database.query(
      `insert into directory_users (id, directory, sub, account, login, attributes, is_active, created_at, changed_at)
       values ('u_mallory', 'partner', 'mallory', 'partner/mallory', 'm', $1, true, now(), now())`,
      [{ emails: emails(ceo) }],
    )
    expect(service.directories).toBeDefined()
    at.intranet.accounts.set('1', { email: ceo })
    at.intranet.pages.set('secret', { readers: ['1'] })
    await at.add()
    expect(await at.people()).toEqual(['1 unknown acme gives nobody this address as the one that counts.'])
    await at.person('ceo', ceo)
    await at.sync()
    expect(await at.people()).toEqual(['1 linked user:acme/ceo'])
  })

  test('a directory that stands for an issuer that is not trusted any more names nobody', async () => {
    const anne = await somebody()
    const { database } = at.directory
    at.intranet.accounts.set('7', { email: anne.mail })
    at.intranet.pages.set('plan', { readers: ['7'] })
    await at.add()
    expect(await at.reads(anne.key)).toEqual(['plan'])
    await database.query(`update directories set issuer = issuer || '/old' where name = 'acme'`)
    try {
      await at.sync()
      expect((await at.people())[0]).toMatch(/^7 suspended/)
      expect(await at.reads(anne.key)).toEqual([])
    } finally {
      await database.query(`update directories set issuer = replace(issuer, '/old', '') where name = 'acme'`)
    }
    // Nothing of account, address and person is another than it was.
    await at.sync()
    expect(await at.people()).toEqual([`7 linked ${anne.subject}`])
  })
})

describe('a link is suspended, and nobody is linked in its place', () => {
  test('where two accounts have the address: neither gives anything, and one that lets go of it brings nothing back', async () => {
    const anne = await somebody()
    at.intranet.accounts.set('7', { email: anne.mail })
    at.intranet.pages.set('plan', { readers: ['7'] })
    at.intranet.pages.set('trap', { readers: ['9'] })
    await at.add()
    expect(await at.reads(anne.key)).toEqual(['plan'])
    at.intranet.accounts.set('9', { email: anne.mail })
    await at.sync()
    expect(await at.people()).toEqual([
      `7 suspended ${anne.subject} Two accounts have this address.`,
      '9 suspended Two accounts have this address.',
    ])
    expect(await at.reads(anne.key)).toEqual([])
    at.intranet.accounts.set('7', {})
    await at.sync()
    at.intranet.accounts.set('7', { email: anne.mail })
    at.intranet.accounts.delete('9')
    await at.sync()
    expect(await at.reads(anne.key)).toEqual([])
    expect((await at.link('7', anne.subject)).status).toBe(200)
    await at.sync()
    expect(await at.reads(anne.key)).toEqual(['plan'])
  })

  test('where the source moves the address from one account to another', async () => {
    const anne = await somebody()
    at.intranet.accounts.set('7', { email: anne.mail })
    at.intranet.accounts.set('8', { email: 'bob@elsewhere.example' })
    at.intranet.pages.set('of-8', { readers: ['8'] })
    await at.add()
    at.intranet.accounts.set('7', {})
    at.intranet.accounts.set('8', { email: anne.mail })
    for (let readings = 0; readings < 2; readings += 1) {
      await at.sync()
      expect(await at.people()).toEqual([
        `7 suspended ${anne.subject} The source gives no address for it.`,
        '8 suspended This person is, or was, another account.',
      ])
      expect(await at.reads(anne.key)).toEqual([])
    }
  })

  test('where the directory gives the person another address, and the old one to somebody else', async () => {
    const [anne, bob] = [await somebody(), await somebody()]
    at.intranet.accounts.set('7', { email: anne.mail })
    at.intranet.pages.set('plan', { readers: ['7'] })
    await at.add()
    await at.change(anne.id, 'emails', emails(`new-${anne.mail}`))
    await at.change(bob.id, 'emails', emails(anne.mail))
    await at.sync()
    expect(await at.people()).toEqual([
      `7 suspended ${anne.subject} The directory gave this person another address.`,
    ])
    expect([await at.reads(anne.key), await at.reads(bob.key)]).toEqual([[], []])
    // Nor where both go back to what they were.
    await at.change(bob.id, 'emails', emails(bob.mail))
    await at.change(anne.id, 'emails', emails(anne.mail))
    await at.sync()
    expect(await at.reads(anne.key)).toEqual([])
  })

  test('where a deactivated person’s address is given to a newcomer, deleted before or after the source came', async () => {
    const [anne, eve] = [await somebody(), await somebody()]
    at.intranet.accounts.set('7', { email: anne.mail })
    at.intranet.accounts.set('8', { email: eve.mail })
    at.intranet.pages.set('plan', { readers: ['7', '8'] })
    // Eve is gone before anybody asks.
    expect((await at.directory.scim('DELETE', `/Users/${eve.id}`)).status).toBe(204)
    await at.person(`new-${eve.key}`, eve.mail)
    await at.add()
    expect((await at.people())[1]).toBe('8 suspended acme gave this address to more than one person.')
    expect(await at.reads(`new-${eve.key}`)).toEqual([])
    await at.directory.scim('DELETE', `/Users/${anne.id}`)
    await at.person(`new-${anne.key}`, anne.mail)
    await at.sync()
    expect((await at.people())[0]).toBe(`7 suspended ${anne.subject} The directory deactivated this person.`)
    expect(await at.reads(`new-${anne.key}`)).toEqual([])
  })

  test('where the person was deactivated and is active again, though no reading came between', async () => {
    const anne = await somebody()
    at.intranet.accounts.set('7', { email: anne.mail })
    at.intranet.pages.set('plan', { readers: ['7'] })
    await at.add()
    await at.change(anne.id, 'active', false)
    await at.change(anne.id, 'active', true)
    await at.sync()
    expect(await at.people()).toEqual([`7 suspended ${anne.subject} The directory deactivated this person.`])
  })

  test('where an account is made anew with the name and address of one that is gone', async () => {
    const anne = await somebody()
    at.intranet.accounts.set('7', { name: 'anne', email: anne.mail })
    at.intranet.pages.set('plan', { readers: ['7'] })
    await at.add()
    at.intranet.accounts.delete('7')
    at.intranet.accounts.set('70', { name: 'anne', email: anne.mail })
    at.intranet.pages.set('trap', { readers: ['70'] })
    await at.sync()
    expect(await at.people()).toEqual([
      `7 linked ${anne.subject}`,
      '70 suspended This person is, or was, another account.',
    ])
    expect(await at.reads(anne.key)).toEqual([])
  })

  test('and no longer than that where the source only stops to say the address, or says an account twice', async () => {
    const anne = await somebody()
    at.intranet.accounts.set('7', { email: anne.mail })
    at.intranet.pages.set('plan', { readers: ['7'] })
    await at.add()
    for (const doubt of [
      () => at.intranet.accounts.set('7', {}),
      () => at.intranet.more.push({ id: '7', email: 'other@acme.test' }),
    ]) {
      doubt()
      await at.sync()
      expect(await at.reads(anne.key)).toEqual([])
      at.intranet.accounts.set('7', { email: anne.mail })
      at.intranet.more.length = 0
      await at.sync()
      expect(await at.reads(anne.key)).toEqual(['plan'])
    }
  })
})

test('somebody who is active again has what the source says of them, by name and in groups, and nothing that others wrote', async () => {
  const anne = await somebody()
  const { directory, intranet } = at
  intranet.accounts.set('7', {})
  intranet.groups.set('team', ['7'])
  intranet.folder = [anne.subject]
  intranet.pages.set('plan', { readers: ['7'] })
  intranet.pages.set('shared', { readers: ['@team'] })
  intranet.pages.set('in-folder', { readers: [] })
  await at.add({ people: [{ account: '7', subject: anne.subject }] })
  await directory.service.ingest.applyTuples(operator('t_1'), {
    writes: [
      { user: anne.subject, relation: 'member', object: 'group:local/team' },
      { user: anne.subject, relation: 'viewer', object: 'collection:handbook' },
    ],
    deletes: [],
  })
  expect(await at.reads(anne.key)).toEqual(['in-folder', 'plan', 'shared'])
  await at.change(anne.id, 'active', false)
  await at.sync()
  await at.change(anne.id, 'active', true)
  const later = { now: Date.now() + 2_000, ttl: 60 }
  expect(await at.reads(anne.key, later)).toEqual(['in-folder', 'plan', 'shared'])
  const named: string[] = []
  for await (const page of directory.service.fga.readAll())
    for (const { user, object } of page) if (user === anne.subject) named.push(object)
  expect(named.filter((object) => !object.split(':')[1]?.startsWith('intranet/'))).toEqual([])
})
