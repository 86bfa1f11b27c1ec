import { RemitError, type Writer } from '@remit/client'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  type Change,
  CursorExpired,
  type Directory,
  foldPlain,
  memoryState,
  type Source,
  type SourceAccess,
  type SourceFolder,
  SourceUnavailable,
  type SyncReport,
  type SyncState,
  syncOnce,
} from '../src/index.ts'
import { openRemit } from './remit.ts'

let remit: ReturnType<typeof openRemit>
let state: SyncState
let directory: Directory
let accesses: Record<string, SourceAccess>
beforeEach(() => {
  remit = openRemit()
  state = memoryState()
  directory = { accounts: [], groups: [], folders: [] }
  accesses = {}
})

/** Items with one content for ever: nothing is told of them but at first, and where their access changes. */
const source = (): Source => {
  const itemOf = (id: string) => ({
    kind: 'item' as const,
    id,
    version: JSON.stringify(accesses[id]),
    access: accesses[id] ?? {},
    content: { collection: 'docs', title: id, text: 'x' },
  })
  return {
    directory: async () => directory,
    item: async (id) => (id in accesses ? itemOf(id) : { kind: 'deleted', id }),
    async *changes(cursor) {
      const told: Record<string, string> = JSON.parse(cursor ?? '{}')
      const items = Object.keys(accesses).map(itemOf)
      yield {
        changes: items.filter(({ id, version }) => told[id] !== version),
        cursor: JSON.stringify(Object.fromEntries(items.map(({ id, version }) => [id, version]))),
        isLast: true,
      }
    },
  }
}
const document = (id: string) => ({ id, collection: 'docs', title: id, text: 'x' })
const sync = (): Promise<SyncReport> => syncOnce(source(), remit.writer, state)
const accessOf = (id: string) => remit.documents.get(id)?.access
const hidden = ({ failed }: SyncReport) => failed.map(({ id, problem }) => [id, problem])

describe('an account', () => {
  test('that is nobody is left out where it is let read, and let in without a word of the source once it is somebody', async () => {
    directory = { ...directory, accounts: [{ id: '1', subject: 'user:anne' }, { id: '2' }] }
    accesses['a'] = {
      owner: { account: '2' },
      viewers: [{ account: '1' }, { account: '2', expires_at: '2099-01-01T00:00:00Z' }, 'group:g#member'],
    }
    expect(hidden(await sync())).toEqual([])
    expect(accessOf('a')).toEqual({ viewers: ['user:anne', 'group:g#member'] })
    directory = { ...directory, accounts: [{ id: '1' }, { id: '2', subject: 'user:bob' }] }
    remit.calls.length = 0
    const updates: string[] = []
    const watched: SyncState = {
      load: () => state.load(),
      apply(update) {
        updates.push(...Object.keys(update))
        return state.apply(update)
      },
    }
    expect(await syncOnce(source(), remit.writer, watched)).toMatchObject({ reapplied: 1, imported: 0 })
    // Nothing was read of it: it is as old as before.
    expect(updates).toContain('resettled')
    expect(updates).not.toContain('settled')
    expect(remit.calls).toEqual(['access a'])
    expect(accessOf('a')).toEqual({
      owner: 'user:bob',
      viewers: [{ user: 'user:bob', expires_at: '2099-01-01T00:00:00Z' }, 'group:g#member'],
    })
  })

  // The contractor reads by the whole organization, whatever the source calls them.
  test('that is nobody and is denied hides the item, which comes back a week later when it is mapped, denied', async () => {
    const everybody = ['organization:o#member']
    accesses['a'] = { viewers: everybody, blocked: [{ account: '7' }] }
    expect(hidden(await sync())).toEqual([['a', 'It is denied to an account that is nobody in Remit: 7.']])
    expect(remit.documents.size).toBe(0)
    directory = { ...directory, accounts: [{ id: '7', subject: 'user:carol' }] }
    expect(hidden(await sync())).toEqual([])
    expect(accessOf('a')).toEqual({ viewers: everybody, blocked: ['user:carol'] })
    // A mapping that is taken back: what nobody touched is hidden by the next sync.
    directory = { ...directory, accounts: [{ id: '7' }] }
    expect(hidden(await sync())).toHaveLength(1)
    expect(accessOf('a')).toEqual({})
    directory = { ...directory, accounts: [{ id: '7', subject: 'user:carol' }] }
    expect(hidden(await sync())).toEqual([])
    expect(accessOf('a')).toEqual({ viewers: everybody, blocked: ['user:carol'] })
  })

  test('that is nobody and is in a group that is denied hides the item, and all below a folder that denies it', async () => {
    directory = {
      accounts: [{ id: '1', subject: 'user:anne' }, { id: '7' }],
      groups: [
        { id: 'outer', members: [{ group: 'inner' }] },
        { id: 'inner', members: [{ account: '1' }, { account: '7' }] },
      ],
      folders: [
        { id: 'top', collection: 'docs', parents: [], viewers: ['user:*'], blocked: ['group:outer#member'] },
        { id: 'sub', collection: 'docs', parents: ['folder:top'], viewers: [] },
      ],
    }
    accesses['below'] = { parents: ['folder:sub'] }
    accesses['itself'] = { viewers: ['user:*'], blocked: ['group:outer#member'] }
    const problem = 'It is denied to group:outer#member, in which an account is nobody in Remit: 7.'
    const report = await sync()
    expect(hidden(report)).toEqual([
      ['below', `folder:top: ${problem}`],
      ['itself', problem],
    ])
    expect(report.directory?.closed).toEqual([{ place: 'folder:top', problem }])
    directory = {
      ...directory,
      accounts: [
        { id: '1', subject: 'user:anne' },
        { id: '7', subject: 'user:carol' },
      ],
    }
    expect(hidden(await sync())).toEqual([])
    expect(accessOf('below')).toEqual({ parents: ['folder:sub'] })
    expect(remit.tuples.has('group:outer#member blocked folder:top')).toBe(true)
  })
})

describe('what Remit cannot say of folders and zones hides all below, with the reason', () => {
  const folder = (id: string, more: Partial<SourceFolder> = {}): SourceFolder => ({
    id,
    collection: 'docs',
    parents: [],
    viewers: [],
    ...more,
  })

  test('a zone with four gates, which comes back with three', async () => {
    const zone = { id: 'z', collection: 'docs', audience: ['user:anne'] }
    const gates = ['a', 'b', 'c', 'd'].map((id) => [`group:${id}#member`])
    directory = { ...directory, zones: [{ ...zone, gates }] }
    accesses['a'] = { parents: ['zone:z'] }
    expect(hidden(await sync())).toEqual([['a', 'zone:z: It has 4 gates, more than 3.']])
    expect([...remit.tuples]).toEqual(['collection:docs filed_in zone:z'])
    directory = { ...directory, zones: [{ ...zone, gates: gates.slice(0, 2) }] }
    expect(hidden(await sync())).toEqual([])
    expect([...remit.tuples].sort()).toEqual([
      'collection:docs filed_in zone:z',
      'group:a#member gate_1 zone:z',
      'group:b#member gate_2 zone:z',
      'user:* gate_3 zone:z',
      'user:anne audience zone:z',
    ])
  })

  test('a tree deeper than 20, until the folders without permissions of their own are folded away', async () => {
    const depth = 1_000
    const chain = Array.from({ length: depth }, (_, nth) =>
      folder(`f${nth}`, {
        parents: nth === 0 ? [] : [`folder:f${nth - 1}`],
        viewers: nth % 100 === 0 ? ['group:g#member'] : [],
      }),
    )
    directory = { ...directory, folders: chain }
    accesses['shallow'] = { parents: ['folder:f19'] }
    accesses['deep'] = { parents: ['folder:f20'] }
    expect(hidden(await sync())).toEqual([['deep', 'folder:f20: It lies deeper than 20 folders.']])
    const { folders, parentsOf } = foldPlain(directory)
    expect(folders.map(({ id }) => id)).toEqual(Array.from({ length: 10 }, (_, nth) => `f${nth * 100}`))
    directory = { ...directory, folders }
    accesses = { deep: { parents: parentsOf(`folder:f${depth - 1}`) } }
    expect(hidden(await sync())).toEqual([])
    expect(accessOf('deep')).toEqual({ parents: ['folder:f900'] })
  })

  test('a folder that lies in itself', async () => {
    const folders = [
      folder('a', { parents: ['folder:b'], viewers: ['user:anne'] }),
      folder('b', { parents: ['folder:a'] }),
    ]
    directory = { ...directory, folders }
    accesses['x'] = { parents: ['folder:a'] }
    expect(hidden(await sync())).toEqual([['x', 'folder:a: It lies in itself.']])
    expect([...remit.tuples].filter((tuple) => / parent /.test(tuple))).toEqual([])
  })

  test.each([
    ['a deny', 'user:bob blocked folder:a'],
    ['its parent', 'folder:top parent folder:a'],
  ])('a folder of which the service refuses %s, as under a model without it', async (_, refused) => {
    directory = {
      ...directory,
      folders: [
        folder('top'),
        folder('a', { parents: ['folder:top'], viewers: ['user:*'], blocked: ['user:bob'] }),
      ],
    }
    accesses['x'] = { parents: ['folder:a'] }
    remit.refuses = (tuple) => tuple === refused
    expect(hidden(await sync())).toEqual([
      ['x', expect.stringContaining(`folder:a: ${refused} could not be written: forbidden`)],
    ])
    remit.refuses = () => false
    expect(hidden(await sync())).toEqual([])
    expect(remit.tuples.has(refused)).toBe(true)
  })

  test('a reader whom the service does not let go', async () => {
    const folders = [folder('a', { viewers: ['user:anne', 'user:bob'] })]
    directory = { ...directory, folders }
    accesses['x'] = { parents: ['folder:a'] }
    await sync()
    directory = { ...directory, folders: [folder('a', { viewers: ['user:anne'] })] }
    remit.refuses = (tuple) => tuple === 'user:bob viewer folder:a'
    expect(hidden(await sync())).toEqual([
      ['x', expect.stringContaining('user:bob viewer folder:a could not be deleted')],
    ])
    expect(accessOf('x')).toEqual({})
  })

  test('a member whom the service does not let into a group that is denied, or out of one that is let read', async () => {
    const accounts = ['1', '2'].map((id) => ({ id, subject: `user:${id}` }))
    const groups = (members: readonly string[]) => [
      { id: 'g', members: members.map((account) => ({ account })) },
    ]
    directory = { accounts, groups: groups(['1']), folders: [] }
    accesses['let'] = { viewers: ['group:g#member'] }
    accesses['denied'] = { viewers: ['user:*'], blocked: ['group:g#member'] }
    await sync()
    remit.refuses = (tuple) => tuple.includes('member group:g')
    directory = { ...directory, groups: groups(['2']) }
    const problems = Object.fromEntries(hidden(await sync()))
    expect(problems['let']).toContain('It is open to group:g#member, and group:g is not up to date')
    expect(problems['denied']).toContain('It is denied to group:g#member, and group:g is not up to date')
    expect([accessOf('let'), accessOf('denied')]).toEqual([{}, {}])
  })

  test('a membership that was never written, though the source has taken it back: nothing asks for its end', async () => {
    remit.refuses = (tuple) => tuple === 'user:2 member group:g'
    const accounts = ['1', '2'].map((id) => ({ id, subject: `user:${id}` }))
    const groups = (members: readonly string[]) => [
      { id: 'g', members: members.map((account) => ({ account })) },
    ]
    directory = { accounts, groups: groups(['1', '2']), folders: [] }
    accesses['x'] = { viewers: ['group:g#member'] }
    expect((await sync()).directory?.failed).toMatchObject([{ tuple: 'user:2 member group:g' }])
    directory = { ...directory, groups: groups(['1']) }
    const report = await sync()
    expect([report.directory?.failed, hidden(report)]).toEqual([[], []])
    expect(accessOf('x')).toEqual({ viewers: ['group:g#member'] })
  })
})

describe('folding', () => {
  test('keeps what has a viewer or a deny, what is filed elsewhere than its parent, and what lies in itself', () => {
    const folders: SourceFolder[] = [
      { id: 'open', collection: 'c', parents: ['zone:z'], viewers: ['user:anne'] },
      { id: 'denying', collection: 'c', parents: ['folder:plain'], viewers: [], blocked: ['user:bob'] },
      { id: 'plain', collection: 'c', parents: ['folder:open', 'collection:c'], viewers: [] },
      { id: 'foreign', collection: 'd', parents: ['folder:plain'], viewers: [] },
      { id: 'round', collection: 'c', parents: ['folder:round'], viewers: [] },
    ]
    const zones = [{ id: 'z', collection: 'c', audience: [], gates: [] }]
    const { folders: kept, parentsOf } = foldPlain({ folders, zones })
    expect(kept.map(({ id, parents }) => [id, parents])).toEqual([
      ['open', ['zone:z']],
      ['denying', ['folder:open', 'collection:c']],
      ['foreign', ['folder:open', 'collection:c']],
      ['round', ['folder:round']],
    ])
    expect(parentsOf('folder:plain')).toEqual(['folder:open', 'collection:c'])
    expect(parentsOf('zone:z')).toEqual(['zone:z'])
  })
})

test('names that are no ids in Remit become nobody, in no other group and no other place, and the rest goes on', async () => {
  directory = {
    accounts: [
      { id: 'anne', subject: 'user:anne' },
      { id: 'bob', subject: 'user:bob' },
      { id: 'odd', subject: 'user:odd member group:s/team' },
    ],
    groups: [
      { id: 's/team', members: [{ account: 'bob' }, { account: 'odd' }, { group: 's/team a' }] },
      { id: 's/team a', members: [{ account: 'anne' }] },
    ],
    folders: [
      { id: 's/good', collection: 'docs', parents: [], viewers: ['group:s/team#member'] },
      { id: 's/good b', collection: 'docs', parents: [], viewers: ['user:anne'] },
      { id: 's/below', collection: 'docs', parents: ['folder:s/good b'], viewers: ['user:anne'] },
      { id: 's/odd', collection: 'docs', parents: [], viewers: ['group:s/team a#member'] },
    ],
  }
  accesses = {
    's/plan': { viewers: ['group:s/team#member'] },
    's/other': { viewers: ['group:s/team a#member'] },
    's/denied': { viewers: ['user:bob'], blocked: ['group:s/team#member'] },
    's/below/x': { parents: ['folder:s/below'] },
    's/good b/x': { parents: ['folder:s/good b'] },
    's/\u0000': { viewers: ['user:bob'] },
    [`s/${'x'.repeat(4_000)}`]: { viewers: ['user:bob'] },
  }
  const report = await sync()
  expect([...remit.tuples].filter((tuple) => !/ filed_in /.test(tuple)).sort()).toEqual([
    'group:s/team#member viewer folder:s/good',
    'user:bob member group:s/team',
  ])
  expect(remit.readable()).toEqual(['s/plan=x'])
  expect(report.failed.flatMap(({ id }) => id ?? []).sort()).toEqual(['s/below/x', 's/denied', 's/other'])
  expect(report.failed.filter(({ id }) => id === undefined)).toHaveLength(3)
  expect(report.directory?.closed.map(({ place }) => place).sort()).toEqual([
    'folder:s/below',
    'folder:s/good b',
    'folder:s/odd',
    'group:s/team a',
  ])
  // The next one goes on from there.
  await sync()
  expect(remit.readable()).toEqual(['s/plan=x'])
})

describe('whoever leaves a group by which an item denies, too,', () => {
  const withMembers = (...names: readonly string[]) => ({
    ...directory,
    accounts: ['mallory', 'bob'].map((name) => ({ id: name, subject: `user:${name}` })),
    groups: [{ id: 'g', members: names.map((account) => ({ account })) }],
  })
  /** What comes first goes in; then the source does not answer any more. */
  const cut = (load: () => Promise<void>): Source => ({
    ...source(),
    async *changes() {
      const access = accesses['c'] ?? {}
      const content = async () => {
        await load()
        return { version: 'x', access, content: { collection: 'docs', title: 'c', text: 'x' } }
      }
      yield {
        changes: [{ kind: 'item', id: 'c', version: 'x', access, content }],
        cursor: '{}',
        isLast: false,
      }
      throw new SourceUnavailable('The source does not answer.')
    },
  })
  beforeEach(async () => {
    directory = withMembers('mallory', 'bob')
    accesses['a'] = { viewers: ['group:g#member'] }
    accesses['b'] = { viewers: ['user:bob'], blocked: ['group:g#member'] }
    accesses['c'] = { viewers: ['user:bob'] }
    accesses['d'] = { viewers: [{ account: 'eve' }] }
    await sync()
    expect(accessOf('a')).toEqual({ viewers: ['group:g#member'] })
    directory = withMembers('bob')
  })
  const isBack = async () => {
    expect(hidden(await sync())).toEqual([])
    expect(accessOf('a')).toEqual({ viewers: ['group:g#member'] })
    expect([...remit.tuples].filter((tuple) => / member /.test(tuple))).toEqual(['user:bob member group:g'])
  }

  test('reads nothing by it while everything is read, though that is cut short', async () => {
    await state.apply({ cursor: null })
    await expect(
      syncOnce(
        cut(async () => undefined),
        remit.writer,
        state,
      ),
    ).rejects.toThrow('not answer')
    expect(accessOf('a')).toEqual({})
    await isBack()
  })

  test('reads nothing by it ten seconds on, though a reading of what changed goes on', async () => {
    let clock = 0
    const seen: unknown[] = []
    const slow: Source = {
      ...source(),
      async *changes(cursor) {
        const looks = async () => {
          clock += 6_000
          seen.push(accessOf('a'))
        }
        for await (const page of cut(looks).changes(cursor)) {
          yield page
          yield page
          seen.push(accessOf('a'))
          yield { ...page, changes: [], isLast: true }
          return
        }
      },
    }
    await syncOnce(slow, remit.writer, state, { now: () => clock })
    expect(seen).toEqual([...Array.from({ length: 2 }, () => ({ viewers: ['group:g#member'] })), {}])
    await isBack()
  })

  test('reads nothing by it from then on where a reading of what changed ends without its end mark', async () => {
    const endless: Source = {
      ...source(),
      async *changes() {
        yield { changes: [], cursor: '{}', isLast: false }
      },
    }
    expect(await syncOnce(endless, remit.writer, state)).toMatchObject({ isComplete: false })
    expect(accessOf('a')).toEqual({})
    await isBack()
  })

  test('reads nothing by it from then on where a reading of what changed is cut short', async () => {
    await expect(
      syncOnce(
        cut(async () => undefined),
        remit.writer,
        state,
      ),
    ).rejects.toThrow('not answer')
    expect(accessOf('a')).toEqual({})
    await isBack()
  })

  const told = (id: string): Change => ({ kind: 'broken', id, name: id, problem: 'Odd.' })
  test.each<readonly [string, readonly Change[]]>([
    ['are gone', ['x', 'y', 'z'].map((id) => ({ kind: 'deleted', id }))],
    ['cannot be brought', ['x', 'y', 'z'].map(told)],
  ])('reads nothing by it ten seconds on, though many that %s are told at once', async (_, changes) => {
    let clock = 0
    const seen = new Map<string, unknown>()
    const slow = async <T>(id: string, write: () => Promise<T>): Promise<T> => {
      clock += 6_000
      seen.set(id, accessOf('a'))
      return write()
    }
    const writer: Writer = {
      ...remit.writer,
      withdraw: (id, options) => slow(id, () => remit.writer.withdraw(id, options)),
      setAccess: (id, access, options) => slow(id, () => remit.writer.setAccess(id, access, options)),
    }
    const many: Source = {
      ...source(),
      async *changes() {
        yield { changes, cursor: '{}', isLast: true }
      },
    }
    await syncOnce(many, writer, state, { now: () => clock })
    expect(seen.get('z')).toEqual({})
    await isBack()
  })

  const busy = (wait: () => Promise<void>): Writer => ({
    ...remit.writer,
    async importAll(lines, options) {
      await wait()
      return remit.writer.importAll(lines, options)
    },
  })
  test.each<readonly [string, (wait: () => Promise<void>) => readonly [Source, Writer]]>([
    [
      'the first page does not come',
      (wait) => {
        const slow: Source = {
          ...source(),
          async *changes(cursor) {
            await wait()
            yield* source().changes(cursor)
          },
        }
        return [slow, remit.writer]
      },
    ],
    [
      'the text of an item does not come',
      (wait) => {
        const access = { viewers: ['user:bob'] }
        const content = async () => {
          await wait()
          return { version: 'y', access, content: { collection: 'docs', title: 'c', text: 'y' } }
        }
        const slow: Source = {
          ...source(),
          async *changes() {
            yield {
              changes: [{ kind: 'item', id: 'c', version: 'y', access, content }],
              cursor: '{}',
              isLast: true,
            }
          },
        }
        return [slow, remit.writer]
      },
    ],
    [
      'an account became somebody else, by whom much is to be read',
      (wait) => {
        directory = {
          ...directory,
          accounts: [
            { id: 'bob', subject: 'user:bob' },
            { id: 'eve', subject: 'user:robert' },
          ],
        }
        const writer: Writer = {
          ...remit.writer,
          async setAccess(id, access, options) {
            if (id === 'd') await wait()
            return remit.writer.setAccess(id, access, options)
          },
        }
        return [source(), writer]
      },
    ],
    [
      'the service is long busy with an import',
      (wait) => {
        accesses['c'] = { viewers: ['user:bob', 'user:eve'] }
        return [source(), busy(wait)]
      },
    ],
    [
      'the service is long busy with an import of that very item',
      (wait) => {
        accesses['a'] = { viewers: ['user:bob'] }
        return [source(), busy(wait)]
      },
    ],
  ])('reads nothing by it ten seconds on, though %s', async (_, slowed) => {
    let clock = 0
    const goesOn = Promise.withResolvers<void>()
    const waits = Promise.withResolvers<void>()
    const [slow, writer] = slowed(() => {
      waits.resolve()
      return goesOn.promise
    })
    const syncing = syncOnce(slow, writer, state, {
      // A moment before it is late.
      now: () => {
        const at = clock
        clock = 9_980
        return at
      },
    })
    await waits.promise
    await expect.poll(() => accessOf('a')).toEqual({})
    goesOn.resolve()
    expect(hidden(await syncing)).toEqual([])
    expect(accessOf('a')).toEqual(accesses['a'])
    expect([...remit.tuples].filter((tuple) => / member /.test(tuple))).toEqual(['user:bob member group:g'])
  })

  test('reads nothing by it while everything is read, since the source cannot say what changed', async () => {
    let seen: unknown
    const forgetful: Source = {
      ...source(),
      async *changes(cursor) {
        if (cursor !== undefined) throw new CursorExpired('It is too old.')
        seen = accessOf('a')
        yield* source().changes(undefined)
      },
    }
    await syncOnce(forgetful, remit.writer, state)
    expect(seen).toEqual({})
    expect(accessOf('a')).toEqual({ viewers: ['group:g#member'] })
  })

  test('and nobody reads by what a process wrote before it ended, and that nobody wants any more', async () => {
    directory = withMembers('bob')
    await sync()
    // Written, and not noted.
    remit.documents.set('c', { ...document('c'), access: { viewers: ['user:eve'] } })
    await state.apply({ begun: ['c'] })
    const failing: Source = {
      ...source(),
      async item() {
        throw new SourceUnavailable('The source does not answer.')
      },
    }
    await expect(syncOnce(failing, remit.writer, state)).rejects.toThrow('not answer')
    expect(accessOf('c')).toEqual({})
    await sync()
    expect(accessOf('c')).toEqual({ viewers: ['user:bob'] })
  })
})

test('a sync that learnt nothing of who may read what, as of an earlier version, reads everything again', async () => {
  accesses['a'] = { viewers: ['user:anne'] }
  await sync()
  const memory = await state.load()
  await state.apply({ accesses: [...memory.known].map((id) => [id, null] as const) })
  expect(await sync()).toMatchObject({ imported: 1 })
})

test('what the service does not let be hidden is named as readable still', async () => {
  accesses['a'] = { viewers: ['user:*'], blocked: [] }
  await sync()
  accesses['a'] = { viewers: ['user:*'], blocked: [{ account: '7' }] }
  remit.before = (call) => {
    if (call === 'access a') throw new RemitError('forbidden', { status: 403 }, {})
  }
  expect((await sync()).failed).toMatchObject([{ id: 'a', isHidden: false }])
})
