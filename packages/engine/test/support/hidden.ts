import type { Json, JsonObject } from '../../src/core/condition-values.ts'
import { type Question, questionOf, writeModelCode } from './questions.ts'
import { askBatch, createStore, same, type Target, type Verdict } from './target.ts'

/**
 * Known divergence: where a user has a tuple of their own on an object and a wildcard has one beside it, the
 * server reads one of the two, and takes a condition of that one that does not hold for both. A tuple whose
 * condition does not hold says nothing; so this is it where the server itself, asked without those tuples,
 * says what the engine says.
 */
export async function isHidden(
  question: Question,
  engine: Verdict,
  { model, tuples }: { readonly model: JsonObject; readonly tuples: readonly JsonObject[] },
  server: Target,
): Promise<boolean> {
  const { kind, body } = question
  if (kind === 'model' || kind === 'write') return false
  const context = body['context'] ?? {}
  const given = body['contextual_tuples'] ?? {}
  const isFlat = kind === 'list-users'
  const brought = listOf(isFlat ? given : (given as JsonObject)['tuple_keys'])
  const without = (some: readonly JsonObject[]) => withoutUnmet(some, context, model, server)
  const [stored, contextual] = [await without(tuples), await without(brought)]
  if (stored.length === tuples.length && contextual.length === brought.length) return false
  const store = await createStore(server)
  await writeModelCode(server, store, model)
  await write(server, store, stored)
  const contextual_tuples = isFlat ? contextual : { tuple_keys: contextual }
  return same(await questionOf(kind, { ...body, contextual_tuples }).ask(server, store), engine)
}

const listOf = (value: Json | undefined): readonly JsonObject[] =>
  Array.isArray(value) ? (value as readonly JsonObject[]) : []

/** By the server's own word on each condition, asked of a user and an object that have nothing else. */
async function withoutUnmet(
  tuples: readonly JsonObject[],
  context: Json,
  { schema_version = '1.1', conditions = {} }: JsonObject,
  server: Target,
): Promise<readonly JsonObject[]> {
  const bound = tuples.filter(({ condition }) => condition !== undefined && condition !== null)
  if (bound.length === 0) return tuples
  const store = await createStore(server)
  await writeModelCode(server, store, {
    schema_version,
    type_definitions: [
      { type: 'user' },
      {
        type: 'thing',
        relations: { met: { this: {} } },
        metadata: {
          relations: {
            met: {
              directly_related_user_types: Object.keys(conditions as JsonObject).map((condition) => ({
                type: 'user',
                condition,
              })),
            },
          },
        },
      },
    ],
    conditions,
  })
  const keys = bound.map((_, at) => ({ user: `user:${at}`, relation: 'met', object: `thing:${at}` }))
  const probes = bound.map(({ condition = null }, at) => ({ ...keys[at], condition }))
  await write(server, store, probes)
  const verdicts = await askBatch(
    server,
    store,
    keys.map((tuple_key) => ({ tuple_key, context })),
  )
  const unmet = new Set(bound.filter((_, at) => verdicts[at] === false))
  return tuples.filter((tuple) => !unmet.has(tuple))
}

async function write(server: Target, store: string, tuples: readonly JsonObject[]): Promise<void> {
  for (let at = 0; at < tuples.length; at += 100) {
    const answer = await server.call('POST', `${store}/write`, {
      writes: { tuple_keys: tuples.slice(at, at + 100) },
    })
    if (answer.status !== 200) throw new Error(answer.text)
  }
}
