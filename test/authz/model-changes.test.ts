import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { replaceOnce } from '../model/mutants.ts'
import { describeBackends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
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
const apply = (user: string, { plan_id }: { readonly plan_id: string }) =>
  call(user, 'POST', '/model/apply', { plan_id })
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
  beforeEach(() => open())

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

  test('says what the coming engine would reject', async () => {
    const made = await plan(
      replaceOnce(
        dsl,
        'or owner or viewer from parent',
        'or owner or viewer from parent or member from filed_in',
      )
        .dsl.replace(
          '    define writer: [service]\n',
          '    define writer: [service]\n    define member: [user]\n',
        )
        .replace(
          'define filed_in: [collection]\n    define parent: [folder, collection]\n    define owner',
          'define filed_in: [collection, folder]\n    define parent: [folder, collection]\n    define owner',
        ),
    )
    expect(made.warnings.map(({ rule, relation }) => `${relation} ${rule}`)).toContain(
      'document#viewer next_engine_rejects',
    )
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
    ] as const) {
      expect(await call('anne', method, path, body), path).toMatchObject({ status: 403 })
    }
  })
})

describe('a crash', () => {
  test('between OpenFGA and the row leaves the old model in force, and the same yes ends it', async () => {
    let isBroken = false
    await open({
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
    isBroken = true
    expect(await apply('carol', made)).toMatchObject({ status: 500 })
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
})
