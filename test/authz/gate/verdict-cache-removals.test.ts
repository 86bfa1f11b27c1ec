import { check, createTupleStore, keyOf, type TupleKey, type TupleStore } from '@remit/engine'
import { expect, test } from 'vitest'
import { createRandom } from '../../../packages/engine/test/support/random.ts'
import { createScene, toKey } from '../../../packages/engine/test/support/scene.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import { createTuple, fullContext } from '../../../packages/engine/test/support/world.ts'
import { createVerdictCache } from '../../../src/authz/gate/verdict-cache.ts'
import { leadsToAny, subtractingRelations } from '../../../src/authz/index/recent-removals.ts'

const worlds = Number(process.env.FUZZ_WORLDS ?? 150)

/**
 * The second line behind the replica's own evaluation, which has each write of this process: a yes that was
 * held, that the replica still gives, and whose object does not lead to where this process took a tuple away
 * since, is true whichever of those removals the replica has missed.
 */
test(`a held yes that no write of this process concerns is true, in ${worlds} random worlds (FUZZ_SEED=${seed})`, () => {
  const counts = { asked: 0, repeated: 0, forgotten: 0, kept: 0 }
  const wrong: string[] = []
  for (let nth = 0; nth < worlds; nth++) {
    const random = createRandom(seed + nth)
    const scene = createScene(random)
    if (scene === undefined || !scene.model.isWeighted) continue
    const { world, model, tuples: truth } = scene
    const subtracts = subtractingRelations(model)
    const replica = copy(truth)
    const held = createVerdictCache({ now: () => 0, elapsed: () => 0, ttlMs: 1_000 })
    const context = fullContext(random)
    const allows = (tuples: TupleStore, key: TupleKey): boolean => {
      try {
        return check(model, tuples, { ...key, context })
      } catch {
        return false
      }
    }
    const questions = world.relations.flatMap(({ type, name }) =>
      ['1', '2', '3'].map((id): TupleKey => ({ user: 'user:1', relation: name, object: `${type}:${id}` })),
    )
    for (let round = 0; round < 12; round++) {
      for (const key of random.sample(questions, 0.5)) {
        if (!allows(truth, key)) continue
        held.put(nameOf(key), { askedAt: 0, generation: held.generation })
        counts.asked += 1
      }
      const objects: string[] = []
      for (let change = 0; change < 1 + random.below(3); change++) {
        const stored = [...truth.after('')]
        const gone = random.chance(0.6) && stored.length > 0 ? keyOf(random.pick(stored)) : undefined
        const come = gone === undefined ? toKey(createTuple(random, world)) : undefined
        const isSeen = random.chance(0.5)
        if (gone !== undefined) {
          truth.remove(gone)
          if (isSeen) replica.remove(gone)
          objects.push(gone.object)
        } else if (come !== undefined && truth.get(come) === undefined) {
          truth.add(come, '')
          if (replica.get(come) !== undefined) replica.remove(come)
          replica.add(come, '')
          if (subtracts.has(`${come.object.split(':')[0]}#${come.relation}`)) objects.push(come.object)
        }
      }
      held.wrote(objects)()
      for (const key of questions) {
        const yes = held.find(nameOf(key), 0)
        if (yes === undefined || !allows(replica, key)) continue
        const taken = held.removedSince(yes.generation)
        if (taken === undefined || leadsToAny(key.object, taken, new Set(), replica)) counts.forgotten += 1
        else {
          counts.repeated += 1
          if (taken.size > 0) counts.kept += 1
          if (!allows(truth, key)) wrong.push(`${seed + nth}: ${nameOf(key)} after ${[...taken].join(' ')}`)
        }
      }
    }
  }
  console.log(
    `seed ${seed}: ${counts.asked} held, ${counts.repeated} times said again (${counts.kept} after something was taken away elsewhere), ${counts.forgotten} times not`,
  )
  expect(wrong).toEqual([])
  expect(counts.kept).toBeGreaterThan(worlds)
  expect(counts.forgotten).toBeGreaterThan(worlds)
}, 120_000)

const nameOf = ({ user, relation, object }: TupleKey): string => `${user} ${relation} ${object}`

function copy(from: TupleStore): TupleStore {
  const tuples = createTupleStore()
  for (const tuple of from.after('')) tuples.add(keyOf(tuple), tuple.ulid)
  return tuples
}

test('what was taken away is known since a generation, until there is too much of it', () => {
  const held = createVerdictCache({ now: () => 0, elapsed: () => 0, ttlMs: 1_000 })
  held.put('key', { askedAt: 0, generation: held.generation })
  held.wrote([])()
  expect(held.generation).toBe(0)
  held.wrote(['a', 'b'])()
  held.wrote(['b', 'c'])()
  expect(held.removedSince(0)).toEqual(new Set(['a', 'b', 'c']))
  expect(held.removedSince(1)).toEqual(new Set(['b', 'c']))
  expect(held.removedSince(2)).toEqual(new Set())
  expect(held.find('key', 0)).toBeDefined()
  held.wrote(Array.from({ length: 10_000 }, (_, index) => `o${index}`))()
  expect(held.removedSince(0)).toBeUndefined()
  expect(held.find('key', 0)).toBeUndefined()
})
