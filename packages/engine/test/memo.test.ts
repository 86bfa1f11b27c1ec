import { expect, test } from 'vitest'
import type { JsonObject } from '../src/condition-values.ts'
import {
  ConditionError,
  check,
  compileModel,
  createMemo,
  createTupleStore,
  FgaError,
  type Memo,
  type Model,
  type TupleKey,
  type TupleStore,
} from '../src/index.ts'
import { createRandom, type Random } from './support/random.ts'
import { createSubject, createTuple, createWorld, fullContext } from './support/world.ts'

interface Scene {
  readonly model: Model
  readonly tuples: TupleStore
}

function createScene(random: Random): Scene | undefined {
  const world = createWorld(random)
  try {
    const model = compileModel(world.model)
    const tuples = createTupleStore()
    for (let i = 0; i < 60; i++) {
      const key = createTuple(random, world)
      if (key !== undefined) add(tuples, toKey(key), i)
    }
    return { model, tuples }
  } catch (error) {
    if (error instanceof FgaError) return undefined
    throw error
  }
}

function add(tuples: TupleStore, key: TupleKey, order: number): void {
  if (tuples.get(key) === undefined) tuples.add(key, String(order).padStart(26, '0'))
}

function toKey({ user, relation, object, condition }: JsonObject): TupleKey {
  const bound = condition as { name: string; context: JsonObject } | undefined
  return { user: String(user), relation: String(relation), object: String(object), condition: bound }
}

const questions = ['group', 'folder', 'doc'].flatMap((type) =>
  ['1', '2', '3'].flatMap((id) =>
    ['a', 'b', 'c', 'd'].map((relation) => ({ object: `${type}:${id}`, relation })),
  ),
)

function ask(
  scene: Scene,
  user: string,
  question: { object: string; relation: string },
  context: JsonObject,
  memo?: Memo,
): boolean | string {
  try {
    return check(scene.model, scene.tuples, { user, ...question, context }, memo)
  } catch (error) {
    if (error instanceof FgaError || error instanceof ConditionError) return error.name
    throw error
  }
}

test('a batch answers every item as if it were asked alone, in any order, around cycles too', () => {
  const seed = Number(process.env['FUZZ_SEED'] ?? 7)
  let asked = 0
  const wanted = Number(process.env['FUZZ_ANSWERS'] ?? 4000)
  let allowed = 0
  for (let world = 0; asked < wanted; world++) {
    const random = createRandom(seed + world)
    const scene = createScene(random)
    if (scene === undefined) continue
    const user = createSubject(random)
    const context = fullContext(random)
    const memo = createMemo()
    const shuffled = questions
      .map((question) => ({ question, order: random.below(1_000_000) }))
      .sort((a, b) => a.order - b.order)
    for (const { question } of shuffled) {
      const alone = ask(scene, user, question, context)
      expect(
        ask(scene, user, question, context, memo),
        `world ${seed + world}: ${user} ${question.relation} ${question.object}`,
      ).toBe(alone)
      asked++
      if (alone === true) allowed++
    }
  }
  expect(allowed).toBeGreaterThan(asked / 50)
}, 300_000)

test('an answer near the depth limit does not lend itself to a question that goes deeper', () => {
  const model = compileModel({
    schema_version: '1.1',
    type_definitions: [
      { type: 'user' },
      {
        type: 'group',
        relations: {
          member: { union: { child: [{ this: {} }, { computedUserset: { relation: 'extra' } }] } },
          extra: { this: {} },
        },
        metadata: {
          relations: {
            member: {
              directly_related_user_types: [{ type: 'user' }, { type: 'group', relation: 'member' }],
            },
            extra: { directly_related_user_types: [{ type: 'user' }, { type: 'group', relation: 'member' }] },
          },
        },
      },
    ],
  })
  const tuples = createTupleStore()
  for (let i = 0; i < 30; i++)
    add(tuples, { user: `group:${i + 1}#member`, relation: 'extra', object: `group:${i}` }, i)
  add(tuples, { user: 'user:anne', relation: 'member', object: 'group:30' }, 31)
  const memo = createMemo()
  const at = (level: number, shared?: Memo): boolean | string =>
    ask({ model, tuples }, 'user:anne', { object: `group:${level}`, relation: 'member' }, {}, shared)
  for (const level of [29, 12, 6, 5, 0, 6, 20]) expect(at(level, memo), `group:${level}`).toBe(at(level))
  expect(at(6)).toBe(true)
  expect(at(5)).toBe('FgaError')
})
