import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Caller } from '../../src/ingest/access-rights.ts'
import { documentObject } from '../../src/kernel/ids.ts'
import { describeBackends } from '../support/backends.ts'
import { type IngestWorld, loader, openIngestWorld, stranger, tuple } from './world.ts'

const service = (writer: typeof loader): Caller => ({
  kind: 'service',
  writer,
  scopes: new Set(['docs.write', 'directory.write']),
  prefixes: ['ho/'],
})
const docs = service(loader)
const theirs = service(stranger)

const people = ['anne', 'bob', 'carol', 'dora'].map((name) => `user:${name}`)

describeBackends('a zone', (backend) => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld(backend)
    await world.ingest.changeAccess(theirs, {
      writes: [tuple('collection:other filed_in zone:theirs')],
      deletes: [],
    })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const change = (
    { writes = [], deletes = [] }: { writes?: readonly string[]; deletes?: readonly string[] },
    caller = docs,
  ) => world.ingest.changeAccess(caller, { writes: writes.map(tuple), deletes: deletes.map(tuple) })
  const readers = async (id: string): Promise<string[]> => {
    const { verdicts } = await world.fga.batchCheck(
      people.map((user) => ({ user, relation: 'can_read', object: documentObject(id) })),
      { now: Date.now() },
    )
    expect(verdicts).not.toContain('error')
    return people.filter((_, nth) => verdicts[nth] === 'allowed')
  }
  /** The tuples of a zone with these gates, those that are not needed open. */
  const zone = (id: string, audience: readonly string[], ...gates: readonly (readonly string[])[]) => [
    ...audience.map((user) => `user:${user} audience zone:${id}`),
    ...[0, 1, 2].flatMap((nth) =>
      (gates[nth] ?? ['*']).map((user) => `user:${user} gate_${nth + 1} zone:${id}`),
    ),
  ]

  test('is filed at its first mention by a document, once and for ever, and lets through who is in its audience and in each gate', async () => {
    await world.putDone({ id: 'zones/first', access: { parents: ['zone:first'] } })
    expect(await world.tuples('zone:first')).toEqual(['collection:closed filed_in'])
    expect(await readers('zones/first')).toEqual([])
    await change({
      writes: zone('first', ['anne', 'bob', 'carol'], ['anne', 'bob', 'dora'], ['bob', 'carol', 'dora']),
    })
    expect(await readers('zones/first')).toEqual(['user:bob'])
    await expect(change({ writes: ['collection:open filed_in zone:first'] })).rejects.toMatchObject({
      code: 'forbidden',
      field: 'writes.0',
    })
    await change({ writes: ['user:bob blocked zone:first'] })
    expect(await readers('zones/first')).toEqual([])
  })

  test('of another collection can be neither named nor changed, and is refused like one that is not there', async () => {
    const refusals = await Promise.all(
      ['theirs', 'missing'].map(async (id) => {
        const refused = (asked: Promise<unknown>) =>
          asked.then(
            () => 'done',
            ({ code, field, public: detail }) => ({ code, field, detail }),
          )
        return [
          await refused(change({ writes: [`user:x audience zone:${id}`] })),
          await refused(change({ writes: [`user:x gate_2 zone:${id}`] })),
          await refused(change({ writes: [`user:x blocked zone:${id}`] })),
          await refused(
            change({ writes: ['collection:closed filed_in folder:zoned', `zone:${id} parent folder:zoned`] }),
          ),
          await refused(
            world.put({ id: `zones/of-${id}`, collection: 'untagged', access: { parents: [`zone:${id}`] } }),
          ),
        ]
      }),
    )
    expect(refusals[0]).toEqual(refusals[1])
    expect(refusals[0]).toEqual([
      ...[0, 0, 0, 1].map((nth) => ({
        code: 'forbidden',
        field: `writes.${nth}`,
        detail: 'This caller may not change this tuple.',
      })),
      {
        code: 'forbidden',
        field: 'access.parents.0',
        detail: 'A parent must be filed in the same collection.',
      },
    ])
    expect(await world.tuples('zone:theirs')).toEqual(['collection:other filed_in'])
    expect(await world.tuples('zone:missing')).toEqual([])
  })

  test('takes tuples that were found on it before it was filed away', async () => {
    await world.fga.write({ writes: [tuple('user:dora audience zone:found')] })
    await world.putDone({ id: 'zones/found', access: { parents: ['zone:found'] } })
    expect(await world.tuples('zone:found')).toEqual(['collection:closed filed_in'])
  })

  test('is put right by drift, and what a stranger wrote on it is gone', async () => {
    await change({ writes: ['collection:closed filed_in zone:drift', ...zone('drift', ['anne'], ['anne'])] })
    await world.fga.write({
      writes: [tuple('user:dora audience zone:drift'), tuple('user:dora gate_1 zone:drift')],
      deletes: [tuple('user:anne audience zone:drift')],
    })
    await world.ingest.drift()
    expect(await world.tuples('zone:drift')).toEqual([
      'collection:closed filed_in',
      'user:* gate_2',
      'user:* gate_3',
      'user:anne audience',
      'user:anne gate_1',
    ])
  })
})

describeBackends('a change from one zone to another, or from one list of gates to another', (backend) => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld(backend)
    const writes = [
      'collection:closed filed_in zone:one',
      'collection:closed filed_in zone:two',
      'collection:closed filed_in folder:moved',
      'zone:one parent folder:moved',
      ...['anne', 'bob', 'carol'].map((user) => `user:${user} audience zone:one`),
      ...['anne', 'bob'].map((user) => `user:${user} gate_1 zone:one`),
      'user:* gate_2 zone:one',
      'user:* gate_3 zone:one',
      'user:carol blocked zone:one',
      ...['carol', 'dora', 'bob'].map((user) => `user:${user} audience zone:two`),
      'user:carol gate_1 zone:two',
      'user:dora gate_1 zone:two',
      'user:* gate_2 zone:two',
      'user:* gate_3 zone:two',
      'user:dora blocked zone:two',
    ]
    await world.ingest.changeAccess(docs, { writes: writes.map(tuple), deletes: [] })
    await world.putDone({ id: 'zones/doc', access: { parents: ['zone:one'], viewers: ['user:dora'] } })
    await world.putDone({ id: 'zones/gated', access: { parents: ['zone:one'] } })
    await world.putDone({ id: 'zones/below', access: { parents: ['folder:moved'], viewers: ['user:dora'] } })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(() => {
    world.onPart = () => undefined
  })

  const ids = ['zones/doc', 'zones/below', 'zones/gated']
  const reads = async (): Promise<ReadonlySet<string>> => {
    const asked = ids.flatMap((id) =>
      people.map((user) => ({ user, relation: 'can_read', object: documentObject(id) })),
    )
    const { verdicts } = await world.fga.batchCheck(asked, { now: Date.now() })
    expect(verdicts).not.toContain('error')
    return new Set(
      asked.filter((_, nth) => verdicts[nth] === 'allowed').map(({ user, object }) => `${user} ${object}`),
    )
  }
  class Killed extends Error {}

  /**
   * Dies before each Write of it in turn; what is read then is within before or after, and drift completes
   * it.
   */
  async function neverMore(there: () => Promise<unknown>, back: () => Promise<unknown>): Promise<number> {
    const before = await reads()
    await there()
    const after = await reads()
    expect(after).not.toEqual(before)
    for (let survived = 0; ; survived += 1) {
      await back()
      expect(await reads()).toEqual(before)
      let left = survived
      world.onPart = () => {
        left -= 1
        if (left < 0) throw new Killed()
      }
      const died = await there().then(
        () => false,
        () => true,
      )
      world.onPart = () => undefined
      const between = await reads()
      const isWithin = (other: ReadonlySet<string>) => [...between].every((read) => other.has(read))
      expect({ survived, between, within: isWithin(before) || isWithin(after) }).toMatchObject({
        within: true,
      })
      if (!died) {
        expect(between).toEqual(after)
        return survived
      }
      await world.ingest.drift()
      expect(await reads()).toEqual(after)
    }
  }
  const change = (writes: readonly string[], deletes: readonly string[]) => () =>
    world.ingest.changeAccess(docs, { writes: writes.map(tuple), deletes: deletes.map(tuple) })

  test('of a document lets nobody read between whom neither lets read', async () => {
    const retag = (parent: string) => () =>
      world.ingest.retag(loader, 'zones/doc', { parents: [parent], viewers: ['user:dora'] })
    expect(await neverMore(retag('zone:two'), retag('zone:one'))).toBeGreaterThan(0)
  })

  test('of a folder lets nobody read between whom neither lets read', async () => {
    const [one, two] = ['zone:one parent folder:moved', 'zone:two parent folder:moved'] as const
    expect(await neverMore(change([two], [one]), change([one], [two]))).toBeGreaterThan(0)
  })

  test('of a gate and whom it blocks lets nobody read between whom neither lets read', async () => {
    const [had, has] = [
      ['user:anne gate_1 zone:one', 'user:bob gate_1 zone:one', 'user:carol blocked zone:one'],
      [
        'user:carol gate_1 zone:one',
        'user:dora gate_1 zone:one',
        'user:anne blocked zone:one',
        'user:dora audience zone:one',
      ],
    ] as const
    expect(await neverMore(change(has, had), change(had, has))).toBeGreaterThan(0)
  })
})
