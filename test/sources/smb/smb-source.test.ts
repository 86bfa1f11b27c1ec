import {
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type Change,
  type ItemChange,
  type LoadedItem,
  SourceUnavailable,
  type SourceWorld,
  sourceRules,
} from '@remit/connector'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { Moved } from '../../../src/sources/kinds/smb/share.ts'
import { argumentsFor } from '../../../src/sources/kinds/smb/shell.ts'
import { lookAt } from '../../../src/sources/kinds/smb/walk.ts'
import { needsSamba, openSamba, openShareOf, openSource, type Samba, type SourceOptions } from './samba.ts'

const read = '0x120089'
const names = ['anne', 'bob', 'carl']

let samba: Samba
let looking: ReturnType<typeof openShareOf>
if (needsSamba.skip !== true) {
  beforeAll(async () => {
    samba = await openSamba({ accounts: names, groups: ['eng'], aliases: ['guests'] })
    looking = openShareOf(samba)
  }, 120_000)
  afterAll(() => samba[Symbol.asyncDispose]())
  beforeEach(() => {
    for (const name of readdirSync(samba.root)) rmSync(join(samba.root, name), { recursive: true })
    samba.setGroups(new Map([['eng', ['anne']]]))
    samba.setShare(['S-1-1-0:ALLOWED/0x0/FULL'])
  })
}

const person = (name: string) => ({ account: samba.sidOf(name), subject: `user:${name}` })
const open = (options: Partial<SourceOptions> = {}) =>
  openSource(samba, { people: ['anne', 'bob'].map(person), ...options })
const rights = (path: string, dacl: string, owner = 'carl') =>
  samba.admin.rights(path, `O:${samba.sidOf(owner)}G:${samba.domain}-513D:${dacl}`)
const idOf = async (path: string) => `smb/${(await lookAt(looking, path.split('/'))).key}`

async function put(path: string, text: string, dacl = `P(A;;${read};;;WD)`): Promise<string> {
  await samba.admin.write(path, text)
  await rights(path, dacl)
  return idOf(path)
}

/** What is told, with the directory before it. */
async function readAll(source: ReturnType<typeof openSource>, cursor?: string) {
  const directory = await source.directory()
  const changes: Change[] = []
  let last = ''
  for await (const page of source.changes(cursor)) {
    changes.push(...page.changes)
    last = page.cursor
  }
  const problems = Object.fromEntries(
    changes.flatMap((change) => (change.kind === 'broken' ? [[change.name, change.problem]] : [])),
  )
  return {
    cursor: last,
    directory,
    changes,
    items: changes.filter((change) => change.kind === 'item'),
    problems,
  }
}
const zonesOf = async (source: ReturnType<typeof openSource>) => (await source.directory()).zones ?? []
const load = async ({ content }: ItemChange): Promise<LoadedItem> => {
  if (typeof content !== 'function') throw new Error('It is loaded already.')
  return content()
}
const textOf = ({ content }: LoadedItem): string =>
  Buffer.from(content.content_base64 ?? '', 'base64').toString()
async function only(source: ReturnType<typeof openSource>): Promise<ItemChange> {
  const { items, problems } = await readAll(source)
  const [item] = items
  if (item === undefined) throw new Error(`There is no item: ${JSON.stringify(problems)}`)
  return item
}

/** As a sync reads it: the directory first, each time. */
function asWorld(source: ReturnType<typeof openSource>): SourceWorld {
  return {
    source: {
      async *changes(cursor, signal) {
        await source.directory()
        yield* source.changes(cursor, signal)
      },
      async item(id) {
        await source.directory()
        return source.item(id)
      },
    },
    put: (name, content) => put(`${name}.md`, content),
    remove: (name) => samba.admin.rm(`${name}.md`),
    async spoil(name) {
      await put(`${name}.md`, '')
      truncateSync(join(samba.root, `${name}.md`), 50_000_001)
    },
  }
}

describe('a share as a source', needsSamba, () => {
  for (const { title, check } of sourceRules)
    test(`keeps the rule that ${title}`, { timeout: 60_000 }, async () => {
      await expect(check(asWorld(open()))).resolves.toBeUndefined()
    })

  test('brings names of all kinds, of which none is a command', { timeout: 60_000 }, async () => {
    const odd = ['!touch pwned;.md', 'a;b & c.md', "it's.md", 'ünï  cödé.md', '-x.md', '$(touch pwned).md']
    for (const name of odd) await put(name, name)
    // Of these the server makes other names.
    for (const name of ['new\nline.md', 'quo"; !touch pwned.md'])
      writeFileSync(join(samba.root, name), 'odd', { mode: 0o666 })
    const unaskable = ['lines\u2028NT_STATUS_OK listing.md', '@GMT-2024.01.01-00.00.00.md']
    for (const name of unaskable) writeFileSync(join(samba.root, name), 'odd', { mode: 0o666 })
    writeFileSync(join(samba.root, '.hidden.md'), '1')
    writeFileSync(join(samba.root, 'program.bin'), '1')
    const { items, problems } = await readAll(open())
    expect(items.map(({ name }) => name)).toEqual(expect.arrayContaining(odd))
    expect(Object.values(problems)).toEqual(unaskable.map(() => 'It has a name that cannot be asked for.'))
    const texts = await Promise.all(items.map(async (item) => textOf(await load(item))))
    expect(texts.sort()).toEqual([...odd, 'odd', 'odd'].sort())
    expect(existsSync('pwned')).toBe(false)
  })

  test('is another document where it is moved, and where another file comes to its path', {
    timeout: 60_000,
  }, async () => {
    const id = await put('a.md', '1')
    await samba.admin.rename('a.md', 'b.md')
    const moved = await idOf('b.md')
    // Times are of seconds.
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    const another = await put('a.md', '1')
    expect(new Set([id, moved, another]).size).toBe(3)
    expect((await readAll(open())).items.map((item) => item.id).sort()).toEqual([moved, another].sort())
  })

  test('is away as a whole with a wrong password, and where the server is not there', async () => {
    await expect(open({ password: 'wrong' }).directory()).rejects.toThrow('NT_STATUS_LOGON_FAILURE')
    await expect(open({ account: 'nobody-at-all' }).directory()).rejects.toBeInstanceOf(SourceUnavailable)
    const elsewhere = openSource({ ...samba, host: '127.255.255.1' }, { people: [] })
    await expect(elsewhere.directory()).rejects.toBeInstanceOf(SourceUnavailable)
  })

  test('shows its password to nobody who sees what runs on the machine', () => {
    const session = { program: 'smbclient', target: '//fs/docs', account: 'FS/root', password: 'pw-of-all' }
    expect(argumentsFor(session).join(' ')).not.toContain(session.password)
  })

  test('is read by an account that is not told who may connect, where the settings say it', {
    timeout: 60_000,
  }, async () => {
    await put('a.md', '1')
    const source = open({ account: 'reader', connect: [samba.sidOf('anne')] })
    expect(textOf(await load(await only(source)))).toBe('1')
    expect(await zonesOf(source)).toMatchObject([{ gates: [['user:anne']] }])
  })
})

describe('what Remit’s account may not read', needsSamba, () => {
  const anyone = `P(A;;${read};;;WD)`
  const openToAll = { account: 'anne', connect: ['S-1-1-0'] }

  test('is one file, hidden, and keeps nothing of its folder back', { timeout: 60_000 }, async () => {
    const [a] = [await put('a.md', '1'), await put('b.md', '2')]
    const source = open(openToAll)
    const { cursor } = await readAll(source)
    await rights('a.md', `P(A;;${read};;;${samba.sidOf('bob')})`)
    await put('c.md', '3')
    const { changes } = await readAll(source, cursor)
    expect(changes).toEqual([
      { kind: 'broken', id: a, name: 'a.md', problem: 'Its permissions cannot be read.' },
      expect.objectContaining({ kind: 'item', name: 'c.md' }),
    ])
    expect(await source.item(a)).toMatchObject({ kind: 'broken', id: a })
  })

  test('is a folder: all in it is hidden and nothing of it is gone', { timeout: 60_000 }, async () => {
    for (const folder of ['dir', 'dir/sub', 'other']) await samba.admin.mkdir(folder)
    const [inside, below] = [await put('dir/a.md', '1'), await put('dir/sub/b.md', '2')]
    const [beside, root] = [await put('other/c.md', '3'), await put('d.md', '4')]
    const source = open(openToAll)
    const { cursor } = await readAll(source)
    await rights('dir', `P(A;OICI;0x1f01ff;;;${samba.sidOf('bob')})`)
    for (const path of ['other/c.md', 'd.md']) await samba.admin.rm(path)
    const { changes } = await readAll(source, cursor)
    const kinds = changes.map((change) => `${change.kind} ${change.id ?? ('name' in change && change.name)}`)
    expect(kinds.sort()).toEqual(['broken dir', `deleted ${beside}`, `deleted ${root}`].sort())
    const [{ covers } = {}] = changes.filter((change) => change.kind === 'broken')
    expect([inside, below, beside, root].map((id) => covers?.(id))).toEqual([true, true, false, false])
    expect(await source.item(below)).toMatchObject({ kind: 'broken' })
    expect(await source.item(beside)).toMatchObject({ kind: 'deleted' })
    await rights('dir', anyone.replace(read, '0x1200a9'))
    expect((await readAll(source)).items.map(({ id }) => id).sort()).toEqual([inside, below].sort())
  })
})

describe('the content of a file', needsSamba, () => {
  test('is fetched whole or not at all, and leaves nothing behind', { timeout: 60_000 }, async () => {
    // Other tests fetch beside this one.
    const own = mkdtempSync(join(tmpdir(), 'fetched-'))
    onTestFinished(() => rmSync(own, { recursive: true }))
    vi.stubEnv('TMPDIR', own)
    onTestFinished(() => void vi.unstubAllEnvs())
    const [old, fresh] = ['old', 'fresh'].map((name) => mkdtempSync(join(own, `remit-smb-${name}-`)))
    if (old === undefined || fresh === undefined) throw new Error('There are no folders.')
    writeFileSync(join(old, 'content'), 'secret')
    utimesSync(old, 1, 1)
    await put('a.md', '1')
    await put('b.md', '2')
    truncateSync(join(samba.root, 'a.md'), 90_000_000)
    const share = openShareOf(samba)
    await expect(share.content(['a.md'])).rejects.toThrow('It has more than 50000000 bytes.')
    expect(String(await share.content(['b.md']))).toBe('2')
    await expect(share.content(['none.md'])).rejects.toBeInstanceOf(Moved)
    expect([existsSync(old), existsSync(fresh)]).toEqual([false, true])
    expect(readdirSync(own)).toEqual([basename(fresh)])
  })
})

describe('a deny on a share', needsSamba, () => {
  test('for somebody who is nobody counts from when they are somebody', { timeout: 60_000 }, async () => {
    await put('a.md', '1', `P(D;;0x1;;;${samba.sidOf('carl')})(A;;${read};;;WD)`)
    const audience = ['group:smb/everyone#member']
    const { groups, zones } = await open().directory()
    const nobody = `smb/denied/${samba.sidOf('carl')}`
    expect(zones).toMatchObject([{ audience, blocked: [`group:${nobody}#member`] }])
    expect(groups).toContainEqual({ id: nobody, members: [] })
    expect(await zonesOf(open({ people: names.map(person) }))).toMatchObject([
      { audience, blocked: ['user:carl'] },
    ])
  })

  test('for a group of which nobody knows who is in it hides the file, until the settings say it', {
    timeout: 60_000,
  }, async () => {
    const foreign = 'S-1-5-21-1-2-3-1104'
    const id = await put('a.md', '1', `P(D;;0x1;;;${foreign})(A;;${read};;;WD)`)
    const source = open()
    const { items, problems } = await readAll(source)
    expect(items).toEqual([])
    expect(problems).toEqual({ 'a.md': expect.stringContaining(foreign) })
    expect(await source.item(id)).toMatchObject({ kind: 'broken', id })
    const stated = open({
      groups: [
        { sid: foreign, members: ['S-1-5-21-1-2-3-1105'] },
        { sid: 'S-1-5-21-1-2-3-1105', members: [samba.sidOf('bob')] },
      ],
    })
    expect(await zonesOf(stated)).toMatchObject([{ blocked: [`group:smb/denied/${foreign}#member`] }])
    expect((await stated.directory()).groups).toContainEqual({
      id: `smb/denied/${foreign}`,
      members: [{ account: samba.sidOf('bob') }],
    })
  })

  test('for such a group makes no difference where it comes too late', { timeout: 60_000 }, async () => {
    await put('a.md', '1', `P(A;;${read};;;WD)(D;;0x1;;;S-1-5-21-1-2-3-1104)`)
    const { directory, items, problems } = await readAll(open())
    expect([items.length, problems]).toEqual([1, {}])
    expect(directory.groups.flatMap(({ id, members }) => (id.includes('/denied/') ? members : []))).toEqual(
      [],
    )
  })

  test('behind an allow is worked out account by account', { timeout: 60_000 }, async () => {
    await put(
      'a.md',
      '1',
      `AI(A;;${read};;;${samba.sidOf('anne')})(D;ID;0x1;;;${samba.sidOf('eng')})(A;ID;${read};;;WD)`,
    )
    samba.setGroups(new Map([['eng', ['anne', 'bob']]]))
    const { groups, zones } = await open().directory()
    expect(zones).toMatchObject([{ audience: [expect.stringContaining('/only/')], blocked: [] }])
    expect(groups).toContainEqual({
      id: expect.stringContaining('/only/'),
      members: [{ account: samba.sidOf('anne') }],
    })
  })

  test('for a local group that holds such a group hides the file', { timeout: 60_000 }, async () => {
    const foreign = 'S-1-5-21-1-2-3-1104'
    await put('a.md', '1', `P(D;;0x1;;;${samba.sidOf('guests')})(A;;${read};;;WD)`)
    const unix = samba.sidOf('unix')
    for (const [members, groups, isHidden] of [
      [[samba.sidOf('anne')], [], false],
      [[samba.sidOf('anne'), foreign], [], true],
      [[unix], [], true],
      [[unix], [{ sid: unix, members: [] }], false],
    ] as const) {
      await samba.setAliases(new Map([['guests', members]]))
      const { items, problems } = await readAll(open({ groups }))
      expect([items.length === 0, Object.keys(problems)]).toEqual([isHidden, isHidden ? ['a.md'] : []])
    }
    await samba.setAliases(new Map([['guests', []]]))
  })

  test('of `invalid users` counts at the door', { timeout: 60_000 }, async () => {
    await put('a.md', '1')
    const invalid = (sid: string) => zonesOf(open({ invalidUsers: [sid] }))
    expect(await invalid(samba.sidOf('bob'))).toMatchObject([{ blocked: ['user:bob'] }])
    expect(await invalid('S-1-5-21-1-2-3-4')).toMatchObject([{ audience: [] }])
  })

  test('at the door, for such a group, lets nobody in', { timeout: 60_000 }, async () => {
    await put('a.md', '1')
    samba.setShare(['S-1-5-21-1-2-3-4:DENIED/0x0/FULL', 'S-1-1-0:ALLOWED/0x0/FULL'])
    const source = open()
    expect(await zonesOf(source)).toMatchObject([{ audience: [] }])
    expect((await readAll(source)).problems).toEqual({
      'the share': expect.stringContaining('S-1-5-21-1-2-3-4'),
    })
  })
})

describe('what changes while a share is read', needsSamba, () => {
  test('is not brought under the readers of before: a file that is closed, and then written to', {
    timeout: 60_000,
  }, async () => {
    const source = open()
    await put('a.md', 'public')
    const told = await only(source)
    await rights('a.md', `P(A;;${read};;;${samba.sidOf('bob')})`)
    await samba.admin.write('a.md', 'secret')
    await expect(load(told)).rejects.toThrow('Who may read it changed')
    expect(await source.item(told.id)).toMatchObject({ kind: 'broken' })
  })

  test('is not brought under the members of before: somebody leaves a group, and then the file is written to', {
    timeout: 60_000,
  }, async () => {
    const source = open()
    await put('a.md', 'public', `P(A;;${read};;;${samba.sidOf('eng')})`)
    const told = await only(source)
    samba.setGroups(new Map([['eng', ['bob']]]))
    await samba.admin.write('a.md', 'secret')
    const { stillHolds } = await load(told)
    await expect(stillHolds?.()).rejects.toBeInstanceOf(SourceUnavailable)
  })

  test('is not brought under the readers of what takes its place', { timeout: 60_000 }, async () => {
    let between: (() => Promise<void>) | undefined
    const source = open({
      wrap: (share) => ({
        ...share,
        async content(path) {
          const bytes = await share.content(path)
          await between?.()
          between = undefined
          return bytes
        },
      }),
    })
    await put('open.md', 'open')
    await put('a.md', 'secret', `P(A;;${read};;;${samba.sidOf('bob')})`)
    const told = (await readAll(source)).items.find(({ name }) => name === 'a.md')
    between = async () => void (await put('a.md', 'public'))
    await expect(told && load(told)).rejects.toThrow('It changed while it was read.')
  })

  test('is not brought under the readers of another folder, which takes its place for a moment', {
    timeout: 60_000,
  }, async () => {
    for (const folder of ['closed', 'open']) await samba.admin.mkdir(folder)
    await put('closed/a.md', 'secret', `P(A;;${read};;;${samba.sidOf('bob')})`)
    await put('open/a.md', 'public')
    const { rename } = samba.admin
    const swap = async () => {
      await rename('open', 'other')
      await rename('closed', 'open')
    }
    const back = async () => {
      await rename('open', 'closed')
      await rename('other', 'open')
    }
    const options = { now: () => Date.now() + 3_600_000, wait: (ms: number) => sleep(ms) }
    const swapping = open({
      ...options,
      wrap: (share) => ({
        ...share,
        async content(path) {
          await swap()
          try {
            return await share.content(path)
          } finally {
            await back()
          }
        },
      }),
    })
    const told = (await readAll(swapping)).items.find(({ name }) => name === 'open/a.md')
    await expect(told && load(told)).rejects.toThrow('A folder above it changed')
    const waiting = open({ ...options, wait: (ms) => sleep(ms).then(swap) })
    const again = (await readAll(waiting)).items.find(({ name }) => name === 'open/a.md')
    await expect(again && load(again)).rejects.toThrow('A folder above it changed')
    await back()
    expect(textOf(await load(await only(open(options))))).toMatch(/secret|public/)
  })

  test('is not brought where it is cut', { timeout: 60_000 }, async () => {
    await put('a.md', 'half')
    const cut = open({
      wrap: (share) => ({ ...share, content: async (path) => (await share.content(path)).subarray(0, 2) }),
    })
    await expect(load(await only(cut))).rejects.toThrow('It changed while it was read.')
  })

  test('is not brought past a door that is closed meanwhile', { timeout: 60_000 }, async () => {
    const source = open()
    await put('a.md', 'public')
    const told = await only(source)
    samba.setShare([`${samba.sidOf('root')}:ALLOWED/0x0/FULL`])
    const { stillHolds } = await load(told)
    await expect(stillHolds?.()).rejects.toBeInstanceOf(SourceUnavailable)
  })

  test('is told by its version where the size and the times are the same', { timeout: 60_000 }, async () => {
    const time = new Date().toUTCString()
    const source = open({
      wrap: (share) => ({
        ...share,
        look: async (path) => ({ ...(await share.look(path)), written: time, changed: time }),
      }),
    })
    await put('a.md', '1')
    const told = await only(source)
    await samba.admin.write('a.md', '2')
    const loaded = await load(told)
    expect(textOf(loaded)).toBe('2')
    expect(loaded.version).not.toBe(told.version)
  })

  test('is read once it can be told by its times no sooner than they changed', {
    timeout: 60_000,
  }, async () => {
    await put('a.md', '1')
    const source = open({ now: () => Date.now() + 3_600_000 })
    const settled = await only(source)
    expect((await only(source)).version).toBe(settled.version)
    const loaded = await load(settled)
    expect(loaded.version).toBe(settled.version)
    // Whoever could read it then was told: nobody is asked for again.
    expect(loaded).not.toHaveProperty('stillHolds')
  })
})

describe('an account of the server', needsSamba, () => {
  test('is nobody where it is not there, may not sign in, or is named twice', {
    timeout: 60_000,
  }, async () => {
    await put('a.md', '1')
    const missing = `${samba.domain}-9999`
    const foreign = 'S-1-5-21-1-2-3-1001'
    await samba.setDisabled('bob', true)
    samba.run('pdbedit', '-u', 'anne', '--kickoff-time=1000000000')
    try {
      const { directory, problems } = await readAll(
        open({
          people: [
            { account: missing, subject: 'user:dan' },
            { account: foreign, subject: 'user:eve' },
            person('bob'),
            person('anne'),
            person('carl'),
            { account: samba.sidOf('root'), subject: 'user:carl' },
          ],
        }),
      )
      expect(directory.accounts).toEqual([])
      expect(problems).toEqual({
        [`account ${missing}`]: 'The server has no such account.',
        [`account ${foreign}`]: 'The server has no accounts of its domain.',
        [`account ${samba.sidOf('bob')}`]: 'The account is disabled, locked or expired.',
        [`account ${samba.sidOf('anne')}`]: 'The account is disabled, locked or expired.',
        [`account ${samba.sidOf('carl')}`]: 'It is named twice, or its person is.',
        [`account ${samba.sidOf('root')}`]: 'It is named twice, or its person is.',
      })
    } finally {
      samba.run('pdbedit', '-u', 'anne', '--kickoff-time=never')
      await samba.setDisabled('bob', false)
    }
  })
})
