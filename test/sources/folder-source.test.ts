import { mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { SourceUnavailable, type SourceWorld, sourceRules } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { createFolderSource } from '../../src/sources/kinds/folder/folder-source.ts'

const spoiled = 'spoiled'

/**
 * A folder on disk. A file is broken where its title cannot be read: whoever runs the tests may read every
 * file.
 */
async function openFolder(
  isLinux = process.platform === 'linux',
): Promise<SourceWorld & AsyncDisposable & { readonly folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'remit-folder-'))
  const options = { folder, collection: 'docs', access: { viewers: ['user:anne'] }, prefix: 'docs/' }
  const source = createFolderSource(options, {
    isLinux,
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
  return {
    folder,
    source,
    async put(name, content) {
      await write(name, content)
      return `docs/sub/${name}.md`
    },
    remove: (name) => rm(join(folder, 'sub', `${name}.md`)),
    spoil: (name) => write(name, spoiled),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
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

  test('is away as a whole where the folder cannot be read: nothing of it counts as deleted', async () => {
    await using world = await openFolder()
    await rm(world.folder, { recursive: true })
    await expect(world.source.changes(undefined)[Symbol.asyncIterator]().next()).rejects.toBeInstanceOf(
      SourceUnavailable,
    )
  })
})
