import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Tuple } from '../../src/authz/fga.ts'
import type { Caller } from '../../src/ingest/access-rights.ts'
import { markUnsettled } from '../../src/ingest/desired-tuples.ts'
import type { Scope } from '../../src/kernel/principal.ts'
import { type IngestWorld, loader, machine, openIngestWorld, stranger, tuple } from './world.ts'

let world: IngestWorld
beforeAll(async () => {
  world = await openIngestWorld()
  await world.ingest.saveFields(machine, {})
  await world.putDone({ id: 'd', access: { owner: 'user:anne', parents: ['folder:f'] } })
  await world.putDone({ id: 'foreign', collection: 'other' }, stranger)
  await world.putDone({ id: 'open', collection: 'open', access: { parents: ['folder:of'] } })
  await world.ingest.applyTuples(machine, {
    writes: [tuple('collection:other filed_in folder:theirs')],
    deletes: [],
  })
})
afterAll(() => world[Symbol.asyncDispose]())

const service = (
  scopes: readonly Scope[],
  writer = loader,
  prefixes: readonly string[] = ['ho/'],
): Caller => ({
  kind: 'service',
  writer,
  scopes: new Set(scopes),
  prefixes,
})
const docs = service(['docs.write'])
const directory = service(['directory.write'])
const administrator: Caller = { kind: 'administrator', writer: { ...loader, subject: 'user:root' } }

const change = (
  caller: Caller,
  { writes = [], deletes = [] }: { writes?: readonly (string | Tuple)[]; deletes?: readonly string[] },
) =>
  world.ingest.changeAccess(caller, {
    writes: writes.map((item) => (typeof item === 'string' ? tuple(item) : item)),
    deletes: deletes.map(tuple),
  })

const everything = async (): Promise<string[]> => {
  const found: string[] = []
  for await (const { user, relation, object } of world.fga.read({}))
    found.push(`${user} ${relation} ${object}`)
  return found.sort()
}

let before: string[]
beforeEach(async () => {
  before = await everything()
})

describe('nothing is written, and the tuple is named, for', () => {
  test.each<[string, Caller, { writes?: string[]; deletes?: string[] }, string]>([
    ['a document of another collection', docs, { writes: ['user:x viewer document:foreign'] }, 'writes.0'],
    ['a document that is missing', docs, { writes: ['user:x viewer document:missing'] }, 'writes.0'],
    ['a folder that is missing', docs, { writes: ['user:x viewer folder:missing'] }, 'writes.0'],
    ['a collection that is missing', docs, { writes: ['user:x viewer collection:missing'] }, 'writes.0'],
    [
      'a collection that it does not tag',
      docs,
      { writes: ['user:x viewer collection:untagged'] },
      'writes.0',
    ],
    ['a parent filed elsewhere', docs, { writes: ['folder:of parent document:d'] }, 'writes.0'],
    [
      'a folder’s parent in a collection that it does not tag',
      docs,
      { writes: ['folder:theirs parent folder:f'] },
      'writes.0',
    ],
    ['filing a document', docs, { writes: ['collection:open filed_in document:d'] }, 'writes.0'],
    ['filing a folder anew', docs, { writes: ['collection:open filed_in folder:f'] }, 'writes.0'],
    [
      'filing a folder where it does not tag',
      docs,
      { writes: ['collection:other filed_in folder:new'] },
      'writes.0',
    ],
    ['unfiling a folder', docs, { deletes: ['collection:closed filed_in folder:f'] }, 'deletes.0'],
    ['everybody where the collection is closed', docs, { writes: ['user:* viewer document:d'] }, 'writes.0'],
    ['ending sensitivity', docs, { deletes: ['user:* sensitive document:d'] }, 'deletes.0'],
    ['the right to write', docs, { writes: ['service:loader writer collection:other'] }, 'writes.0'],
    ['a group with docs.write only', docs, { writes: ['user:x member group:ho/g'] }, 'writes.0'],
    ['a document with directory.write only', directory, { writes: ['user:x viewer document:d'] }, 'writes.0'],
    ['a group outside its prefixes', directory, { writes: ['user:x member group:eng'] }, 'writes.0'],
    [
      'a group without any prefix',
      service(['directory.write'], loader, []),
      { writes: ['user:x member group:ho/g'] },
      'writes.0',
    ],
    [
      'a group with an empty prefix',
      service(['directory.write'], loader, ['']),
      { writes: ['user:x member group:ho/g'] },
      'writes.0',
    ],
    ['a group by an administrator', administrator, { writes: ['user:x member group:ho/g'] }, 'writes.0'],
    ['a viewer by an administrator', administrator, { writes: ['user:x viewer document:d'] }, 'writes.0'],
    [
      'a writer of a missing collection',
      administrator,
      { writes: ['service:s writer collection:missing'] },
      'writes.0',
    ],
    [
      'one tuple among good ones',
      docs,
      { writes: ['user:x viewer document:d', 'user:x viewer document:foreign'] },
      'writes.1',
    ],
    ...(['service', 'directory', 'administrator'] as const).flatMap(
      (name): [string, Caller, { writes: string[] }, string][] =>
        [
          'user:a acting_for agent:b',
          'user:a presented delegation:t',
          'user:a presented grant:g',
          'user:a delegator delegation:t',
          'delegation:t delegated_to document:d',
          'grant:g granted_by document:d',
        ].map((line) => [
          `"${line}" by ${name}`,
          { service: docs, directory, administrator }[name],
          { writes: [line] },
          'writes.0',
        ]),
    ),
  ])('%s', async (_, caller, wanted, field) => {
    await expect(change(caller, wanted)).rejects.toMatchObject({ code: 'forbidden', field })
    expect(await everything()).toEqual(before)
  })

  test.each<[string, { writes?: (string | Tuple)[]; deletes?: string[] }, string]>([
    [
      'a relation that cannot be written',
      { writes: ['user:x viewer document:d', 'user:x can_read document:d'] },
      'writes.1.relation',
    ],
    ['a tuple named twice', { writes: ['user:x viewer document:d', 'user:x viewer document:d'] }, 'writes.1'],
    [
      'a tuple written and deleted',
      { writes: ['user:x viewer document:d'], deletes: ['user:x viewer document:d'] },
      'writes.0',
    ],
    ['an empty change', {}, 'writes'],
    [
      'more than 100',
      { writes: Array.from({ length: 101 }, (_, index) => `user:u${index} viewer document:d`) },
      'writes',
    ],
    [
      'a stored clock',
      {
        writes: [
          {
            ...tuple('user:x viewer document:d'),
            condition: {
              name: 'until',
              context: { expires_at: '2027-01-01T00:00:00Z', current_time: '2000-01-01T00:00:00Z' },
            },
          } as Tuple,
        ],
      },
      'writes.0.condition.context.current_time',
    ],
  ])('%s', async (_, wanted, field) => {
    await expect(change(docs, wanted)).rejects.toMatchObject({ code: 'invalid_request', field })
    expect(await everything()).toEqual(before)
  })
})

describe('in force when it returns, and left alone by drift:', () => {
  test.each<[string, Caller, { writes?: string[]; deletes?: string[] }]>([
    [
      'viewers, blocked ones and parents of a document',
      docs,
      {
        writes: [
          'user:x viewer document:d',
          'group:eng#member blocked document:d',
          'collection:closed parent document:d',
        ],
      },
    ],
    [
      'removals',
      docs,
      {
        deletes: [
          'user:x viewer document:d',
          'group:eng#member blocked document:d',
          'collection:closed parent document:d',
        ],
      },
    ],
    [
      'a folder filed at its first mention, with its viewer',
      docs,
      {
        writes: [
          'user:x viewer folder:fresh',
          'collection:closed filed_in folder:fresh',
          'folder:f parent folder:fresh',
        ],
      },
    ],
    ['the same filing once more', docs, { writes: ['collection:closed filed_in folder:fresh'] }],
    ['a viewer of a collection', docs, { writes: ['user:x viewer collection:closed'] }],
    ['everybody where the collection is open', docs, { writes: ['user:* viewer document:open'] }],
    ['everybody no more', docs, { deletes: ['user:* viewer document:open'] }],
    [
      'members within the prefixes',
      directory,
      { writes: ['user:x member group:ho/g', 'user:x admin organization:ho/o'] },
    ],
    ['everybody by an administrator', administrator, { writes: ['user:* viewer document:d'] }],
    ['a writer by an administrator', administrator, { writes: ['service:second writer collection:closed'] }],
  ])('%s', async (_, caller, wanted) => {
    await change(caller, wanted)
    const after = await everything()
    expect(after).toEqual(expect.arrayContaining(wanted.writes ?? []))
    for (const line of wanted.deletes ?? []) expect(after).not.toContain(line)
    expect(await world.ingest.drift()).toMatchObject({ mended: 0 })
    expect(await everything()).toEqual(after)
  })
})

describe('on record', () => {
  const newest = async () => {
    const [row] = await world.database.query<{ detail: object }>(
      `select detail from decision_records where event = 'access_changed' order by record_no desc limit 1`,
    )
    return row?.detail
  }
  const until = (expires_at: string) => ({ name: 'until' as const, context: { expires_at } })

  test('stands the end of each tuple that has one, and of others nothing', async () => {
    const ended = { ...tuple('user:e1 viewer document:d'), condition: until('2020-01-01T00:00:00Z') }
    const ends = { ...tuple('user:e2 viewer document:d'), condition: until('2027-01-01T00:00:00Z') }
    const notes = await change(docs, { writes: [ended, ends, 'user:e3 viewer document:d'] })
    // Whoever sent it hears of an end in the past, of nothing that is not in the request.
    expect(notes).toMatchObject([{ id: 'd', code: 'already_over' }])
    expect(await newest()).toEqual({
      writes: ['user:e1 viewer document:d', 'user:e2 viewer document:d', 'user:e3 viewer document:d'],
      deletes: [],
      ends: [
        'user:e1 viewer document:d until 2020-01-01T00:00:00Z',
        'user:e2 viewer document:d until 2027-01-01T00:00:00Z',
      ],
    })
    await change(docs, { deletes: ['user:e1 viewer document:d'] })
    expect(await newest()).toEqual({ writes: [], deletes: ['user:e1 viewer document:d'] })
  })

  test('stands a new end of a reader whom a document had before', async () => {
    const access = (expires_at: string) => ({ viewers: [{ user: 'user:e4' as const, expires_at }] })
    await world.putDone({ id: 'moved', access: access('2098-01-01T00:00:00.000Z') })
    await world.ingest.retag(loader, 'moved', access('2099-01-01T00:00:00.000Z'))
    const moved = {
      writes: ['user:e4 viewer document:moved'],
      deletes: [],
      ends: ['user:e4 viewer document:moved until 2099-01-01T00:00:00.000Z'],
    }
    expect(await newest()).toEqual(moved)
    // What it is already is no change.
    await world.ingest.retag(loader, 'moved', access('2099-01-01T00:00:00.000Z'))
    expect(await newest()).toEqual(moved)
  })
})

test('a tuple that exists with another end is a conflict, and its removal in a request of its own helps', async () => {
  const until = {
    ...tuple('user:y viewer document:d'),
    condition: { name: 'until' as const, context: { expires_at: '2099-01-01T00:00:00Z' } },
  }
  await change(docs, { writes: [until] })
  await expect(change(docs, { writes: ['user:y viewer document:d'] })).rejects.toMatchObject({
    code: 'conflict',
    field: 'writes.0',
  })
  await change(docs, { writes: [until] })
  await change(docs, { deletes: ['user:y viewer document:d'] })
  await change(docs, { writes: ['user:y viewer document:d'] })
  expect(await world.sees('user:y', 'd')).toBeDefined()
})

describe('sensitivity', () => {
  test('stays when a service takes away the parent that it came from, and an administrator ends it', async () => {
    await world.putDone({ id: 'sens', access: { viewers: ['user:anne'], parents: ['folder:vault'] } })
    await change(docs, { writes: ['user:* sensitive folder:vault'] })
    const notes = await change(docs, { deletes: ['folder:vault parent document:sens'] })
    expect(notes).toMatchObject([{ id: 'sens', code: 'sensitivity_kept' }])
    expect(await world.check('user:*', 'sensitive', 'document:sens')).toBe(true)
    await change(administrator, { deletes: ['user:* sensitive document:sens'] })
    expect(await world.check('user:*', 'sensitive', 'document:sens')).toBe(false)
    expect((await world.putDone({ id: 'sens', access: { viewers: ['user:anne'] } })).notes).toMatchObject([
      { code: 'unchanged' },
    ])
  })

  test('stays when a folder leaves a sensitive folder', async () => {
    await change(docs, {
      writes: ['collection:closed filed_in folder:inner', 'folder:vault parent folder:inner'],
    })
    await change(docs, { deletes: ['folder:vault parent folder:inner'] })
    expect(await world.tuples('folder:inner')).toContain('user:* sensitive')
  })
})

test('a change while new content waits is still there after it is published', async () => {
  await world.putDone({ id: 'waits', text: 'old', access: { viewers: ['user:anne', 'user:bob'] } })
  let release: () => void = () => undefined
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  world.onStep = async (step, id) => {
    if (step === 'prepared' && id === 'waits') await gate
  }
  const jobId = await world.put({ id: 'waits', text: 'new', access: { viewers: ['user:anne', 'user:bob'] } })
  await change(docs, {
    deletes: ['user:bob viewer document:waits'],
    writes: ['user:zoe viewer document:waits'],
  })
  expect(await world.sees('user:bob', 'waits')).toBeUndefined()
  release()
  await world.done(jobId)
  world.onStep = async () => undefined
  expect(await world.sees('user:bob', 'waits')).toBeUndefined()
  expect(await world.sees('user:zoe', 'waits')).toBe('new')
})

describe('two changes at once, each of a folder into which the other puts a document,', () => {
  const ids = ['cross/a', 'cross/b'] as const
  const cross = () =>
    Promise.allSettled(
      [ids, ids.toReversed()].map(([own = '', others = '']) =>
        change(docs, {
          writes: [`user:x viewer folder:${own}`, `folder:${others} parent document:${own}`],
        }),
      ),
    )
  const markBoth = async () => {
    for (const id of ids) await markUnsettled(world.database, `folder:${id}`, false)
  }
  const parents = async () =>
    (await Promise.all(ids.map((id) => world.tuples(`document:${id}`))))
      .flat()
      .filter((line) => line.startsWith('folder:'))
  beforeEach(async () => {
    for (const id of ids) await world.putDone({ id })
    await change(docs, { writes: ids.map((id) => `collection:closed filed_in folder:${id}`) })
  })
  afterEach(() => {
    world.onAsk = async () => undefined
  })

  test('are both in force where a fault left the folders unsettled', async () => {
    await markBoth()
    expect((await cross()).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
    expect(await parents()).toEqual(['folder:cross/b parent', 'folder:cross/a parent'])
  })

  test('end where the folders became unsettled meanwhile, and whoever gave up wrote nothing', async () => {
    world.onAsk = markBoth
    const outcomes = await cross()
    world.onAsk = async () => undefined
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'storage_unavailable' })
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength((await parents()).length)
    expect((await cross()).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
    expect(await parents()).toHaveLength(2)
  })
})

test('an operator may apply the same tuples twice, ends that moved included', async () => {
  const until = (expires_at: string): Tuple => ({
    ...tuple('user:ann member group:g9'),
    condition: { name: 'until', context: { expires_at } },
  })
  await world.ingest.applyTuples(machine, { writes: [until('2098-01-01T00:00:00Z')], deletes: [] })
  await world.ingest.applyTuples(machine, { writes: [until('2099-01-01T00:00:00Z')], deletes: [] })
  const found = []
  for await (const stored of world.fga.read({ object: 'group:g9' }))
    found.push(stored.condition?.context.expires_at)
  expect(found).toEqual(['2099-01-01T00:00:00Z'])
})

test('the owner that is cited stays where another one goes, or one who never was, and is who is left where that one goes', async () => {
  await world.putDone({ id: 'owned', access: { owner: 'user:bob' } })
  const cited = async () => {
    const [row] = await world.database.query<{ owner: string | null }>(
      `select owner from documents where id = 'owned'`,
    )
    return row?.owner
  }
  const owner = (name: string) => `user:${name} owner document:owned`
  await change(docs, { deletes: [owner('carol')] })
  expect(await cited()).toBe('user:bob')
  await change(docs, { writes: [owner('anne')] })
  expect(await cited()).toBe('user:anne')
  await change(docs, { deletes: [owner('anne')] })
  expect(await cited()).toBe('user:bob')
  await change(docs, { deletes: [owner('bob')] })
  expect(await cited()).toBe(null)
})
