import { describe, expect, test } from 'vitest'
import type { JsonObject } from '../src/core/condition-values.ts'
import {
  askUsers,
  createStore,
  engineTarget,
  parseDsl,
  serverTarget,
  type Target,
  type Verdict,
  writeModel,
} from './support/target.ts'

const targets: readonly (readonly [string, () => Target | undefined])[] = [
  ['the engine', engineTarget],
  ['the real server (OPENFGA_TEST_URL)', serverTarget],
]

const modelOf = (relations: string): string => `model
  schema 1.1
type user
type bot
type group
  relations
    define member: [user]
    define helper: [bot with soon]
    define either: helper or member
    define both: helper and member
    define back: member and helper
type document
  relations
    define parent: [group]
    define reader: [user, group#back, group:*]
    define agent: [user, bot with soon]
    define banned: [bot with soon]
${relations}
condition soon(x: int) {
  x < 3
}
`

// A condition that lacks its context: whoever looks at the tuple errs.
const tuples: readonly JsonObject[] = [
  { user: 'user:anne', relation: 'reader', object: 'document:1' },
  { user: 'user:anne', relation: 'agent', object: 'document:1' },
  { user: 'group:g', relation: 'parent', object: 'document:1' },
  ...['agent document:1', 'banned document:1', 'helper group:g'].map((on) => {
    const [relation = '', object = ''] = on.split(' ')
    return { user: 'bot:b', relation, object, condition: { name: 'soon', context: {} } }
  }),
]

async function listed(target: Target, rule: string, filter: JsonObject): Promise<Verdict> {
  const store = await createStore(target)
  await writeModel(target, store, parseDsl(modelOf(`    define asked: ${rule}`)))
  const written = await target.call('POST', `${store}/write`, { writes: { tuple_keys: tuples } })
  expect(written.status, written.text).toBe(200)
  return askUsers(target, store, {
    object: { type: 'document', id: '1' },
    relation: 'asked',
    user_filters: [filter],
  })
}

const bots = { type: 'bot' }
const groups = { type: 'group', relation: 'member' }
const failed = 'code:validation_error'

describe.each(targets)('a list of users by %s', (_, make) => {
  const target = make()

  test.skipIf(target === undefined).each<readonly [string, JsonObject, Verdict]>([
    ['reader and agent', bots, []],
    ['agent and reader', bots, failed],
    ['reader but not banned', bots, []],
    ['agent but not reader', bots, failed],
    ['reader or (reader and agent)', bots, []],
    ['reader or (agent and reader)', bots, failed],
    ['(reader and agent) or banned', bots, failed],
    ['either from parent', bots, failed],
    ['both from parent', bots, failed],
    ['back from parent', bots, []],
    ['reader and reader', bots, []],
    ['reader and agent', { type: 'user' }, failed],
    ['reader and agent', { type: 'document', relation: 'asked' }, failed],
    // A wildcard of the type counts for its usersets.
    ['reader and agent', groups, failed],
    ['agent and reader', groups, []],
    ['agent and reader', { type: 'group', relation: 'back' }, []],
    ['reader and agent', { type: 'group', relation: 'back' }, failed],
  ])(
    'asked of %s for %j gives %j: only the first operand says whether anything is looked at',
    async (rule, filter, expected) => {
      if (target === undefined) throw new Error('no server')
      expect(await listed(target, rule, filter)).toEqual(expected)
    },
  )
})
