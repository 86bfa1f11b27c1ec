import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import {
  type Change,
  CursorExpired,
  type ItemChange,
  type LoadedItem,
  memoryState,
  type Source,
  SourceUnavailable,
  type SourceWorld,
  sourceRules,
  syncOnce,
} from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { openRemit } from '../../../packages/connector/test/remit.ts'
import type { Before } from '../../../src/sources/kind.ts'
import type { FoundAccount, Person } from '../../../src/sources/kinds/files/accounts.ts'
import { createFilesSource } from '../../../src/sources/kinds/files/files-source.ts'
import { needsRootAndAcls } from './kernel.ts'

const anne = { name: 'anne', uid: 70_001, subject: 'user:anne' }
const bob = { name: 'bob', uid: 70_002, subject: 'user:bob' }

interface Folder extends AsyncDisposable {
  readonly root: string
  readonly source: Source
  accounts: readonly FoundAccount[]
  now: () => number
  put(path: string, content: string, mode?: number): string
  idOf(path: string): string
  /** What is told from a cursor on, with the directory before it. */
  read(cursor?: string): Promise<{ readonly changes: readonly Change[]; readonly cursor: string }>
}

function openFolder(
  options: { readonly people?: readonly Person[]; readonly getfacl?: (root: string) => string } = {},
) {
  const root = mkdtempSync(join(tmpdir(), 'remit-files-'))
  chmodSync(root, 0o755)
  const folder: Folder = {
    root,
    now: Date.now,
    accounts: [anne, bob].map(({ name, uid }) => ({ name, uid, gids: new Set([80_001]) })),
    source: createFilesSource(
      { root, collection: 'docs', prefix: 'files/', people: options.people ?? [anne, bob] },
      {
        readAccounts: async () => folder.accounts,
        titleOf: async () => undefined,
        now: () => folder.now(),
        ...(options.getfacl && { getfacl: options.getfacl(root) }),
      },
    ),
    put(path, content, mode = 0o644) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), content)
      chmodSync(join(root, path), mode)
      return folder.idOf(path)
    },
    idOf(path) {
      const { ino, birthtimeNs } = lstatSync(join(root, path), { bigint: true })
      return `files/${ino.toString(36)}-${birthtimeNs.toString(36)}`
    },
    async read(cursor) {
      await folder.source.directory?.()
      const pages = []
      for await (const page of folder.source.changes(cursor)) pages.push(page)
      return { changes: pages.flatMap(({ changes }) => changes), cursor: pages.at(-1)?.cursor ?? '' }
    },
    async [Symbol.asyncDispose]() {
      for (const path of [root, `${root}.away`, programOf(root)])
        await rm(path, { recursive: true, force: true })
    },
  }
  return folder
}

/** As a sync reads it: the directory first, each time. */
function asWorld(folder: Folder): SourceWorld {
  const { source } = folder
  const path = (name: string) => `sub/${name}.md`
  return {
    source: {
      async *changes(cursor, signal) {
        await source.directory?.()
        yield* source.changes(cursor, signal)
      },
      async item(id) {
        await source.directory?.()
        return source.item(id)
      },
    },
    put: async (name, content) => folder.put(path(name), content),
    remove: async (name) => rmSync(join(folder.root, path(name))),
    async spoil(name) {
      folder.put(path(name), '')
      truncateSync(join(folder.root, path(name)), 50_000_001)
    },
  }
}

const docs = ({ root }: Folder) => ({ root, collection: 'docs', prefix: 'files/', people: [] })

const itemsOf = (changes: readonly Change[]): readonly ItemChange[] =>
  changes.filter((change) => change.kind === 'item')
const problemsOf = (changes: readonly Change[]): Readonly<Record<string, string>> =>
  Object.fromEntries(
    changes.flatMap((change) => (change.kind === 'broken' ? [[change.name, change.problem]] : [])),
  )
const namesOf = (changes: readonly Change[]) => itemsOf(changes).map(({ name }) => name)
const load = async ({ content }: ItemChange): Promise<LoadedItem> => {
  if (typeof content !== 'function') throw new Error('It is loaded already.')
  return content()
}
const textOf = ({ content }: LoadedItem): string =>
  Buffer.from(content.content_base64 ?? '', 'base64').toString()
const only = async (folder: Folder): Promise<ItemChange> => {
  const [item] = itemsOf((await folder.read()).changes)
  if (item === undefined) throw new Error('There is no item.')
  return item
}
const zones = async (folder: Folder) => (await folder.source.directory?.())?.zones ?? []

describe('a tree of files as a source', needsRootAndAcls, () => {
  for (const { title, check } of sourceRules)
    test(`keeps the rule that ${title}`, async () => {
      await using folder = openFolder()
      await expect(check(asWorld(folder))).resolves.toBeUndefined()
    })

  test('is the same document wherever it is moved, and another one once another file has its path', async () => {
    await using folder = openFolder()
    const id = folder.put('a.md', '1')
    mkdirSync(join(folder.root, 'sub'))
    renameSync(join(folder.root, 'a.md'), join(folder.root, 'sub/b.md'))
    const another = folder.put('a.md', '1')
    expect(another).not.toBe(id)
    expect(itemsOf((await folder.read()).changes).map((item) => [item.id, item.name])).toEqual([
      [another, 'a.md'],
      [id, 'sub/b.md'],
    ])
  })

  test('is a document for each name of a file, each with the way of its own', async () => {
    await using folder = openFolder()
    folder.put('open/a.md', '1')
    mkdirSync(join(folder.root, 'closed'), { mode: 0o700 })
    linkSync(join(folder.root, 'open/a.md'), join(folder.root, 'closed/secret-name.md'))
    const items = itemsOf((await folder.read()).changes)
    expect(items.map(({ name }) => name)).toEqual(['closed/secret-name.md', 'open/a.md'])
    expect(new Set(items.map(({ id }) => id)).size).toBe(2)
    expect(new Set(items.map(({ access }) => access.parents?.[0])).size).toBe(2)
  })

  test('brings names of any bytes, and names what is no file with its reason', async () => {
    await using folder = openFolder()
    folder.put('new\nline.md', '1')
    folder.put('.hidden.md', '1')
    folder.put('program.bin', '1')
    writeFileSync(
      Buffer.concat([Buffer.from(`${folder.root}/`), Buffer.from([0xff, 0x41]), Buffer.from('.md')]),
      '1',
    )
    symlinkSync('/etc/passwd', join(folder.root, 'link.md'))
    execFileSync('mkfifo', [join(folder.root, 'pipe.md')])
    const { changes } = await folder.read()
    expect(namesOf(changes)).toEqual(['new?line.md', '\ufffdA.md'])
    expect(problemsOf(changes)).toEqual({
      'link.md': 'It is no file but a symbolic link.',
      'pipe.md': 'It is no file but a pipe.',
    })
    for (const item of itemsOf(changes)) expect(textOf(await load(item))).toBe('1')
  })

  test('is away as a whole where its root is gone, is another folder, or lies on another kind of file system', async () => {
    await using folder = openFolder()
    folder.put('a.md', '1')
    const { cursor } = await folder.read()
    renameSync(folder.root, `${folder.root}.away`)
    await expect(folder.source.directory?.()).rejects.toBeInstanceOf(SourceUnavailable)
    mkdirSync(folder.root)
    await expect(folder.read(cursor)).rejects.toThrow('Another folder lies at')
    const anew = createFilesSource(
      { ...docs(folder), before: { cursor, hasItems: true, takesOther: false } },
      { readAccounts: async () => [], titleOf: async () => undefined, now: Date.now },
    )
    await anew.directory()
    await expect(anew.changes(undefined)[Symbol.asyncIterator]().next()).rejects.toThrow(
      'Another folder lies at',
    )
    rmSync(folder.root, { recursive: true })
    renameSync(`${folder.root}.away`, folder.root)
    expect((await folder.read(cursor)).changes.map(({ kind }) => kind)).not.toContain('deleted')
    const elsewhere = createFilesSource(
      { root: '/proc', collection: 'docs', prefix: 'files/', people: [] },
      { readAccounts: async () => [], titleOf: async () => undefined, now: Date.now },
    )
    await expect(elsewhere.directory?.()).rejects.toThrow('of a kind that is not covered')
  })

  test('is away as a whole where no document lies in it at first, or in another folder that an administrator wants read', async () => {
    await using folder = openFolder()
    folder.put('a.md', '1')
    const { cursor } = await folder.read()
    renameSync(folder.root, `${folder.root}.away`)
    mkdirSync(folder.root, { mode: 0o755 })
    const first = { cursor: undefined, hasItems: true, takesOther: false }
    const wanted = { cursor, hasItems: true, takesOther: true }
    const read = async (before: Before, from?: string) => {
      const source = createFilesSource(
        { ...docs(folder), before },
        { readAccounts: async () => [], titleOf: async () => undefined, now: Date.now },
      )
      await source.directory()
      const page = await source.changes(from)[Symbol.asyncIterator]().next()
      return page.value.changes.length
    }
    await expect(read(first)).rejects.toThrow('No document lies in')
    await expect(read(wanted)).rejects.toThrow('No document lies in')
    await expect(read(wanted, cursor)).rejects.toThrow('No document lies in')
    expect(await read({ ...first, hasItems: false })).toBe(0)
    folder.put('b.md', '2')
    expect([await read(first), await read(wanted)]).toEqual([1, 1])
    await expect(read(wanted, cursor)).rejects.toBeInstanceOf(CursorExpired)
    // Emptied, and the same one: what was in it is gone.
    const { cursor: second } = await folder.read()
    rmSync(join(folder.root, 'b.md'))
    expect(await read({ ...wanted, cursor: second })).toBe(0)
  })

  test('hides what may lie in a folder that cannot be read, deletes none of it, and brings the others', async () => {
    await using folder = openFolder({
      getfacl: (root) => scriptIn(root, '[ -e $0.off ] && exit 1; exec getfacl "$@"'),
    })
    folder.now = () => Date.now() + 10_000
    const [a, b] = [folder.put('a.md', '1'), folder.put('sub/b.md', '1')]
    const remit = openRemit()
    const state = memoryState()
    const sync = () => syncOnce(folder.source, remit.writer, state)
    const readable = () => [a, b].map((id) => remit.documents.get(id)?.access?.parents?.length ?? 0)
    await sync()
    expect(readable()).toEqual([1, 1])
    writeFileSync(join(programOf(folder.root), 'getfacl.off'), '')
    chmodSync(join(folder.root, 'sub'), 0o750)
    const problem = 'sub has permissions that cannot be read.'
    for (const _ of [1, 2]) {
      expect(await sync()).toMatchObject({ withdrawn: 0, failed: [{ id: b, problem }] })
      expect(readable()).toEqual([1, 0])
      expect(await folder.source.item(b)).toMatchObject({ kind: 'broken', problem })
    }
    rmSync(join(programOf(folder.root), 'getfacl.off'))
    expect(await sync()).toMatchObject({ withdrawn: 0, failed: [] })
    expect(readable()).toEqual([1, 1])
  })

  test.each([
    ['searched and not listed', 0o711, 'sub cannot be listed (EACCES).'],
    ['listed and not searched', 0o744, 'sub/b.md cannot be read (EACCES).'],
  ])('knows that there is more in a folder that can be %s', async (_, mode, problem) => {
    await using folder = openFolder()
    folder.put('sub/b.md', '1')
    chmodSync(join(folder.root, 'sub'), mode)
    const walk = new URL('../../../src/sources/kinds/files/walk.ts', import.meta.url).href
    const text = `const { TreeReader } = await import('${walk}')
      const options = { root: '${folder.root}', isWanted: () => true, now: Date.now }
      console.log(JSON.stringify((await new TreeReader(options).read()).problems))`
    // Whoever runs the tests may list each.
    const asBob = { uid: bob.uid, gid: bob.uid, encoding: 'utf8' } as const
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', text], asBob)
    expect(JSON.parse(stdout)).toMatchObject([{ problem, mayHoldMore: true }])
  })

  test('is away as a whole without getfacl, and where it says what is not known', async () => {
    for (const script of ['exit 3', 'echo "# file: x"; echo "user::rwx"; echo "plan9::r--"']) {
      await using folder = openFolder({ getfacl: (root) => scriptIn(root, script) })
      folder.put('a.md', '1')
      await expect(folder.source.directory?.()).rejects.toBeInstanceOf(SourceUnavailable)
    }
    await using folder = openFolder({ getfacl: (root) => join(root, 'missing') })
    await expect(folder.source.directory?.()).rejects.toBeInstanceOf(SourceUnavailable)
  })

  test('is not told again only because its time can be relied on by now', async () => {
    await using folder = openFolder()
    folder.put('a.md', '1')
    const { changes, cursor } = await folder.read()
    expect(changes).toHaveLength(1)
    folder.now = () => Date.now() + 10_000
    for (const _ of [1, 2]) expect((await folder.read(cursor)).changes).toEqual([])
  })

  test('reads the permissions of what does not change once for as long as it is open', async () => {
    await using folder = openFolder({ getfacl: (root) => counting(root) })
    folder.put('sub/a.md', '1')
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    const first = await only(folder)
    const calls = callsOf(folder.root)
    expect(calls).toBeGreaterThan(0)
    expect((await only(folder)).version).toBe(first.version)
    expect(textOf(await load(first))).toBe('1')
    expect(callsOf(folder.root)).toBe(calls)
    chmodSync(join(folder.root, 'sub/a.md'), 0o600)
    expect((await only(folder)).version).not.toBe(first.version)
    expect(callsOf(folder.root)).toBeGreaterThan(calls)
  })
})

describe('what changes while a tree of files is read', needsRootAndAcls, () => {
  test('is not brought under the readers of before: a file that is closed, and then written to', async () => {
    await using folder = openFolder()
    folder.put('a.md', 'public')
    const told = await only(folder)
    chmodSync(join(folder.root, 'a.md'), 0o600)
    writeFileSync(join(folder.root, 'a.md'), 'secret')
    await expect(load(told)).rejects.toThrow('Who may read it changed')
    expect(await folder.source.item(told.id)).toMatchObject({ kind: 'broken' })
  })

  test('is told by its version where the size and the tick of the clock are the same', async () => {
    await using folder = openFolder()
    folder.put('a.md', '1')
    const told = await only(folder)
    writeFileSync(join(folder.root, 'a.md'), '2')
    const loaded = await load(told)
    expect(textOf(loaded)).toBe('2')
    expect(loaded.version).not.toBe(told.version)
  })

  test('is not brought under the readers of before: a folder above that is closed, and then the file written to', async () => {
    await using folder = openFolder()
    folder.put('x/y/a.md', 'public')
    const told = await only(folder)
    chmodSync(join(folder.root, 'x'), 0o700)
    writeFileSync(join(folder.root, 'x/y/a.md'), 'secret')
    await expect(load(told)).rejects.toThrow('Who may reach it changed')
    expect(await folder.source.item(told.id)).toMatchObject({ kind: 'broken' })
  })

  test('is not brought under the members of before: somebody leaves a group, and then the file is written to', async () => {
    await using folder = openFolder()
    folder.put('a.md', 'public', 0o640)
    chownSync(join(folder.root, 'a.md'), 0, 80_001)
    const told = await only(folder)
    folder.accounts = folder.accounts.map((account) => ({ ...account, gids: new Set([80_002]) }))
    await expect(load(told)).rejects.toBeInstanceOf(SourceUnavailable)
  })

  test('does not lead elsewhere: a folder that becomes a symbolic link', async () => {
    await using folder = openFolder()
    folder.put('x/a.md', 'public')
    folder.put('.elsewhere/a.md', 'secret')
    const told = await only(folder)
    renameSync(join(folder.root, 'x'), join(folder.root, '.x'))
    symlinkSync(join(folder.root, '.elsewhere'), join(folder.root, 'x'))
    await expect(load(told)).rejects.toThrow('It was moved')
    expect((await folder.read()).changes).toEqual([])
  })

  test('is not put together of two moments: a folder is closed while what is in it is opened', async () => {
    // The third call is for what lies in x: by then x was read, and was open.
    await using folder = openFolder({
      getfacl: (root) => counting(root, `[ "$n" = 3 ] && chmod 700 ${root}/x && chmod 755 ${root}/x/y`),
    })
    folder.put('x/y/a.md', 'secret')
    chmodSync(join(folder.root, 'x/y'), 0o700)
    expect(await zones(folder)).toMatchObject([{ audience: [] }])
    // Once it is quiet, nobody but root may search x.
    expect(await zones(folder)).toMatchObject([{ audience: ['group:files/everyone#member'], gates: [[]] }])
    chmodSync(join(folder.root, 'x'), 0o755)
    expect(await zones(folder)).toMatchObject([{ audience: ['group:files/everyone#member'], gates: [] }])
  })
})

describe('an account of the machine', needsRootAndAcls, () => {
  const memberships = async (folder: Folder): Promise<readonly string[]> => {
    const directory = await folder.source.directory?.()
    const subjects = new Map(directory?.accounts.map(({ id, subject }) => [id, subject]))
    const everyone = directory?.groups.find(({ id }) => id === 'files/everyone')
    return (everyone?.members ?? []).flatMap((member) =>
      'account' in member ? (subjects.get(member.account) ?? []) : [],
    )
  }

  test('is nobody where its number is somebody else’s by now, where it is root, and where two are one person', async () => {
    const people = [anne, { ...bob, subject: 'user:anne' }, { name: 'carl', uid: 1, subject: 'user:carl' }]
    await using folder = openFolder({ people: [...people, { name: 'root', uid: 0, subject: 'user:root' }] })
    folder.accounts = [
      ...folder.accounts,
      { name: 'carl', uid: 2, gids: new Set() },
      { name: 'root', uid: 0, gids: new Set() },
    ]
    folder.put('a.md', '1')
    expect(await memberships(folder)).toEqual([])
    expect(problemsOf((await folder.read()).changes)).toEqual({
      'account anne': 'It is named twice, or its person is.',
      'account bob': 'It is named twice, or its person is.',
      'account carl': 'The machine says that its number is 2, not 1.',
      'account root': 'No permission holds for root.',
    })
  })

  test('that is denied stays denied when it is known later', async () => {
    await using folder = openFolder()
    folder.put('a.md', '1')
    execFileSync('setfacl', ['-m', `u:${bob.uid}:---`, join(folder.root, 'a.md')])
    const [, known] = folder.accounts
    folder.accounts = folder.accounts.slice(0, 1)
    expect(await zones(folder)).toMatchObject([{ audience: ['group:files/everyone#member'], blocked: [] }])
    expect(await memberships(folder)).toEqual(['user:anne'])
    folder.accounts = [...folder.accounts, ...(known ? [known] : [])]
    expect(await zones(folder)).toMatchObject([{ blocked: ['user:bob'] }])
  })

  test('has the groups that a sign-in would give it', async () => {
    const { readNameService } = await import('../../../src/sources/kinds/files/accounts.ts')
    const ids = spawnSync('id', ['-G', 'daemon'], { encoding: 'utf8' }).stdout.trim().split(' ').map(Number)
    const found = await readNameService(['daemon', 'no-such-account'])
    expect(found.map(({ name, gids }) => [name, [...gids].sort()])).toEqual([['daemon', ids.sort()]])
  })
})

const programOf = (root: string): string => `${root}.program`
const callsOf = (root: string): number => lstatSync(join(programOf(root), 'getfacl.calls')).size

/** A program that counts its calls, does something, and is getfacl. */
const counting = (root: string, act = ':'): string =>
  scriptIn(root, `printf x >>$0.calls; n=$(wc -c <$0.calls); ${act}; exec getfacl "$@"`)

function scriptIn(root: string, text: string): string {
  mkdirSync(programOf(root))
  const path = join(programOf(root), 'getfacl')
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  return path
}
