import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RemitError, Unavailable } from '@remit/client'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type BrokenItem,
  type Change,
  changesByListing,
  type Directory,
  type ItemChange,
  itemByListing,
  type Listing,
  memoryState,
  type Source,
  SourceUnavailable,
  type SyncState,
  syncOnce,
} from '../src/index.ts'
import { fileState } from '../src/node.ts'
import { mapPages, memoryWorld } from './memory-source.ts'
import { openRemit } from './remit.ts'

let remit: ReturnType<typeof openRemit>
let folder: string
beforeEach(async () => {
  remit = openRemit()
  folder = await mkdtemp(join(tmpdir(), 'remit-sync-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('a sync', () => {
  test('brings what is there, then only what changed, and withdraws what is gone', async () => {
    const world = memoryWorld()
    const state = memoryState()
    for (const name of ['a', 'b', 'c']) await world.put(name, '1')
    expect(await syncOnce(world.source, remit.writer, state)).toMatchObject({ imported: 3, isComplete: true })
    await world.put('b', '2')
    await world.remove('c')
    remit.calls.length = 0
    expect(await syncOnce(world.source, remit.writer, state)).toMatchObject({ imported: 1, withdrawn: 1 })
    expect(remit.calls).toEqual(['withdraw docs/c', 'import docs/b'])
    expect(remit.readable()).toEqual(['docs/a=1', 'docs/b=2'])
    remit.calls.length = 0
    await syncOnce(world.source, remit.writer, state)
    expect(remit.calls).toEqual([])
  })

  test('hides an item that is broken or refused, names it, brings the others, and tries it again', async () => {
    const world = memoryWorld()
    const state = memoryState()
    for (const name of ['a', 'b', 'c']) await world.put(name, '1')
    await syncOnce(world.source, remit.writer, state)
    await world.spoil('a')
    await world.put('b', '2')
    await world.put('c', '2')
    remit.refusal = ({ id }) => (id === 'docs/b' ? 'too long' : undefined)
    const { failed } = await syncOnce(world.source, remit.writer, state)
    expect(failed).toEqual([
      { id: 'docs/a', name: 'a', problem: 'It cannot be said who may read it.', isHidden: true },
      { id: 'docs/b', name: 'docs/b', problem: 'invalid_request: too long', isHidden: true },
    ])
    expect(remit.readable()).toEqual(['docs/c=2'])
    remit.refusal = () => undefined
    await world.put('a', '1')
    expect(await syncOnce(world.source, remit.writer, state)).toMatchObject({ failed: [] })
    expect(remit.readable().sort()).toEqual(['docs/a=1', 'docs/b=2', 'docs/c=2'])
  })

  test('names what has no id beside an item whose id is the name of it', async () => {
    const { source } = memoryWorld()
    const item: ItemChange = {
      ...{ kind: 'item', id: 'shelf', version: '1', access: {} },
      content: { collection: 'docs', title: 'shelf', text: '1' },
    }
    const page = { changes: [{ kind: 'broken', name: 'shelf', problem: 'Odd.' }, item] } as const
    const both = mapPages(source, (told) => ({ ...told, ...page }))
    const { failed } = await syncOnce(both, remit.writer, memoryState())
    expect(failed).toEqual([{ name: 'shelf', problem: 'Odd.', isHidden: true }])
  })

  test('hides what lies in a part that could not be listed, and withdraws none of it, read from a cursor or from the beginning', async () => {
    const texts = new Map([
      ['docs/a', '1'],
      ['docs/s/b', '1'],
      ['docs/s/c', '1'],
    ])
    const access = { viewers: ['user:anne'] }
    const inShelf = (id: string) => id.startsWith('docs/s/')
    const shelf: BrokenItem = { kind: 'broken', name: 'shelf s', problem: 'It answers 500.', covers: inShelf }
    let isShelfRead = true
    const list: Listing = async () => {
      const items = [...texts].map(([id, text]): ItemChange => {
        const content = { collection: 'docs', title: id, text }
        return { kind: 'item', id, version: text, access, content }
      })
      return isShelfRead ? items : [...items.filter(({ id }) => !inShelf(id)), shelf]
    }
    const source: Source = {
      changes: (cursor) => changesByListing(list, cursor),
      item: (id) => itemByListing(list, id),
    }
    const state = memoryState()
    const crawling: SyncState = {
      load: async () => ({ ...(await state.load()), cursor: undefined }),
      apply: (update) => state.apply(update),
    }
    isShelfRead = false
    expect(await syncOnce(source, remit.writer, state)).toMatchObject({
      failed: [{ name: 'shelf s', problem: 'It answers 500.' }],
    })
    for (const how of [state, crawling]) {
      isShelfRead = true
      await syncOnce(source, remit.writer, how)
      expect(remit.readable().sort()).toEqual(['docs/a=1', 'docs/s/b=1', 'docs/s/c=1'])
      isShelfRead = false
      const told: Change[] = []
      const { cursor } = await state.load()
      for await (const { changes } of source.changes(cursor)) told.push(...changes)
      expect(told).toEqual([shelf])
      for (const _ of [1, 2]) {
        expect(await syncOnce(source, remit.writer, how)).toMatchObject({
          withdrawn: 0,
          isComplete: true,
          failed: ['docs/s/b', 'docs/s/c'].map((id) => ({ id, problem: 'It answers 500.', isHidden: true })),
        })
        expect(remit.readable()).toEqual(['docs/a=1'])
        expect(remit.documents.size).toBe(3)
      }
    }
    isShelfRead = true
    texts.delete('docs/s/c')
    expect(await syncOnce(source, remit.writer, state)).toMatchObject({ withdrawn: 1, failed: [] })
    expect(remit.readable().sort()).toEqual(['docs/a=1', 'docs/s/b=1'])
  })

  test('takes an error of one item as that item’s own, and an answer that stays away as the source’s', async () => {
    const world = memoryWorld()
    const state = memoryState()
    for (const name of ['a', 'b']) await world.put(name, '1')
    remit.refusal = () => 'too long'
    await syncOnce(world.source, remit.writer, state)
    remit.refusal = () => undefined
    const failing = (error: Error): Source => ({
      ...world.source,
      item: async (id, signal) => {
        if (id === 'docs/a') throw error
        return world.source.item(id, signal)
      },
    })
    const away = new SourceUnavailable('It does not answer.')
    await expect(syncOnce(failing(away), remit.writer, state)).rejects.toBe(away)
    expect(await syncOnce(failing(new Error('It is too large.')), remit.writer, state)).toMatchObject({
      failed: [{ id: 'docs/a', problem: 'It is too large.', isHidden: true }],
    })
    expect(remit.readable()).toEqual(['docs/b=1'])
  })

  test('says where not even hiding was possible', async () => {
    const world = memoryWorld()
    await world.put('a', '1')
    const state = memoryState()
    await syncOnce(world.source, remit.writer, state)
    await world.spoil('a')
    remit.before = (call) => {
      if (call.startsWith('access')) throw new RemitError('forbidden', { status: 403 }, {})
    }
    const { failed } = await syncOnce(world.source, remit.writer, state)
    expect(failed).toMatchObject([{ id: 'docs/a', isHidden: false }])
  })

  test('does not publish content under readers that were read for another version', async () => {
    const world = memoryWorld((source) => ({
      ...source,
      ...mapPages(source, (page) => ({
        ...page,
        changes: page.changes.map((change) =>
          change.kind === 'item' ? { ...change, version: `stale ${change.version}` } : change,
        ),
      })),
      item: source.item,
    }))
    await world.put('a', '1')
    // Told stale once: by its id it is read anew, and then all is of one version.
    expect(await syncOnce(world.source, remit.writer, memoryState())).toMatchObject({ imported: 1 })
    const always = memoryWorld((source) => {
      const stale: Source['item'] = async (id) => {
        const item = await source.item(id)
        return item.kind === 'item' ? { ...item, version: `stale ${item.version}` } : item
      }
      return { ...source, changes: mapPages(source, stalePage).changes, item: stale }
    })
    await always.put('a', '2')
    const { failed, imported } = await syncOnce(always.source, remit.writer, memoryState())
    expect({ failed, imported }).toMatchObject({
      failed: [{ id: 'docs/a', problem: 'It changed twice while it was read.', isHidden: true }],
      imported: 0,
    })
    expect(remit.readable()).toEqual([])
  })

  test('withdraws nothing that a reading did not tell where that was cut short', async () => {
    const world = memoryWorld()
    const state = memoryState()
    for (const name of ['a', 'b']) await world.put(name, '1')
    await syncOnce(world.source, remit.writer, state)
    await state.apply({ cursor: null })
    const cut = mapPages(world.source, (page) => ({
      ...page,
      changes: page.changes.slice(0, 1),
      isLast: false,
    }))
    expect(await syncOnce(cut, remit.writer, state)).toMatchObject({ isComplete: false, withdrawn: 0 })
    await world.remove('b')
    expect(await syncOnce(world.source, remit.writer, state)).toMatchObject({
      isComplete: true,
      withdrawn: 1,
    })
  })

  test('reads everything where the cursor is lost, and withdraws what is no longer told', async () => {
    const world = memoryWorld()
    const state = memoryState()
    for (const name of ['a', 'b']) await world.put(name, '1')
    await syncOnce(world.source, remit.writer, state)
    await state.apply({ cursor: 'of another source' })
    await world.remove('a')
    await syncOnce(world.source, remit.writer, state)
    expect(remit.readable()).toEqual(['docs/b=1'])
  })

  test('stops where the source or the service does not answer, and acknowledges nothing of it', async () => {
    const world = memoryWorld()
    const state = memoryState()
    await world.put('a', '1')
    const away = mapPages(world.source, (page) => ({
      ...page,
      changes: page.changes.map((change) => ({
        ...change,
        content: () => Promise.reject(new SourceUnavailable('It does not answer.')),
      })),
    }))
    await expect(syncOnce(away, remit.writer, state)).rejects.toBeInstanceOf(SourceUnavailable)
    remit.before = () => {
      throw new Unavailable('unavailable', {}, {})
    }
    await expect(syncOnce(world.source, remit.writer, state)).rejects.toBeInstanceOf(Unavailable)
    remit.before = () => undefined
    expect(await syncOnce(world.source, remit.writer, state)).toMatchObject({ failed: [] })
    expect(remit.readable()).toEqual(['docs/a=1'])
  })

  test('that ends does so once all that it began has: nothing of it reaches into the next one', async () => {
    const started = Promise.withResolvers<void>()
    const world = memoryWorld()
    const slow = (id: string) => async () => {
      await started.promise
      await new Promise((resolve) => setTimeout(resolve, 50))
      throw new Error(`${id} cannot be read.`)
    }
    for (const name of ['a', 'b']) await world.put(name, '1')
    const failing = mapPages(world.source, (page) => ({
      ...page,
      changes: page.changes.map((change) => {
        if (change.kind !== 'item') return change
        if (change.id !== 'docs/a') return { ...change, content: slow(change.id) }
        const content = async () => {
          started.resolve()
          throw new SourceUnavailable('The source does not answer.')
        }
        return { ...change, content }
      }),
    }))
    await expect(syncOnce(failing, remit.writer, memoryState())).rejects.toThrow('does not answer')
    const callsThen = [...remit.calls]
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect(remit.calls).toEqual(callsThen)
    expect(callsThen).toEqual(['access docs/b'])
  })

  test('asks for much that was left unsettled after all that the source tells, and for nothing that it told', async () => {
    const state = memoryState()
    const left = Array.from({ length: 100 }, (_, nth) => `docs/left-${nth}`)
    await state.apply({ begun: ['docs/told', ...left] })
    const asked: string[] = []
    const access = { viewers: ['user:anne'] }
    const itemOf = (id: string) =>
      ({
        kind: 'item',
        id,
        version: '1',
        access,
        content: { collection: 'docs', title: id, text: '1' },
      }) as const
    const source: Source = {
      async *changes() {
        asked.push('changes')
        yield { changes: [itemOf('docs/told')], cursor: '1', isLast: true }
      },
      async item(id) {
        asked.push(id)
        return itemOf(id)
      },
    }
    await state.apply({ cursor: '0' })
    await syncOnce(source, remit.writer, state)
    expect(asked).toEqual(['changes', ...left])
    expect(remit.readable()).toHaveLength(101)
    // Little comes first.
    await state.apply({ begun: ['docs/left-0'] })
    asked.length = 0
    await syncOnce(source, remit.writer, state)
    expect(asked).toEqual(['docs/left-0', 'changes'])
  })

  test('hides an item of which the source says nothing where it is asked for many', async () => {
    const state = memoryState()
    await state.apply({ begun: ['docs/a', 'docs/b'], cursor: '0' })
    const known = { collection: 'docs', title: 'a', text: '1', access: { viewers: ['user:anne'] } }
    remit.documents.set('docs/a', { id: 'docs/a', ...known })
    const source: Source = {
      async *changes() {
        yield { changes: [], cursor: '0', isLast: true }
      },
      item: async (id) => ({ kind: 'deleted', id }),
      items: async () => [{ kind: 'deleted', id: 'docs/b' }],
    }
    const { failed } = await syncOnce(source, remit.writer, state)
    expect(failed).toMatchObject([{ id: 'docs/a', isHidden: true }])
    expect(remit.readable()).toEqual([])
  })

  test('writes groups and folders before items, takes memberships away first, and names who maps to nobody', async () => {
    const world = memoryWorld()
    await world.put('a', '1')
    let directory: Directory = {
      accounts: [{ id: '1', subject: 'user:anne' }, { id: '2', subject: 'user:bob' }, { id: '3' }],
      groups: [{ id: 's/all', members: [{ account: '1' }, { account: '2' }, { account: '3' }] }],
      folders: [
        { id: 's/top', collection: 'docs', parents: [], viewers: ['group:s/all#member'] },
        { id: 's/sub', collection: 'docs', parents: ['folder:s/top'], viewers: [] },
      ],
    }
    const source: Source = { ...world.source, directory: async () => directory }
    const state = memoryState()
    const report = await syncOnce(source, remit.writer, state)
    expect(report.directory).toEqual({ written: 6, deleted: 0, failed: [], unmapped: ['3'], closed: [] })
    // Folders, the parents of new ones, members, readers.
    expect(remit.calls).toEqual([
      ...['tuples +2 -0', 'tuples +1 -0', 'tuples +2 -0', 'tuples +1 -0'],
      'import docs/a',
    ])
    directory = {
      ...directory,
      groups: [
        { id: 's/all', members: [{ account: '1' }] },
        { id: 's/new', members: [{ group: 's/all' }] },
      ],
      folders: [],
    }
    remit.calls.length = 0
    await syncOnce(source, remit.writer, state)
    expect(remit.calls).toEqual(['tuples +0 -2', 'tuples +0 -1', 'tuples +1 -0'])
    expect([...remit.tuples].sort()).toEqual([
      'collection:docs filed_in folder:s/sub',
      'collection:docs filed_in folder:s/top',
      'group:s/all#member member group:s/new',
      'user:anne member group:s/all',
    ])
  })

  test('names a tuple that is refused, and writes the others', async () => {
    const directory: Directory = {
      accounts: [
        { id: '1', subject: 'user:refused' },
        { id: '2', subject: 'user:bob' },
      ],
      groups: [{ id: 'g', members: [{ account: '1' }, { account: '2' }] }],
      folders: [],
    }
    const source: Source = { ...memoryWorld().source, directory: async () => directory }
    const { directory: report } = await syncOnce(source, remit.writer, memoryState())
    expect(report).toMatchObject({ written: 1, failed: [{ tuple: 'user:refused member group:g' }] })
    expect([...remit.tuples]).toEqual(['user:bob member group:g'])
  })
})

describe('a sync that is killed', () => {
  class Killed extends Error {}

  /** Throws at the nth step of whatever is counted, before or after it took effect. */
  function killer(nth: number) {
    let steps = 0
    return () => {
      steps += 1
      if (steps === nth) throw new Killed()
    }
  }

  /** The state in the file, each update of which is a step, before and after it is written. */
  const countedState = (step: () => void): SyncState => {
    const state = fileState(join(folder, 'state'))
    return {
      load: () => state.load(),
      async apply(update) {
        step()
        await state.apply(update)
        step()
      },
    }
  }

  test('at whichever step leaves nothing that the next one does not put right', async () => {
    let wasKilled = true
    for (let nth = 1; wasKilled; nth += 1) {
      remit = openRemit()
      await rm(join(folder, 'state'), { force: true })
      const world = memoryWorld()
      const members: string[] = ['user:anne', 'user:bob']
      const source: Source = {
        ...world.source,
        directory: async () => ({
          accounts: members.map((subject) => ({ id: subject, subject })),
          groups: [{ id: 'g', members: members.map((account) => ({ account })) }],
          folders: [],
        }),
      }
      for (const name of ['a', 'b', 'c']) await world.put(name, '1')
      const step = killer(nth)
      remit.before = step
      wasKilled = await syncOnce(source, remit.writer, countedState(step)).then(
        () => false,
        (error: unknown) => {
          if (!(error instanceof Killed)) throw error
          return true
        },
      )
      // What was being brought is gone from the source by the time that somebody starts it again.
      await world.remove('a')
      await world.spoil('b')
      await world.put('c', '2')
      members.pop()
      remit.before = () => undefined
      await syncOnce(source, remit.writer, fileState(join(folder, 'state')))
      expect([nth, remit.readable(), [...remit.tuples]]).toEqual([
        nth,
        ['docs/c=2'],
        ['user:anne member group:g'],
      ])
      expect(nth).toBeLessThan(100)
    }
  })

  test('in the middle of a line goes on, and one whose state cannot be read does not begin', async () => {
    const path = join(folder, 'state')
    const world = memoryWorld()
    await world.put('a', '1')
    await syncOnce(world.source, remit.writer, fileState(path))
    const text = await readFile(path, 'utf8')
    await writeFile(path, `${text}{"cursor":"hal`)
    remit.calls.length = 0
    await syncOnce(world.source, remit.writer, fileState(path))
    expect(remit.calls).toEqual([])
    await writeFile(path, `{"cursor":"hal\n${text}`)
    await expect(syncOnce(world.source, remit.writer, fileState(path))).rejects.toThrow(SyntaxError)
  })
})

function stalePage<P extends { readonly changes: readonly { readonly kind: string }[] }>(page: P): P {
  return {
    ...page,
    changes: page.changes.map((change) =>
      change.kind === 'item' ? { ...change, version: 'stale' } : change,
    ),
  }
}
