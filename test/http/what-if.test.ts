import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { replaceOnce } from '../model/mutants.ts'
import { describeBackends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const unblocked = replaceOnce(dsl, 'define can_read: viewer but not blocked', 'define can_read: viewer').dsl

interface Difference {
  readonly count: number
  readonly samples: readonly object[]
  readonly collections: readonly object[]
}
interface Answer {
  readonly can_read: { readonly gained: Difference; readonly lost: Difference }
  readonly can_read_delegated: { readonly gained: Difference; readonly lost: Difference }
  readonly [member: string]: unknown
}

let world: World
let delegation: string
const tokens = { reader: '', writer: '', person: '', agent: '' }

async function open(options: Parameters<typeof openWorld>[0] = {}): Promise<void> {
  world = await openWorld(options)
  await world.write(
    'user:anne member group:finance',
    'user:bob member group:finance',
    'group:finance#member viewer folder:books',
    'collection:finance filed_in folder:books',
    ...['plan', 'budget'].flatMap((id) => [
      `folder:books parent document:${id}`,
      `collection:finance filed_in document:${id}`,
    ]),
    'user:anne viewer document:budget',
    'user:* viewer document:menu',
    'collection:handbook filed_in document:menu',
    'user:bob blocked document:menu',
  )
  delegation = await world.lend('anne', 'research-bot', 'collection:finance')
  await world.service.administrators.add('user:dan', ['security.read'])
  await world.service.administrators.add('user:carol', ['security.write'])
  tokens.reader = await world.token({ user: 'dan' })
  tokens.writer = await world.token({ user: 'carol' })
  tokens.person = await world.token({ user: 'anne' })
  tokens.agent = await world.token({ user: 'anne', agent: 'research-bot' })
}

const ask = async (body: object, token = tokens.reader) => {
  const response = await world.call('POST', '/what-if', { token, body })
  return { status: response.status, body: (await response.json()) as Answer }
}
// On a busy machine the replica may be late for one answer, which then says so.
const askOnceFollowing = (body: object, token = tokens.reader) =>
  vi.waitFor(
    async () => {
      const answer = await ask(body, token)
      expect(answer).toMatchObject({ status: 200, body: { replica: { state: 'ready' } } })
      return answer.body
    },
    { timeout: 20_000, interval: 100 },
  )
const membersOf = async (group: string) => {
  const found: string[] = []
  for await (const { user } of world.service.fga.read({ object: group })) found.push(user)
  return found.sort()
}
const outOfFinance = { deletes: [{ user: 'user:anne', relation: 'member', object: 'group:finance' }] }

describeBackends('POST /what-if', (backend) => {
  beforeAll(() => open({ backend }))
  afterAll(() => world?.[Symbol.asyncDispose]())

  test('says what somebody taken out of a group would lose, herself and by her agents, and where that is filed', async () => {
    const answer = await askOnceFollowing(outOfFinance)
    expect(answer).toMatchObject({
      complete: true,
      limited_by: [],
      asked: { people: 1, agents: 1, questions: 4 },
      unanswered: 0,
      unchanged: { writes: [], deletes: [] },
      authorization_model_id: world.service.fga.modelId,
      candidate_digest: null,
    })
    expect(answer.can_read.gained.count + answer.can_read_delegated.gained.count).toBe(0)
    // The budget is shared with her besides.
    const lost = {
      count: 1,
      people: 1,
      documents: 1,
      collections: [{ collection: 'finance', count: 1, documents: 1 }],
    }
    expect(answer.can_read.lost).toEqual({
      ...lost,
      samples: [
        { who: 'user:anne', document_id: 'plan', user: 'user:anne', agent: null, delegation_id: null },
      ],
    })
    expect(answer.can_read_delegated.lost).toEqual({
      ...lost,
      samples: [
        {
          who: 'user:anne by agent:research-bot',
          document_id: 'plan',
          user: 'user:anne',
          agent: 'agent:research-bot',
          delegation_id: delegation,
        },
      ],
    })
  })

  test('changes nothing, and is on record with what it said', async () => {
    const { txn } = await askOnceFollowing(outOfFinance)
    expect(await membersOf('group:finance')).toEqual(['user:anne', 'user:bob'])
    const [row] = await world.database.query<{ subject: string; detail: object }>(
      `select subject, detail from decision_records where event = 'what_if_asked' and txn = $1`,
      [String(txn)],
    )
    expect(row).toEqual({
      subject: 'user:dan',
      detail: {
        writes: [],
        deletes: ['user:anne member group:finance'],
        model_digest: null,
        people: null,
        documents: null,
        gained: { can_read: 0, can_read_delegated: 0 },
        lost: { can_read: 1, can_read_delegated: 1 },
        complete: true,
        model_id: world.service.fga.modelId,
      },
    })
  })

  test('is on record with the ends of what was supposed', async () => {
    const condition = { name: 'until', context: { expires_at: '2999-01-01T00:00:00Z' } }
    const { txn } = await askOnceFollowing({
      writes: [{ user: 'user:carol', relation: 'viewer', object: 'document:plan', condition }],
    })
    expect(
      await world.database.query(
        // The token's txn: of all that is asked with it.
        `select detail->'ends' as ends from decision_records where event = 'what_if_asked' and txn = $1
         order by record_no desc limit 1`,
        [String(txn)],
      ),
    ).toEqual([{ ends: ['user:carol viewer document:plan until 2999-01-01T00:00:00Z'] }])
  })

  test('says what marking a folder as sensitive keeps from agents, and from nobody else', async () => {
    const answer = await askOnceFollowing({
      writes: [{ user: 'user:*', relation: 'sensitive', object: 'folder:books' }],
    })
    expect(answer.can_read.lost.count).toBe(0)
    expect(answer.can_read_delegated.lost).toMatchObject({ count: 2, people: 1 })
  })

  test('says what lending would let an agent be told, though no route writes such tuples', async () => {
    const until = { name: 'until', context: { expires_at: '2999-01-01T00:00:00Z' } }
    const lent = {
      writes: [
        { user: 'user:bob', relation: 'delegator', object: 'delegation:new', condition: until },
        { user: 'agent:other-bot', relation: 'agent', object: 'delegation:new' },
        { user: 'delegation:new', relation: 'delegated_to', object: 'collection:finance' },
      ],
    }
    const answer = await askOnceFollowing(lent)
    expect(answer.can_read_delegated.gained).toMatchObject({ count: 2, people: 1 })
    expect(answer.can_read_delegated.gained.samples[0]).toMatchObject({
      who: 'user:bob by agent:other-bot',
      delegation_id: 'new',
    })
    expect(await world.call('POST', '/access', { token: tokens.writer, body: lent })).toMatchObject({
      status: 403,
    })
  })

  test('says who gains by a changed model and by tuples with it, to whoever may change the model', async () => {
    const writes = [{ user: 'user:carol', relation: 'viewer', object: 'document:plan' }]
    const answer = await askOnceFollowing({ model: unblocked, writes }, tokens.writer)
    expect(answer.can_read.gained.samples).toEqual([
      expect.objectContaining({ who: 'user:bob', document_id: 'menu' }),
      expect.objectContaining({ who: 'user:carol', document_id: 'plan' }),
    ])
    expect(answer).toMatchObject({
      complete: true,
      candidate_digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    })
    const inForce = await world.call('GET', '/model', { token: tokens.writer })
    expect(await inForce.json()).toMatchObject({ model: dsl })
  })

  test('is only about the people and documents that are named', async () => {
    const deletes = [{ user: 'group:finance#member', relation: 'viewer', object: 'folder:books' }]
    const all = await askOnceFollowing({ deletes })
    expect(all.can_read.lost).toMatchObject({ count: 3, people: 2 })
    const some = await askOnceFollowing({
      deletes,
      question: { people: ['user:bob'], documents: ['plan', 'menu'] },
    })
    expect(some.can_read.lost).toMatchObject({ count: 1, people: 1, documents: 1 })
    expect(some).toMatchObject({ asked: { people: 1, agents: 0, questions: 1 } })
  })

  test('says what of a change is so already', async () => {
    const writes = [{ user: 'user:bob', relation: 'member', object: 'group:finance' }]
    const deletes = [{ user: 'user:bob', relation: 'viewer', object: 'document:plan' }]
    expect(await askOnceFollowing({ writes, deletes })).toMatchObject({
      unchanged: { writes, deletes },
      can_read: { gained: { count: 0 }, lost: { count: 0 } },
    })
  })
})

describe('POST /what-if refuses', () => {
  beforeAll(() => open())
  afterAll(() => world?.[Symbol.asyncDispose]())

  test.each([
    ['a person', 'person', outOfFinance],
    ['an agent', 'agent', outOfFinance],
    ['a writer of the model who may not read who reads what', 'writer', outOfFinance],
    ['a reader who brings a model', 'reader', { model: dsl }],
  ] as const)('%s, as the token has not the scope', async (_, who, body) => {
    const { status, body: problem } = await ask(body, tokens[who])
    expect(status).toBe(403)
    expect(['insufficient_scope', 'forbidden']).toContain(problem['code'])
  })

  test('whoever has the scope and not the role, or no more', async () => {
    await world.service.administrators.add('user:bob', ['security.read', 'security.write'])
    const token = await world.token({ user: 'bob' })
    await world.service.administrators.remove('user:bob')
    for (const body of [outOfFinance, { model: dsl }])
      expect(await ask(body, token)).toMatchObject({ status: 403, body: { code: 'forbidden' } })
  })

  const tuple = { user: 'user:anne', relation: 'viewer', object: 'document:plan' }
  test.each<[string, object, string, string?]>([
    ['nothing', {}, 'writes'],
    ['a relation that the model lacks', { writes: [{ ...tuple, relation: 'reader' }] }, 'writes.0'],
    ['an object without an id', { writes: [tuple, { ...tuple, object: 'document:' }] }, 'writes.1.object'],
    ['an id that breaks the rule', { deletes: [{ ...tuple, object: 'document:a b' }] }, 'deletes.0.object'],
    ['a subject that is none', { deletes: [{ ...tuple, user: 'anne' }] }, 'deletes.0.user'],
    [
      'a clock of its own',
      {
        writes: [
          {
            ...tuple,
            condition: {
              name: 'until',
              context: { expires_at: '2999-01-01T00:00:00Z', current_time: '2020-01-01T00:00:00Z' },
            },
          },
        ],
      },
      'writes.0.condition.context.current_time',
    ],
    [
      'an end that is no time',
      { writes: [{ ...tuple, condition: { name: 'until', context: { expires_at: 'tomorrow' } } }] },
      'writes.0.condition.context.expires_at',
    ],
    [
      'what only a request brings',
      { writes: [{ user: 'user:anne', relation: 'acting_for', object: 'agent:research-bot' }] },
      'writes.0.relation',
    ],
    [
      'a grant',
      { writes: [{ user: 'grant:g', relation: 'granted_by', object: 'document:plan' }] },
      'writes.0.relation',
    ],
    [
      'a mark that the service keeps for itself',
      { writes: [{ user: 'turn:1', relation: 'turn', object: 'fence:a' }] },
      'writes.0.object',
    ],
    [
      'a subject that has no type',
      { deletes: [{ user: 'anne', relation: 'member', object: 'group:finance' }] },
      'deletes.0.user',
    ],
    [
      'a person who is none',
      { ...outOfFinance, question: { people: ['group:finance'] } },
      'question.people.0',
    ],
    [
      'what is no model',
      { model: 'model\n  schema 1.1\ntype user\n  relations\n    define' },
      'model',
      'writer',
    ],
    ['a model without what is asked for', { model: 'model\n  schema 1.1\ntype user\n' }, 'model', 'writer'],
    ['a member that is not known', { ...outOfFinance, dry_run: true }, 'dry_run'],
  ])('%s and names the field', async (_, body, field, who = 'reader') => {
    const answer = await ask(body, tokens[who as keyof typeof tokens])
    expect(answer).toMatchObject({ status: 422, body: { code: 'invalid_request', field } })
    expect(answer.body['detail']).not.toMatch(/convert/)
  })
})
