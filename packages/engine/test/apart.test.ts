import { transformer } from '@openfga/syntax-transformer'
import { expect, test } from 'vitest'
import {
  type CheckPart,
  check,
  compileModel,
  createTakeApart,
  createTupleStore,
  keyOf,
  type TupleStore,
} from '../src/index.ts'
import { createRandom } from './support/random.ts'
import { addTuple, createScene, toKey } from './support/scene.ts'
import { createTuple, fullContext } from './support/world.ts'

const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1_000_000_000)
const worlds = Number(process.env['FUZZ_WORLDS'] ?? 400)

/** The one who takes apart may have missed any change: parts of what is so no longer must come out otherwise. */
test(`a yes follows from its parts, whatever is wrong where it was taken apart, in ${worlds} random worlds (FUZZ_SEED=${seed})`, () => {
  const counts = { apart: 0, followed: 0, stale: 0 }
  const wrong: string[] = []
  for (let nth = 0; nth < worlds; nth++) {
    const random = createRandom(seed + nth)
    const scene = createScene(random)
    if (scene === undefined) continue
    const { world, model, tuples: truth } = scene
    const replica = copy(truth)
    for (let change = 0; change < random.below(12); change++) {
      const stored = [...replica.after('')]
      if (random.chance(0.5) && stored.length > 0) replica.remove(keyOf(random.pick(stored)))
      else addTuple(replica, toKey(createTuple(random, world)), 1_000 + change)
    }
    const context = fullContext(random)
    const ask = (question: Omit<CheckPart, 'allowed'>): boolean | undefined => {
      try {
        return check(model, truth, { ...question, context })
      } catch {
        return undefined
      }
    }
    for (const user of ['user:1', 'user:2']) {
      const takeApart = createTakeApart(model, replica, { user, context })
      for (const { type, name } of world.relations) {
        for (const object of ['1', '2', '3'].map((id) => `${type}:${id}`)) {
          const parts = takeApart(name, object)
          if (parts === undefined) continue
          counts.apart += 1
          const whole = ask({ user, relation: name, object })
          if (!parts.every((part) => ask(part) === part.allowed)) counts.stale += 1
          else if (whole === true) counts.followed += 1
          else wrong.push(`${seed + nth}: ${user} ${name} ${object} is ${whole} by ${JSON.stringify(parts)}`)
        }
      }
    }
  }
  console.log(
    `seed ${seed}: ${counts.apart} taken apart, ${counts.followed} followed, ${counts.stale} came out otherwise`,
  )
  expect(wrong).toEqual([])
  expect(counts.followed).toBeGreaterThan(worlds / 2)
  expect(counts.stale).toBeGreaterThan(worlds / 20)
}, 120_000)

function copy(from: TupleStore): TupleStore {
  const tuples = createTupleStore()
  for (const tuple of from.after('')) tuples.add(keyOf(tuple), tuple.ulid)
  return tuples
}

test('what a group is given is not given to its members where something behind it is taken away', () => {
  const model = compileModel(
    transformer.transformDSLToJSONObject(`model
  schema 1.1
type user
type group
  relations
    define member: [user]
type folder
  relations
    define viewer: [group#member]
type document
  relations
    define parent: [folder]
    define blocked: [user]
    define shown: viewer from parent
    define inherited: shown but not blocked
    define viewer: [group#member] or inherited`),
  )
  const replica = createTupleStore()
  addTuple(replica, { user: 'user:1', relation: 'member', object: 'group:1' }, 1)
  addTuple(replica, { user: 'group:1#member', relation: 'viewer', object: 'document:1' }, 2)
  // No longer so: the group still gets there by the folder, where this member is blocked.
  const truth = createTupleStore()
  addTuple(truth, { user: 'user:1', relation: 'member', object: 'group:1' }, 1)
  addTuple(truth, { user: 'folder:1', relation: 'parent', object: 'document:1' }, 2)
  addTuple(truth, { user: 'group:1#member', relation: 'viewer', object: 'folder:1' }, 3)
  addTuple(truth, { user: 'user:1', relation: 'blocked', object: 'document:1' }, 4)
  expect(check(model, truth, { user: 'group:1#member', relation: 'viewer', object: 'document:1' })).toBe(true)
  expect(check(model, truth, { user: 'user:1', relation: 'viewer', object: 'document:1' })).toBe(false)
  expect(createTakeApart(model, replica, { user: 'user:1' })('viewer', 'document:1')).toBeUndefined()
})
