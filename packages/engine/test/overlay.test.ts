import { expect, test } from 'vitest'
import type { JsonObject } from '../src/core/condition-values.ts'
import {
  ConditionError,
  check,
  createMemo,
  createTupleStore,
  type Dependents,
  dependentsOf,
  FgaError,
  keyOf,
  listCandidates,
  type Model,
  overApproximate,
  overlayTuples,
  type TupleKey,
  type TupleView,
} from '../src/index.ts'
import { createRandom, type Random } from './support/random.ts'
import { addTuple, createScene, type Scene, toKey } from './support/scene.ts'
import { seed } from './support/seed.ts'
import { createTuple, fullContext } from './support/world.ts'

const worlds = Number(process.env['FUZZ_WORLDS'] ?? 25)
// Few changes change an answer: it goes on until enough did, within so many.
const worldsMax = 20 * worlds
const users = ['user:1', 'user:2', 'user:3', 'user:4', 'bot:1', 'bot:2']

interface Change {
  readonly writes: readonly TupleKey[]
  readonly deletes: readonly TupleKey[]
}

function createChange(random: Random, { world, tuples }: Scene): Change {
  const stored = [...tuples.after('')].map(keyOf)
  const made = Array.from({ length: random.below(4) }, () => toKey(createTuple(random, world)))
  return {
    writes: made.filter((key) => key !== undefined),
    deletes: Array.from({ length: random.below(3) }, () => random.pick(stored)),
  }
}

/** The same in a store of its own. */
function applied({ tuples }: Scene, { writes, deletes }: Change): TupleView {
  const after = createTupleStore()
  const named = ({ user, relation, object }: TupleKey) => `${user} ${relation} ${object}`
  const gone = new Set([...deletes, ...writes].map(named))
  let order = 0
  for (const tuple of tuples.after(''))
    if (!gone.has(named(keyOf(tuple)))) addTuple(after, keyOf(tuple), order++)
  for (const key of new Map(writes.map((write) => [named(write), write])).values())
    addTuple(after, key, order++)
  return after
}

function answers(model: Model, tuples: TupleView, context: JsonObject): Map<string, string> {
  const found = new Map<string, string>()
  for (const user of users) {
    const memo = createMemo()
    for (const relations of model.types.values())
      for (const { type, name } of relations.values())
        for (const id of ['1', '2', '3']) {
          const object = `${type}:${id}`
          const answer = outcome(() => check(model, tuples, { user, relation: name, object, context }, memo))
          found.set(`${user} ${name} ${object}`, answer)
        }
  }
  return found
}

function outcome(ask: () => boolean): string {
  try {
    return String(ask())
  } catch (error) {
    if (error instanceof FgaError || error instanceof ConditionError) return error.name
    throw error
  }
}

test(`tuples with a change laid over them answer as a store in which it was made (FUZZ_SEED=${seed})`, () => {
  let differing = 0
  for (let nth = 0; nth < worlds || (differing <= worlds && nth < worldsMax); nth++) {
    const random = createRandom(seed + nth)
    const scene = createScene(random)
    if (scene === undefined) continue
    const change = createChange(random, scene)
    const overlay = overlayTuples(scene.tuples, change)
    const after = applied(scene, change)
    const context = fullContext(random)
    const got = answers(scene.model, overlay, context)
    expect(got, `seed ${seed + nth}`).toEqual(answers(scene.model, after, context))
    differing += [...answers(scene.model, scene.tuples, context)].filter(([q, a]) => got.get(q) !== a).length
    expect(overlay.size).toBe(after.size)
    const lines = (view: TupleView) => [...view.after('')].map((tuple) => JSON.stringify(keyOf(tuple))).sort()
    expect(lines(overlay)).toEqual(lines(after))
    for (const key of [...change.writes, ...change.deletes])
      expect(overlay.get(key)?.condition).toEqual(after.get(key)?.condition)
    const relaxed = overApproximate(scene.model)
    for (const relation of relaxed.types.get('doc')?.values() ?? [])
      expect(new Set(listCandidates(relaxed, overlay, relation, { user: 'user:1' }))).toEqual(
        new Set(listCandidates(relaxed, after, relation, { user: 'user:1' })),
      )
  }
  expect(differing).toBeGreaterThan(worlds)
})

test(`what a change may affect holds every answer that it changes (FUZZ_SEED=${seed})`, () => {
  const missed: string[] = []
  const counts = { changed: 0, named: 0, all: 0 }
  for (let nth = 0; nth < worlds || (counts.changed <= worlds && nth < worldsMax); nth++) {
    const random = createRandom(seed + nth)
    const scene = createScene(random)
    if (scene === undefined) continue
    const { model, tuples } = scene
    const change = createChange(random, scene)
    const context = fullContext(random)
    const before = answers(model, tuples, context)
    const after = answers(model, overlayTuples(tuples, change), context)
    const stored = change.deletes.flatMap((key) => tuples.get(key) ?? []).map(keyOf)
    const replaced = change.writes.flatMap((key) => tuples.get(key) ?? []).map(keyOf)
    const union = overlayTuples(tuples, { writes: change.writes })
    const changed = [...stored, ...replaced, ...change.writes]
    for (const relations of model.types.values())
      for (const target of relations.values()) {
        const found = new Set<string>()
        for (const type of ['user', 'bot'])
          for (const keys of Map.groupBy(
            changed,
            ({ object, relation }) => `${object}#${relation}`,
          ).values()) {
            const affected = done(dependentsOf(model, union, target, { keys, type, context }))
            const who = affected.everybody
              ? users.filter((user) => user.startsWith(`${type}:`))
              : affected.users
            for (const user of who)
              for (const object of affected.objects) found.add(`${user} ${target.name} ${object}`)
          }
        counts.named += found.size
        for (const [question, answer] of before) {
          const [, relation, object = ''] = question.split(' ')
          if (relation !== target.name || !object.startsWith(`${target.type}:`)) continue
          counts.all += 1
          const now = after.get(question)
          if ((answer === 'true') === (now === 'true')) continue
          counts.changed += 1
          if (!found.has(question)) missed.push(`${seed + nth}: ${question} ${answer} ${now}`)
        }
      }
  }
  console.log(`seed ${seed}: ${counts.changed} changed, ${counts.named} named of ${counts.all}`)
  expect(missed).toEqual([])
  expect(counts.changed).toBeGreaterThan(worlds)
  expect(counts.named).toBeLessThan(counts.all / 2)
})

function done(found: Generator<undefined, Dependents>): Dependents {
  for (;;) {
    const next = found.next()
    if (next.done === true) return next.value
  }
}
