import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type Change,
  changesByListing,
  type ItemChange,
  itemsByListing,
  memoryState,
  type Source,
  SourceUnavailable,
  type SyncState,
  syncOnce,
} from '../src/index.ts'
import { fileState } from '../src/node.ts'
import { openRemit } from './remit.ts'

let remit: ReturnType<typeof openRemit>
let folder: string
beforeEach(async () => {
  remit = openRemit()
  folder = await mkdtemp(join(tmpdir(), 'remit-crawl-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const pageSize = 500

/** A feed of items by number, in pages. Each life of the process loads so many of them and is killed. */
function feed(count: number) {
  const versions = new Map(
    Array.from({ length: count }, (_, index): [string, string] => [`docs/${index}`, '1']),
  )
  const log: string[] = []
  const counts = { loads: 0, budget: Number.POSITIVE_INFINITY, clock: 0 }
  const access = { viewers: ['user:anne'] }
  const itemOf = (id: string): ItemChange => ({
    kind: 'item',
    id,
    version: versions.get(id) ?? 'none',
    access,
    content: async () => {
      if (counts.budget <= 0) throw new SourceUnavailable('The process was killed.')
      counts.budget -= 1
      counts.loads += 1
      counts.clock += 1_000
      return {
        version: versions.get(id) ?? 'none',
        content: { collection: 'docs', title: id, text: 'x' },
        access,
      }
    },
  })
  const source: Source = {
    async *changes(cursor) {
      const [from = '0', offsetText] = (cursor ?? `${log.length}/0`).split('/')
      if (offsetText === undefined) {
        const changed = [...new Set(log.slice(Number(from)))]
        yield {
          changes: changed.map((id) => (versions.has(id) ? itemOf(id) : { kind: 'deleted', id })),
          cursor: String(log.length),
          isLast: true,
        }
        return
      }
      for (let offset = Number(offsetText); ; offset += pageSize) {
        const ids = Array.from({ length: pageSize }, (_, index) => `docs/${offset + index}`)
        const isLast = offset + pageSize >= count
        yield {
          changes: ids.filter((id) => versions.has(id)).map(itemOf),
          cursor: isLast ? from : `${from}/${offset + pageSize}`,
          isLast,
        }
        if (isLast) return
      }
    },
    item: async (id) => (versions.has(id) ? itemOf(id) : { kind: 'deleted', id }),
  }
  return {
    source,
    counts,
    remove(id: string) {
      versions.delete(id)
      log.push(id)
    },
    /** Each life loads `budget` items. Gives how many lives it took. */
    async live(state: () => SyncState, budget: number, between: (life: number) => void = () => undefined) {
      for (let life = 1; life <= 100; life += 1) {
        counts.budget = budget
        try {
          const { isComplete } = await syncOnce(source, remit.writer, state(), { now: () => counts.clock })
          if (isComplete) return life
        } catch (error) {
          if (!(error instanceof SourceUnavailable)) throw error
        }
        between(life)
      }
      throw new Error('It does not end.')
    },
  }
}

describe('a reading of everything whose process is killed again and again', () => {
  test('ends, though no life of it is long enough for a page, and loads hardly more than there is', async () => {
    const { source, counts, live } = feed(2_000)
    const state = () => fileState(join(folder, 'state'))
    const lives = await live(state, 150)
    expect(remit.documents.size).toBe(2_000)
    expect(lives).toBeLessThan(20)
    expect(counts.loads).toBeLessThan(2_400)

    // The same where everything is in, and is read again.
    await state().apply({ cursor: null })
    counts.loads = 0
    expect(await live(state, 150)).toBeLessThan(20)
    expect(counts.loads).toBeLessThan(2_400)
    counts.budget = 0
    await syncOnce(source, remit.writer, state())
    expect(remit.documents.size).toBe(2_000)
  })

  test('takes away what came back and went again, though it was told once before', async () => {
    const memory = memoryState()
    const item = (version: string): ItemChange => ({
      kind: 'item',
      id: 'docs/x',
      version,
      access: { viewers: ['user:anne'] },
      content: { collection: 'docs', title: 'x', text: version },
    })
    type Told = readonly (readonly [cursor: string, changes: readonly Change[], isLast?: boolean])[]
    const life = async (pages: Told, state: SyncState = memory) => {
      const source: Source = {
        async *changes() {
          for (const [cursor, changes, isLast = false] of pages) yield { changes, cursor, isLast }
          throw new SourceUnavailable('The process was killed.')
        },
        item: async (id) => ({ kind: 'deleted', id }),
      }
      await syncOnce(source, remit.writer, state).catch((error: unknown) => {
        if (!(error instanceof SourceUnavailable)) throw error
      })
    }
    await life([['1', [item('1')]]])
    await life([['2', [{ kind: 'deleted', id: 'docs/x' }]]])
    // It is back, and comes in; the process is killed before that page is acknowledged.
    await life([['3', [item('2')]]], {
      load: () => memory.load(),
      async apply(update) {
        if (update.crawlCursor !== undefined) throw new SourceUnavailable('The process was killed.')
        await memory.apply(update)
      },
    })
    expect(remit.documents.has('docs/x')).toBe(true)
    await life([['4', [], true]])
    expect(remit.documents.has('docs/x')).toBe(false)
  })

  test('finds out what vanished between two of its halves, told or not told yet, and takes nothing else away', async () => {
    const { source, counts, live, remove } = feed(1_000)
    const state = memoryState()
    await live(() => state, 2_000)
    await state.apply({ cursor: null })
    await live(
      () => state,
      300,
      (life) => {
        if (life !== 2) return
        remove('docs/3')
        remove('docs/999')
      },
    )
    expect(remit.documents.has('docs/999')).toBe(false)
    counts.budget = 10
    await syncOnce(source, remit.writer, state)
    expect(remit.documents.size).toBe(998)
    expect(remit.documents.has('docs/3')).toBe(false)
  })

  test('loads what it has told and brought in again where that changed meanwhile', async () => {
    const { source, counts } = feed(20)
    const state = memoryState()
    await syncOnce(source, remit.writer, state)
    await state.apply({ cursor: null })
    counts.budget = 10
    await expect(syncOnce(source, remit.writer, state, { now: () => counts.clock })).rejects.toThrow('killed')
    counts.budget = 100
    const changed: Source = {
      ...source,
      async *changes(cursor) {
        for await (const page of source.changes(cursor))
          yield {
            ...page,
            changes: page.changes.map((change) =>
              change.id === 'docs/0' && change.kind === 'item'
                ? { ...change, version: '2', content: { collection: 'docs', title: 'a', text: 'anew' } }
                : change,
            ),
          }
      },
    }
    await syncOnce(changed, remit.writer, state)
    expect(remit.documents.get('docs/0')?.text).toBe('anew')
  })

  test('withdraws nothing before the end mark, and what is gone at it, killed within that or not', async () => {
    const { live, remove } = feed(1_000)
    const state = memoryState()
    await live(() => state, 2_000)
    for (const id of ['docs/1', 'docs/2', 'docs/3']) remove(id)
    await state.apply({ cursor: null })
    let withdrawals = 0
    remit.before = (call) => {
      if (!call.startsWith('withdraw')) return
      withdrawals += 1
      if (withdrawals === 2) throw new SourceUnavailable('The process was killed.')
    }
    const sizes: number[] = []
    await live(
      () => state,
      400,
      () => sizes.push(remit.documents.size),
    )
    expect(sizes.slice(0, 2)).toEqual([1_000, 1_000])
    expect(remit.documents.size).toBe(997)
  })
})

describe('what was told of who is who', () => {
  test.each([true, false])(
    'is asked for once before all of an import is written: it holds: %s',
    async (holds) => {
      const access = { viewers: ['user:anne'] }
      let asked = 0
      const stillHolds = async () => {
        asked += 1
        expect(remit.documents.size).toBe(0)
        if (!holds) throw new SourceUnavailable('Somebody left a group.')
      }
      const changes = Array.from({ length: 100 }, (_, index): ItemChange => {
        const id = `docs/${index}`
        const content = { collection: 'docs', title: id, text: 'x' }
        const load = async () => ({ version: '1', content, access, ...(index % 2 === 0 && { stillHolds }) })
        return { kind: 'item', id, version: '1', access, content: load }
      })
      const source: Source = {
        async *changes() {
          yield { changes, cursor: '', isLast: true }
        },
        item: async (id) => ({ kind: 'deleted', id }),
      }
      const read = syncOnce(source, remit.writer, memoryState())
      await (holds
        ? expect(read).resolves.toMatchObject({ imported: 100 })
        : expect(read).rejects.toThrow('left'))
      expect([asked, remit.documents.size]).toEqual([1, holds ? 100 : 0])
    },
  )
})

describe('a source that can only list', () => {
  test('lists ten times, not 10,000 times, to try 10,000 items again', async () => {
    const access = { viewers: ['user:anne'] }
    const content = { collection: 'docs', title: 'x', text: 'x' }
    const items = Array.from({ length: 10_000 }, (_, index): ItemChange => {
      return { kind: 'item', id: `docs/${index}`, version: '1', access, content }
    })
    let listings = 0
    const list = async () => {
      listings += 1
      return items
    }
    const source: Source = {
      changes: (cursor, signal) => changesByListing(list, cursor, signal),
      item: () => Promise.reject(new Error('One by one it would never end.')),
      items: (ids, signal) => itemsByListing(list, ids, signal),
    }
    const state = memoryState()
    await state.apply({ begun: items.map(({ id }) => id) })
    // What it tells by itself is not asked for.
    await syncOnce(source, remit.writer, state)
    expect(remit.documents.size).toBe(10_000)
    expect(listings).toBe(1)
    // By now it is known, and told no more.
    await state.apply({ begun: items.map(({ id }) => id) })
    await syncOnce(source, remit.writer, state)
    expect(listings).toBe(12)
  })

  test('gives what changed while it was loaded from one listing more, and hides what changed twice', async () => {
    let revision = 0
    let listings = 0
    const access = { viewers: ['user:anne'] }
    const list = async () => {
      listings += 1
      return Array.from({ length: 200 }, (_, index): ItemChange => {
        const id = `docs/${index}`
        const version = String(revision)
        const content = { collection: 'docs', title: id, text: version }
        return { kind: 'item', id, version, access, content: async () => ({ version: '1', content, access }) }
      })
    }
    const source: Source = {
      changes: (cursor, signal) => changesByListing(list, cursor, signal),
      item: () => Promise.reject(new Error('One by one it would never end.')),
      items: (ids, signal) => {
        revision = 1
        return itemsByListing(list, ids, signal)
      },
    }
    const state = memoryState()
    expect(await syncOnce(source, remit.writer, state)).toMatchObject({ imported: 200, failed: [] })
    // Two pages of a hundred.
    expect(listings).toBe(3)
    expect(remit.documents.get('docs/7')?.text).toBe('1')
  })
})
