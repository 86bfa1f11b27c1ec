import type { JsonObject } from '../../src/core/condition-values.ts'
import type { Random } from './random.ts'
import { askBatch, askCheck, askObjects, askUsers, type Target, type Verdict } from './target.ts'
import {
  createAnyTuple,
  createObject,
  createRelation,
  createSubject,
  createTuple,
  fullContext,
  type World,
} from './world.ts'

/** One question put to both sides. */
export interface Question {
  readonly kind: 'model' | 'write' | 'check' | 'batch-check' | 'list-objects' | 'list-users'
  readonly body: JsonObject
  /**
   * Conditions may lack context. Which of several errors the server sees, and whether it sees one at all,
   * hangs on the resolver that its planner picks; so only this is promised: no yes where the server has none.
   */
  readonly isLoose?: boolean
  ask(target: Target, store: string): Promise<Verdict>
}

export async function writeModelCode(target: Target, store: string, model: JsonObject): Promise<Verdict> {
  const answer = await target.call('POST', `${store}/authorization-models`, model)
  return answer.status === 201 ? true : `code:${String(answer.body['code'])}`
}

export const modelQuestion = (model: JsonObject): Question => ({
  kind: 'model',
  body: model,
  ask: (target, store) => writeModelCode(target, store, model),
})

export function writeQuestion(body: JsonObject): Question {
  return {
    kind: 'write',
    body,
    async ask(target, store) {
      const answer = await target.call('POST', `${store}/write`, body)
      return answer.status === 200 ? true : `${answer.status} code:${String(answer.body['code'])}`
    },
  }
}

export function createTuples(random: Random, world: World): JsonObject[] {
  const found = new Map<string, JsonObject>()
  for (let i = 0; i < 15 + random.below(70); i++) {
    const tuple = createTuple(random, world)
    if (tuple !== undefined)
      found.set(`${String(tuple['object'])}#${String(tuple['relation'])}@${String(tuple['user'])}`, tuple)
  }
  return [...found.values()]
}

/** Single writes and deletes, most of them wrong in some way. */
export function createWrites(random: Random, world: World, tuples: readonly JsonObject[]): Question[] {
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
export function createQuestions(random: Random, world: World): Questions {
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
  return { ...questionOf(question.kind, body), isLoose: true }
}

export function questionOf(kind: Question['kind'], body: JsonObject): Question {
  const made = {
    check: checkQuestion,
    'batch-check': batchItem,
    'list-objects': objectsQuestion,
    'list-users': usersQuestion,
    model: modelQuestion,
    write: writeQuestion,
  }
  return made[kind](body)
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

/**
 * An item of a batch: its errors have more detail than check's, and items err alone. Asked by itself when
 * asked again.
 */
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
