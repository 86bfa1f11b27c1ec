import { expect, test } from 'vitest'
import type { JsonObject } from '../src/core/condition-values.ts'
import {
  ConditionError,
  check,
  compileModel,
  createTupleStore,
  FgaError,
  subjectUpperBound,
} from '../src/index.ts'
import { createRandom } from './support/random.ts'
import { createScene, type Scene } from './support/scene.ts'
import { seed } from './support/seed.ts'
import { fullContext } from './support/world.ts'

function isAllowed(
  { model, tuples }: Pick<Scene, 'model' | 'tuples'>,
  user: string,
  relation: string,
  object: string,
  context: JsonObject,
) {
  try {
    return check(model, tuples, { user, relation, object, context })
  } catch (error) {
    if (error instanceof FgaError || error instanceof ConditionError) return false
    throw error
  }
}

test(`nobody whom a check allows is missing, and nobody whom an exclusion takes from everyone (FUZZ_SEED=${seed})`, () => {
  let allowed = 0
  let takenOut = 0
  // Few worlds have both an exclusion and somebody whom it takes out: it goes on until there was one.
  for (let world = 0; world < 60 || ((allowed <= 500 || takenOut === 0) && world < 1_200); world++) {
    const random = createRandom(seed + world)
    const scene = createScene(random)
    if (scene === undefined) continue
    const context = fullContext(random)
    for (const type of ['group', 'folder', 'doc'])
      for (const id of ['1', '2', '3'])
        for (const name of ['a', 'b', 'c', 'd']) {
          const object = `${type}:${id}`
          const relation = scene.model.types.get(type)?.get(name)
          if (relation === undefined) throw new Error('no relation')
          const found = subjectUpperBound(scene.model, scene.tuples, relation, object, 'user', {
            usersMax: 100,
          })
          expect(found.complete).toBe(true)
          const everyone = isAllowed(scene, 'user:*', name, object, context)
          if (everyone) expect(found.everyone, `world ${seed + world}: ${name} ${object}`).toBe(true)
          for (const user of ['user:1', 'user:2', 'user:3']) {
            const where = `world ${seed + world}: ${user} ${name} ${object}`
            const has = isAllowed(scene, user, name, object, context)
            if (has) expect(found.users.has(user) || found.everyone, where).toBe(true)
            if (has) allowed++
            if (everyone && !has) {
              expect(found.excluded.has(user) || found.users.has(user), where).toBe(true)
              takenOut++
            }
          }
        }
  }
  expect(allowed).toBeGreaterThan(500)
  expect(takenOut).toBeGreaterThan(0)
}, 60_000)

test('a list that is too long says so', () => {
  const model = compileModel({
    schema_version: '1.1',
    type_definitions: [
      { type: 'user' },
      {
        type: 'doc',
        relations: { viewer: { this: {} } },
        metadata: { relations: { viewer: { directly_related_user_types: [{ type: 'user' }] } } },
      },
    ],
  })
  const tuples = createTupleStore()
  for (let i = 0; i < 11; i++)
    tuples.add({ user: `user:${i}`, relation: 'viewer', object: 'doc:1' }, String(i).padStart(26, '0'))
  const relation = model.types.get('doc')?.get('viewer')
  if (relation === undefined) throw new Error('no relation')
  const list = (usersMax: number) => {
    const { users, complete } = subjectUpperBound(model, tuples, relation, 'doc:1', 'user', { usersMax })
    return { count: users.size, complete }
  }
  expect(list(10)).toEqual({ count: 10, complete: false })
  expect(list(11)).toEqual({ count: 11, complete: true })
})
