import { type Source, SourceUnavailable, type SourceWorld, sourceRules } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { notesKind } from '../../examples/source/kind.ts'
import { openNotes } from '../../examples/source/notes.ts'
import { operator } from '../../src/audit/record.ts'
import { openWorld } from '../support/world.ts'

/** The other system of examples/source, and its kind opened on it; `before` stands before each request. */
async function openExample() {
  const notes = openNotes('its-key')
  const url = await notes.listen()
  const example = {
    notes,
    before: (_path: string): void => undefined,
    source: (secret = 'its-key'): Source =>
      notesKind.read({ url, people: [{ account: 'a', subject: 'user:anne' }] }).open({
        prefix: 'notes/',
        collections: ['notes'],
        secret,
        titleOf: async () => undefined,
        async fetch(path, { headers = {} } = {}) {
          example.before(path)
          const response = await fetch(new URL(path, url), { headers })
          const body = new Uint8Array(await response.arrayBuffer())
          return { status: response.status, headers: response.headers, body }
        },
      }),
    url,
    [Symbol.asyncDispose]: async () => void notes.close(),
  }
  return example
}

describe('the source of examples/source', () => {
  test.each(sourceRules.map(({ title, check }) => [title, check] as const))(
    'keeps to it: %s',
    async (_, check) => {
      await using example = await openExample()
      const { notes } = example
      const source = example.source()
      await source.directory?.()
      const world: SourceWorld = {
        source,
        async put(name, text) {
          notes.put(name, { title: name, text, readers: ['a'] })
          return `notes/${name}`
        },
        remove: async (name) => void notes.remove(name),
        spoil: async (name) => notes.put(name, { title: name, readers: ['a'] }),
      }
      await expect(check(world)).resolves.toBeUndefined()
    },
  )

  test('brings nothing under readers or groups of before', async () => {
    await using example = await openExample()
    const { notes } = example
    const secret = (readers: readonly string[]) =>
      notes.put('plan', { title: 'Plan', text: 'Secret.', readers })
    const refused: number[] = []
    for (const [kind, unshare] of [
      () => secret([]),
      () => {
        notes.groups.set('g', [])
        secret(['@g'])
      },
    ].entries())
      for (const at of [1, 2, 3]) {
        notes.groups.set('g', ['a'])
        notes.put('plan', { title: 'Plan', text: 'Open.', readers: ['@g'] })
        const source = example.source()
        await source.directory?.()
        const item = await source.item('notes/plan')
        const load = item.kind === 'item' && typeof item.content === 'function' ? item.content : undefined
        let count = 0
        example.before = () => {
          count += 1
          if (count === at) unshare()
        }
        const loaded = await load?.().catch((error: unknown) => {
          expect(error).toBeInstanceOf(SourceUnavailable)
          refused.push(kind)
        })
        example.before = () => undefined
        const isSecret = loaded?.content.text === 'Secret.'
        expect(isSecret ? loaded.access.viewers : [], `before request ${at}`).toEqual([])
      }
    // Who left the group is in it as it was told, whichever page is read.
    expect(refused).toEqual([1, 1])
  })

  test('is none of an empty system where the key is not taken', async () => {
    await using example = await openExample()
    await expect(example.source('wrong').directory?.()).rejects.toBeInstanceOf(SourceUnavailable)
  })

  test('runs in the service as a kind of its own', { timeout: 120_000 }, async () => {
    await using example = await openExample()
    const { notes, url } = example
    const entry = { name: 'notes', kind: 'notes', origin: url, secret_env: 'NOTES_KEY' }
    await using world = await openWorld({
      env: {
        SOURCE_ORIGINS: url,
        OUTBOUND_ALLOWED_ORIGINS: url,
        SOURCE_SECRETS: JSON.stringify([entry]),
        NOTES_KEY: 'its-key',
      },
      sourceKinds: [notesKind],
    })
    await world.service.ingest.saveCollection(operator('test'), { id: 'notes', title: 'Notes' })
    for (const user of ['dan', 'carol'])
      await world.service.administrators.add(`user:${user}`, ['security.write'])
    const post = async (user: string, path: string, body: object): Promise<unknown> =>
      (await world.call('POST', path, { token: await world.token({ user }), body })).json()
    const settings = { url, people: [{ account: 'a', subject: 'user:anne' }] }
    const proposal = { id: 'notes', kind: 'notes', settings, collections: ['notes'], secret: 'notes' }
    const { digest } = z
      .object({ source: z.object({ digest: z.string() }) })
      .parse(await post('dan', '/sources', proposal)).source
    await post('carol', '/sources/notes', { action: 'confirm', digest })
    notes.groups.set('g', ['a', 'b'])
    notes.put('otter', { title: 'Otters', text: 'An otter was seen.', readers: ['@g'] })
    const finds = async () => {
      await world.database.query('update sources set next_at = now()')
      await world.service.sources.runDue()
      await new Promise((resolve) => setTimeout(resolve, 700))
      const token = await world.token({ user: 'anne', scopes: ['docs.search'] })
      return (await world.retrieve(token, { query: 'otter' })).results.map(({ text }) => text)
    }
    expect(await finds()).toEqual(['An otter was seen.'])
    notes.groups.set('g', ['b'])
    expect(await finds()).toEqual([])
  })
})
