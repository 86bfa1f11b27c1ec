import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
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
async function openFolder(): Promise<SourceWorld & AsyncDisposable & { readonly folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'remit-folder-'))
  const options = { folder, collection: 'docs', access: { viewers: ['user:anne'] }, prefix: 'docs/' }
  const source = createFolderSource(options, {
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

describe('a folder as a source', () => {
  for (const { title, check } of sourceRules)
    test(`keeps the rule that ${title}`, async () => {
      await using world = await openFolder()
      await expect(check(world)).resolves.toBeUndefined()
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
