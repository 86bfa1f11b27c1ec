import { describe, expect, test } from 'vitest'
import type { JsonObject } from '../src/core/condition-values.ts'
import { isHidden } from './support/hidden.ts'
import { insisting, Overdue, patiently } from './support/patience.ts'
import { type Question, questionOf } from './support/questions.ts'
import {
  createStore,
  engineTarget,
  parseDsl,
  serverTarget,
  type Target,
  type Verdict,
  writeModel,
} from './support/target.ts'

const asks = 20

const modelOf = (rules: string): JsonObject =>
  parseDsl(`model
  schema 1.1
type user
${rules}
condition less(x: int) {
  x < 1
}
`)

const group = (members: string): string => `type group
  relations
    define member: [${members}]
type document
  relations`

const tuple = (line: string, x?: number): JsonObject => {
  const [user = '', relation = '', object = ''] = line.split(' ')
  return { user, relation, object, ...(x !== undefined && { condition: { name: 'less', context: { x } } }) }
}

const own = tuple('user:anne member group:g')
const everyone = tuple('user:* member group:g', 5)
const viewer = tuple('group:g#member viewer document:1')

const shapes: readonly (readonly [string, JsonObject, readonly JsonObject[]])[] = [
  [
    'a group',
    modelOf(`${group('user, user:* with less')}\n    define viewer: [user, group#member]`),
    [own, everyone, viewer],
  ],
  [
    'a group, by a condition of her own that holds',
    modelOf(`${group('user with less, user:* with less')}\n    define viewer: [group#member]`),
    [tuple('user:anne member group:g', 0), everyone, viewer],
  ],
  [
    'a group in a group',
    modelOf(`${group('user, user:* with less, group#member')}\n    define viewer: [group#member]`),
    [own, everyone, tuple('group:g#member member group:h'), tuple('group:h#member viewer document:1')],
  ],
  [
    'a parent',
    modelOf(
      `${group('user, user:* with less')}\n    define parent: [group]\n    define viewer: member from parent`,
    ),
    [own, everyone, tuple('group:g parent document:1')],
  ],
]

async function open(target: Target, model: JsonObject, tuple_keys: readonly JsonObject[]): Promise<string> {
  const store = await createStore(target)
  await writeModel(target, store, model)
  const written = await target.call('POST', `${store}/write`, { writes: { tuple_keys } })
  expect(written.status, written.text).toBe(200)
  return store
}

const may = (user: string): Question =>
  questionOf('check', { tuple_key: tuple(`user:${user} viewer document:1`) })

describe('who is a member by name, beside a wildcard whose condition does not hold', () => {
  test.each(shapes)(
    'is one to the engine, each time, through %s, and nobody else is',
    async (_, model, tuples) => {
      const engine = engineTarget()
      const store = await open(engine, model, tuples)
      const listed = questionOf('list-objects', { user: 'user:anne', relation: 'viewer', type: 'document' })
      const users = questionOf('list-users', {
        object: { type: 'document', id: '1' },
        relation: 'viewer',
        user_filters: [{ type: 'user' }],
      })
      for (let i = 0; i < asks; i++) expect(await may('anne').ask(engine, store)).toBe(true)
      expect(await questionOf('batch-check', may('anne').body).ask(engine, store)).toBe(true)
      expect(await listed.ask(engine, store)).toEqual(['document:1'])
      expect(await users.ask(engine, store)).toEqual(['user:anne'])
      expect(await may('bob').ask(engine, store)).toBe(false)
    },
  )

  const server = serverTarget()
  test.skipIf(server === undefined).each(shapes)(
    'may be denied by the server (OPENFGA_TEST_URL) through %s, which the differential test knows from a wrong answer of ours',
    async (shape, model, tuples) => {
      if (server === undefined) throw new Error('no server')
      const patient = insisting(server)
      const place = { model, tuples }
      const found = await patiently(async () => {
        const store = await open(patient, model, tuples)
        const verdicts: Verdict[] = []
        for (let i = 0; i < asks; i++) verdicts.push(await may('anne').ask(patient, store))
        const without = await open(
          patient,
          model,
          tuples.filter((one) => one !== everyone),
        )
        return {
          verdicts,
          without: await may('anne').ask(patient, without),
          named: await isHidden(may('anne'), true, place, patient),
          // A yes or a no of the engine's that the server does not give without those tuples either stays a
          // difference.
          wrongYes: await isHidden(may('bob'), true, place, patient),
          wrongNo: await isHidden(may('anne'), false, place, patient),
          // Nothing is taken away, so nothing can have been hidden.
          plain: await isHidden(may('anne'), true, { model, tuples: [own] }, patient),
        }
      })
      if (found === undefined) {
        console.warn(`${shape}: the server was too slow to say`)
        return
      }
      const { verdicts, ...rest } = found
      const allowed = verdicts.filter((verdict) => verdict === true).length
      console.log(`${shape}: the server allows ${allowed} of ${asks}`)
      expect(verdicts.filter((verdict) => typeof verdict !== 'boolean')).toEqual([])
      expect(rest).toEqual({ without: true, named: true, wrongYes: false, wrongNo: false, plain: false })
    },
    120_000,
  )
})

describe('a server that is too slow', () => {
  const answering = (text: string): Target => ({
    name: 'slow',
    call: async () => ({ status: 200, body: {}, text }),
  })
  /** A clock on which each call takes so long. */
  const taking = (ms: number) => {
    let time = 0
    return () => (time += ms)
  }

  test('has said nothing, whatever it said after its own deadline: lists are cut then', async () => {
    const late = insisting(answering('{"objects":[]}'), taking(3_000))
    await expect(late.call('POST', '/list-objects')).rejects.toThrow(Overdue)
    const timely = insisting(answering('{"objects":[]}'), taking(2_999))
    expect((await timely.call('POST', '/list-objects')).text).toBe('{"objects":[]}')
    const failing = insisting(answering('{"code":"deadline_exceeded"}'), taking(1))
    await expect(failing.call('POST', '/check')).rejects.toThrow(Overdue)
  })

  test('is asked three times, and then left out', async () => {
    let asked = 0
    let again = 0
    const work = async (slow: number) => {
      asked += 1
      if (asked <= slow) throw new Overdue('slow')
      return 'said'
    }
    expect(
      await patiently(
        () => work(2),
        () => (again += 1),
      ),
    ).toBe('said')
    expect([asked, again]).toEqual([3, 2])
    asked = 0
    expect(await patiently(() => work(3))).toBeUndefined()
    expect(asked).toBe(3)
  })

  test('is no excuse for another failure', async () => {
    await expect(patiently(() => Promise.reject(new Error('wrong')))).rejects.toThrow('wrong')
  })
})
