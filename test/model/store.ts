import { isDeepStrictEqual } from 'node:util'
import { parse } from 'yaml'
import { z } from 'zod'
import type { JsonObject } from '../../packages/engine/src/condition-values.ts'
import {
  askCheck,
  askObjects,
  askUsers,
  createStore,
  parseDsl,
  type Target,
  type Verdict,
  writeModel,
} from '../../packages/engine/test/support/target.ts'

/** One thing that the table says, as a question with its answer. */
export interface Row {
  /** Reads as a promise: `document:plan: user:anne has can_read`. */
  readonly title: string
  readonly expected: Verdict
  readonly ask: (target: Target, store: string) => Promise<Verdict>
}

export interface TableTest {
  readonly name: string
  readonly tuples: readonly JsonObject[]
  readonly rows: readonly Row[]
}

/**
 * Reads a store file of OpenFGA's own tool (`.fga.yaml`). Refuses unknown keys, as the tool does, so that a row
 * that nothing runs cannot hide behind a slip of the pen. Not supported: `model`, `tuple_file`, `tuple_files`.
 */
export function readTable(text: string): readonly TableTest[] {
  const { tuples, tests } = storeSchema.parse(parse(text))
  return tests.map((test) => ({
    name: test.name,
    tuples: [...tuples, ...test.tuples].map(({ condition, ...key }) => ({
      ...key,
      ...(condition && { condition }),
    })),
    rows: [
      ...test.check.flatMap(checkRows),
      ...test.list_objects.flatMap(objectRows),
      ...test.list_users.flatMap(userRows),
    ],
  }))
}

/** A store of its own with the model and the test's tuples. Throws `refused: …` where a tuple does not fit the model. */
export async function openStore(target: Target, dsl: string, tuples: readonly JsonObject[]): Promise<string> {
  const store = await createStore(target)
  await writeModel(target, store, parseDsl(dsl))
  const { status, text } = await target.call('POST', `${store}/write`, {
    writes: { tuple_keys: [...tuples] },
  })
  if (status !== 200) throw new Error(`refused: ${text}`)
  return store
}

/** What the model does not keep, in the order of the table; stops at the first. */
export async function firstBroken(
  target: Target,
  dsl: string,
  table: readonly TableTest[],
): Promise<string | undefined> {
  for (const { name, tuples, rows } of table) {
    try {
      const store = await openStore(target, dsl, tuples)
      for (const { title, expected, ask } of rows) {
        const said = await ask(target, store)
        if (!isDeepStrictEqual(said, expected)) return `${name}: ${title}`
      }
    } catch (error) {
      if (error instanceof Error && error.message.startsWith('refused: ')) return `${name}: ${error.message}`
      throw error
    }
  }
  return undefined
}

const text = z.string().min(1)
const context = z.record(text, z.string()).optional()
const tuple = z.strictObject({
  user: text,
  relation: text,
  object: text,
  condition: z.strictObject({ name: text, context: z.record(text, z.string()) }).optional(),
})
const check = z
  .strictObject({
    user: text.optional(),
    users: z.array(text).min(1).optional(),
    object: text.optional(),
    objects: z.array(text).min(1).optional(),
    context,
    assertions: z.record(text, z.boolean()),
  })
  .refine(({ user, users }) => (user === undefined) !== (users === undefined), 'user or users')
  .refine(({ object, objects }) => (object === undefined) !== (objects === undefined), 'object or objects')
const listObjects = z.strictObject({
  user: text,
  type: text,
  context,
  assertions: z.record(text, z.array(text)),
})
const listUsers = z.strictObject({
  object: text,
  user_filter: z.array(z.strictObject({ type: text, relation: text.optional() })).length(1),
  context,
  assertions: z.record(text, z.strictObject({ users: z.array(text) })),
})
const storeSchema = z.strictObject({
  name: text,
  model_file: z.literal('./model.fga'),
  tuples: z.array(tuple),
  tests: z
    .array(
      z.strictObject({
        name: text,
        description: text.optional(),
        tuples: z.array(tuple).default([]),
        check: z.array(check).default([]),
        list_objects: z.array(listObjects).default([]),
        list_users: z.array(listUsers).default([]),
      }),
    )
    .min(1),
})

type Context = z.infer<typeof context>
const at = (given: Context): string => (given === undefined ? '' : ` at ${given['current_time']}`)
const sent = (given: Context): JsonObject => (given === undefined ? {} : { context: given })

function checkRows(given: z.infer<typeof check>): readonly Row[] {
  const users = given.users ?? [given.user ?? '']
  const objects = given.objects ?? [given.object ?? '']
  return users.flatMap((user) =>
    objects.flatMap((object) =>
      Object.entries(given.assertions).map(([relation, expected]) => ({
        title: `${object}: ${user} ${expected ? 'has' : 'has not'} ${relation}${at(given.context)}`,
        expected,
        ask: (target, store) =>
          askCheck(target, store, { tuple_key: { user, relation, object }, ...sent(given.context) }),
      })),
    ),
  )
}

function objectRows({ user, type, context: given, assertions }: z.infer<typeof listObjects>): readonly Row[] {
  return Object.entries(assertions).map(([relation, objects]) => ({
    title: `${user} has ${relation} of ${objects.join(', ') || `no ${type}`}${at(given)}`,
    expected: objects.toSorted(),
    ask: (target, store) => askObjects(target, store, { type, relation, user, ...sent(given) }),
  }))
}

function userRows({
  object,
  user_filter,
  context: given,
  assertions,
}: z.infer<typeof listUsers>): readonly Row[] {
  const [type = '', id = ''] = object.split(':')
  return Object.entries(assertions).map(([relation, { users }]) => ({
    title: `${object}: ${relation} is of ${users.join(', ') || 'nobody'}${at(given)}`,
    expected: users.toSorted(),
    ask: (target, store) =>
      askUsers(target, store, {
        object: { type, id },
        relation,
        user_filters: user_filter.map((filter) => ({
          type: filter.type,
          ...(filter.relation !== undefined && { relation: filter.relation }),
        })),
        ...sent(given),
      }),
  }))
}
