import type { JsonObject } from '../../src/condition-values.ts'
import { compileModel, findWeightedDifferences } from '../../src/index.ts'
import type { Random } from './random.ts'
import { askBatch, askCheck, askObjects, askUsers, createStore, type Target, type Verdict } from './target.ts'
import {
  createAnyTuple,
  createObject,
  createRelation,
  createSubject,
  createTuple,
  createWorld,
  fullContext,
  type World,
} from './world.ts'

/** One question put to both sides. */
export interface Question {
  readonly kind: 'model' | 'write' | 'check' | 'batch-check' | 'list-objects' | 'list-users'
  readonly body: JsonObject
  /**
   * Conditions may lack context. Which of several errors the server sees, and whether it sees one at all, hangs
   * on the resolver that its planner picks; so only this is promised: no yes where the server has none.
   */
  readonly isLoose?: boolean
  ask(target: Target, store: string): Promise<Verdict>
}

export interface Difference {
  readonly seed: number
  readonly question: Question
  readonly engine: Verdict
  readonly server: Verdict
  readonly model: JsonObject
  readonly tuples: readonly JsonObject[]
}

export interface Tally {
  answers: number
  /** Rejected models among the worlds: they end a world early. */
  refused: number
  /**
   * Known divergence: recursion through `and` or `but not`. When a cycle and a plain no meet there, the server
   * answers by which of them it meets first; the engine lets the no win. Such models are refused by the
   * weighted-graph engine (`findWeightedProblems`).
   */
  knownCycles: number
  /** Known divergence: the server grants through another type's tupleset of that name (`recursion-through-strangers`). */
  strangers: number
  /** Known divergence: the server's ListUsers leaves out whom its own Check grants, where an exclusion beside took them out. */
  unlisted: number
  /** Loose questions on which both deny, one of them by an error. */
  loose: number
  /** Questions that the server answers differently from one store to the next. */
  unsteady: number
  readonly byKind: Map<string, number>
  /** How many server answers were a yes or a list with something in it: a fuzz of nothing but no finds nothing. */
  positive: number
  readonly differences: Difference[]
}

const atOnce = 6

export const createTally = (): Tally => ({
  answers: 0,
  refused: 0,
  knownCycles: 0,
  strangers: 0,
  unlisted: 0,
  loose: 0,
  unsteady: 0,
  byKind: new Map(),
  positive: 0,
  differences: [],
})

const count = (tally: Tally, kind: string, by = 1): void => {
  tally.answers += by
  tally.byKind.set(kind, (tally.byKind.get(kind) ?? 0) + by)
}

/** The server was too slow to answer, which says nothing of what it would have said. */
export class Overdue extends Error {}

/** The same target; throws `Overdue` where it gives up on its own deadline, in the call or in one item of a batch. */
export const insisting = (target: Target): Target => ({
  name: target.name,
  async call(method, path, body) {
    const answer = await target.call(method, path, body)
    if (answer.text.includes('"deadline_exceeded"')) throw new Overdue(`${method} ${path}`)
    return answer
  },
})

/** Adds what one world gave. */
export function addTo(tally: Tally, { byKind, differences, answers: _, ...counts }: Tally): void {
  for (const [kind, by] of byKind) count(tally, kind, by)
  tally.refused += counts.refused
  tally.knownCycles += counts.knownCycles
  tally.strangers += counts.strangers
  tally.unlisted += counts.unlisted
  tally.loose += counts.loose
  tally.unsteady += counts.unsteady
  tally.positive += counts.positive
  tally.differences.push(...differences)
}

/** Whether the engine grants what the server does not, errors aside. */
const isMore = (engine: Verdict, server: Verdict): boolean =>
  engine === true ||
  (typeof engine !== 'string' &&
    typeof engine !== 'boolean' &&
    typeof server !== 'string' &&
    !same(engine, server))

const same = (a: Verdict, b: Verdict): boolean => JSON.stringify(a) === JSON.stringify(b)

/** Whether the engine lists all that the server does, and beside it only those whom the server grants when asked about each. */
async function isUnlisted(
  { kind, body }: Question,
  engine: Verdict,
  server: Verdict,
  target: Target,
  store: string,
): Promise<boolean> {
  if (kind !== 'list-users' || !Array.isArray(engine) || !Array.isArray(server)) return false
  if (server.some((user) => !engine.includes(user))) return false
  const { type, id } = body['object'] as { readonly type: string; readonly id: string }
  const { relation = null, context = {}, contextual_tuples: tuple_keys = [] } = body
  const asked = engine
    .filter((user) => !server.includes(user))
    .map((user) =>
      askCheck(target, store, {
        tuple_key: { user, relation, object: `${type}:${id}` },
        context,
        contextual_tuples: { tuple_keys },
      }),
    )
  return (await Promise.all(asked)).every((verdict) => verdict === true)
}

/** One random world on both sides: its model, its tuples, and many questions. */
export async function compareWorld(
  seed: number,
  random: Random,
  engine: Target,
  server: Target,
  tally: Tally,
): Promise<void> {
  const world = createWorld(random)
  const stores = { engine: await createStore(engine), server: await createStore(server) }
  const [mine, theirs] = await Promise.all([
    writeModelCode(engine, stores.engine, world.model),
    writeModelCode(server, stores.server, world.model),
  ])
  count(tally, 'model')
  if (!same(mine, theirs)) {
    tally.differences.push({
      seed,
      question: modelQuestion(world.model),
      engine: mine,
      server: theirs,
      model: world.model,
      tuples: [],
    })
  }
  if (mine !== true || theirs !== true) {
    tally.refused++
    return
  }
  const { isWeighted, ast } = compileModel(world.model)
  const hasStrangers = findWeightedDifferences(ast).some(({ rule }) => rule === 'recursion-through-strangers')
  const tuples = createTuples(random, world)
  const writes = [writeQuestion({ writes: { tuple_keys: tuples } }), ...createWrites(random, world, tuples)]
  const { batch, others } = createQuestions(random, world)
  const stored: JsonObject[] = []
  const put = async (question: Question): Promise<readonly [Verdict, Verdict]> => {
    const both = [question.ask(engine, stores.engine), question.ask(server, stores.server)] as const
    return await Promise.all(both)
  }
  const compare = async (question: Question, left: Verdict, right: Verdict): Promise<void> => {
    count(tally, question.kind)
    if (right === true || (Array.isArray(right) && right.length > 0)) tally.positive++
    if (same(left, right)) return
    if (question.isLoose && !isMore(left, right)) {
      tally.loose++
      return
    }
    if (!isWeighted && question.kind !== 'write') {
      tally.knownCycles++
      return
    }
    // Only its yes where there is none: the other way round is a defect of ours whatever the model.
    if (hasStrangers && right === true && left === false) {
      tally.strangers++
      return
    }
    if (await isUnlisted(question, left, right, server, stores.server)) {
      tally.unlisted++
      return
    }
    const steady = await isSteady(question, server, stores.server, world.model, stored, right)
    if (steady)
      tally.differences.push({ seed, question, engine: left, server: right, model: world.model, tuples })
    else tally.unsteady++
  }
  // Each write finds what the one before it left.
  for (const question of writes) {
    const [left, right] = await put(question)
    if (right === true) stored.push(question.body)
    await compare(question, left, right)
  }
  const bodies = batch.map(({ body }) => body)
  const [mineOfBatch, theirsOfBatch] = await Promise.all([
    askBatch(engine, stores.engine, bodies),
    askBatch(server, stores.server, bodies),
  ])
  for (const [index, question] of batch.entries())
    await compare(question, mineOfBatch[index] ?? 'missing', theirsOfBatch[index] ?? 'missing')
  // Few at once: the server's questions wait for each other's connections to its database, until none goes on.
  for (let at = 0; at < others.length; at += atOnce) {
    const some = others.slice(at, at + atOnce)
    const answers = await Promise.all(some.map(put))
    for (const [index, question] of some.entries()) {
      const [left, right] = answers[index] ?? ['missing', 'missing']
      await compare(question, left, right)
    }
  }
}

/** Asks the server again, in the same store and in fresh ones: its planner may pick other resolvers there. */
async function isSteady(
  question: Question,
  server: Target,
  store: string,
  model: JsonObject,
  writes: readonly JsonObject[],
  first: Verdict,
): Promise<boolean> {
  if (question.kind === 'write' || question.kind === 'model') return true
  for (let i = 0; i < 8; i++) if (!same(await question.ask(server, store), first)) return false
  for (let i = 0; i < 4; i++) {
    const fresh = await createStore(server)
    await writeModelCode(server, fresh, model)
    for (const body of writes) await server.call('POST', `${fresh}/write`, body)
    for (let j = 0; j < 2; j++) if (!same(await question.ask(server, fresh), first)) return false
  }
  return true
}

async function writeModelCode(target: Target, store: string, model: JsonObject): Promise<Verdict> {
  const answer = await target.call('POST', `${store}/authorization-models`, model)
  return answer.status === 201 ? true : `code:${String(answer.body['code'])}`
}

const modelQuestion = (model: JsonObject): Question => ({
  kind: 'model',
  body: model,
  ask: (target, store) => writeModelCode(target, store, model),
})

function writeQuestion(body: JsonObject): Question {
  return {
    kind: 'write',
    body,
    async ask(target, store) {
      const answer = await target.call('POST', `${store}/write`, body)
      return answer.status === 200 ? true : `${answer.status} code:${String(answer.body['code'])}`
    },
  }
}

function createTuples(random: Random, world: World): JsonObject[] {
  const found = new Map<string, JsonObject>()
  for (let i = 0; i < 15 + random.below(70); i++) {
    const tuple = createTuple(random, world)
    if (tuple !== undefined)
      found.set(`${String(tuple['object'])}#${String(tuple['relation'])}@${String(tuple['user'])}`, tuple)
  }
  return [...found.values()]
}

/** Single writes and deletes, most of them wrong in some way. */
function createWrites(random: Random, world: World, tuples: readonly JsonObject[]): Question[] {
  const keyOf = ({ user, relation, object }: JsonObject): JsonObject => ({
    user: user ?? null,
    relation: relation ?? null,
    object: object ?? null,
  })
  return Array.from({ length: 6 }, () => {
    const any = createAnyTuple(random, world)
    const known = tuples.length === 0 ? any : random.pick(tuples)
    const option = random.pick([{}, {}, { on_duplicate: 'ignore' }])
    return writeQuestion(
      random.pick<JsonObject>([
        { writes: { tuple_keys: [any], ...option } },
        { writes: { tuple_keys: [any], ...option } },
        { writes: { tuple_keys: [known], ...option } },
        { writes: { tuple_keys: [known, keyOf(known)] } },
        { deletes: { tuple_keys: [keyOf(any)], ...random.pick([{}, { on_missing: 'ignore' }]) } },
        {
          writes: {
            tuple_keys: [{ ...keyOf(known), condition: { name: 'less', context: { y: 1 } } }],
            ...option,
          },
        },
      ]),
    )
  })
}

/** What one world is asked: a batch, whose items share their work, and the rest one by one. */
interface Questions {
  readonly batch: readonly Question[]
  readonly others: readonly Question[]
}

/** Most with a context that lets every condition be evaluated, the others loose. */
function createQuestions(random: Random, world: World): Questions {
  const extra = (): JsonObject[] =>
    random.chance(0.25)
      ? Array.from({ length: 1 + random.below(3) }, () => createTuple(random, world)).filter(
          (tuple) => tuple !== undefined,
        )
      : []
  const check = (): JsonObject => {
    const { type, id } = createObject(random)
    const contextual = extra()
    return {
      tuple_key: { user: createSubject(random), relation: createRelation(random), object: `${type}:${id}` },
      context: fullContext(random),
      ...(contextual.length === 0 ? {} : { contextual_tuples: { tuple_keys: contextual } }),
    }
  }
  const batch = Array.from({ length: 24 }, () => batchItem(check()))
  const checks = Array.from({ length: 6 }, () => checkQuestion(check()))
  const objects = Array.from({ length: 10 }, () =>
    objectsQuestion({
      user: createSubject(random),
      relation: createRelation(random),
      type: createObject(random).type,
      context: fullContext(random),
      contextual_tuples: { tuple_keys: extra() },
    }),
  )
  const users = Array.from({ length: 8 }, () =>
    usersQuestion({
      object: createObject(random),
      relation: createRelation(random),
      user_filters: [createFilter(random)],
      context: fullContext(random),
      contextual_tuples: extra(),
    }),
  )
  const some = (question: Question): Question => (random.chance(0.12) ? loosen(random, question) : question)
  return { batch: batch.map(some), others: [...checks, ...objects, ...users].map(some) }
}

function loosen(random: Random, question: Question): Question {
  const context = random.pick<JsonObject>([{}, { x: random.below(4) }])
  const body = { ...question.body, context }
  const remade = {
    check: checkQuestion,
    'batch-check': batchItem,
    'list-objects': objectsQuestion,
    'list-users': usersQuestion,
    model: modelQuestion,
    write: writeQuestion,
  }
  return { ...remade[question.kind](body), isLoose: true }
}

const createFilter = (random: Random): JsonObject =>
  random.chance(0.7)
    ? { type: random.pick(['user', 'user', 'bot']) }
    : { type: createObject(random).type, relation: createRelation(random) }

const checkQuestion = (body: JsonObject): Question => ({
  kind: 'check',
  body,
  ask: (target, store) => askCheck(target, store, body),
})

/** An item of a batch: its errors have more detail than check's, and items err alone. Asked by itself when asked again. */
const batchItem = (body: JsonObject): Question => ({
  kind: 'batch-check',
  body,
  ask: async (target, store) => (await askBatch(target, store, [body]))[0] ?? 'missing',
})

const objectsQuestion = (body: JsonObject): Question => ({
  kind: 'list-objects',
  body,
  ask: (target, store) => askObjects(target, store, body),
})

const usersQuestion = (body: JsonObject): Question => ({
  kind: 'list-users',
  body,
  ask: (target, store) => askUsers(target, store, body),
})
