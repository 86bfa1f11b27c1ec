import { transformer } from '@openfga/syntax-transformer'
import { describe, expect, test } from 'vitest'
import type { JsonObject } from '../src/core/condition-values.ts'
import {
  type CheckPart,
  check,
  compileModel,
  createDecomposeCheck,
  createTupleStore,
  keyOf,
  listObjects,
  type Model,
  type TupleStore,
} from '../src/index.ts'
import { createRandom, type Random } from './support/random.ts'
import { addTuple, createScene, toKey } from './support/scene.ts'
import { seed } from './support/seed.ts'
import { askBatch, createStore, isOverdue, parseDsl, serverTarget, writeModel } from './support/target.ts'
import { createTuple, fullContext, type World } from './support/world.ts'

const worlds = Number(process.env['FUZZ_WORLDS'] ?? 400)

/**
 * The one who takes apart may have missed any change: parts of what is so no longer must come out otherwise.
 */
test(`a yes follows from its parts, whatever is wrong where it was taken apart, in ${worlds} random worlds (FUZZ_SEED=${seed})`, () => {
  const counts = { apart: 0, followed: 0, stale: 0, circles: 0 }
  const wrong: string[] = []
  for (let nth = 0; nth < worlds; nth++) {
    const random = createRandom(seed + nth)
    const scene = createScene(random)
    if (scene === undefined) continue
    const { world, model, tuples: truth } = scene
    const replica = astray(truth, random, world)
    const context = fullContext(random)
    const ask = (question: Omit<CheckPart, 'allowed'>): boolean | undefined => {
      try {
        return check(model, truth, { ...question, context })
      } catch {
        return undefined
      }
    }
    for (const user of ['user:1', 'user:2']) {
      const decomposeCheck = createDecomposeCheck(model, replica, { user, context })
      for (const { type, name } of world.relations) {
        for (const object of ['1', '2', '3'].map((id) => `${type}:${id}`)) {
          const parts = decomposeCheck(name, object)
          if (parts === undefined) continue
          counts.apart += 1
          const whole = { user, relation: name, object }
          const answer = ask(whole)
          if (!parts.every((part) => ask(part) === part.allowed)) counts.stale += 1
          else if (answer === true) counts.followed += 1
          // It meets a circle that grants nothing, and denies what its rules allow.
          else if (answer === false && isListed(model, truth, whole, context)) counts.circles += 1
          else wrong.push(`${seed + nth}: ${user} ${name} ${object} is ${answer} by ${JSON.stringify(parts)}`)
        }
      }
    }
  }
  console.log(
    `seed ${seed}: ${counts.apart} taken apart, ${counts.followed} followed, ${counts.stale} came out otherwise, ${counts.circles} denied for a circle`,
  )
  expect(wrong).toEqual([])
  expect(counts.followed).toBeGreaterThan(worlds / 2)
  expect(counts.stale).toBeGreaterThan(worlds / 20)
}, 120_000)

describe('what is above a document is asked once, and passed by where it is a no', () => {
  const modelWith = (changed: (text: string) => string = (text) => text): Model =>
    compileModel(
      parseDsl(
        changed(`model
  schema 1.1
type user
type group
  relations
    define member: [user]
type house
  relations
    define passed: [user]
    define shut: [user, group#member] but not passed
    define other: [user]
type room
  relations
    define house: [house]
    define reader: [user, group#member]
    define shut: shut from house
    define read: reader but not shut
`),
      ),
    )
  const tuplesOf = (...lines: readonly string[]): TupleStore => {
    const tuples = createTupleStore()
    for (const line of lines) {
      const [user = '', relation = '', object = ''] = line.split(' ')
      tuples.add({ user, relation, object }, '')
    }
    return tuples
  }
  const tuples = tuplesOf('user:1 member group:1', 'group:1#member reader room:1', 'house:1 house room:1')
  const brought = (model: Model, from = tuples) =>
    createDecomposeCheck(model, from, { user: 'user:1' })('read', 'room:1')?.flatMap(
      ({ contextualTuples = [] }) => contextualTuples,
    )

  test('with what is brought along for it, and by a part of its own without', () => {
    const parts = createDecomposeCheck(modelWith(), tuples, { user: 'user:1' })('read', 'room:1')
    const noes = parts?.filter(({ allowed }) => !allowed)
    expect(noes).toEqual([
      {
        user: 'user:1',
        relation: 'shut',
        object: 'room:1',
        allowed: false,
        contextualTuples: [{ user: 'user:1', relation: 'passed', object: 'house:1' }],
      },
      { user: 'user:1', relation: 'shut', object: 'house:1', allowed: false },
    ])
  })

  test.each<[string, (text: string) => string]>([
    ['grants something', (text) => text.replace('define other: [user]', 'define other: [user] or passed')],
    ['is taken from something else', (text) => text.replace('other: [user]', 'other: [user] but not passed')],
    [
      'is passed down',
      (text) => text.replace('shut: shut from house', 'shut: shut from house or passed from house'),
    ],
    ['takes groups too', (text) => text.replace('passed: [user]', 'passed: [user, group#member]')],
    ['takes everybody', (text) => text.replace('passed: [user]', 'passed: [user:*]')],
    ['is not for this kind of subject', (text) => text.replace('passed: [user]', 'passed: [group]')],
    ['is made of another', (text) => text.replace('passed: [user]', 'passed: other')],
    [
      'names a subject',
      (text) => text.replace('shut: [user, group#member] but', 'shut: [user, house#passed] but'),
    ],
    [
      'is what something hangs on',
      (text) =>
        text
          .replace('define other: [user]', 'define other: member from passed')
          .replaceAll('passed: [user]', 'passed: [group]'),
    ],
    [
      'has a condition',
      (text) =>
        `${text.replace('passed: [user]', 'passed: [user with now]')}condition now(x: string) {\n  x == ""\n}\n`,
    ],
  ])('but not where what would be brought along %s', (_, changed) => {
    expect(brought(modelWith(changed))).toEqual([])
  })

  test('for as many as a check takes along, and no more', () => {
    const houses = Array.from({ length: 200 }, (__, at) => `house:${at} house room:1`)
    const many = tuplesOf('user:1 member group:1', 'group:1#member reader room:1', ...houses)
    expect(brought(modelWith(), many)).toHaveLength(20)
  })
})

const server = serverTarget()
const onServer = Number(process.env['FUZZ_SERVER_WORLDS'] ?? 15)

test.skipIf(server === undefined)(
  `a yes of a real server follows from its answers to the parts, in ${onServer} random worlds (FUZZ_SEED=${seed}, OPENFGA_TEST_URL)`,
  async () => {
    if (server === undefined) throw new Error('no server')
    const counts = { worlds: 0, followed: 0, stale: 0, circles: 0, overdue: 0 }
    const wrong: string[] = []
    for (let nth = 0; counts.worlds < onServer; nth++) {
      const random = createRandom(seed + nth)
      const scene = createScene(random)
      // Where an operator is recursed through, the server itself is not steady.
      if (scene === undefined || !scene.model.isWeighted) continue
      counts.worlds += 1
      const { world, model, tuples: truth } = scene
      const store = await createStore(server)
      await writeModel(server, store, world.model)
      const tuple_keys = [...truth.after('')].map(keyOf) as unknown as JsonObject[]
      expect((await server.call('POST', `${store}/write`, { writes: { tuple_keys } })).status).toBe(200)
      const replica = astray(truth, random, world)
      const context = fullContext(random)
      const ask = (questions: readonly Omit<CheckPart, 'allowed'>[]) =>
        askBatch(
          server,
          store,
          questions.map(({ user, relation, object }) => ({ tuple_key: { user, relation, object }, context })),
        )
      for (const user of ['user:1', 'user:2']) {
        const decomposeCheck = createDecomposeCheck(model, replica, { user, context })
        const divided = world.relations.flatMap(({ type, name: relation }) =>
          ['1', '2', '3'].flatMap((id) => {
            const object = `${type}:${id}`
            const parts = decomposeCheck(relation, object)
            return parts === undefined ? [] : [{ whole: { user, relation, object }, parts }]
          }),
        )
        const wholes = await ask(divided.map(({ whole }) => whole))
        const answers = await ask(divided.flatMap(({ parts }) => parts))
        let at = 0
        for (const [index, { whole, parts }] of divided.entries()) {
          const isProven = parts.every(({ allowed }, nthPart) => answers[at + nthPart] === allowed)
          at += parts.length
          if (!isProven) counts.stale += 1
          else if (wholes[index] === true) counts.followed += 1
          // It meets a circle that grants nothing, and denies what its rules allow, or goes round until its
          // deadline.
          else if (wholes[index] === false && isListed(model, truth, whole, context)) counts.circles += 1
          else if (isOverdue(wholes[index]) && isListed(model, truth, whole, context)) counts.overdue += 1
          else
            wrong.push(
              `${seed + nth}: ${JSON.stringify(whole)} is ${wholes[index]} by ${JSON.stringify(parts)}`,
            )
        }
      }
    }
    console.log(
      `seed ${seed}: ${counts.followed} followed, ${counts.stale} came out otherwise, ${counts.circles} denied for a circle, ${counts.overdue} not answered in the server's time`,
    )
    expect(wrong).toEqual([])
    expect(counts.followed).toBeGreaterThan(onServer)
  },
  300_000,
)

/** By the rules alone: the least that has to hold. */
function isListed(
  model: Model,
  tuples: TupleStore,
  { user, relation, object }: Omit<CheckPart, 'allowed'>,
  context: JsonObject,
): boolean {
  const found = model.types.get(object.slice(0, object.indexOf(':')))?.get(relation)
  return found !== undefined && [...listObjects(model, tuples, found, { user, context })].includes(object)
}

/** A copy that has missed some changes, and heard of some that are not. */
function astray(from: TupleStore, random: Random, world: World): TupleStore {
  const tuples = createTupleStore()
  for (const tuple of from.after('')) tuples.add(keyOf(tuple), tuple.ulid)
  for (let change = random.below(12); change > 0; change--) {
    const stored = [...tuples.after('')]
    if (random.chance(0.5) && stored.length > 0) tuples.remove(keyOf(random.pick(stored)))
    else addTuple(tuples, toKey(createTuple(random, world)), 1_000 + change)
  }
  return tuples
}

test('in a model that recurses through an operator nothing is taken apart: the whole may be denied where each part holds', () => {
  const model = compileModel(
    parseDsl(`model
  schema 1.1
type user
type folder
  relations
    define parent: [folder]
    define opposite: [folder]
    define barred: [user] or reader from opposite
    define viewer: [user]
    define reader: (viewer or reader from parent) but not barred`),
  )
  const tuples = createTupleStore()
  addTuple(tuples, { user: 'user:1', relation: 'viewer', object: 'folder:1' }, 1)
  addTuple(tuples, { user: 'folder:1', relation: 'parent', object: 'folder:2' }, 2)
  expect(check(model, tuples, { user: 'user:1', relation: 'reader', object: 'folder:2' })).toBe(true)
  expect(createDecomposeCheck(model, tuples, { user: 'user:1' })('reader', 'folder:2')).toBeUndefined()
})

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
  expect(createDecomposeCheck(model, replica, { user: 'user:1' })('viewer', 'document:1')).toBeUndefined()
})

test('what is behind a group counts also where that leads back to what was looked at first', () => {
  const model = compileModel(
    transformer.transformDSLToJSONObject(`model
  schema 1.1
type user
type organization
  relations
    define guest: [user, organization#member]
    define banned: [user]
    define welcome: guest but not banned
    define member: [team#member] or welcome
type team
  relations
    define member: [user, organization#member]
type folder
  relations
    define viewer: [organization#member]
type document
  relations
    define parent: [folder]
    define viewer: [team#member]
    define can_read: viewer or viewer from parent`),
  )
  const stands = [
    ['folder:1', 'parent', 'document:1'],
    ['organization:1#member', 'viewer', 'folder:1'],
    ['team:1#member', 'member', 'organization:1'],
    ['user:1', 'member', 'team:1'],
    ['team:2#member', 'viewer', 'document:2'],
  ] as const
  // No longer so: the organization still gets there as another's guest, from where this member is banned.
  const wasSo = [['organization:1#member', 'member', 'team:2']] as const
  const isSo = [
    ['organization:2#member', 'member', 'team:2'],
    ['organization:1#member', 'guest', 'organization:2'],
    ['user:1', 'banned', 'organization:2'],
  ] as const
  const storeOf = (keys: readonly (readonly [string, string, string])[]): TupleStore => {
    const tuples = createTupleStore()
    for (const [at, [user, relation, object]] of keys.entries())
      addTuple(tuples, { user, relation, object }, at + 1)
    return tuples
  }
  const decomposeCheck = createDecomposeCheck(model, storeOf([...stands, ...wasSo]), { user: 'user:1' })
  const truth = storeOf([...stands, ...isSo])
  const wrong = ['document:1', 'document:2'].filter((object) => {
    const parts = decomposeCheck('can_read', object)
    const follows = parts?.every((part) => check(model, truth, part) === part.allowed) === true
    return follows && !check(model, truth, { user: 'user:1', relation: 'can_read', object })
  })
  expect(check(model, truth, { user: 'user:1', relation: 'can_read', object: 'document:2' })).toBe(false)
  expect(wrong).toEqual([])
})
