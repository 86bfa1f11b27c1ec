import { afterAll, beforeAll, expect, test } from 'vitest'
import { operator, record } from '../../src/audit/record.ts'
import { createNeverHere } from '../../src/authz/explain/never-here.ts'
import { openWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
  await world.put({
    'handbook/travel': { access: { viewers: ['user:anne'] } },
    'handbook/old': {},
    'plan-77.md': {},
    'plan-770.md': {},
  })
  // Known by a tuple alone, as people of a directory are.
  await world.write('user:eve member group:eng')
  await record(world.database, operator('test'), {
    event: 'access_changed',
    writes: [],
    deletes: ['user:bob member group:emptied'],
  })
  const loader = await world.token({ service: 'loader' })
  await world.call('DELETE', '/documents/handbook%2Fold', { token: loader, headers: { prefer: 'wait' } })
  // Asked for, and on record as that: it proves nothing.
  await world.call('GET', '/documents/handbook%2Ftravl', { token: await world.token({ user: 'anne' }) })
  await world.service.people.arrive(
    { key: 'acme/zoella', name: 'Zoe' },
    { issuer: 'https://acme.test', sub: 'zoe' },
  )
  await record(
    world.database,
    { ...operator('test'), subject: 'user:late' },
    {
      event: 'command',
      command: 'drift',
      arguments: {},
    },
  )
  // Of one that was given long ago nothing else is left.
  await world.database.query(
    `insert into record_given (document_id, at, record_no, who) values ('handbook/gone', now(), 1, 1)`,
  )
  for (const statement of [
    "insert into revocations values ('subject', 'user:barred', null, 'test', now())",
    "insert into revocations values ('agent', 'old-bot', null, 'test', now())",
    "insert into administrators values ('user:chief', '{security.write}')",
    "insert into person_moves values ('up/before', 'up/after', false, now(), now(), true)",
    "update agents set owner = 'user:founder' where id = 'other-bot'",
    "insert into desired_tuples values ('document:handbook/marked', 'viewer', 'user:tagged')",
    "insert into desired_tuples values ('document:handbook/marked', 'viewer', 'group:tagged#member')",
    "update documents set owner = 'user:author' where id = 'handbook/old'",
    `insert into delegations (id, subject, agent, sub_agents, scope, purpose, standing, expires_at, state, created_at)
       values ('d_gone', 'user:lender', 'research-bot', '{}', '{}', 'tests', false, now(), 'revoked', now())`,
    `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, refreshable, sealed_at, created_at)
       values ('c_gone', 'user:connected', 'p', 'i', 'a', 'a', 'ended', '{}', false, now(), now())`,
  ])
    await world.database.query(statement)
  await world.service.administrators.add('user:dan', ['security.read'])
  await world.service.index.catchUp()
})
afterAll(() => world?.[Symbol.asyncDispose]())

const readers = (document: string) =>
  ['GET', `/audit/readers?document=${encodeURIComponent(document)}`] as const
const reads = (who: object) => ['GET', `/audit/reads?${new URLSearchParams({ ...who })}`] as const
const post = (path: string, body: object) => ['POST', path, body] as const
const explain = (of: object) =>
  post('/explain', { user: 'user:anne', relation: 'can_read', object: 'document:handbook/travel', ...of })
const whoCan = (object: string) => post('/who-can', { object, relation: 'can_read' })

/** On a machine that stands still for a moment the replica may be late: then nothing is called unknown. */
async function ask([method, path, body]: readonly [string, string, object?], user = 'dan') {
  const token = await world.token({ user })
  const response = await world.call(method, path, { token, ...(body && { body }) })
  return { status: response.status, body: (await response.json()) as Readonly<Record<string, unknown>> }
}

test.each([
  ['a document that nobody was given', readers('handbook/travel'), []],
  ['one that was withdrawn', readers('handbook/old'), []],
  ['one that never was, and that somebody asked for', readers('handbook/travl'), ['document:handbook/travl']],
  ['one of which only the record tells', readers('handbook/gone'), []],
  ['a person who was given nothing', reads({ subject: 'user:anne' }), []],
  ['one of whom only a tuple tells', reads({ subject: 'user:eve' }), []],
  ['one who is on record', reads({ subject: 'user:dan' }), []],
  ['one of whom only the record tells', reads({ subject: 'user:late' }), []],
  ['one who never was', reads({ subject: 'user:ane' }), ['user:ane']],
  [
    'an agent that never was',
    reads({ subject: 'user:anne', agent: 'agent:research-bt' }),
    ['agent:research-bt'],
  ],
  ...['barred', 'chief', 'up/before', 'up/after', 'founder', 'tagged', 'author', 'lender', 'connected'].map(
    (key) => [`one who stands in one table alone: ${key}`, reads({ subject: `user:${key}` }), []] as const,
  ),
  ['an agent of which only its end is left', reads({ subject: 'user:anne', agent: 'agent:old-bot' }), []],
  ['a document of which only a tag is left', readers('handbook/marked'), []],
  ['a group that stands in a tag alone', post('/memberships', { group: 'group:tagged' }), []],
  ['who can read what is here', whoCan('document:handbook/travel'), []],
  ['who can read what never was', whoCan('document:handbook/travl'), ['document:handbook/travl']],
  [
    'what somebody here may read',
    post('/view-as', { user: 'user:bob', agent: 'research-bot', delegation: 'd_none' }),
    [],
  ],
  [
    'what somebody may read who never was here',
    post('/view-as', { user: 'user:bo', agent: 'bot', delegation: 'd_none', collection: 'handbok' }),
    ['user:bo', 'agent:bot', 'collection:handbok'],
  ],
  ['a group', post('/memberships', { group: 'group:eng' }), []],
  ['a group that has lost everybody', post('/memberships', { group: 'group:emptied' }), []],
  [
    'why somebody who never was may not',
    explain({
      user: 'user:ane',
      agent: 'research-bt',
      delegation: 'd_none',
      object: 'document:handbook/travl',
    }),
    ['user:ane', 'agent:research-bt', 'document:handbook/travl'],
  ],
  ['why everybody in a group may not', explain({ user: 'group:eng#member' }), []],
  ['why all may not', explain({ user: 'user:*' }), []],
  ['a group that never was', post('/memberships', { group: 'group:enq' }), ['group:enq']],
  ['the groups of somebody who never was', post('/memberships', { user: 'user:evee' }), ['user:evee']],
] as const)('an answer about %s says what of it was never here', async (_, question, neverHere) => {
  await expect.poll(() => ask(question)).toMatchObject({ status: 200, body: { never_here: neverHere } })
})

test.each([
  ['a letter that is missing', readers('handbook/travl'), 'document:handbook/travel'],
  ['the first letter missing', readers('andbook/travel'), 'document:handbook/travel'],
  ['a letter too many', readers('handbook/travvel'), 'document:handbook/travel'],
  ['another letter', readers('hamdbook/travel'), 'document:handbook/travel'],
  ['two letters swapped', readers('handbook/travle'), 'document:handbook/travel'],
  ['other case', whoCan('document:Handbook/Travel'), 'document:handbook/travel'],
  ['its end missing', readers('handbook/tra'), 'document:handbook/travel'],
  ['its ending missing', readers('plan-77'), 'document:plan-77.md'],
  ['a letter missing, of one that was withdrawn', readers('handbook/ol'), 'document:handbook/old'],
  ['a letter missing, of one that only a record tells of', readers('handbook/gon'), 'document:handbook/gone'],
  ['a letter missing, of a person', explain({ user: 'user:ane' }), 'user:anne'],
  ['a letter missing, of somebody of no tuple', reads({ subject: 'user:acme/zoela' }), 'user:acme/zoella'],
  ['its end missing, of a person', post('/memberships', { user: 'user:acme/zo' }), 'user:acme/zoella'],
  ['a letter missing, of a group', post('/memberships', { group: 'group:en' }), 'group:eng'],
  [
    'a letter missing, of an agent',
    reads({ subject: 'user:anne', agent: 'agent:research-bt' }),
    'agent:research-bot',
  ],
  [
    'a letter missing, of a collection',
    post('/view-as', { user: 'user:anne', collection: 'handbok' }),
    'collection:handbook',
  ],
] as const)('an id with %s is answered with the one that is, or was, here', async (_, question, meant) => {
  const alike = async () => {
    const { body } = await ask(question)
    const [id = ''] = body['never_here'] as string[]
    return { asked: id !== '', meant: (body['did_you_mean'] as Readonly<Record<string, unknown>>)[id] }
  }
  await expect.poll(alike).toEqual({ asked: true, meant: [meant] })
})

test('an id that is like none gets none; one that is here, none beside it', async () => {
  for (const document of ['elsewhere/else', 'handbook/travel'])
    expect((await ask(readers(document))).body).toMatchObject({ did_you_mean: {} })
})

test('of many that are spelled alike three are named', async () => {
  await world.write(...['a', 'b', 'c', 'd'].map((one) => `user:eve member group:team-${one}` as const))
  await world.service.index.catchUp()
  const alike = async () => (await ask(post('/memberships', { group: 'group:team-x' }))).body['did_you_mean']
  const three = ['a', 'b', 'c'].map((one) => `group:team-${one}`)
  await expect.poll(alike).toEqual({ 'group:team-x': three })
})

test('nobody without the role learns whether an id was ever here', async () => {
  const without = ({ txn: _, ...rest }: Readonly<Record<string, unknown>>) => rest
  for (const question of [
    readers,
    (id: string) => whoCan(`document:${id}`),
    (id: string) => reads({ subject: `user:${id}` }),
    (id: string) => explain({ user: `user:${id}` }),
    (id: string) => post('/view-as', { user: `user:${id}` }),
    (id: string) => post('/memberships', { user: `user:${id}` }),
  ]) {
    const [one, other] = [
      await ask(question('handbook/travel'), 'anne'),
      await ask(question('travl'), 'anne'),
    ]
    expect(one.status).toBe(403)
    expect(without(one.body)).toEqual(without(other.body))
  }
})

test('nothing is called unknown while there is no replica to look into', async () => {
  const neverHere = createNeverHere({ sql: world.database, index: { view: () => undefined } })
  expect(await neverHere(['user:ane', 'document:handbook/travl'])).toEqual({ ids: [], alike: new Map() })
})
