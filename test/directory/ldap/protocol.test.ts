import { expect, test } from 'vitest'
import { ldapKind } from '../../../src/directory/ldap/reading.ts'
import { type ReadingBounds, readingBounds } from '../../../src/directory/reading/bounds.ts'
import type { Reading } from '../../../src/directory/reading/kind.ts'
import { certificateFor } from '../../support/certificate.ts'
import {
  type DoubleAnswer,
  type DoubleEntry,
  type DoubleSearch,
  entryMessage,
  startLdapDouble,
} from '../../support/ldap-double.ts'

const certificate = certificateFor('localhost')
const peopleBase = 'ou=people,dc=ad'
const groupsBase = 'ou=groups,dc=ad'

/** `00112233-4455-6677-8899-aabbccddeeff` as Active Directory sends it. */
const guid = (last: number): Buffer =>
  Buffer.from([
    0x33,
    0x22,
    0x11,
    0x00,
    0x55,
    0x44,
    0x77,
    0x66,
    0x88,
    0x99,
    0xaa,
    0xbb,
    0xcc,
    0xdd,
    0xee,
    last,
  ])
const guidText = (last: number): string =>
  `00112233-4455-6677-8899-aabbccddee${last.toString(16).padStart(2, '0')}`

const person = (name: string, last: number, more: DoubleEntry['attributes'] = {}): DoubleEntry => ({
  dn: `CN=${name},${peopleBase}`,
  attributes: { objectGUID: [guid(last)], sAMAccountName: [name], userAccountControl: ['512'], ...more },
})
const group = (name: string, last: number, members: readonly string[]): DoubleEntry => ({
  dn: `CN=${name},${groupsBase}`,
  attributes: { objectGUID: [guid(last)], cn: [name], member: members },
})

async function read(
  answer: (search: DoubleSearch) => DoubleAnswer,
  {
    settings = {},
    bounds = {},
    ...options
  }: {
    readonly settings?: object
    readonly bounds?: Partial<ReadingBounds>
    readonly injects?: Buffer
  } = {},
): Promise<Reading> {
  await using server = await startLdapDouble(answer, { certificate, ...options })
  const kind = ldapKind.open({
    url: server.url,
    bind_dn: 'cn=remit',
    people: {
      base: peopleBase,
      filter: '(objectClass=user)',
      key: 'sAMAccountName',
      id: 'objectGUID',
      active: 'userAccountControl',
    },
    groups: { base: groupsBase, filter: '(objectClass=group)', id: 'objectGUID' },
    ...settings,
  })
  return await kind.read({
    secret: 'secret',
    outbound: () => Promise.reject(new Error('never')),
    signal: new AbortController().signal,
    bounds: { ...readingBounds, ...bounds },
  })
}

const all = (entries: readonly DoubleEntry[]): DoubleAnswer => ({ entries, cookie: '' })
const byBase =
  (people: readonly DoubleEntry[], groups: readonly DoubleEntry[]) =>
  ({ base }: DoubleSearch): DoubleAnswer =>
    all(base === peopleBase ? people : groups)

test('a binary GUID is the id that Active Directory writes, and bit 2 is a disabled account', async () => {
  const { people, groups } = await read(
    byBase(
      [
        person('Anne', 1),
        person('Bob', 2, { userAccountControl: ['514'] }),
        person('Eve', 3, { userAccountControl: [] }),
      ],
      [group('Staff', 9, [`cn=anne,${peopleBase}`])],
    ),
  )
  expect(people).toEqual([
    { id: guidText(1), key: 'Anne', isActive: true },
    { id: guidText(2), key: 'Bob', isActive: false },
    { id: guidText(3), key: 'Eve', isActive: undefined },
  ])
  expect(groups).toEqual([{ id: guidText(9), name: 'Staff', people: [guidText(1)], groups: [] }])
})

const people = ['Anne', 'Bob', 'Eve'].map((name, index) => person(name, index + 1))
const part = (range: string, ...names: readonly string[]): DoubleEntry => ({
  dn: `CN=Staff,${groupsBase}`,
  attributes: {
    objectGUID: [guid(9)],
    cn: ['Staff'],
    member: [],
    [`member;range=${range}`]: names.map((name) => `CN=${name},${peopleBase}`),
  },
})

test('a group that comes in ranges is read to its last one, and one that does not end is not', async () => {
  const ranged =
    (last: DoubleEntry) =>
    ({ base, scope, attributes }: DoubleSearch): DoubleAnswer => {
      if (base === peopleBase) return all(people)
      if (scope === 'sub') return all([part('0-0', 'Anne')])
      return { entries: [attributes.includes('member;range=1-*') ? part('1-1', 'Bob') : last] }
    }
  const { groups } = await read(ranged(part('2-*', 'Eve')))
  expect(groups[0]?.people).toEqual([guidText(1), guidText(2), guidText(3)])
  // An answer without a range is no end, and neither is one without members.
  for (const attributes of [
    { objectGUID: [guid(9)] },
    { objectGUID: [guid(9)], member: [`CN=Eve,${peopleBase}`] },
  ])
    await expect(read(ranged({ ...part('2-*', 'Eve'), attributes }))).rejects.toThrow(
      'does not come to an end',
    )
  await expect(read(ranged(part('1-1', 'Eve')))).rejects.toThrow('does not come to an end')
  // The entry was deleted, and the name given to another one.
  await expect(
    read(ranged({ ...part('2-*', 'Eve'), attributes: { objectGUID: [guid(8)] } })),
  ).rejects.toThrow('moved while it was read')
})

test('who slips from one range of a group into one that was read before is in it, and whoever left is not', async () => {
  // Anne leaves behind the first range, and Bob is the first then.
  let members = ['Anne', 'Bob', 'Eve']
  const ranged =
    (leaves: () => void) =>
    ({ base, scope }: DoubleSearch): DoubleAnswer => {
      if (base === peopleBase) return all(people)
      if (scope === 'base') return { entries: [part('1-*', ...members.slice(1))] }
      const entries = [part('0-0', ...members.slice(0, 1))]
      leaves()
      return all(entries)
    }
  const { groups } = await read(ranged(() => (members = members.filter((name) => name !== 'Anne'))))
  expect(groups[0]?.people).toEqual([guidText(2), guidText(3)])
  // The first moves to the end each time that it is read.
  await expect(read(ranged(() => (members = [...members.slice(1), ...members.slice(0, 1)])))).rejects.toThrow(
    'moved while it was read, 3 times',
  )
})

test('who moves from one group into one that was read before is in one of both', async () => {
  let isMoved = false
  const anne = [`CN=Anne,${peopleBase}`]
  const { groups } = await read(({ base, cookie }) => {
    if (base === peopleBase) return all(people)
    if (cookie !== '') return all([group('Second', 8, isMoved ? [] : anne)])
    const entries = [group('First', 9, isMoved ? anne : [])]
    isMoved = true
    return { entries, cookie: 'two' }
  })
  expect(groups.map((one) => one.people)).toEqual([[guidText(1)], []])
})

test('who moves between groups all the time, however often they are read, is in one of both for sure in none', async () => {
  let looks = 0
  const at = (name: string): string[] => [`CN=${name},${peopleBase}`]
  const { groups, problems } = await read(({ base, cookie }) => {
    if (base === peopleBase) return all(people)
    if (cookie === '') {
      looks += 1
      return {
        entries: [group('First', 9, [...at('Eve'), ...(looks % 2 === 0 ? at('Anne') : [])])],
        cookie: 'two',
      }
    }
    // In the second one at the first look, in the first one at the second.
    return all([group('Second', 8, looks % 2 === 0 ? [] : at('Anne'))])
  })
  expect(groups).toEqual([
    {
      id: guidText(9),
      name: 'First',
      people: [guidText(3)],
      groups: [],
      unsure: { people: [guidText(1)], groups: [] },
    },
    {
      id: guidText(8),
      name: 'Second',
      people: [],
      groups: [],
      unsure: { people: [guidText(1)], groups: [] },
    },
  ])
  expect(problems).toEqual(['2 groups changed while they were read: what changed counts later.'])
})

test('a server that does not come to an end fills no memory: bytes, entries, pages and messages are bounded', async () => {
  const endless =
    (...entries: readonly DoubleEntry[]) =>
    (): DoubleAnswer => ({ entries, cookie: 'more' })
  const within = (bounds: Partial<ReadingBounds>) => ({ bounds })
  await expect(read(endless(person('Anne', 1)), within({ bytes: 4_000 }))).rejects.toThrow(
    'does not come to an end within 4000 bytes',
  )
  await expect(read(endless(), within({ bytes: 4_000 }))).rejects.toThrow('within 4000 bytes')
  await expect(read(endless(person('Anne', 1)), within({ entries: 50 }))).rejects.toThrow('within 50 entries')
  await expect(
    read(endless(person('x'.repeat(100_000), 1)), within({ answerBytes: 10_000 })),
  ).rejects.toThrow('a message larger than')
  const many = Array.from({ length: 21 }, () => person('Anne', 1))
  await expect(read(endless(...many), within({ pageEntries: 20 }))).rejects.toThrow('larger pages than')
})

test('a page without entries is no end while there is a cookie, and no cookie at all is none either', async () => {
  const paged = ({ base, cookie }: DoubleSearch): DoubleAnswer => {
    if (base !== peopleBase) return all([])
    if (cookie === '') return { entries: [person('Anne', 1)], cookie: 'two' }
    return cookie === 'two' ? { entries: [], cookie: 'three' } : all([person('Bob', 2)])
  }
  expect((await read(paged)).people.map(({ key }) => key)).toEqual(['Anne', 'Bob'])
  await expect(
    read((search) => ({ entries: search.base === peopleBase ? [person('Anne', 1)] : [] })),
  ).rejects.toThrow('does not say whether there is more')
})

test('a connection that ends between two pages is not opened anew, and nothing of it counts', async () => {
  let asked = 0
  const cut = ({ cookie }: DoubleSearch): DoubleAnswer => {
    asked += 1
    return cookie === '' ? { entries: [person('Anne', 1)], cookie: 'two' } : { entries: [], cut: true }
  }
  await expect(read(cut)).rejects.toThrow('closed the connection')
  expect(asked).toBe(2)
  await expect(read(({ base }) => ({ ...all([]), references: base === peopleBase ? 1 : 0 }))).rejects.toThrow(
    'refers to another one',
  )
})

test('a name that is another entry’s when the reading ends gives nobody the other’s groups', async () => {
  // Anne's name is given to Bob after the groups were read: they mean Anne.
  let searches = 0
  const moving =
    (stopsAt: number) =>
    ({ base }: DoubleSearch): DoubleAnswer => {
      if (base !== peopleBase) return all([group('Secret', 9, [`CN=Anne,${peopleBase}`])])
      searches += 1
      const isMoved = searches > 1 && searches < stopsAt
      return all(
        isMoved
          ? [{ ...person('Bob', 2), dn: `CN=Anne,${peopleBase}` }]
          : [person('Anne', 1), person('Bob', 2)],
      )
    }
  // Before and after agree in the second attempt.
  const { groups, people } = await read(moving(3))
  expect(groups[0]?.people).toEqual([guidText(1)])
  expect(people).toHaveLength(2)
  searches = 0
  const alternating = ({ base }: DoubleSearch): DoubleAnswer => {
    if (base !== peopleBase) return all([group('Secret', 9, [`CN=Anne,${peopleBase}`])])
    searches += 1
    return all(
      searches % 2 === 0
        ? [{ ...person('Bob', 2), dn: `CN=Anne,${peopleBase}` }]
        : [person('Anne', 1), person('Bob', 2)],
    )
  }
  await expect(read(alternating)).rejects.toThrow('moved while it was read, 3 times')
})

test.each([
  ['that no group has keeps nothing from being read', [], true],
  ['by which a group has somebody ends the reading', ['login 1'], false],
])('a login that changes at each look and %s', async (_, memberUid, isRead) => {
  let searches = 0
  const reading = read(({ base }) => {
    const staff = group('Staff', 9, [`CN=Anne,${peopleBase}`])
    if (base !== peopleBase) return all([{ ...staff, attributes: { ...staff.attributes, memberUid } }])
    searches += 1
    return all([person('Anne', 1), person('Bob', 2, { uid: [`login ${searches % 2}`] })])
  })
  if (!isRead) return await expect(reading).rejects.toThrow('moved while it was read, 3 times')
  const { people, groups } = await reading
  expect(people).toHaveLength(2)
  expect(groups).toEqual([{ id: guidText(9), name: 'Staff', people: [guidText(1)], groups: [] }])
})

test('somebody who is missing at the second look only is read again, and not taken for gone', async () => {
  let searches = 0
  const { people } = await read(({ base }) => {
    if (base !== peopleBase) return all([])
    searches += 1
    return all(searches === 2 ? [person('Anne', 1)] : [person('Anne', 1), person('Bob', 2)])
  })
  expect(people.map(({ key }) => key)).toEqual(['Anne', 'Bob'])
})

test('nothing that is sent in the clear behind StartTLS is a part of what is read', async () => {
  const settings = { start_tls: true, ca: certificate.cert }
  const honest = byBase([person('Anne', 1)], [])
  expect((await read(honest, { settings })).people).toHaveLength(1)
  const forged = entryMessage(3, person('Mallory', 7))
  await expect(read(honest, { settings, injects: forged })).rejects.toThrow('in the clear')
  // The beginning of an entry, which what comes by TLS would complete.
  for (const length of [2, 40, forged.length - 1]) {
    const { people } = await read(honest, { settings, injects: forged.subarray(0, length) })
    expect(people.map(({ key }) => key)).toEqual(['Anne'])
  }
})

test('an empty password is no sign-in', async () => {
  const kind = ldapKind.open({
    url: 'ldaps://localhost:1',
    bind_dn: 'cn=remit',
    people: { base: 'dc=x', filter: '(uid=*)', key: 'uid', id: 'entryUUID', active: 'always' },
    groups: { base: 'dc=x', filter: '(cn=*)', id: 'entryUUID' },
  })
  await expect(
    kind.read({
      secret: '',
      outbound: () => Promise.reject(new Error('never')),
      signal: new AbortController().signal,
    }),
  ).rejects.toThrow('needs a name and a password')
})
