import { describe, expect, test } from 'vitest'
import type { Check, Fga, Verdict } from '../../../src/authz/fga.ts'
import { checkDecomposed } from '../../../src/authz/gate/decompose-check.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import { anne } from '../double.ts'
import { gateOf } from '../parts.ts'
import { createGateWorld, type GateWorld } from './world.ts'

const ids = ['a', 'b', 'c'] as const
const items = ids.map((documentId) => ({ documentId }))

/** Three documents of a folder in a folder that a group of anne's group may read. */
function filed(): GateWorld {
  const world = createGateWorld()
  world.add(
    ...ids.map((id) => `folder:inner parent document:${id}`),
    'folder:outer parent folder:inner',
    'group:all#member viewer folder:outer',
    'group:team#member member group:all',
    'user:anne member group:team',
  )
  world.pass(20_000)
  return world
}

/** What was sent, call by call. */
function sending(
  world: GateWorld,
  answer: (check: Check, call: number) => Verdict | Error | undefined = () => undefined,
) {
  const calls: string[][] = []
  const fga: Fga = {
    ...world.fga,
    storeId: world.fga.storeId,
    modelId: world.fga.modelId,
    async batchCheck(checks, options) {
      const call = calls.push(checks.map(({ user, relation, object }) => `${user} ${relation} ${object}`))
      const given = checks.map((one) => answer(one, call))
      const failed = given.find((one) => one instanceof Error)
      if (failed !== undefined) throw failed
      const { verdicts, requestIds } = await world.fga.batchCheck(checks, options)
      return {
        verdicts: verdicts.map((verdict, at) => (given[at] as Verdict | undefined) ?? verdict),
        requestIds,
      }
    },
  }
  const gate = gateOf({ fga, now: world.now, index: world.replica })
  return {
    calls,
    async ask() {
      const clearing = gate.open(anne, { consistency: 'strict' })
      const { cleared, stopped } = await clearing.clear(items)
      return { ids: cleared.map(({ documentId }) => documentId), stopped, counts: clearing.counts }
    },
  }
}

const whole = ids.map((id) => `user:anne can_read document:${id}`)

describe('what is asked in parts', () => {
  test('asks once about the folders and groups that documents share', async () => {
    const { calls, ask } = sending(filed())
    expect(await ask()).toMatchObject({ ids, counts: { checks: 3, calls: 1 } })
    expect(calls).toHaveLength(1)
    expect(calls[0]?.toSorted()).toEqual(
      [
        ...ids.flatMap((id) => [`user:anne blocked document:${id}`, `folder:inner parent document:${id}`]),
        'folder:outer parent folder:inner',
        'group:all#member viewer folder:outer',
        'group:team#member member group:all',
        'user:anne member group:team',
      ].toSorted(),
    )
  })

  test.each([
    'folder:inner parent document:b',
    'folder:outer parent folder:inner',
    'group:all#member viewer folder:outer',
    'group:team#member member group:all',
    'user:anne member group:team',
  ])('is refused where OpenFGA no longer has %s, which the replica has not heard', async (gone) => {
    const world = filed()
    const [user = '', relation = '', object = ''] = gone.split(' ')
    world.truth.remove({ user, relation, object: object as `document:${string}` })
    const { calls, ask } = sending(world)
    const left = object === 'document:b' ? ['a', 'c'] : []
    expect((await ask()).ids).toEqual(left)
    // A denial is always the answer to the question itself.
    expect(calls[1]).toEqual(whole.filter((one) => !left.some((id) => one.endsWith(`:${id}`))))
  })

  test('is refused where the person was blocked and the replica has not heard', async () => {
    const world = filed()
    world.truth.add({ user: 'group:team#member', relation: 'blocked', object: 'document:c' })
    expect((await sending(world).ask()).ids).toEqual(['a', 'b'])
  })

  /** The same, filed in a collection of an organization. */
  function inCollection(): GateWorld {
    const world = filed()
    world.add(
      ...ids.map((id) => `collection:docs filed_in document:${id}`),
      'collection:docs parent folder:outer',
      'organization:acme organization collection:docs',
    )
    world.pass(20_000)
    return world
  }

  test('asks once whether the person is blocked at a collection, and brings that with each document', async () => {
    const world = inCollection()
    const brought: string[] = []
    const { calls, ask } = sending(world, ({ object, contextual }) => {
      brought.push(
        ...(contextual ?? []).map(({ user, relation: on, object: at }) => `${object}: ${user} ${on} ${at}`),
      )
      return undefined
    })
    expect(await ask()).toMatchObject({ ids, counts: { checks: 3, calls: 1 } })
    expect(calls).toHaveLength(1)
    expect(calls[0]?.filter((one) => one.includes(' blocked '))).toEqual([
      'user:anne blocked document:a',
      'user:anne blocked collection:docs',
      'user:anne blocked document:b',
      'user:anne blocked document:c',
    ])
    expect(brought).toEqual(ids.map((id) => `document:${id}: user:anne not_blocked collection:docs`))
  })

  test.each([
    ['at the collection', 'user:anne blocked collection:docs', []],
    ['at its organization', 'group:team#member blocked organization:acme', []],
    ['at a folder below it', 'user:anne blocked folder:outer', []],
    ['at a document', 'user:anne blocked document:b', ['a', 'c']],
  ])('is refused where the person was blocked %s and the replica has not heard', async (_, line, left) => {
    const world = inCollection()
    const [user = '', relation = '', object = ''] = line.split(' ')
    world.truth.add({ user, relation, object: object as `document:${string}` })
    expect((await sending(world).ask()).ids).toEqual(left)
  })

  test.each(['parent', 'filed_in'])(
    'is refused where it is also below a collection of which the replica has not heard, by %s, and blocked there',
    async (relation) => {
      const world = inCollection()
      world.truth.add({ user: 'collection:other', relation, object: 'document:b' })
      world.truth.add({ user: 'user:anne', relation: 'blocked', object: 'collection:other' })
      expect((await sending(world).ask()).ids).toEqual(['a', 'c'])
    },
  )

  test.each<Verdict>(['error', 'allowed'])(
    'is asked whole where OpenFGA does not say that the person is not blocked at the collection (%s)',
    async (verdict) => {
      const { ask, calls } = sending(inCollection(), ({ object, relation }) =>
        relation === 'blocked' && object === 'collection:docs' ? verdict : undefined,
      )
      expect((await ask()).ids).toEqual(ids)
      expect(calls[1]).toEqual(whole)
    },
  )

  test.each<Verdict>(['error', 'denied'])('is asked whole where a part comes back as %s', async (verdict) => {
    const { calls, ask } = sending(filed(), ({ relation, object }) =>
      relation === 'parent' && object === 'document:a' ? verdict : undefined,
    )
    expect((await ask()).ids).toEqual(ids)
    expect(calls[1]).toEqual(['user:anne can_read document:a'])
  })

  test('is no yes where nobody knows whether the person is blocked', async () => {
    const { ask } = sending(filed(), ({ relation, object }) =>
      object === 'document:a' && relation !== 'parent' ? 'error' : undefined,
    )
    expect(await ask()).toMatchObject({ ids: ['b', 'c'], counts: { errors: 1 } })
  })

  test('tells a part from the same one with other tuples brought along', async () => {
    const no = { user: 'user:anne', relation: 'blocked', allowed: false } as const
    const passed = { user: 'user:anne', relation: 'not_blocked', object: 'collection:docs' }
    const check = { user: 'user:anne', relation: 'can_read', object: 'document:a' } as const
    const sent: number[] = []
    const verdicts = await checkDecomposed(
      [
        { check, parts: [{ ...no, object: 'document:a', contextualTuples: [passed] }] },
        { check: { ...check, object: 'document:b' }, parts: [{ ...no, object: 'document:a' }] },
      ],
      async (checks) => {
        sent.push(checks.length)
        return checks.map(
          ({ contextual = [], relation }): Verdict =>
            relation === 'blocked' && contextual.length > 0 ? 'denied' : 'error',
        )
      },
      async () => new Set(),
    )
    expect(verdicts).toEqual(['allowed', 'error'])
    expect(sent).toEqual([2, 1])
  })

  test('keeps what was proven where the second call fails', async () => {
    const world = filed()
    world.truth.remove({ user: 'folder:inner', relation: 'parent', object: 'document:a' })
    const { ask } = sending(world, (_, call) =>
      call === 2 ? new AppError('authorization_unavailable') : undefined,
    )
    expect(await ask()).toMatchObject({ ids: ['b', 'c'], counts: { errors: 1 } })
  })
})

/**
 * The group's member is blocked from all, and both go by one Write while OpenFGA answers: it is still told of
 * the membership and no longer of the block. Of what `told` says the log tells afterwards.
 */
async function changedMeanwhile(told: (world: GateWorld) => void) {
  const world = filed()
  const answered = sending(world, ({ user, relation }, call) =>
    call === 1 && user === 'user:anne' && relation === 'member' ? 'allowed' : undefined,
  )
  world.truth.remove({ user: 'user:anne', relation: 'member', object: 'group:team' })
  world.replica.tellNext(() => told(world))
  return { ...(await answered.ask()), calls: answered.calls }
}

describe('where something changed while its parts were answered', () => {
  test.each<[string, (world: GateWorld) => void]>([
    [
      'what it leads to was taken away',
      ({ replica }) => replica.remove({ user: 'user:anne', relation: 'member', object: 'group:team' }),
    ],
    [
      'something was added there',
      ({ replica }) => replica.add({ user: 'user:zoe', relation: 'member', object: 'group:team' }),
    ],
    [
      'the log cannot be read',
      () => {
        throw new Error('gone')
      },
    ],
  ])('a yes that was true at no moment does not count: %s', async (_, told) => {
    const { ids: found, calls } = await changedMeanwhile(told)
    expect(found).toEqual([])
    expect(calls.slice(1)).toEqual([whole])
  })

  test('only what leads to the change is asked whole', async () => {
    const world = filed()
    const { calls, ask } = sending(world)
    world.replica.tellNext(() => {
      for (const one of [world.truth, world.replica])
        one.add({ user: 'user:bob', relation: 'viewer', object: 'document:b' })
      world.replica.add({ user: 'user:bob', relation: 'member', object: 'group:other' })
    })
    expect((await ask()).ids).toEqual(ids)
    expect(calls.slice(1)).toEqual([['user:anne can_read document:b']])
  })

  test('the second answer is past all caches', async () => {
    const world = filed()
    world.replica.tellNext(() =>
      world.replica.add({ user: 'user:bob', relation: 'viewer', object: 'document:b' }),
    )
    const { calls } = await world.ask({ ids, consistency: 'fast' })
    expect(calls.map(({ consistency }) => consistency)).toEqual(['cached', 'fresh'])
  })
})

describe('is asked whole', () => {
  test('what the replica has under another model', async () => {
    const world = filed()
    world.replica.setModel('model-2')
    const { calls, ask } = sending(world)
    expect((await ask()).ids).toEqual(ids)
    expect(calls).toEqual([whole])
  })

  test('what was shared on the document itself: nothing would be spared', async () => {
    const world = createGateWorld()
    world.add(...ids.map((id) => `user:anne viewer document:${id}`))
    world.pass(20_000)
    const { calls, ask } = sending(world)
    expect((await ask()).ids).toEqual(ids)
    expect(calls).toEqual([whole])
  })
})

test.each([true, false])(
  'OpenFGA’s caches answer a question that may be answered fast only where no secondary fills them: %s',
  async (cached) => {
    const world = filed()
    const asked: unknown[] = []
    const fga: Fga = {
      ...world.fga,
      storeId: world.fga.storeId,
      modelId: world.fga.modelId,
      batchCheck(checks, options) {
        asked.push(options.consistency)
        return world.fga.batchCheck(checks, options)
      },
    }
    const gate = gateOf({ fga, now: world.now, index: world.replica, cached })
    const clearing = gate.open(anne, { consistency: 'fast' })
    expect((await clearing.clear(items)).cleared).toHaveLength(3)
    expect(asked).toEqual([cached ? 'cached' : 'fresh'])
    expect(clearing.proofOf('a')).toEqual({ kind: cached ? 'asked_fast' : 'asked' })
  },
)

test('what one question brings along answers no other: the same words with other tuples beside them are asked apart', async () => {
  const lent: Check = {
    user: 'user:anne',
    relation: 'can_read',
    object: 'document:a',
    contextual: [{ user: 'user:anne', relation: 'presented', object: 'delegation:d_1' }],
  }
  const { contextual: _, ...alone } = lent
  const verdicts = await checkDecomposed(
    [lent, alone].map((check) => ({ check, parts: undefined })),
    async (checks) => checks.map(({ contextual }) => (contextual ? 'allowed' : 'denied')),
    async () => new Set(),
  )
  expect(verdicts).toEqual(['allowed', 'denied'])
})
