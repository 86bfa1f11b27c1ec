import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Tuple } from '../../src/authz/fga.ts'
import { openWorld, type World } from '../support/world.ts'

const fileOf = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')
const model = fileOf('model.fga').replace(
  'define tagger: [service]\n',
  'define tagger: [service]\n    define contractor: [user with until]\n',
)
const rowFor = (holder: string): string =>
  fileOf('model.allow-list.yaml').replace(
    '  collection:\n',
    `  collection:\n    contractor: { subjects: [user with until], write: ${holder}, delete: ${holder} }\n`,
  )
const relation = 'collection#contractor'

let world: World
beforeAll(async () => {
  world = await openWorld({ env: { MODEL_APPLY_APPROVERS: '1' } })
  for (const person of ['dan', 'carol'])
    await world.service.administrators.add(`user:${person}`, ['security.write', 'security.read'])
  await world.service.ingest.saveCollection(operator('t_test'), {
    id: 'npm',
    title: 'Npm',
    taggers: ['service:crm'],
  })
})
afterAll(() => world[Symbol.asyncDispose]())

interface Answer {
  readonly status: number
  readonly body: {
    readonly plan: {
      readonly plan_id: string
      readonly digest: string
      readonly warnings: readonly {
        readonly rule: string
        readonly relation: string
        readonly detail: string
      }[]
      readonly refusals: readonly { readonly rule: string; readonly relation: string }[]
    }
    readonly [member: string]: unknown
  }
}

async function call(user: string, method: string, path: string, body?: object): Promise<Answer> {
  const token = await world.token({ user })
  const response = await world.call(method, path, { token, ...(body && { body }) })
  return { status: response.status, body: (await response.json()) as Answer['body'] }
}
const plan = (body: object) => call('dan', 'POST', '/model/plan', body)
const contractor: Tuple = {
  user: 'user:carol',
  relation: 'contractor',
  object: 'collection:npm',
  condition: { name: 'until', context: { expires_at: '2100-01-01T00:00:00Z' } },
}
const write = () => call('dan', 'POST', '/access', { writes: [contractor] })

test('a relation that is new is written once a confirmed list has a row for it, and no longer after going back', async () => {
  const { body: bare } = await plan({ model })
  expect(bare.plan.warnings).toContainEqual(expect.objectContaining({ rule: 'nobody_may_write', relation }))
  const supposed = await call('dan', 'POST', '/what-if', { model, writes: [contractor] })
  const { condition: _, ...line } = contractor
  expect(supposed.body).toMatchObject({ nobody_may_write: [line] })
  expect(await write()).toMatchObject({ status: 422, body: { field: 'writes.0.relation' } })

  const { body: listed } = await plan({ model, allow_list: rowFor('administrator') })
  expect(listed.plan.digest).not.toBe(bare.plan.digest)
  expect(listed.plan.warnings).toContainEqual({
    rule: 'may_now_write',
    relation,
    detail: 'Administrators may now write it for user with until.',
  })
  const read = await call('carol', 'GET', `/model/plans/${listed.plan.plan_id}`)
  expect(read.body['allow_list_diff']).toContain('\n+    contractor: {')
  expect(await call('carol', 'POST', '/model/apply', { plan_id: listed.plan.plan_id })).toMatchObject({
    status: 200,
  })
  // Made from another list: it is as stale as one made from another model.
  expect(await call('carol', 'POST', '/model/apply', { plan_id: bare.plan.plan_id })).toMatchObject({
    status: 409,
    body: { code: 'plan_outdated' },
  })
  expect(await write()).toMatchObject({ status: 200 })

  // The list alone: the same model, another version.
  const { body: tagged } = await plan({ allow_list: rowFor('tagger') })
  expect(tagged.plan.warnings.map(({ detail }) => detail)).toEqual([
    'Services that are tagger of its collection (service:crm, service:loader now) may now write it for user with until.',
    'Services that are tagger of its collection (service:crm, service:loader now) may now delete it for user with until.',
    'Administrators may no longer write it for user with until.',
    'Administrators may no longer delete it for user with until.',
  ])
  expect(await call('carol', 'POST', '/model/apply', { plan_id: tagged.plan.plan_id })).toMatchObject({
    status: 200,
  })
  expect((await call('dan', 'GET', '/model')).body).toMatchObject({ model, allow_list: rowFor('tagger') })
  expect(await write()).toMatchObject({ status: 403, body: { field: 'writes.0' } })

  const { body: shown } = await call('dan', 'GET', '/model')
  const history = shown['history'] as readonly { readonly model_id: string }[]
  const { body: back } = await plan({ model_id: history.at(-1)?.model_id })
  await call('carol', 'POST', '/model/apply', { plan_id: back.plan.plan_id })
  expect((await call('dan', 'GET', '/model')).body).toMatchObject({ matches_file: true })
  expect(await write()).toMatchObject({ status: 422 })
}, 120_000)

/** Plans it and puts it in force, whatever the truth table says of it. */
async function putInForce(wanted: object): Promise<void> {
  const { body } = await plan(wanted)
  const confirmed = { plan_id: body.plan.plan_id, reason: 'A test of the list itself' }
  expect(await call('carol', 'POST', '/model/apply', confirmed)).toMatchObject({ status: 200 })
}
async function goBack(): Promise<void> {
  const { body } = await call('dan', 'GET', '/model')
  const history = body['history'] as readonly { readonly model_id: string }[]
  await putInForce({ model_id: history.at(-1)?.model_id })
}
const tuplesOf = async (user: string) => {
  const found: string[] = []
  for await (const page of world.service.fga.readAll())
    for (const tuple of page) if (tuple.user === user) found.push(`${tuple.relation} ${tuple.object}`)
  return found.sort()
}

test('a service comes to no right that the list lets no administrator write, and loses any whatever it says', async () => {
  const { services } = world.service
  await world.service.ingest.saveCollection(operator('t_test'), { id: 'pypi', title: 'Pypi' })
  const late = { name: 'late', collections: ['npm'], prefixes: [] }
  await services.save({ ...late, collections: ['npm', 'pypi'], prefixes: ['ho/'] })
  await putInForce({
    allow_list: fileOf('model.allow-list.yaml').replace(/^ {4}tagger: .*\n/m, ''),
  })
  await expect(services.save({ ...late, name: 'later' })).rejects.toMatchObject({
    code: 'forbidden',
    field: 'collections',
    public: 'The allow-list lets no administrator write a tagger of a collection.',
  })
  expect(await services.get('later')).toBeUndefined()
  expect(await tuplesOf('service:later')).toEqual([])
  await services.save({ ...late, prefixes: ['ho/'] })
  expect(await tuplesOf('service:late')).toEqual(['tagger collection:npm', 'writer collection:npm'])
  await services.save(late)
  expect(await services.get('late')).toEqual(late)
  // A right that was taken away elsewhere is new, though the row still lists its collection.
  await world.service.fga.write({
    deletes: [{ user: 'service:late', relation: 'tagger', object: 'collection:npm' }],
  })
  await expect(services.save(late)).rejects.toMatchObject({ code: 'forbidden' })
  expect(await tuplesOf('service:late')).toEqual(['writer collection:npm'])
  await services.save({ ...late, collections: [] })
  expect(await tuplesOf('service:late')).toEqual([])
  await goBack()
  await services.save({ ...late, name: 'later' })
  expect(await tuplesOf('service:later')).toEqual(['tagger collection:npm', 'writer collection:npm'])
  expect(await services.remove('later')).toBe(true)
}, 120_000)

test('a person who is moved keeps a block for which the list has no row, and none moves while the model does not take all', async () => {
  const [from, to] = ['acme/anne', 'acme/00u1anne']
  const { personMove, fga } = world.service
  const withTeams = model.replace(
    'type organization\n',
    'type team\n  relations\n    define blocked: [user]\n\ntype organization\n',
  )
  await putInForce({ model: withTeams, allow_list: rowFor('administrator') })
  await world.write(`user:${from} blocked document:board/plan`, `user:${from} blocked team:red`)
  await fga.write({ writes: [{ ...contractor, user: `user:${from}` }] })
  const stored = ['blocked document:board/plan', 'blocked team:red', 'contractor collection:npm']
  await putInForce({
    model: fileOf('model.fga'),
    allow_list: fileOf('model.allow-list.yaml').replace(/^ {4}blocked: .*\n/m, ''),
  })
  for (const call of [personMove.look, personMove.move])
    await expect(call(from, to)).rejects.toMatchObject({
      code: 'invalid_request',
      field: 'from',
      public: expect.stringMatching(/ as (?=.*collection#contractor)(?=.*team#blocked)/),
    })
  expect(await tuplesOf(`user:${from}`)).toEqual(stored)
  expect(await tuplesOf(`user:${to}`)).toEqual([])
  expect(await world.database.query('select from person_moves where old_key = $1', [from])).toEqual([])
  await putInForce({
    model: withTeams,
    allow_list: rowFor('administrator').replace(/^ {4}blocked: .*\n/m, ''),
  })
  expect(await personMove.move(from, to)).toMatchObject({ tuples: 3 })
  expect(await tuplesOf(`user:${from}`)).toEqual([])
  expect(await tuplesOf(`user:${to}`)).toEqual(stored)
  await goBack()
}, 120_000)

test('a list that names what the model lacks is refused by its line, one that lets write what was lent blocks the plan', async () => {
  expect(
    await plan({ allow_list: rowFor('administrator').replace('contractor:', 'nothing:') }),
  ).toMatchObject({
    status: 422,
    body: { field: 'allow_list', detail: expect.stringMatching(/^allow_list:\d+: collection#nothing: /) },
  })
  expect(await plan({ allow_list: 'schema: [' })).toMatchObject({
    status: 422,
    body: { field: 'allow_list' },
  })
  const lent = model.replace(
    '    define contractor: [user with until]\n',
    '    define lent_via: [delegation]\n',
  )
  const { body } = await plan({
    model: lent,
    allow_list: rowFor('tagger').replace(
      'contractor: { subjects: [user with until]',
      'lent_via: { subjects: [delegation]',
    ),
  })
  expect(body.plan.refusals).toContainEqual(
    expect.objectContaining({ rule: 'allow_list_refused', relation: 'collection#lent_via' }),
  )
  expect(await call('carol', 'POST', '/model/apply', { plan_id: body.plan.plan_id })).toMatchObject({
    status: 422,
    body: { code: 'model_refused' },
  })
}, 60_000)

test('a rule of the new model that lets more services write is told, with those that it lets', async () => {
  await world.service.ingest.saveCollection(operator('t_test'), {
    id: 'hr',
    title: 'Hr',
    writers: ['service:crm'],
  })
  const wider = fileOf('model.fga').replace(
    'define tagger: [service]\n',
    'define tagger: [service] or writer\n',
  )
  const { body } = await plan({ model: wider })
  expect(body.plan.warnings).toContainEqual(
    expect.objectContaining({ rule: 'writers_follow_another_rule', relation: 'collection#tagger' }),
  )
  expect(body.plan.warnings).toContainEqual({
    rule: 'may_now_write',
    relation: 'collection#tagger',
    detail:
      "By the other rule, on today's tuples, they may now write as its tagger: service:crm in collection:hr.",
  })
}, 60_000)

test('a service that came to a right between the plan and the last yes makes the plan outdated', async () => {
  const wider = fileOf('model.fga').replace(
    'define tagger: [service]\n',
    'define tagger: [service] or writer\n',
  )
  const { body } = await plan({ model: wider })
  await world.service.ingest.saveCollection(operator('t_test'), {
    id: 'legal',
    title: 'Legal',
    writers: ['service:crm'],
  })
  const confirm = (id: string) =>
    call('carol', 'POST', '/model/apply', { plan_id: id, reason: 'A test of the last look' })
  expect(await confirm(body.plan.plan_id)).toMatchObject({
    status: 409,
    body: {
      code: 'plan_outdated',
      detail:
        '1 gains were not in what was confirmed, for example service:crm as tagger of collection:legal. Make a new plan.',
    },
  })
  const { body: again } = await plan({ model: wider })
  // As it is stored by a version that kept none of them: it told some, and nobody knows which.
  await world.database.query(`update model_plans set report = report - 'writerGains' where id = $1`, [
    again.plan.plan_id,
  ])
  expect(await confirm(again.plan.plan_id)).toMatchObject({ status: 409, body: { code: 'plan_outdated' } })
  await putInForce({ model: wider })
  await goBack()
}, 120_000)
