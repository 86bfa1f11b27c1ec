import type { JsonObject } from '../../src/core/condition-values.ts'
import type { Random } from './random.ts'

/** A random model in JSON with what is needed to make tuples and questions for it. */
export interface World {
  readonly model: JsonObject
  readonly relations: readonly {
    readonly type: string
    readonly name: string
    readonly restrictions: readonly Restriction[]
  }[]
}

export type Restriction = {
  readonly type: string
  readonly relation?: string
  readonly wildcard?: JsonObject
  readonly condition?: string
}

const holders = ['group', 'folder', 'doc'] as const
const names = ['a', 'b', 'c', 'd'] as const
const subjects = ['user', 'user', 'user', 'bot'] as const

/** Context that every condition of a random model can be evaluated with. */
export const fullContext = (random: Random): JsonObject => ({ x: random.below(4), y: random.below(4) })

export function createWorld(random: Random): World {
  const relations: World['relations'][number][] = []
  const definitions: JsonObject[] = [{ type: 'user' }, { type: 'bot' }]
  const conditional = random.chance(0.6)
  // Clean models recurse only through unions: the kind that the weighted-graph planner takes.
  const isClean = random.chance(0.75)
  for (const type of holders) {
    const own: Record<string, JsonObject> = {}
    const metadata: Record<string, JsonObject> = {}
    const declare = (name: string, rewrite: JsonObject, restrictions: readonly Restriction[]): void => {
      own[name] = rewrite
      metadata[name] = { directly_related_user_types: restrictions }
      relations.push({ type, name, restrictions })
    }
    const parents = holders.filter((parent) => parent === type || random.chance(0.5))
    declare(
      'parent',
      { this: {} },
      withCondition(
        random,
        parents.map((parent) => ({ type: parent })),
        conditional && random.chance(0.3),
      ),
    )
    for (const name of names) {
      const shape = createShape(random, name, isClean)
      const rewrite = onlyFirstThis(createRewrite(random, shape, 2), random, shape)
      const usesThis = JSON.stringify(rewrite).includes('"this"')
      declare(name, rewrite, usesThis ? createRestrictions(random, conditional, shape) : [])
    }
    definitions.push({ type, relations: own, metadata: { relations: metadata } })
  }
  const parameters = { x: { type_name: 'TYPE_NAME_INT' }, y: { type_name: 'TYPE_NAME_INT' } }
  const conditions = {
    less: { name: 'less', expression: 'x < y', parameters },
    same: { name: 'same', expression: 'x == y', parameters },
  }
  return { relations, model: { schema_version: '1.1', type_definitions: definitions, conditions } }
}

/** What the rules of one relation may use. */
interface Shape {
  readonly name: string
  readonly operators: boolean
  /** Relations of the same type to compute from; circles are refused, so mostly later ones. */
  readonly computed: readonly string[]
  /** Relations of other objects. */
  readonly far: readonly string[]
}

function createShape(random: Random, name: string, isClean: boolean): Shape {
  const later = names.filter((candidate) => candidate > name)
  if (!isClean) {
    const computed = random.chance(0.97) ? later : names.filter((candidate) => candidate !== name)
    return { name, operators: true, computed, far: names }
  }
  const operators = later.length > 0 && random.chance(0.5)
  return { name, operators, computed: later, far: operators ? later : [name, ...later] }
}

function createRewrite(random: Random, shape: Shape, depth: number): JsonObject {
  const kinds = shape.operators
    ? ['leaf', 'leaf', 'union', 'union', 'intersection', 'difference']
    : ['leaf', 'leaf', 'union', 'union']
  const kind = depth === 0 ? 'leaf' : random.pick(kinds)
  const deeper = (): JsonObject => createRewrite(random, shape, depth - 1)
  if (kind === 'union' || kind === 'intersection') {
    const count = 2 + (random.chance(0.2) ? 1 : 0)
    return { [kind]: { child: Array.from({ length: count }, deeper) } }
  }
  if (kind === 'difference') return { difference: { base: deeper(), subtract: deeper() } }
  const leaf = random.pick(['this', 'this', 'this', shape.computed.length === 0 ? 'this' : 'computed', 'ttu'])
  if (leaf === 'computed') return { computedUserset: { relation: random.pick(shape.computed) } }
  return leaf === 'ttu' ? fromParent(random, shape) : { this: {} }
}

const fromParent = (random: Random, shape: Shape): JsonObject => ({
  tupleToUserset: { tupleset: { relation: 'parent' }, computedUserset: { relation: random.pick(shape.far) } },
})

/** The DSL has one type restriction list per relation; JSON may use it twice, which is rare here. */
function onlyFirstThis(rewrite: JsonObject, random: Random, shape: Shape): JsonObject {
  if (random.chance(0.05)) return rewrite
  const parts = JSON.stringify(rewrite).split('{"this":{}}')
  const others = parts.slice(2).map((part) => {
    const instead =
      shape.computed.length === 0
        ? fromParent(random, shape)
        : { computedUserset: { relation: random.pick(shape.computed) } }
    return JSON.stringify(instead) + part
  })
  return JSON.parse(
    parts.length < 3 ? parts.join('{"this":{}}') : `${parts[0]}{"this":{}}${parts[1]}${others.join('')}`,
  )
}

function createRestrictions(random: Random, conditional: boolean, shape: Shape): readonly Restriction[] {
  const usersets = holders.flatMap((type) => shape.far.map((relation) => ({ type, relation })))
  const plain: Restriction[] = [
    { type: 'user' },
    ...random.sample([{ type: 'bot' }, { type: 'user', wildcard: {} }], 0.3),
    ...(random.chance(0.5) ? [random.pick(usersets)] : []),
    ...(random.chance(0.2) ? [random.pick(usersets)] : []),
  ]
  return withCondition(random, plain, conditional)
}

function withCondition(
  random: Random,
  plain: readonly Restriction[],
  conditional: boolean,
): readonly Restriction[] {
  if (!conditional) return plain
  return plain.flatMap((restriction) => {
    const bound = { ...restriction, condition: random.pick(['less', 'same']) }
    return random.pick([[restriction], [restriction], [restriction, bound], [bound]])
  })
}

const idOf = (random: Random): number => 1 + random.below(3)

/** A tuple that fits one of the model's type restrictions; the condition's context may lack members. */
export function createTuple(random: Random, world: World): JsonObject | undefined {
  const { type, name, restrictions } = random.pick(world.relations)
  if (restrictions.length === 0) return undefined
  const { type: userType, relation, wildcard, condition } = random.pick(restrictions)
  const object = `${type}:${idOf(random)}`
  const base = wildcard === undefined ? `${userType}:${idOf(random)}` : `${userType}:*`
  const user = relation === undefined ? base : `${base}#${relation}`
  if (user === `${object}#${name}`) return undefined
  return {
    user,
    relation: name,
    object,
    ...(condition === undefined ? {} : { condition: { name: condition, context: tupleContext(random) } }),
  }
}

const tupleContext = (random: Random): JsonObject =>
  random.pick<JsonObject>([
    { y: random.below(4) },
    { y: random.below(4) },
    {},
    { x: random.below(4), y: random.below(4) },
  ])

/** Any tuple at all: most do not fit the model. */
export function createAnyTuple(random: Random, world: World): JsonObject {
  const object = random.pick(['doc:1', 'group:2', 'folder:3', 'doc:*', 'nothing:1', 'doc', 'doc:1#a'])
  const relation = random.pick([...names, 'parent', 'zz', random.pick(world.relations).name])
  const user = random.pick([
    'user:1',
    'user:*',
    'bot:1',
    'group:1',
    'group:1#a',
    'group:1#zz',
    'doc:1#b',
    'folder:*',
    'zz:1',
    'user',
    '*',
    'user:1#a',
    'group:*#a',
  ])
  const condition = random.pick(['', '', 'less', 'same', 'nope'])
  const context = random.pick<JsonObject>([{}, { x: 1 }, { x: 'no' }, { z: 1 }, { y: '2' }])
  return { user, relation, object, ...(condition === '' ? {} : { condition: { name: condition, context } }) }
}

export function createSubject(random: Random): string {
  if (random.chance(0.12)) return `${random.pick(holders)}:${idOf(random)}#${random.pick(names)}`
  if (random.chance(0.06)) return 'user:*'
  return `${random.pick(subjects)}:${idOf(random)}`
}

export const createObject = (random: Random): { readonly type: string; readonly id: string } => ({
  type: random.pick(holders),
  id: String(idOf(random)),
})

export const createRelation = (random: Random): string => random.pick(names)
