import { readFileSync } from 'node:fs'
import { compileModel, createTupleStore } from '@remit/engine'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { createModelShadow, type ModelShadow } from '../../src/authz/model/shadow.ts'
import { createShadowQueue } from '../../src/authz/model/shadow-queue.ts'
import { shadowToText } from '../../src/cli/model-shadow.ts'
import { replaceOnce } from '../model/mutants.ts'
import { describeBackends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const unblocked = replaceOnce(dsl, 'define can_read: viewer but not blocked', 'define can_read: viewer').dsl

interface Report {
  readonly shadow: Readonly<Record<string, unknown>> | null
  readonly differences: readonly Readonly<Record<string, unknown>>[]
}

let world: World
let time: number
afterEach(() => world?.[Symbol.asyncDispose]())

async function open(backend?: Parameters<typeof openWorld>[0]): Promise<void> {
  time = Date.now()
  world = await openWorld({ now: () => time, ...backend })
  await world.service.administrators.add('user:carol', ['security.write'])
  await world.put({ a: { access: { viewers: ['user:anne', 'user:bob'], blocked: ['user:anne'] } } })
}
async function call(user: string, method: string, path: string, body?: object) {
  const response = await world.call(method, path, {
    token: await world.token({ user }),
    ...(body && { body }),
  })
  return { status: response.status, body: (await response.json()) as Readonly<Record<string, unknown>> }
}
async function plan(model = unblocked): Promise<string> {
  const { body } = await call('carol', 'POST', '/model/plan', { model })
  return (body['plan'] as { plan_id: string }).plan_id
}
const report = async (): Promise<Report> =>
  (await call('carol', 'GET', '/model/shadow')).body as unknown as Report
const seen = (count: number) =>
  vi.waitFor(
    async () => {
      const found = await report()
      expect(found.shadow?.['asked']).toBe(count)
      return found
    },
    { timeout: 20_000, interval: 50 },
  )
const recorded = async () =>
  (
    await world.database.query<{ event: string; subject: string; because: string | null }>(
      `select event, subject, detail->>'because' as because from decision_records
       where event in ('model_shadow_started', 'model_shadow_ended') order by record_no`,
    )
  ).map(({ event, subject, because }) => `${event} ${subject} ${because ?? ''}`.trim())

describeBackends('a planned model beside the one in force', (backend) => {
  beforeEach(() => open({ backend }))

  test('is asked what was asked, tells where it would answer otherwise, and answers nobody', async () => {
    expect(await report()).toMatchObject({ shadow: null, differences: [] })
    const id = await plan()
    const begun = await call('carol', 'POST', '/model/shadow', { plan_id: id, minutes: 5 })
    expect(begun).toMatchObject({
      status: 200,
      body: { shadow: { plan_id: id, state: 'running', asked: 0 } },
    })
    expect(await call('carol', 'POST', '/model/shadow', { plan_id: id })).toMatchObject({ status: 409 })
    for (let nth = 0; nth < 2; nth++)
      expect(await call('anne', 'GET', '/documents/a')).toMatchObject({ status: 404 })
    expect(await call('bob', 'GET', '/documents/a')).toMatchObject({ status: 200 })
    const found = await seen(3)
    expect(found.shadow).toMatchObject({ gained: 2, lost: 0, errors: 0, dropped: 0 })
    expect(found.differences).toMatchObject([
      { who: 'user:anne', document_id: 'a', active: 'denied', candidate: 'allowed', count: 2 },
    ])
    expect(shadowToText(found as unknown as Parameters<typeof shadowToText>[0])).toContain(
      '  + user:anne  document:a  denied → allowed, 2 times',
    )
    expect(await call('carol', 'DELETE', '/model/shadow')).toMatchObject({
      body: { shadow: { state: 'stopped' } },
    })
    await call('anne', 'GET', '/documents/a')
    expect((await report()).shadow).toMatchObject({ state: 'stopped', asked: 3 })
    expect(await call('carol', 'DELETE', '/model/shadow')).toMatchObject({ status: 404 })
    expect(await recorded()).toEqual([
      'model_shadow_started user:carol',
      'model_shadow_ended user:carol stopped',
    ])
  })
})

test('it ends by itself, on record, and by a change of the model in force', async () => {
  await open()
  const id = await plan()
  await call('carol', 'POST', '/model/shadow', { plan_id: id, minutes: 1 })
  time += 60_001
  expect((await report()).shadow).toMatchObject({ state: 'over' })
  await call('carol', 'POST', '/model/shadow', { plan_id: await plan() })
  await call('carol', 'POST', '/model/apply', {
    plan_id: await plan(dsl.replace('# People, and', '# Persons, and')),
  })
  expect((await report()).shadow).toMatchObject({ state: 'model_changed' })
  expect(await call('carol', 'POST', '/model/shadow', { plan_id: id })).toMatchObject({
    status: 409,
    body: { code: 'plan_outdated' },
  })
  expect(await recorded()).toEqual([
    'model_shadow_started user:carol',
    'model_shadow_ended service:remit over',
    'model_shadow_started user:carol',
    'model_shadow_ended service:remit model_changed',
  ])
})

test('only an administrator who may change the model starts, stops and reads it; what is wrong is named', async () => {
  await open()
  await world.service.administrators.add('user:dan', ['security.read'])
  for (const method of ['POST', 'GET', 'DELETE'])
    for (const user of ['anne', 'dan'])
      expect(
        await call(user, method, '/model/shadow', method === 'POST' ? { plan_id: 'm_x' } : undefined),
      ).toMatchObject({
        status: 403,
      })
  expect(await call('carol', 'POST', '/model/shadow', { plan_id: 'm_x' })).toMatchObject({ status: 404 })
  for (const [field, value] of [
    ['minutes', 0],
    ['minutes', 1_441],
    ['share', 0],
    ['share', 1.5],
  ] as const)
    expect(await call('carol', 'POST', '/model/shadow', { plan_id: 'm_x', [field]: value })).toMatchObject({
      status: 422,
      body: { field },
    })
})

test('two processes count together, and an agent is named with its person', async () => {
  await open()
  const id = await plan()
  await call('carol', 'POST', '/model/shadow', { plan_id: id })
  await using other: ModelShadow = createModelShadow({
    database: world.database,
    active: world.service.activeModel,
    index: world.service.index,
    now: () => time,
    random: () => 0,
    newId: () => 's_other',
    newTxn: () => 't_other',
    log: () => undefined,
  })
  // By reading it knows what runs.
  await other.report(operator('t_test'))
  await world.write('user:* viewer document:a')
  const question = {
    user: 'user:anne' as const,
    relation: 'can_read' as const,
    contextual: [{ user: 'user:anne', relation: 'acting_for', object: 'agent:bot' as const }],
  }
  other.onDecided({ question, documentIds: ['a'], at: time })
  await call('anne', 'GET', '/documents/a')
  await vi.waitFor(
    async () => {
      await other.report(operator('t_test'))
      expect((await report()).differences.map(({ who }) => who)).toEqual([
        'user:anne',
        'user:anne by agent:bot',
      ])
    },
    { timeout: 20_000, interval: 50 },
  )
})

test('what there is no room for is counted and let go, and what it cannot evaluate counts as an error', () => {
  const queue = createShadowQueue()
  const question = { user: 'user:anne' as const, relation: 'can_read' as const, contextual: [] }
  for (let nth = 0; nth < 1_005; nth++) queue.offer({ question, documentIds: ['a'], at: 0 })
  const tuples = createTupleStore()
  tuples.add({ user: 'user:anne', relation: 'viewer', object: 'document:a' }, '1')
  const active = compileModel(readDsl(dsl))
  const candidate = compileModel(readDsl('model\n  schema 1.1\ntype user\ntype document\n'))
  while (queue.work({ active, candidate, tuples, takenAway: () => [] }));
  expect(queue.take()).toEqual({
    counts: { asked: 1_000, gained: 0, lost: 1_000, errors: 1_000, dropped: 5 },
    differences: [{ who: 'user:anne', document: 'a', active: 'allowed', candidate: 'error', count: 1_000 }],
  })
  expect(queue.take()).toBeUndefined()
})
