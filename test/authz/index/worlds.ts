import { compileModel, createTupleStore, type JsonObject, type Model, type TupleKey } from '@remit/engine'
import type { Random } from '../../../packages/engine/test/support/random.ts'
import { toKey } from '../../../packages/engine/test/support/scene.ts'
import { createTuple, createWorld, type World } from '../../../packages/engine/test/support/world.ts'
import type { Question } from '../../../src/authz/gate/question.ts'

/**
 * A random world as the index reads one: documents, and the two relations that are asked about. In most of
 * them no tuple has a document for its user, as in ours.
 */
export function createDocumentWorld(random: Random): World {
  const named = renamed(createWorld(random))
  return random.chance(0.8) ? withoutDocumentsAsUsers(named) : named
}

const renamed = (world: World): World =>
  JSON.parse(
    JSON.stringify(world)
      .replaceAll('"doc"', '"document"')
      .replaceAll('"a"', '"can_read"')
      .replaceAll('"b"', '"can_read_delegated"'),
  )

/** What would be left without a type that may be assigned takes folders instead. */
function withoutDocumentsAsUsers(world: World): World {
  const strip = (value: unknown): unknown => {
    if (Array.isArray(value)) {
      const kept = value.filter((one) => !isOf(one, 'document') || isDefinition(one)).map(strip)
      return value.length > 0 && kept.length === 0 ? [{ type: 'folder' }] : kept
    }
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, strip(member)]))
  }
  const relations = world.relations.map((relation) => ({
    ...relation,
    restrictions: strip(relation.restrictions) as World['relations'][number]['restrictions'],
  }))
  return { relations, model: strip(world.model) as JsonObject }
}

const isOf = (value: unknown, type: string): boolean =>
  typeof value === 'object' && value !== null && 'type' in value && value.type === type
const isDefinition = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && ('relations' in value || 'metadata' in value)

/** undefined: the server would refuse it. */
export function compiled(json: JsonObject): Model | undefined {
  try {
    return compileModel(json)
  } catch {
    return undefined
  }
}

/** Some distinct tuples that fit the model; of documents there are more, so that some are alike. */
export function somePool(random: Random, world: World, size: number): TupleKey[] {
  const pool = createTupleStore()
  for (let i = 0; i < size; i++) {
    const made = toKey(createTuple(random, world))
    if (made === undefined) continue
    const key = made.object.startsWith('document:')
      ? { ...made, object: `document:${1 + random.below(6)}` }
      : made
    if (pool.get(key) === undefined) pool.add(key, '')
  }
  return [...pool.after('')].map(({ object, relation, user, userRelation, condition }) => ({
    object: object.name,
    relation,
    user: userRelation === '' ? user.name : `${user.name}#${userRelation}`,
    ...(condition && { condition }),
  }))
}

export const questionsOf = (contextual: readonly TupleKey[]): Question[] =>
  ['user:1', 'user:2', 'user:4', 'bot:1'].flatMap((user) =>
    (['can_read', 'can_read_delegated'] as const).map((relation) => ({
      user: user as Question['user'],
      relation,
      contextual: contextual as Question['contextual'],
    })),
  )
