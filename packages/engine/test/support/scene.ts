import type { JsonObject } from '../../src/core/condition-values.ts'
import {
  compileModel,
  createTupleStore,
  FgaError,
  type Model,
  type TupleKey,
  type TupleStore,
} from '../../src/index.ts'
import type { Random } from './random.ts'
import { createTuple, createWorld, type World } from './world.ts'

/** A random model with random tuples, compiled. */
export interface Scene {
  readonly world: World
  readonly model: Model
  readonly tuples: TupleStore
}

const tuplesMax = 60

/** Undefined for a model that the engine refuses. */
export function createScene(random: Random): Scene | undefined {
  const world = createWorld(random)
  try {
    const model = compileModel(world.model)
    const tuples = createTupleStore()
    for (let order = 0; order < tuplesMax; order++) addTuple(tuples, toKey(createTuple(random, world)), order)
    return { world, model, tuples }
  } catch (error) {
    if (error instanceof FgaError) return undefined
    throw error
  }
}

export function toKey(tuple: JsonObject | undefined): TupleKey | undefined {
  if (tuple === undefined) return undefined
  const { user, relation, object, condition } = tuple
  const bound = condition as { name: string; context?: JsonObject } | undefined
  const key = { user: String(user), relation: String(relation), object: String(object) }
  return bound === undefined ? key : { ...key, condition: { name: bound.name, context: bound.context ?? {} } }
}

/** Unless it is there. */
export function addTuple(tuples: TupleStore, key: TupleKey | undefined, order: number): void {
  if (key !== undefined && tuples.get(key) === undefined) tuples.add(key, String(order).padStart(26, '0'))
}
