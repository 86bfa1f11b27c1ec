import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { operator, type RecordActor } from '../../src/audit/record.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { createModelChanges, type ModelChanges } from '../../src/authz/model/changes.ts'
import { createTexts } from '../../src/authz/model/texts.ts'
import { createTruthTable } from '../../src/authz/model/truth-table.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import type { Database } from '../../src/store/sql.ts'
import { replaceOnce } from '../model/mutants.ts'
import { describeBackends } from '../support/backends.ts'
import { needsPostgres } from '../support/native.ts'
import { tellingModels } from '../support/told-models.ts'
import { openWorld, type World } from '../support/world.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const table = readFileSync(new URL('../../model.fga.yaml', import.meta.url), 'utf8')
const unblocked = replaceOnce(dsl, 'define can_read: viewer but not blocked', 'define can_read: viewer').dsl
const ownersOnly = replaceOnce(dsl, 'define can_read: viewer but not blocked', 'define can_read: owner').dsl
const remarked = dsl.replace('# People, and', '# Persons, and')

interface Plan {
  readonly plan_id: string
  readonly complete: boolean
  readonly state: string
  readonly can_read: {
    readonly gained: { readonly samples: object[] }
    readonly lost: { readonly count: number }
  }
  readonly refusals: readonly { readonly rule: string; readonly relation: string }[]
  readonly warnings: readonly { readonly rule: string; readonly relation: string }[]
}

let world: World
let time: number
/** Called when OpenFGA has a model that is tried, or about to come into force. */
let written: () => Promise<unknown>
const telling = tellingModels(() => written())
async function open(options: Parameters<typeof openWorld>[0] = {}): Promise<void> {
  time = Date.now()
  world = await openWorld({ env: { MODEL_APPLY_APPROVERS: '2' }, now: () => time, ...options })
  await world.service.administrators.add('user:dan', ['security.write'])
  await world.service.administrators.add('user:carol', ['security.write'])
  await world.write(
    'user:anne viewer document:a',
    'user:anne blocked document:a',
    'user:bob viewer document:b',
  )
}
afterEach(() => world?.[Symbol.asyncDispose]())

async function call(user: string, method: string, path: string, body?: object) {
  const token = await world.token({ user })
  const response = await world.call(method, path, { token, ...(body && { body }) })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}
async function plan(model: string, user = 'dan'): Promise<Plan> {
  const { status, body } = await call(user, 'POST', '/model/plan', { model })
  if (status !== 200) throw new Error(JSON.stringify(body))
  return body['plan'] as Plan
}
// Most of what is changed here the truth table is against.
const apply = (user: string, { plan_id }: { readonly plan_id: string }) =>
  call(user, 'POST', '/model/apply', { plan_id, reason: 'A test of the change itself' })
const modelInForce = async () => (await call('dan', 'GET', '/model')).body
const canRead = async (user: string, id: string) => {
  const { verdicts } = await world.service.fga.batchCheck(
    [{ user: `user:${user}`, relation: 'can_read', object: `document:${id}` }],
    { now: time },
  )
  return verdicts[0]
}
const recorded = async () =>
  (
    await world.database.query<{ event: string; subject: string }>(
      `select event, subject from decision_records where event like 'model_%' order by record_no`,
    )
  ).map(({ event, subject }) => `${event} ${subject}`)

describeBackends('a change of the model', (backend) => {
  beforeEach(() => open({ backend, env: { MODEL_APPLY_APPROVERS: '2' } }))

  test('shows who gains, comes into force by a second person, is on record, and can be gone back from', async () => {
    const made = await plan(unblocked)
    expect(made).toMatchObject({ complete: true, state: 'open', refusals: [] })
    expect(made.can_read.gained.samples).toEqual([{ who: 'user:anne', document_id: 'a' }])
    expect(await apply('dan', made)).toMatchObject({ status: 202, body: { state: 'awaiting_second' } })
    expect((await modelInForce())['awaiting']).toMatchObject([
      { plan_id: made.plan_id, approved_by: ['user:dan'] },
    ])
    expect(await apply('dan', made)).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect(await canRead('anne', 'a')).toBe('denied')

    const { status, body } = await apply('carol', made)
    expect({ status, ...body }).toMatchObject({
      status: 200,
      state: 'active',
      approved_by: ['user:dan', 'user:carol'],
    })
    expect(await canRead('anne', 'a')).toBe('allowed')
    expect(world.service.fga.modelId).toBe(body['model_id'])
    expect(await modelInForce()).toMatchObject({
      model_id: body['model_id'],
      model: unblocked,
      matches_file: false,
      awaiting: [],
    })
    expect(await apply('dan', made)).toMatchObject({ status: 409 })

    const history = (await modelInForce())['history'] as { model_id: string }[]
    const back = await call('carol', 'POST', '/model/plan', { model_id: history[1]?.model_id })
    expect(back.body['plan']).toMatchObject({ can_read: { lost: { count: 1 }, gained: { count: 0 } } })
    await apply('carol', back.body['plan'] as Plan)
    expect(await apply('dan', back.body['plan'] as Plan)).toMatchObject({ status: 200 })
    expect(await canRead('anne', 'a')).toBe('denied')
    expect(await modelInForce()).toMatchObject({ model: dsl, matches_file: true })
    expect(await recorded()).toEqual([
      'model_planned user:dan',
      'model_approved user:dan',
      'model_activated user:carol',
      'model_planned user:carol',
      'model_approved user:carol',
      'model_activated user:dan',
    ])
  }, 60_000)
})

describe('a plan', () => {
  beforeEach(() => {
    written = async () => undefined
    return open({ openfga: telling })
  })

  test('of a text from before there were own marks has them, and says so in what it changes', async () => {
    const former = unblocked.replace(/\n# Remit's own marks[\s\S]*?(?=\ncondition )/, '')
    expect(former).not.toContain('type fence')
    const made = await plan(former)
    expect(made.refusals).toEqual([])
    await apply('dan', made)
    expect(await apply('carol', made)).toMatchObject({ status: 200 })
    await world.service.fga.write({
      writes: [{ user: 'turn:1', relation: 'turn', object: 'fence:a' as FgaObject }],
    })
    expect((await modelInForce())['model']).toContain('type fence')
  }, 60_000)

  test('is refused at apply when somebody gains what was not confirmed, and nothing changes', async () => {
    const made = await plan(unblocked)
    await apply('dan', made)
    await world.write('user:bob blocked document:b')
    expect(await apply('carol', made)).toMatchObject({
      status: 409,
      body: { code: 'plan_outdated', detail: expect.stringContaining('user:bob and document:b') },
    })
    expect(await canRead('bob', 'b')).toBe('denied')
    await world.remove('user:bob blocked document:b')
    expect(await apply('carol', made)).toMatchObject({ status: 200 })
  })

  test('is outdated when another model came into force, and after a day', async () => {
    const [first, second] = [await plan(remarked), await plan(ownersOnly)]
    await apply('dan', first)
    await apply('carol', first)
    expect(await apply('dan', second)).toMatchObject({ status: 409, body: { code: 'plan_outdated' } })
    const third = await plan(ownersOnly)
    time += 24 * 3_600_000
    expect(await apply('dan', third)).toMatchObject({ status: 409, body: { code: 'plan_outdated' } })
  })

  test('is listed as long as it can be confirmed, whether anybody has yet or not', async () => {
    const listed = async () => (await call('carol', 'GET', '/model/plans')).body['plans']
    expect(await listed()).toEqual([])
    const first = await plan(unblocked)
    time += 1_000
    const second = await plan(
      replaceOnce(dsl, 'define can_be_told: can_read and in_scope', 'define can_be_told: can_read').dsl,
    )
    await apply('dan', first)
    expect(await listed()).toEqual([
      expect.objectContaining({ plan_id: second.plan_id, state: 'open', approved_by: [], applicable: false }),
      expect.objectContaining({
        plan_id: first.plan_id,
        state: 'awaiting_second',
        planner: 'user:dan',
        approved_by: ['user:dan'],
        applicable: true,
        people: { gain: 1, lose: 0 },
        agents: { gain: 0, lose: 0 },
      }),
    ])
    time += 24 * 3_600_000 - 1_000
    expect(await listed()).toEqual([expect.objectContaining({ plan_id: second.plan_id })])
    const third = await plan(remarked)
    await apply('dan', third)
    await apply('carol', third)
    expect(await listed()).toEqual([])
  })

  test('is listed among the newest hundred, and the list says that there are more', async () => {
    const { plan_id } = await plan(remarked)
    await world.database.query(
      `insert into model_plans select 'm_' || n, planner, base_model, digest, dsl, json, report, gains, model_id, state,
         created_at + n * interval '1 second', expires_at
       from model_plans, generate_series(1, 100) n where id = $1`,
      [plan_id],
    )
    const { body } = await call('dan', 'GET', '/model/plans')
    const ids = (body['plans'] as { plan_id: string }[]).map((one) => one.plan_id)
    expect([ids.length, ids[0], ids.at(-1), body['more']]).toEqual([100, 'm_100', 'm_1', true])
  })

  test('does not count the yes of somebody who is no administrator any more', async () => {
    const made = await plan(unblocked)
    await apply('dan', made)
    await world.service.administrators.add('user:bob', ['security.write'])
    await world.database.query(`delete from administrators where subject = 'user:dan'`)
    expect(await apply('carol', made)).toMatchObject({ status: 202 })
    expect(await apply('bob', made)).toMatchObject({
      status: 200,
      body: { approved_by: ['user:carol', 'user:bob'] },
    })
  })

  test('does not count somebody who ceased to be an administrator while it was tried', async () => {
    const made = await plan(unblocked)
    await apply('dan', made)
    written = () => world.database.query(`delete from administrators where subject = 'user:dan'`)
    expect(await apply('carol', made)).toMatchObject({ status: 403 })
    expect(await canRead('anne', 'a')).toBe('denied')
  })

  test('is read with its text and what that changes by whoever confirms it', async () => {
    const made = await plan(unblocked)
    await apply('dan', made)
    const { status, body } = await call('carol', 'GET', `/model/plans/${made.plan_id}`)
    expect({ status, ...body }).toMatchObject({
      status: 200,
      plan: { plan_id: made.plan_id, approved_by: ['user:dan'] },
      model: unblocked,
      diff: expect.stringContaining(
        '-    define can_read: viewer but not blocked\n+    define can_read: viewer\n',
      ),
    })
    expect(await call('carol', 'GET', '/model/plans/x')).toMatchObject({ status: 404 })
    expect(await call('anne', 'GET', `/model/plans/${made.plan_id}`)).toMatchObject({ status: 403 })
  })

  test('that the engine cannot evaluate where today denies cannot be applied: nobody can say who gains', async () => {
    // A chain too deep to be followed, which only the changed model follows.
    const folders = Array.from({ length: 30 }, (_, depth) => `folder:${depth} parent folder:${depth + 1}`)
    await world.write(...folders, 'folder:30 parent document:deep', 'user:anne viewer folder:0')
    await world.write('user:bob owner document:deep')
    const shallow = replaceOnce(dsl, 'or owner or viewer from parent', 'or owner').dsl
    const made = await plan(shallow)
    expect(made.refusals).toEqual([])
    await apply('dan', made)
    expect(await apply('carol', made)).toMatchObject({ status: 200 })
    const back = await plan(dsl)
    expect(back.refusals).toContainEqual(expect.objectContaining({ rule: 'gains_unknown' }))
    expect(await apply('dan', back)).toMatchObject({ status: 422, body: { code: 'model_refused' } })
  })

  test.each([
    [
      'without a relation that is asked for',
      'define can_read_delegated: ordinary or released',
      'define other: ordinary',
      'relation_missing',
      'document#can_read_delegated',
    ],
    [
      'by which an agent is told what its person may not read',
      'define can_be_told: can_read and in_scope',
      'define can_be_told: in_scope',
      'delegated_beyond_own',
      'document#can_read_delegated',
    ],
    [
      'by which nothing has to be lent',
      'delegator and presented and acts',
      'presented and acts',
      'lending_not_needed',
      'document#can_be_told',
    ],
    [
      'with context that is not sent',
      'expires_at: timestamp)',
      'expires_at: timestamp, place: string)',
      'context_not_sent',
      'until',
    ],
  ])('of a model %s cannot be applied, and says which relation', async (_, before, after, rule, relation) => {
    await world.write('collection:handbook filed_in document:a')
    await world.lend('anne', 'research-bot', 'document:a', 'document:b')
    const made = await plan(replaceOnce(dsl, before, after).dsl)
    expect(made.refusals).toContainEqual(expect.objectContaining({ rule, relation }))
    expect(await apply('dan', made)).toMatchObject({
      status: 422,
      body: { code: 'model_refused', detail: expect.stringContaining(relation) },
    })
  })

  test('needs text that is a model, and names its line', async () => {
    expect(
      await call('dan', 'POST', '/model/plan', { model: 'model\n  schema 1.1\ntype user\n  nonsense\n' }),
    ).toMatchObject({
      status: 422,
      body: { field: 'model', detail: expect.stringContaining('line 4') },
    })
    expect(await call('dan', 'POST', '/model/plan', { model: dsl, model_id: 'x' })).toMatchObject({
      status: 422,
    })
    expect(await call('dan', 'POST', '/model/plan', { model_id: 'x' })).toMatchObject({ status: 404 })
    expect(await apply('dan', { plan_id: 'x' })).toMatchObject({ status: 404 })
  })

  test('is for administrators only', async () => {
    for (const [method, path, body] of [
      ['POST', '/model/plan', { model: dsl }],
      ['POST', '/model/apply', { plan_id: 'x' }],
      ['GET', '/model', undefined],
      ['GET', '/model/plans', undefined],
    ] as const) {
      expect(await call('anne', method, path, body), path).toMatchObject({ status: 403 })
    }
  })
})

describe('a crash', () => {
  test('between OpenFGA and the row leaves the old model in force, and the same yes ends it', async () => {
    let isBroken = false
    await open({
      openfga: telling,
      database: (real) => ({
        ...real,
        transaction: (work) =>
          real.transaction(async (sql) => {
            const result = await work(sql)
            if (isBroken) throw new Error('killed at commit')
            return result
          }),
      }),
    })
    const made = await plan(unblocked)
    await apply('dan', made)
    const before = world.service.fga.modelId
    written = async () => {
      isBroken = true
    }
    expect(await apply('carol', made)).toMatchObject({ status: 500 })
    written = async () => undefined
    isBroken = false
    expect(world.service.fga.modelId).toBe(before)
    expect(await canRead('anne', 'a')).toBe('denied')
    const [kept] = await world.database.query<{ model_id: string }>('select model_id from model_plans')
    expect(await apply('carol', made)).toMatchObject({ status: 200, body: { model_id: kept?.model_id } })
    expect(await canRead('anne', 'a')).toBe('allowed')
  })

  test('before OpenFGA has the model leaves everything as it was', async () => {
    let isBroken = false
    await open({
      openfga: (real) =>
        new Proxy(real, {
          get(target, name) {
            const value: unknown = Reflect.get(target, name)
            if (typeof value !== 'function') return value
            if (name === 'writeAuthorizationModel' && isBroken) {
              return () => Promise.reject(new Error('gone'))
            }
            return value.bind(target)
          },
        }),
    })
    const made = await plan(unblocked)
    await apply('dan', made)
    isBroken = true
    expect(await apply('carol', made)).toMatchObject({
      status: 503,
      body: { code: 'authorization_unavailable' },
    })
    isBroken = false
    expect(await apply('carol', made)).toMatchObject({ status: 200 })
  })

  test('of the switch after the commit says so to nobody, and ends by itself', async () => {
    let isBroken = false
    let committed = false
    await open({
      database: (real) => ({
        ...real,
        async transaction(work) {
          const result = await real.transaction(work)
          committed = isBroken
          return result
        },
        query: (text, values) =>
          committed && text.includes(`key = 'authorization_model'`)
            ? Promise.reject(new Error('gone'))
            : real.query(text, values),
      }),
    })
    const made = await plan(unblocked)
    await apply('dan', made)
    isBroken = true
    expect(await apply('carol', made)).toMatchObject({ status: 200, body: { state: 'active' } })
    await expect(canRead('anne', 'a')).rejects.toThrow('could not be read')
    isBroken = false
    committed = false
    await expect.poll(() => canRead('anne', 'a').catch(() => 'none'), { timeout: 10_000 }).toBe('allowed')
  })
})

describe('two first yeses at once in two processes', needsPostgres, () => {
  test('are the two that it takes', async () => {
    let api: FgaApi | undefined
    await open({
      backend: { database: 'postgres', openfga: 'engine' },
      openfga: (real) => {
        api = real
        return real
      },
    })
    const made = await plan(unblocked)
    if (api === undefined) throw new Error('no OpenFGA')
    const process = (): ModelChanges =>
      createModelChanges({
        database: together,
        api: real,
        active: world.service.activeModel,
        index: world.service.index,
        listLiveDelegations: async () => [],
        approvers: 2,
        approversDespiteTests: 2,
        truthTable: createTruthTable({ api: real, texts: createTexts(), own: () => Promise.resolve(table) }),
        texts: createTexts(),
        isAdministrator: (sql, subject) => world.service.administrators.keeps(sql, subject, 'security.write'),
        namesOf: async (_, subject) => new Set([subject]),
        now: () => time,
        newId: () => 'unused',
      })
    const real = api
    // Both have seen that nobody said yes before either says it.
    let seen = 0
    const bothSaw = Promise.withResolvers<void>()
    const together: Database = {
      ...world.database,
      async query(...query) {
        const rows = await world.database.query(...query)
        if (query[0].includes('model_plans') && ++seen === 2) bothSaw.resolve()
        if (query[0].includes('model_plans')) await bothSaw.promise
        return rows as never
      },
    }
    const who = (subject: RecordActor['subject']): RecordActor => ({ ...operator('test'), subject })
    const answers = await Promise.allSettled([
      process().apply(who('user:dan'), made.plan_id, 'why'),
      process().apply(who('user:carol'), made.plan_id, 'why'),
    ])
    const states = answers.map((one) => (one.status === 'fulfilled' ? one.value.state : String(one.reason)))
    expect(states.sort()).toEqual(['active', 'awaiting_second'])
    expect(await canRead('anne', 'a')).toBe('allowed')
  }, 60_000)
})
