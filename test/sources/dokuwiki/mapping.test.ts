import { depthMax } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { createRandom } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import { knownPeople, type Person } from '../../../src/sources/kinds/dokuwiki/people.ts'
import { placesOf } from '../../../src/sources/kinds/dokuwiki/places.ts'
import { createWiki } from '../../../src/sources/kinds/dokuwiki/wiki.ts'
import { readersOf } from './readers.ts'
import { needsDokuwiki, openWikiServer, type WikiServer } from './server.ts'
import { openWikiWorld } from './world.ts'

async function told(
  server: WikiServer,
  people: readonly Person[],
  pages: readonly string[],
  isPublic = false,
) {
  const { permissions } = createWiki({ path: '', secret: server.secret, fetch: server.fetch })
  const found = await permissions(people.map(({ account }) => account))
  const { known, nobodies } = knownPeople(people, found.accounts)
  const places = placesOf(pages, found, known, { prefix: 'wiki/', collection: 'wiki', isPublic })
  return {
    ...places,
    nobodies,
    readers: (page: string) => [...readersOf(places.directory, places.parentOf(page) ?? '')].sort(),
  }
}

const asThemselves = (...accounts: readonly string[]): readonly Person[] =>
  accounts.map((account) => ({ account, subject: `user:${account}` }))

describe('the access control list of a DokuWiki', needsDokuwiki, () => {
  test(`lets read in Remit exactly whom the wiki lets read, whatever it holds (FUZZ_SEED=${seed})`, {
    timeout: 1_200_000,
  }, async () => {
    const random = createRandom(seed)
    await using world = await openWikiWorld({ pages: 16 }, random)
    const kinds = { below: 0, workedOut: 0, everyone: 0 }
    for (let round = 0; round < Number(process.env['DOKUWIKI_LISTS'] || 20); round += 1) {
      const lines = world.shuffle(random)
      const pages = world.pages()
      const { readers, directory } = await told(world.server, world.settings, pages)
      kinds.below += directory.folders.filter(
        ({ parents, viewers }) => parents.length * viewers.length > 0,
      ).length
      kinds.workedOut += directory.groups.filter(({ id }) => id.startsWith('wiki/only/')).length
      kinds.everyone += directory.groups.filter(({ id }) => id === 'wiki/everyone').length
      for (const { name, account, isKnown } of world.people) {
        const readable = isKnown ? await world.server.readable(account) : new Set()
        expect(
          pages.filter((page) => readers(page).includes(name)),
          `${account} of ${JSON.stringify(world.people.map(({ account: other, groups }) => [other, [...groups]]))} with\n${lines}`,
        ).toEqual(pages.filter((page) => readable.has(page)))
      }
    }
    for (const count of Object.values(kinds)) expect(count).toBeGreaterThan(0)
  })

  test('keeps its structure: groups, what only adds readers, and what stands for itself', async () => {
    await using server = await openWikiServer()
    server.setUsers([
      { name: 'anne', groups: ['hr'] },
      { name: 'bob', groups: ['staff'] },
    ])
    server.setAcl([
      '*\t@ALL\t0',
      '*\t@staff\t1',
      'hr:*\t@hr\t8',
      'hr:board:*\t@ALL\t0',
      'hr:board:*\tanne\t1',
      'hr:x\t@hr\t0',
    ])
    const { directory, parentOf } = await told(server, asThemselves('anne', 'bob'), [
      'a',
      'hr:a',
      'hr:x',
      'hr:board:a',
    ])
    const [board, hr, x, root] = ['ns/hr/board', 'ns/hr', 'page/hr/x', 'ns'].map((name) =>
      directory.folders.find(({ id }) => id === `wiki/${name}`),
    )
    expect(root).toMatchObject({ parents: [], viewers: ['group:wiki/groups/staff#member'] })
    expect(hr).toMatchObject({ parents: ['folder:wiki/ns'], viewers: ['group:wiki/groups/hr#member'] })
    expect(board).toMatchObject({ parents: [], viewers: [{ account: 'anne' }] })
    expect(x).toMatchObject({ parents: [], viewers: ['group:wiki/only/page/hr/x#member'] })
    expect(['a', 'hr:a', 'hr:x', 'hr:board:a'].map(parentOf)).toEqual([
      'folder:wiki/ns',
      'folder:wiki/ns/hr',
      'folder:wiki/page/hr/x',
      'folder:wiki/ns/hr/board',
    ])
  })

  test('is as long as it likes, and as deep', async () => {
    await using server = await openWikiServer()
    server.setUsers([{ name: 'anne', groups: [] }])
    const deep = Array.from({ length: 2 * depthMax + 5 }, (_, index) => `n${index}`)
    const page = [...deep, 'plan'].join(':')
    const other = `${deep.slice(0, 5).join(':')}:${'пл'.repeat(30)}`
    server.setAcl(['*\tanne\t1', `${'x'.repeat(300)}:*\t@ALL\t1`])
    const { readers, directory } = await told(server, asThemselves('anne'), [page, other])
    expect([readers(page), readers(other)]).toEqual([['anne'], ['anne']])
    expect(directory.folders.map(({ id }) => id.length).every((length) => length < 200)).toBe(true)
  })

  test('opens to everybody only where the settings say so, and then what who has not signed in may read', async () => {
    await using server = await openWikiServer()
    server.setUsers([{ name: 'anne', groups: [] }])
    const pages = ['a', 'hr:a', 'hr:open', 'in:a']
    for (const page of pages) server.write(`pages/${page.replace(':', '/')}.txt`, page)
    server.setAcl(['*\t@ALL\t1', 'hr:*\t@ALL\t0', 'hr:open\t@ALL\t2', 'in:*\t%USER%\t0'])
    const closed = await told(server, asThemselves('anne'), pages)
    expect(pages.map(closed.readers)).toEqual([['anne'], [], ['anne'], []])
    const open = await told(server, asThemselves('anne'), pages, true)
    const anonymous = await server.readable(undefined)
    expect(pages.filter((page) => anonymous.has(page))).toEqual(['a', 'hr:open', 'in:a'])
    // Who signs in may not read the last: it cannot be everybody's.
    expect(pages.map(open.readers)).toEqual([['*', 'anne'], [], ['*', 'anne'], []])
  })

  test('names nobody who is not exactly one account and one person', async () => {
    await using server = await openWikiServer()
    server.setUsers(['anne', 'Bob', 'eve', 'dan', '0'].map((name) => ({ name, groups: [] })))
    server.setAcl(['*\t@ALL\t1'])
    const { readers, nobodies } = await told(
      server,
      [
        ...asThemselves('anne', 'Bob', 'zoe', '0', ''),
        { account: 'eve', subject: 'user:dan' },
        ...asThemselves('dan'),
      ],
      ['a'],
    )
    expect(readers('a')).toEqual(['anne'])
    expect(nobodies.map(({ account }) => account).sort()).toEqual(['', '0', 'Bob', 'dan', 'eve', 'zoe'])
  })

  test('knows what PHP takes for nothing: the namespace 0', async () => {
    await using server = await openWikiServer()
    server.setUsers([{ name: 'anne', groups: [] }])
    const pages = ['0:a', '0:b:a', '0', 'b:0:a']
    for (const page of pages) server.write(`pages/${page.replaceAll(':', '/')}.txt`, page)
    server.setAcl(['*\t@ALL\t0', '0:*\tanne\t1', 'b:0:*\tanne\t1'])
    const { readers } = await told(server, asThemselves('anne'), pages)
    const readable = await server.readable('anne')
    expect([...readable].sort()).toEqual(['0:b:a', 'b:0:a'])
    expect(pages.filter((page) => readers(page).length > 0)).toEqual(['0:b:a', 'b:0:a'])
  })

  test('takes for a name what PHP takes for the same number, and nothing else', async () => {
    await using server = await openWikiServer()
    server.setUsers(['7', '12', '9007199254740993'].map((name) => ({ name, groups: [] })))
    server.write('pages/a.txt', 'a')
    const names = [
      '7',
      '007',
      '+7',
      '-7',
      '7.0',
      '7.',
      '70e-1',
      '.7e1',
      '0.7E+1',
      '7e',
      '0x7',
      '7a',
      '７',
      '1.2e1',
    ]
    for (const name of names) {
      server.setAcl(['*\t@ALL\t1', `a\t${name}\t0`])
      const { readers } = await told(server, asThemselves('7', '12'), ['a'])
      for (const account of ['7', '12'])
        expect([name, account, readers('a').includes(account)]).toEqual([
          name,
          account,
          (await server.readable(account)).has('a'),
        ])
    }
    // It is 9007199254740993 for a comparing that rounds, and another one for PHP.
    server.setAcl(['*\t@ALL\t0', 'a\t9007199254740992\t1'])
    const { readers, unclear } = await told(server, asThemselves('9007199254740993'), ['a'])
    expect(await server.readable('9007199254740993')).toEqual(new Set())
    expect([readers('a'), unclear]).toEqual([
      [],
      [{ name: 'entry a 9007199254740992 1', problem: expect.stringContaining('16 digits') }],
    ])
  })

  test('lets nobody whom an entry names read where its permission is no number, whatever PHP makes of it', async () => {
    await using server = await openWikiServer()
    server.setUsers([
      { name: 'anne', groups: ['hr'] },
      { name: 'bob', groups: [] },
    ])
    const pages = ['hr:a', 'hr:old:a', 'b:a', 'hr:x']
    const mapped = async (lines: readonly string[], isPublic = false) => {
      server.setAcl(lines)
      const { readers, unclear } = await told(server, asThemselves('anne', 'bob'), pages, isPublic)
      return { readers: pages.map((page) => readers(page).join(' ')), unclear }
    }
    for (const permission of ['x', 'read', '-1', '1x', '1.5', '+1', '0x1', '1e1', '256', '１', '# 1']) {
      // What lies above, and beside it, lets them.
      const line = `hr:*\tanne\t${permission}`
      for (const lines of [[line, 'hr:*\tanne\t1'], ['hr:*\t@ALL\t8', line], ['hr:*\t@hr\t1', line], [line]])
        expect(await mapped(['*\t@ALL\t1', ...lines, 'hr:x\tanne\t01 # why']), lines.join()).toEqual({
          readers: ['bob', 'bob', 'anne bob', 'anne bob'],
          unclear: [
            {
              name: `entry hr:* anne ${permission.replace(/#.*/, '')}`,
              problem: expect.stringMatching(/0 to 255/),
            },
          ],
        })
    }
    expect((await mapped(['*\t@ALL\tread', '*\t@hr\t1', 'hr:x\tbob\t255'])).readers).toEqual([
      '',
      '',
      '',
      'bob',
    ])
    // In the place of each account alone.
    expect((await mapped(['*\t@ALL\t1', 'hr:*\t%USER%\tread', 'b:*\t%GROUP%\tread'])).readers).toEqual([
      '',
      '',
      'bob',
      '',
    ])
    // Whom it names nobody knows here: what is everybody's would be theirs.
    expect((await mapped(['*\t@ALL\t1', 'b:*\t@ALL\t1', 'b:*\tzoe\tread'], true)).readers).toEqual([
      '* anne bob',
      '* anne bob',
      'anne bob',
      '* anne bob',
    ])
    // None of these is an entry for the wiki.
    expect(await mapped(['*\t@ALL\t1', 'hr:*\tanne', 'hr:*\tanne\t', 'hr:*\tanne#\t0'])).toEqual({
      readers: Array.from(pages, () => 'anne bob'),
      unclear: [],
    })
  })

  test('is what the wiki on this PHP makes of it, or less', async () => {
    await using server = await openWikiServer()
    server.setUsers([{ name: 'anne', groups: ['hr'] }])
    const pages = ['a', 'hr:a']
    for (const page of pages) server.write(`pages/${page.replace(':', '/')}.txt`, page)
    for (const permission of ['read', '1x', '', '-1', '# 1', '0x', '256', '!'])
      for (const others of [[], ['hr:*\tanne\t1'], ['hr:*\t@ALL\t0'], ['*\t@ALL\t1']]) {
        const lines = [...others, `hr:*\tanne\t${permission}`, '*\tanne\t0']
        server.setAcl(lines)
        const { readers } = await told(server, asThemselves('anne'), pages)
        const readable = await server.readable('anne')
        for (const page of pages) if (!readable.has(page)) expect(readers(page), lines.join()).toEqual([])
      }
  })
})
