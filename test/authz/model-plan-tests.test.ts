import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator, type RecordActor } from '../../src/audit/record.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { createModelChanges, type ModelChanges } from '../../src/authz/model/changes.ts'
import { createTexts, type Texts } from '../../src/authz/model/texts.ts'
import { createTruthTable } from '../../src/authz/model/truth-table.ts'
import { TextError } from '../../src/authz/text-error.ts'
import { replaceOnce } from '../model/mutants.ts'
import { backends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const unblocked = replaceOnce(dsl, 'define can_read: viewer but not blocked', 'define can_read: viewer').dsl
const reason = 'The rule moves to folders'

interface Tests {
  readonly hold: boolean
  readonly passed: number
  readonly failed: number
  readonly failures: readonly object[]
}

let world: World
let api: FgaApi
async function open(options: Parameters<typeof openWorld>[0] = {}): Promise<void> {
  world = await openWorld({
    ...options,
    openfga(real) {
      api = real
      return real
    },
  })
  for (const user of ['dan', 'carol'])
    await world.service.administrators.add(`user:${user}`, ['security.write'])
}

async function call(user: string, method: string, path: string, body?: object) {
  const token = await world.token({ user })
  const response = await world.call(method, path, { token, ...(body && { body }) })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}
async function plan(model: string) {
  const { body } = await call('dan', 'POST', '/model/plan', { model })
  return body['plan'] as { plan_id: string; tests: Tests; approvers_needed: number }
}
const apply = (user: string, { plan_id }: { readonly plan_id: string }, more: object = {}) =>
  call(user, 'POST', '/model/apply', { plan_id, ...more })
const inForce = async () => (await call('dan', 'GET', '/model')).body['model']

const ways = backends.filter(({ name }) => name === 'PGlite × engine' || name === 'Postgres × OpenFGA')

describe.each(ways)('a planned model whose tests fail on $name', ({ options, ...backend }) => {
  describe('', options, () => {
    beforeAll(() => open({ backend, env: { MODEL_APPLY_APPROVERS: '2' } }))
    afterAll(() => world?.[Symbol.asyncDispose]())

    test('says so before anybody confirms it, and comes into force with a reason from each of two, on record', async () => {
      const made = await plan(unblocked)
      expect(made.tests).toMatchObject({ hold: false, failed: expect.any(Number) })
      expect(made.tests.passed).toBeGreaterThan(200)
      expect(made.tests.failures).toHaveLength(made.tests.failed)
      expect(made.tests.failures[0]).toEqual({
        test: expect.any(String),
        question: expect.stringMatching(/^user:\S+ can_\w+ document:/),
        expected: false,
        got: true,
      })
      for (const more of [{}, { reason: ' ' }, { reason: '' }, { reason: 'a\u202eb' }]) {
        const refused = await apply('dan', made, more)
        expect([refused.status, refused.body['field']]).toEqual([422, 'reason'])
      }
      expect(await apply('dan', made, { reason })).toMatchObject({ status: 202 })
      expect(await apply('carol', made)).toMatchObject({
        status: 422,
        body: {
          field: 'reason',
          detail: expect.stringContaining(`${made.tests.failed} tests of the truth table`),
        },
      })
      expect((await call('carol', 'GET', '/model/plans')).body['plans']).toMatchObject([
        { tests_hold: false },
      ])
      expect(await apply('carol', made, { reason: 'As he says' })).toMatchObject({ status: 200 })
      expect(await inForce()).toBe(unblocked)
      const read = await call('carol', 'GET', `/model/plans/${made.plan_id}`)
      expect(read.body['plan']).toMatchObject({
        tests: { failures: made.tests.failures },
        reasons: [
          { by: 'user:dan', reason },
          { by: 'user:carol', reason: 'As he says' },
        ],
      })
      const rows = await world.database.query(
        `select event, detail->'tests_failed' as failed, detail->>'reason' as reason from decision_records
       where event like 'model_%' order by record_no`,
      )
      const failed = made.tests.failed
      expect(rows).toEqual([
        { event: 'model_planned', failed, reason: null },
        { event: 'model_approved', failed, reason },
        { event: 'model_activated', failed, reason: 'As he says' },
      ])
    }, 60_000)
  })
})

test('one person alone confirms over failed tests in the demo only, and there with a reason', async () => {
  await open()
  const made = await plan(unblocked)
  expect(made.approvers_needed).toBe(1)
  expect(await apply('dan', made)).toMatchObject({ status: 422 })
  expect(await apply('dan', made, { reason })).toMatchObject({ status: 200 })
  await world[Symbol.asyncDispose]()
}, 60_000)

describe('the table of a plan', () => {
  // One question, so that what is tested is when it is asked.
  const asking = (expected: boolean): string => `model_file: ./model.fga
tuples: [{ user: user:anne, relation: viewer, object: document:plan }]
tests:
  - name: anne reads
    check: [{ user: user:anne, object: document:plan, assertions: { can_read: ${expected} } }]
`
  const [dan, carol] = (['user:dan', 'user:carol'] as const).map(
    (subject): RecordActor => ({ ...operator('test'), subject }),
  ) as [RecordActor, RecordActor]
  let table: string | undefined
  let runs: number
  let nth = 0
  /** As where the thread gives up on the list. */
  let tooMuch = false
  let models: ModelChanges
  let texts: Texts
  afterAll(() => texts?.[Symbol.asyncDispose]())
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(() => {
    runs = 0
  })
  beforeAll(async () => {
    await open()
    texts = createTexts()
    const truthTable = createTruthTable({
      api,
      texts,
      own: () => (table === undefined ? Promise.reject(new Error('no such file')) : Promise.resolve(table)),
    })
    models = createModelChanges({
      database: world.database,
      api,
      active: world.service.activeModel,
      index: world.service.index,
      listLiveDelegations: async () => [],
      approvers: 1,
      approversDespiteTests: 2,
      texts: {
        ...texts,
        readAllowList: (...list) =>
          tooMuch
            ? Promise.reject(new TextError('It takes too much time to read.'))
            : texts.readAllowList(...list),
      },
      truthTable: {
        ...truthTable,
        ofPlan(model) {
          runs += 1
          return truthTable.ofPlan(model)
        },
      },
      isAdministrator: async () => true,
      namesOf: async (_, subject) => new Set([subject]),
      now: Date.now,
      newId: () => `m_${crypto.randomUUID()}`,
    })
  })
  // Another text each time, which means the same.
  const planned = () => models.plan(dan, { dsl: `${dsl}\n# ${++nth}\n` })

  test('is not run again at the last yes while it is the same, and is where it changed', async () => {
    table = asking(true)
    const made = await planned()
    expect(await models.apply(dan, made.id)).toMatchObject({ state: 'active' })
    expect(runs).toBe(1)
    const back = await planned()
    table = `# The same, said anew.\n${asking(true)}`
    expect(await models.apply(dan, back.id)).toMatchObject({ state: 'active' })
    expect(runs).toBe(3)
  })

  test('counts for nothing where the allow-list cannot be read at the last yes: it is refused', async () => {
    table = asking(true)
    const made = await planned()
    tooMuch = true
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({
      code: 'model_refused',
      public: expect.stringContaining('too much time'),
    })
    await expect(planned()).rejects.toMatchObject({ code: 'invalid_request' })
    tooMuch = false
    expect(await models.apply(dan, made.id)).toMatchObject({ state: 'active' })
  })

  test('that fails takes two people where one is enough for any other', async () => {
    table = asking(true)
    expect(await models.apply(dan, (await planned()).id)).toMatchObject({ state: 'active' })
    table = asking(false)
    const made = await planned()
    expect(models.approversOf(made)).toBe(2)
    expect(await models.apply(dan, made.id, reason)).toMatchObject({ state: 'awaiting_second' })
    await expect(models.apply(dan, made.id, reason)).rejects.toMatchObject({ code: 'conflict' })
    await expect(models.apply(carol, made.id)).rejects.toMatchObject({ field: 'reason' })
    expect(await models.apply(carol, made.id, reason)).toMatchObject({ state: 'active' })
  })

  test('outdates the plan where it changed and fails by what nobody saw, and nothing is changed', async () => {
    table = asking(true)
    const before = await inForce()
    const made = await planned()
    table = asking(false)
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({
      code: 'plan_outdated',
      public: expect.stringContaining('1 test of the truth table fails'),
    })
    table = undefined
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({ code: 'plan_outdated' })
    expect(await inForce()).toBe(before)
  })

  test('does not outdate it where it changed and fails only by what was confirmed', async () => {
    table = asking(false)
    const made = await planned()
    await models.apply(dan, made.id, reason)
    table = `# The same, said anew.\n${asking(false)}`
    expect(await models.apply(carol, made.id, reason)).toMatchObject({ state: 'active' })
  })

  test.each([
    ['is missing', undefined],
    ['is none', 'tests: []'],
    ['names files', 'model_file: ./model.fga\ntests: [{ name: x, tuple_file: x.yaml }]'],
    ['asks nothing', 'model_file: ./model.fga\ntests: [{ name: x }]'],
  ])('counts as failed where it %s', async (_, text) => {
    table = text
    const made = await planned()
    expect(made.tests).toMatchObject({ passed: 0, error: expect.any(String) })
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({ field: 'reason' })
    expect(await models.apply(dan, made.id, reason)).toMatchObject({ state: 'awaiting_second' })
    expect(await models.apply(carol, made.id, reason)).toMatchObject({ state: 'active' })
  })

  test('counts as failed in a plan from before there were any, and runs at its last yes', async () => {
    table = asking(true)
    const made = await planned()
    await world.database.query('update model_plans set tests = null where id = $1', [made.id])
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({ field: 'reason' })
    expect(await models.apply(dan, made.id, reason)).toMatchObject({ state: 'awaiting_second' })
    table = asking(false)
    await expect(models.apply(carol, made.id, reason)).rejects.toMatchObject({ code: 'plan_outdated' })
    table = asking(true)
    expect(await models.apply(carol, made.id, reason)).toMatchObject({ state: 'active' })
  })
})
