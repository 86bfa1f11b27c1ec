import { describe, expect, test } from 'vitest'
import type { Principal } from '../../../src/kernel/principal.ts'
import { anne, annesBot } from '../double.ts'
import { gateOf, ownDsl, type TestIndex } from '../parts.ts'
import { createGateWorld, type GateWorld, toTuple } from './world.ts'

const bob: Principal = { ...anne, subject: 'user:bob' }
const viewer = 'user:anne viewer document:a'
const later = '2026-11-24T12:00:03.000Z'
const lent = [
  'delegation:d_1 delegated_to document:a',
  'user:anne delegator delegation:d_1 until 2026-11-25T00:00:00Z',
  'agent:research-bot agent delegation:d_1',
]

const filed = ['collection:c filed_in document:a', 'delegation:d_1 delegated_to collection:c']
// `holding` asks 20 s after noon, and again a second later.
const soon = '2026-11-24T12:00:23.000Z'

/** Anne may read `a`, has asked once, and the yes is held: the second answer comes without a question. */
async function holding(
  tuples: readonly string[] = [viewer],
  principal = anne,
  options?: Parameters<typeof createGateWorld>[0],
): Promise<GateWorld> {
  const world = createGateWorld(options)
  world.add(...tuples)
  // Past what was taken away while the tuples came: what OpenFGA has cached is from after it.
  world.pass(20_000)
  expect((await world.ask({ principal })).proofs).toEqual([{ kind: 'asked_fast' }])
  world.pass(1_000)
  const again = await world.ask({ principal })
  expect([again.proofs, again.calls]).toEqual([[{ kind: 'held', ageMs: 1_000 }], []])
  return world
}

describe("OpenFGA's yes is said again", () => {
  test('for as long as it may be, and not a millisecond longer', async () => {
    const world = await holding()
    world.pass(3_999)
    expect((await world.ask()).proofs).toEqual([{ kind: 'held', ageMs: 4_999 }])
    world.pass(1)
    expect((await world.ask()).proofs).toEqual([{ kind: 'asked_fast' }])
  })

  test('never, where nothing may be held', async () => {
    const world = createGateWorld({ ttlMs: 0 })
    world.add(viewer)
    for (let nth = 0; nth < 2; nth += 1) expect((await world.ask()).calls).toHaveLength(1)
  })

  test('not to a strict question, which is put to OpenFGA itself, past its caches', async () => {
    const world = await holding()
    const { proofs, calls } = await world.ask({ consistency: 'strict' })
    expect([proofs, calls]).toEqual([[{ kind: 'asked' }], [{ consistency: 'fresh', ids: ['a'] }]])
  })

  test('not by a clock that was set back', async () => {
    const world = await holding()
    world.pass(-2_000)
    expect((await world.ask()).calls).toHaveLength(1)
  })
})

describe('a held yes does not outlive', () => {
  /** What is true before, and what happens then; OpenFGA and the replica both know. */
  const changes: readonly {
    readonly title: string
    readonly tuples: readonly string[]
    readonly change: (world: GateWorld) => void
    readonly principal?: Principal
  }[] = [
    { title: 'the tuple itself', tuples: [viewer], change: (world) => world.remove(viewer) },
    {
      title: 'a membership of a group',
      tuples: ['user:anne member group:g', 'group:g#member viewer document:a'],
      change: (world) => world.remove('user:anne member group:g'),
    },
    {
      title: "a group's membership of another",
      tuples: [
        'user:anne member group:inner',
        'group:inner#member member group:outer',
        'group:outer#member viewer document:a',
      ],
      change: (world) => world.remove('group:inner#member member group:outer'),
    },
    {
      title: 'the place of its folder',
      tuples: ['user:anne viewer folder:open', 'folder:open parent folder:f', 'folder:f parent document:a'],
      change: (world) => {
        world.remove('folder:open parent folder:f')
        world.add('folder:closed parent folder:f')
      },
    },
    {
      title: 'being let in: she was blocked',
      tuples: [viewer],
      change: (world) => world.add('user:anne blocked document:a'),
    },
    {
      title: 'being let in: a group of hers was blocked',
      tuples: [viewer, 'user:anne member group:g'],
      change: (world) => world.add('group:g#member blocked document:a'),
    },
    {
      title: 'being ordinary: it became sensitive',
      tuples: [viewer, ...lent],
      principal: annesBot,
      change: (world) => world.add('user:* sensitive document:a'),
    },
    {
      title: 'being ordinary: its collection became sensitive',
      tuples: [viewer, ...lent, 'collection:c filed_in document:a'],
      principal: annesBot,
      change: (world) => world.add('user:* sensitive collection:c'),
    },
    {
      title: 'being ordinary: the folder above its folder became sensitive',
      tuples: [viewer, ...lent, 'folder:outer parent folder:f', 'folder:f parent document:a'],
      principal: annesBot,
      change: (world) => world.add('user:* sensitive folder:outer'),
    },
    {
      title: 'owning it',
      tuples: ['user:anne owner document:a'],
      change: (world) => {
        world.remove('user:anne owner document:a')
        world.add('user:bob owner document:a')
      },
    },
    {
      title: 'being for everybody',
      tuples: ['user:* viewer document:a'],
      change: (world) => world.remove('user:* viewer document:a'),
    },
    {
      title: 'a membership of an organization',
      tuples: ['user:anne member organization:o', 'organization:o#member viewer document:a'],
      change: (world) => world.remove('user:anne member organization:o'),
    },
    {
      title: 'the folder that it lay in',
      tuples: ['user:anne viewer folder:f', 'folder:f parent document:a'],
      change: (world) => world.remove('folder:f parent document:a'),
    },
    {
      title: 'the collection that was lent, in which it was filed',
      tuples: [viewer, ...lent.slice(1), ...filed],
      principal: annesBot,
      change: (world) => world.remove('collection:c filed_in document:a'),
    },
    {
      title: 'the agent below another in its delegation',
      tuples: [
        viewer,
        ...lent.filter((line) => !line.startsWith('agent:')),
        'agent:research-bot sub_agent delegation:d_1',
      ],
      principal: annesBot,
      change: (world) => world.remove('agent:research-bot sub_agent delegation:d_1'),
    },
    {
      title: 'the time for which it was lent',
      tuples: [viewer, lent[0] ?? '', lent[2] ?? '', `user:anne delegator delegation:d_1 until ${soon}`],
      principal: annesBot,
      change: (world) => world.pass(2_000),
    },
    {
      title: 'the time for which she was in a group',
      tuples: [`user:anne member group:g until ${soon}`, 'group:g#member viewer document:a'],
      change: (world) => world.pass(2_000),
    },
    {
      title: 'the delegation',
      tuples: [viewer, ...lent],
      principal: annesBot,
      change: (world) => world.remove('user:anne delegator delegation:d_1'),
    },
    {
      title: 'the agent in its delegation',
      tuples: [viewer, ...lent],
      principal: annesBot,
      change: (world) => world.remove('agent:research-bot agent delegation:d_1'),
    },
    {
      title: 'what was lent',
      tuples: [viewer, ...lent],
      principal: annesBot,
      change: (world) => world.remove('delegation:d_1 delegated_to document:a'),
    },
  ]

  test.each(changes)('$title', async ({ tuples, change, principal = anne }) => {
    const world = await holding(tuples, principal)
    change(world)
    expect(await world.ask({ principal })).toMatchObject({ ids: [] })
  })

  test.each(changes)('$title, where only the tuples themselves tell', async (row) => {
    const { tuples, change, principal = anne } = row
    const forgetful = (replica: TestIndex): TestIndex => ({ ...replica, touched: () => new Set() })
    const world = await holding(tuples, principal, { index: forgetful })
    change(world)
    expect(await world.ask({ principal })).toMatchObject({ ids: [] })
  })

  test('its end', async () => {
    const world = createGateWorld()
    world.add(`${viewer} until ${later}`)
    expect((await world.ask()).ids).toEqual(['a'])
    world.pass(2_000)
    expect((await world.ask()).proofs).toEqual([{ kind: 'held', ageMs: 2_000 }])
    // OpenFGA is asked with the second rounded up, and so is this.
    world.pass(1)
    expect((await world.ask()).ids).toEqual([])
    world.pass(999)
    expect((await world.ask()).ids).toEqual([])
  })

  test.each([
    ['earlier than its tuple says', 'current_time < expires_at - duration("1h")'],
    ['later, or begins there', 'current_time >= expires_at'],
  ])('a time that the model in force means otherwise: %s', async (_, expression) => {
    const model = ownDsl
      .replace('current_time < expires_at', expression)
      .replaceAll('define blocked: [user,', 'define blocked: [user, user with until,')
    const world = createGateWorld({ model })
    world.add(
      ...(expression.includes('<')
        ? [`${viewer} until 2026-11-24T13:00:22Z`]
        : [viewer, 'user:anne blocked document:a until 2026-11-24T12:00:22Z']),
    )
    world.pass(20_000)
    for (let nth = 0; nth < 3; nth += 1) expect((await world.ask()).ids).toEqual(['a'])
    world.pass(3_000)
    expect((await world.ask()).ids).toEqual([])
  })

  test('the end that it was held with, whatever the replica says since', async () => {
    const world = createGateWorld()
    world.add(`${viewer} until ${later}`)
    expect((await world.ask()).ids).toEqual(['a'])
    // Another way to read it. OpenFGA has said nothing of that one.
    world.add('user:anne member group:g', 'group:g#member viewer document:a')
    expect((await world.ask()).proofs).toEqual([{ kind: 'held', ageMs: 0 }])
    world.pass(3_500)
    expect((await world.ask()).calls).toHaveLength(1)
  })

  test('being taken away and given back: OpenFGA is asked again', async () => {
    const world = await holding()
    world.pass(100)
    world.remove(viewer)
    world.add(viewer)
    world.pass(100)
    expect(await world.ask()).toMatchObject({
      ids: ['a'],
      proofs: [{ kind: 'asked' }],
      calls: [{ consistency: 'fresh' }],
    })
  })

  test('the model it was said under', async () => {
    const world = await holding()
    world.useModel('model-2')
    expect(await world.ask()).toMatchObject({ proofs: [{ kind: 'asked' }] })
    world.replica.setModel('model-2')
    expect(await world.ask()).toMatchObject({ proofs: [{ kind: 'asked_fast' }] })
  })

  test('a change of the model while it was asked', async () => {
    const world = createGateWorld()
    world.add(viewer)
    world.pass(20_000)
    world.onDecided(() => world.useModel('model-2'))
    // Decided under one model, to be answered under another: no answer.
    await expect(world.ask()).rejects.toMatchObject({
      code: 'authorization_unavailable',
      message: 'model changed',
    })
    world.onDecided(() => undefined)
    world.useModel('model-1')
    expect((await world.ask()).calls).toHaveLength(1)
  })

  test('a removal that was stamped before what was read already: from where the log is read again on', async () => {
    const world = await holding()
    world.truth.remove(toTuple(viewer))
    // Committed late: each look at the end of the log finds nothing.
    world.pass(900)
    expect((await world.ask()).proofs).toEqual([{ kind: 'held', ageMs: 1_900 }])
    world.replica.remove(toTuple(viewer))
    world.pass(100)
    expect(await world.ask()).toMatchObject({ ids: [], calls: [] })
  })

  test('a removal that the log never tells of by more than its time', async () => {
    const world = await holding()
    world.truth.remove(toTuple(viewer))
    for (let ms = 1_000; ms < 4_900; ms += 100) world.pass(100)
    expect((await world.ask()).ids).toEqual(['a'])
    world.pass(100)
    world.pass(100)
    expect(await world.ask()).toMatchObject({ ids: [], calls: [{ ids: ['a'] }] })
  })

  test('the process that held it: another one asks OpenFGA', async () => {
    const world = await holding()
    const begun = gateOf({ fga: world.fga, now: world.now, index: world.replica })
    const clearing = begun.open(anne, { consistency: 'fast' })
    await clearing.clear([{ documentId: 'a' }])
    expect([clearing.proofOf('a'), clearing.counts.calls]).toEqual([{ kind: 'asked_fast' }, 1])
  })

  test('a replica that has not read the log for a second, and one that is broken or not ready', async () => {
    const world = await holding()
    world.truth.remove(toTuple(viewer))
    world.pass(999, 'behind')
    // The lag that a fast answer may have, wherever somebody else writes.
    expect((await world.ask()).proofs).toEqual([{ kind: 'held', ageMs: 1_999 }])
    world.pass(1, 'behind')
    expect(await world.ask()).toMatchObject({ ids: [], calls: [{ consistency: 'fresh' }] })

    for (const state of ['broken', 'building'] as const) {
      const other = await holding()
      other.truth.remove(toTuple(viewer))
      other.replica.set({ state })
      expect(await other.ask()).toMatchObject({ ids: [], calls: [{ consistency: 'fresh' }] })
    }
  })
})

describe('a held yes is nobody else’s', () => {
  test.each<[string, Principal]>([
    ['another person', bob],
    ['an agent of hers', annesBot],
  ])('not for %s', async (_, principal) => {
    const world = await holding([viewer, 'user:bob viewer document:a', ...lent])
    expect(await world.ask({ principal })).toMatchObject({ ids: ['a'], calls: [{ ids: ['a'] }] })
  })

  test.each<[string, Principal]>([
    ['the person herself', anne],
    ['another agent', { ...annesBot, actors: ['agent:other-bot'] }],
    ['the same agent under another delegation', { ...annesBot, delegation: 'd_2' }],
  ])('held for an agent, not for %s', async (_, principal) => {
    const world = await holding([viewer, ...lent], annesBot)
    // The replica would let all of them: what they may not share is OpenFGA's answer.
    world.replica.add(
      toTuple('delegation:d_2 delegated_to document:a'),
      toTuple('user:anne delegator delegation:d_2 until 2026-11-25T00:00:00Z'),
      toTuple('agent:research-bot agent delegation:d_2'),
      toTuple('agent:other-bot agent delegation:d_1'),
    )
    const { ids, calls } = await world.ask({ principal })
    expect([ids, calls.length > 0]).toEqual([principal === anne ? ['a'] : [], true])
  })
})

describe('what was written through this process', () => {
  test('takes the held yes away that it concerns before the writer hears of it', async () => {
    const world = await holding()
    await world.fga.write({ deletes: [toTuple(viewer)] })
    // The replica read the log and missed it: it would still say yes.
    world.pass(1)
    expect(await world.ask()).toMatchObject({ ids: [], calls: [{ ids: ['a'] }] })
  })

  test('takes it away also where the write failed: it may have been stored', async () => {
    const world = await holding()
    world.truth.remove(toTuple(viewer))
    world.truth.add = () => {
      throw new Error('no answer')
    }
    const change = { deletes: [toTuple(viewer)], writes: [toTuple('user:anne blocked document:b')] }
    await expect(world.fga.write(change)).rejects.toThrow()
    world.pass(1)
    expect((await world.ask()).ids).toEqual([])
  })

  test('takes it away whatever the clock says since', async () => {
    const world = await holding()
    world.pass(-60_000)
    await world.fga.write({ deletes: [toTuple(viewer)] })
    world.pass(60_000)
    expect(await world.ask()).toMatchObject({ ids: [], calls: [{ ids: ['a'] }] })
  })

  test('leaves the held yes that it does not concern, and takes the one that it does', async () => {
    const world = await holding([viewer, 'user:anne viewer document:b', 'user:anne viewer folder:f'])
    await world.ask({ ids: ['b'] })
    world.replica.wrote = ({ deletes = [] }) => deletes.map(({ object }) => object)
    await world.fga.write({
      writes: [toTuple('user:bob viewer document:a')],
      deletes: [toTuple('user:anne viewer document:b'), toTuple('user:anne viewer folder:f')],
    })
    world.pass(1)
    const { proofs, calls, ids } = await world.ask({ ids: ['a', 'b'] })
    expect({ ids, proofs, calls }).toMatchObject({
      ids: ['a'],
      proofs: [{ kind: 'held' }],
      calls: [{ ids: ['b'] }],
    })
  })

  test('takes every held yes away where the replica has missed it: whom it concerns cannot be told', async () => {
    const world = await holding()
    world.replica.holds = () => false
    await world.fga.write({ writes: [toTuple('user:bob viewer document:b')] })
    world.pass(1)
    expect(await world.ask()).toMatchObject({ ids: ['a'], calls: [{ ids: ['a'] }] })
  })

  test('keeps every held yes back until it is known whether the replica has it', async () => {
    const world = await holding()
    const done = world.held.wrote([])
    world.pass(1)
    expect(await world.ask()).toMatchObject({ proofs: [{ kind: 'asked' }] })
    done()
    expect(await world.ask()).toMatchObject({ proofs: [{ kind: 'held' }] })
  })

  test('is asked about past the caches of OpenFGA until the replica has read the log since', async () => {
    const world = createGateWorld()
    world.add(viewer)
    world.pass(20_000)
    await world.fga.write({ writes: [toTuple('user:bob viewer document:b')] })
    expect(await world.ask()).toMatchObject({ proofs: [{ kind: 'asked' }] })
    world.pass(1)
    expect(await world.ask()).toMatchObject({ proofs: [{ kind: 'asked_fast' }] })
  })

  test('between the decision of OpenFGA and its answer: that answer is not held', async () => {
    const world = createGateWorld()
    world.add(viewer)
    world.pass(20_000)
    world.onDecided(async () => {
      await world.fga.write({ deletes: [toTuple(viewer)] })
    })
    // Decided before the removal: it may leave, but it may not stay.
    await world.ask()
    world.onDecided(() => undefined)
    world.pass(1)
    expect(await world.ask()).toMatchObject({ ids: [], calls: [{ ids: ['a'] }] })
  })
})

describe('never held is', () => {
  test('a yes about a sensitive document, whoever it was for', async () => {
    const world = createGateWorld()
    world.add(viewer, 'user:* sensitive document:a')
    world.pass(20_000)
    for (let nth = 0; nth < 3; nth += 1) expect((await world.ask()).proofs).toEqual([{ kind: 'asked_fast' }])
  })

  test('a yes that needed a grant: only a sensitive document does', async () => {
    const world = createGateWorld()
    const tuples = [viewer, ...lent, 'user:* sensitive document:a', 'grant:g_1 granted_by document:a']
    const granted = [
      'user:anne grantor grant:g_1 until 2026-11-25T00:00:00Z',
      'agent:research-bot agent grant:g_1',
      // As a grant that is presented would be; the gate presents none yet.
      'user:anne presented grant:g_1',
    ]
    world.add(...tuples, ...granted)
    world.pass(20_000)
    for (let nth = 0; nth < 3; nth += 1) {
      expect(await world.ask({ principal: annesBot })).toMatchObject({ ids: ['a'], calls: [{ ids: ['a'] }] })
    }
  })

  test('a yes about a document of which nobody knows whether it is sensitive', async () => {
    const world = createGateWorld({
      index: (replica) => ({
        ...replica,
        evaluate: (question, ids, now) =>
          question.relation === 'sensitive' ? new Map() : replica.evaluate(question, ids, now),
      }),
    })
    world.add(viewer)
    world.pass(20_000)
    for (let nth = 0; nth < 3; nth += 1) expect((await world.ask()).calls).toHaveLength(1)
  })

  test.each(['denied', 'error'] as const)('an answer that was no yes (%s)', async (verdict) => {
    const world = createGateWorld()
    world.add(viewer)
    world.answer(() => verdict)
    expect(await world.ask()).toMatchObject({ ids: [] })
    world.answer(() => undefined)
    expect(await world.ask()).toMatchObject({ ids: ['a'], calls: [{ ids: ['a'] }] })
  })

  test('a yes that was asked for while the replica was behind, also once it is there again', async () => {
    const world = createGateWorld()
    world.add(viewer)
    world.pass(20_000, 'behind')
    expect((await world.ask()).proofs).toEqual([{ kind: 'asked' }])
    world.pass(1)
    expect((await world.ask()).calls).toHaveLength(1)
  })
})

describe("OpenFGA's caches", () => {
  test('are not asked until they have forgotten what was there before a removal', async () => {
    const world = createGateWorld()
    world.add(viewer, 'user:bob viewer document:a')
    world.pass(20_000)
    world.remove('user:bob viewer document:a')
    world.pass(10_000)
    expect(await world.ask()).toMatchObject({ calls: [{ consistency: 'fresh' }] })
    world.pass(5_001)
    expect(await world.ask()).toMatchObject({ calls: [{ consistency: 'cached' }] })
  })

  test('are not asked about some where they may not be asked about all of a wave', async () => {
    const world = createGateWorld({
      index: (replica) => ({ ...replica, touched: () => new Set(['b']) }),
    })
    world.add(viewer, 'user:anne viewer document:b')
    expect(await world.ask({ ids: ['a', 'b'] })).toMatchObject({
      ids: ['a', 'b'],
      calls: [{ consistency: 'fresh', ids: ['a', 'b'] }],
    })
  })
})
