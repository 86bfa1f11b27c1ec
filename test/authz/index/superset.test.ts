import {
  compileModel,
  createTupleStore,
  type JsonObject,
  listCandidates,
  listObjects,
  relaxModel,
} from '@remit/engine'
import { expect, test } from 'vitest'
import { createRandom } from '../../../packages/engine/test/support/random.ts'
import { createTuple, createWorld, fullContext } from '../../../packages/engine/test/support/world.ts'

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000_000)
const worlds = Number(process.env.FUZZ_WORLDS ?? 200)

test(`what is nominated holds all that is listed, in ${worlds} random worlds (FUZZ_SEED=${seed})`, () => {
  const lost: string[] = []
  let questions = 0
  let listed = 0
  let nominated = 0
  for (let nth = 0; nth < worlds; nth++) {
    const random = createRandom(seed + nth)
    const world = createWorld(random)
    const model = compiled(world.model)
    if (model === undefined) continue
    const relaxed = relaxModel(model)
    const tuples = createTupleStore()
    for (let i = 0; i < 60; i++) {
      const key = createTuple(random, world) as unknown as Parameters<typeof tuples.add>[0] | undefined
      if (key !== undefined && tuples.get(key) === undefined) tuples.add(key, '')
    }
    for (const [type, relations] of model.types) {
      for (const relation of relations.values()) {
        const user = `${random.pick(['user', 'bot'])}:${1 + random.below(3)}`
        const narrow = relaxed.types.get(type)?.get(relation.name)
        if (narrow === undefined) throw new Error('a relation got lost')
        const extra = createTuple(random, world) as unknown as Parameters<typeof tuples.add>[0] | undefined
        const contextualTuples = extra === undefined ? [] : [extra]
        const all = granted(() => [
          ...listObjects(model, tuples, relation, { user, contextualTuples, context: fullContext(random) }),
        ])
        const found = new Set(listCandidates(relaxed, tuples, narrow, { user, contextualTuples }).objects)
        questions += 1
        listed += all.length
        nominated += all.length === 0 ? 0 : found.size
        for (const object of all)
          if (!found.has(object)) lost.push(`${seed + nth}: ${user} ${relation.key} ${object}`)
      }
    }
  }
  console.log(
    `seed ${seed}: ${questions} questions, ${listed} listed of ${nominated} nominated where any was listed`,
  )
  expect(lost).toEqual([])
  expect(listed).toBeGreaterThan(worlds)
}, 600_000)

/** undefined: the server would refuse it. */
function compiled(json: JsonObject) {
  try {
    return compileModel(json)
  } catch {
    return undefined
  }
}

/** Nothing where the list fails as a whole, as it does when a condition lacks context. */
function granted(list: () => string[]): string[] {
  try {
    return list()
  } catch {
    return []
  }
}
