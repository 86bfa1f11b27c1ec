import { mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { memoryState, SourceUnavailable, type SourceWorld, sourceRules, syncOnce } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { openRemit } from '../../packages/connector/test/remit.ts'
import { below } from '../../src/sources/kinds/folder/below.ts'
import { createFolderSource } from '../../src/sources/kinds/folder/folder-source.ts'

const spoiled = 'spoiled'

interface FolderWorld extends SourceWorld, AsyncDisposable {
  readonly folder: string
  readonly reads: string[]
  /** A folder in it that cannot be listed. Whoever runs the tests may list each. */
  unlisted: string | undefined
}

/**
 * A folder on disk. A file is broken where its title cannot be read: whoever runs the tests may read every
 * file.
 */
async function openFolder(isLinux = process.platform === 'linux'): Promise<FolderWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'remit-folder-'))
  const options = { folder, collection: 'docs', access: { viewers: ['user:anne'] }, prefix: 'docs/' }
  const reads: string[] = []
  const real = below(folder, isLinux)
  const source = createFolderSource(options, {
    folder: {
      list: (names) => {
        reads.push(`list ${names.join('/')}`)
        return names.join('/') === world.unlisted ? Promise.resolve('EACCES') : real.list(names)
      },
      read: (names) => {
        reads.push(`read ${names.join('/')}`)
        return real.read(names)
      },
    },
    titleOf: async ({ bytes }) => {
      if (Buffer.from(bytes).toString() === spoiled) throw new Error('It is encrypted.')
      return undefined
    },
  })
  const write = async (name: string, content: string) => {
    const path = join(folder, 'sub', `${name}.md`)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, content)
  }
  const world: FolderWorld = {
    folder,
    reads,
    unlisted: undefined,
    source,
    async put(name, content) {
      await write(name, content)
      return `docs/sub/${name}.md`
    },
    remove: (name) => rm(join(folder, 'sub', `${name}.md`)),
    spoil: (name) => write(name, spoiled),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
  return world
}

/** As `changes` tells them: each with what its content comes to. */
async function outcomes(source: SourceWorld['source'], meanwhile = async () => {}) {
  const found: string[] = []
  for await (const { changes } of source.changes(undefined)) {
    await meanwhile()
    for (const change of changes)
      if (change.kind === 'item' && typeof change.content === 'function')
        found.push(
          await change.content().then(
            ({ content }) =>
              `${change.id}: ${Buffer.from('content_base64' in content ? (content.content_base64 ?? '') : '', 'base64')}`,
            (error: Error) => `${change.id}: ${error.message}`,
          ),
        )
      else found.push(`${change.kind} ${'problem' in change ? change.problem : ''}`)
  }
  return found
}

const ways = process.platform === 'linux' ? [true, false] : [false]

describe('a folder as a source', () => {
  for (const isLinux of ways)
    for (const { title, check } of sourceRules)
      test(`keeps the rule that ${title}${isLinux ? '' : ', where nothing opens inside an open folder'}`, async () => {
        await using world = await openFolder(isLinux)
        await expect(check(world)).resolves.toBeUndefined()
      })

  for (const isLinux of ways)
    test(`never leads elsewhere by links that come to stand for its files and folders${isLinux ? '' : ', where nothing opens inside an open folder'}`, async () => {
      await using world = await openFolder(isLinux)
      await using elsewhere = await openFolder()
      for (const name of ['file', 'folder/x', 'deep/down/x']) await world.put(name, 'shared')
      for (const name of ['file', 'x', 'down/x']) await elsewhere.put(name, 'secret')
      const [at, secret] = [join(world.folder, 'sub'), join(elsewhere.folder, 'sub')]
      const swap = async (name: string, target: string) => {
        await rename(join(at, name), join(world.folder, `.${name}`))
        await symlink(join(secret, target), join(at, name))
      }
      const gone = 'it is gone, or is no file by now.'
      expect(
        await outcomes(world.source, async () => {
          await swap('file.md', 'file.md')
          await swap('folder', '')
          await swap('deep', '')
        }),
      ).toEqual([
        `docs/sub/deep/down/x.md: ${gone}`,
        `docs/sub/file.md: ${gone}`,
        `docs/sub/folder/x.md: ${gone}`,
      ])
      expect(await outcomes(world.source)).toEqual([])
    })

  for (const isLinux of ways)
    test(`names a file of more than 50 MB, and brings the others${isLinux ? '' : ', where nothing opens inside an open folder'}`, async () => {
      await using world = await openFolder(isLinux)
      for (const name of ['a', 'huge']) await world.put(name, 'x')
      await truncate(join(world.folder, 'sub', 'huge.md'), 50_000_001)
      expect(await outcomes(world.source)).toEqual([
        'docs/sub/a.md: x',
        'broken it cannot be read (it has more than 50000000 bytes).',
      ])
    })

  test('is listed once for all items that are tried again, and each of them is read alone', async () => {
    await using world = await openFolder()
    const names = Array.from({ length: 20 }, (_, index) => `f${String(index).padStart(2, '0')}`)
    for (const name of names) await world.put(name, 'x')
    const tried = names.slice(0, 10)
    for (const name of tried) expect((await world.source.item(`docs/sub/${name}.md`)).kind).toBe('item')
    expect((await world.source.item('docs/sub/none.md')).kind).toBe('deleted')
    const file = (name: string) => `read sub/${name}.md`
    const once = ['list ', 'list sub']
    expect(world.reads).toEqual([...once, ...tried.map(file)])
    const listed = [...once, ...tried.map(file), ...names.map(file)]
    for await (const _ of world.source.changes(undefined)) expect(world.reads).toEqual(listed)
    // A reading ends with its changes.
    await world.put('new', 'x')
    expect((await world.source.item('docs/sub/new.md')).kind).toBe('item')
    expect(world.reads).toEqual([...listed, ...once, file('new')])
  })

  test('stops listing where it is told to', async () => {
    await using world = await openFolder()
    for (const name of ['a', 'b', 'c']) await world.put(name, 'x')
    const stopping = new AbortController()
    const reading = world.source.changes(undefined, stopping.signal)[Symbol.asyncIterator]().next()
    stopping.abort(new Error('Enough.'))
    await expect(reading).rejects.toThrow('Enough.')
    expect(world.reads).toEqual(['list '])
  })

  test('is another version where other people may read the same files', async () => {
    await using world = await openFolder()
    await world.put('a', '1')
    const versionFor = async (viewer: string) => {
      const options = {
        folder: world.folder,
        collection: 'docs',
        access: { viewers: [viewer] },
        prefix: 'docs/',
      }
      const item = await createFolderSource(options, { titleOf: async () => undefined }).item('docs/sub/a.md')
      return item.kind === 'item' ? item.version : undefined
    }
    expect(await versionFor('user:anne')).not.toBe(await versionFor('user:bob'))
  })

  test('hides what lies in a folder of it that cannot be listed, deletes none of it, and brings the others', async () => {
    await using world = await openFolder()
    for (const name of ['a', 'x y/b', 'x y/down/c', 'x yz/d']) await world.put(name, '1')
    const remit = openRemit()
    const state = memoryState()
    await syncOnce(world.source, remit.writer, state)
    const ids = ['sub/a', 'sub/x%20y/b', 'sub/x%20y/down/c', 'sub/x%20yz/d'].map((path) => `docs/${path}.md`)
    const readers = () =>
      ids.map((id) => [id, remit.documents.get(id)?.access?.viewers?.length ?? 0] as const)
    expect(readers()).toEqual(ids.map((id) => [id, 1]))
    world.unlisted = 'sub/x y'
    for (const _ of [1, 2]) {
      const { failed, withdrawn } = await syncOnce(world.source, remit.writer, state)
      expect([withdrawn, failed.map(({ id }) => id)]).toEqual([0, ids.slice(1, 3)])
      expect(failed[0]?.problem).toContain('/sub/x y cannot be read (EACCES).')
      expect(readers().map(([, count]) => count)).toEqual([1, 0, 0, 1])
    }
    world.unlisted = undefined
    expect(await syncOnce(world.source, remit.writer, state)).toMatchObject({ failed: [] })
    expect(readers()).toEqual(ids.map((id) => [id, 1]))
  })

  test.each(ways)(
    'says why a folder or file cannot be read, and not that it is gone (Linux: %s)',
    async (isLinux) => {
      await using world = await openFolder()
      await world.put('a', '1')
      // No file system takes such a name: it says so, and not that there is none.
      const [name, at] = ['x'.repeat(300), below(world.folder, isLinux)]
      expect([await at.list([name]), await at.read([name])]).toEqual(['ENAMETOOLONG', 'ENAMETOOLONG'])
      expect([await at.list(['sub', 'b']), await at.read(['b.md'])]).toEqual([undefined, undefined])
    },
  )

  test('names files and folders whose names are no UTF-8, and takes none of them for another one', async () => {
    await using world = await openFolder()
    await world.put('\ufffd', 'of another name')
    const odd = Buffer.concat([Buffer.from(join(world.folder, 'sub/')), Buffer.from([0xff])])
    await mkdir(odd)
    await writeFile(Buffer.concat([odd, Buffer.from('.md')]), 'odd')
    await writeFile(Buffer.concat([odd, Buffer.from('.bin')]), 'odd')
    const problem = 'broken its name is no UTF-8. Rename it.'
    expect(await outcomes(world.source)).toEqual(['docs/sub/%EF%BF%BD.md: of another name', problem, problem])
  })

  test('is away as a whole where the folder cannot be read: nothing of it counts as deleted', async () => {
    await using world = await openFolder()
    await rm(world.folder, { recursive: true })
    await expect(world.source.changes(undefined)[Symbol.asyncIterator]().next()).rejects.toBeInstanceOf(
      SourceUnavailable,
    )
  })
})
