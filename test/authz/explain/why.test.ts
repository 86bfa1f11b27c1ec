import { expect, test } from 'vitest'
import { createWhy } from '../../../src/authz/explain/why.ts'
import { anne } from '../double.ts'
import { createGateWorld } from '../gate/world.ts'

const documentIds = ['a']
const direct = 'user:anne viewer document:a'
const throughGroup = ['group:g#member viewer document:a', 'user:anne member group:g']

function worldWith(...tuples: readonly string[]) {
  const world = createGateWorld()
  world.add(...tuples)
  const modelId = world.replica.view()?.modelId ?? ''
  const why = createWhy({ index: world.replica, now: world.now })
  return {
    world,
    /** What is told of a yes; undefined: one of just now. */
    ask: (yes?: object) => why(anne, { grants: [], modelId, documentIds, heldYes: () => yes }).get('a'),
  }
}

test('a yes that is said again rests on what it rested on, whatever came beside it since', () => {
  const { world, ask } = worldWith(...throughGroup)
  const yes = {}
  const first = ask(yes)
  expect(first?.toSorted()).toEqual(throughGroup.toSorted())
  world.add(direct)
  expect(ask(yes)).toEqual(first)
  expect(ask({})).toEqual([direct])
  expect(ask()).toEqual([direct])
})

test('of a yes that rests on a time nothing is told once that is over', () => {
  const { world, ask } = worldWith(`${direct} until 2026-11-24T12:00:03.000Z`)
  const yes = {}
  expect(ask(yes)).toHaveLength(1)
  world.add(...throughGroup)
  expect(ask(yes)).toHaveLength(1)
  world.pass(3_000)
  expect(ask(yes)?.toSorted()).toEqual(throughGroup.toSorted())
})
