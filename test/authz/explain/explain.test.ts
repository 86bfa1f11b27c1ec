import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createExplainer, type Explainer } from '../../../src/authz/explain/explain.ts'
import type { ExplainQuestion } from '../../../src/authz/explain/input.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import { principal } from '../../http/principal.ts'
import { openWorld, type World } from '../../support/world.ts'
import { createTestIndex, type TestIndex } from '../parts.ts'

let world: World
let index: TestIndex
let explain: Explainer
let delegation: string
const now = Date.now
const admin: Principal = { ...principal, subject: 'user:dan', scopes: new Set(['security.read']) }

/** A replica that holds what OpenFGA holds now. */
async function replicate(): Promise<TestIndex> {
  const { fga } = world.service
  const copy = createTestIndex(fga.modelId, now)
  for await (const page of fga.readAll()) {
    copy.add(
      ...page.map(({ user, relation, object, condition }) => ({
        user,
        relation,
        object: object as FgaObject,
        ...(condition && { condition: condition as never }),
      })),
    )
  }
  return copy
}

beforeAll(async () => {
  world = await openWorld()
  await world.write(
    'user:anne member group:eng',
    'group:eng#member viewer document:plan',
    'collection:handbook filed_in document:plan',
    'collection:handbook filed_in document:secret',
    'collection:finance filed_in document:budget',
    'user:anne viewer document:secret',
    'user:anne viewer document:budget',
    'user:* sensitive document:secret',
    'user:* viewer document:open',
    'user:bob blocked document:open',
    'collection:handbook filed_in document:cellar',
    'folder:deep parent document:cellar',
    'folder:house parent folder:deep',
    'user:carol viewer folder:deep',
    'group:contractors#member blocked folder:house',
    'user:carol member group:contractors',
    'zone:vault parent document:zoned',
    'user:carol audience zone:vault',
    'user:carol gate_1 zone:vault',
    'user:dan gate_2 zone:vault',
    'user:* gate_3 zone:vault',
  )
  delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  index = await replicate()
  explain = createExplainer({ sql: world.database, agentOf, fga: world.service.fga, index, now })
})
afterAll(() => world?.[Symbol.asyncDispose]())

const agentOf = (id: string) => world.service.agents.get(id)

const ask = (question: Partial<ExplainQuestion>, how = explain) =>
  how(
    admin,
    { user: 'user:anne', relation: 'can_read', object: 'document:plan', ...question },
    { signal: AbortSignal.timeout(20_000) },
  )

const lent = (object: FgaObject, more: Partial<ExplainQuestion> = {}) =>
  ask({ agent: 'research-bot', delegation, relation: 'can_read_delegated', object, ...more })

describe('an explanation', () => {
  test('holds OpenFGA’s decision and the replica’s, which agree', async () => {
    expect(await ask({})).toMatchObject({
      decision: 'allowed',
      explanation: { allowed: true, cut: 0 },
      agrees: true,
      replica: { state: 'ready' },
      inWords: 'user:anne has can_read of document:plan.',
    })
    expect(await ask({ user: 'user:bob', object: 'document:open' })).toMatchObject({
      decision: 'denied',
      explanation: { allowed: false },
      agrees: true,
    })
  })

  test.each([
    [
      'lent and not sensitive',
      'document:plan',
      {},
      'allowed',
      'agent:research-bot for user:anne has can_read_delegated of document:plan.',
    ],
    [
      'sensitive',
      'document:secret',
      {},
      'denied',
      'It is sensitive, and no approval that was presented covers it.',
    ],
    ['not lent', 'document:budget', {}, 'denied', 'It is not within what delegation:'],
    [
      'not the person’s',
      'document:plan',
      { user: 'user:carol' },
      'denied',
      'user:carol may not read it: an agent never may more than its person.',
    ],
    [
      'of another agent',
      'document:plan',
      { agent: 'other-bot' },
      'denied',
      'is not in force: it has ended, or is not from user:anne to agent:other-bot.',
    ],
    [
      'over by then',
      'document:plan',
      { at: Date.now() + 7_200_000 },
      'denied',
      'is not in force: it has ended',
    ],
  ] as const)('says in words which side decides: %s', async (_, object, more, decision, words) => {
    const answer = await lent(object, more)
    expect(answer).toMatchObject({ decision, agrees: true })
    expect(answer.inWords).toContain(words)
  })

  test('says of a denial that no stored tuple is about the document, or names the person, where their ids are mistyped', async () => {
    const wrong = await ask({ user: 'user:annne', object: 'document:plann' })
    expect(wrong.inWords).toBe(
      'user:annne does not have can_read of document:plann. No stored tuple is about document:plann: its id may be mistyped, or it was never taken in, or withdrawn. No stored tuple names user:annne: the id may be mistyped, or nothing was given to it by itself.',
    )
    const [right, late] = [await ask({ user: 'user:bob' }), await replicate()]
    expect(right).toMatchObject({
      decision: 'denied',
      inWords: 'user:bob does not have can_read of document:plan.',
    })
    // Of a replica that is behind nothing of the kind can be said.
    late.set({ state: 'building' })
    const how = createExplainer({ sql: world.database, agentOf, fga: world.service.fga, index: late, now })
    expect((await ask({ object: 'document:plann' }, how)).inWords).not.toContain('stored tuple')
  })

  test('says where a person is blocked and by whom they are meant, and which gate of a zone does not hold them', async () => {
    const words = async (user: string, object: FgaObject) => {
      const { decision, agrees, inWords } = await ask({ user, object })
      expect({ user, decision, agrees }).toEqual({ user, decision: 'denied', agrees: true })
      return inWords.replace(`${user} does not have can_read of ${object}. `, '')
    }
    expect(await words('user:bob', 'document:open')).toBe('Blocked at document:open.')
    expect(await words('user:carol', 'document:cellar')).toBe(
      'Blocked at folder:house, for group:contractors#member.',
    )
    expect(await words('user:carol', 'document:zoned')).toBe('Gate 2 of zone:vault does not hold them.')
    expect(await words('user:dan', 'document:zoned')).toBe(
      'They are not in the audience of zone:vault. Gate 1 of zone:vault does not hold them.',
    )
  })

  test('says the same once the last tuple about a document is gone', async () => {
    const key = { user: 'user:anne', relation: 'viewer', object: 'document:gone' } as const
    const copy = await replicate()
    copy.add(key)
    copy.remove(key)
    const how = createExplainer({ sql: world.database, agentOf, fga: world.service.fga, index: copy, now })
    expect((await ask({ object: 'document:gone' }, how)).inWords).toContain(
      'No stored tuple is about document:gone',
    )
  })

  test('is made with the tuples that the gate sends: an approval that is presented counts', async () => {
    await world.service.fga.write({
      writes: [
        {
          user: 'user:anne',
          relation: 'grantor',
          object: 'grant:g1',
          condition: { name: 'until', context: { expires_at: new Date(now() + 60_000).toISOString() } },
        },
        { user: 'agent:research-bot', relation: 'agent', object: 'grant:g1' },
        { user: 'grant:g1', relation: 'granted_by', object: 'document:secret' },
      ],
    })
    const how = createExplainer({
      agentOf,
      sql: world.database,
      fga: world.service.fga,
      index: await replicate(),
      now,
    })
    const question = {
      agent: 'research-bot',
      delegation,
      relation: 'can_read_delegated',
      object: 'document:secret',
    } as const
    expect(await ask(question, how)).toMatchObject({ decision: 'denied', agrees: true })
    expect(await ask({ ...question, grants: ['g1'] }, how)).toMatchObject({
      decision: 'allowed',
      agrees: true,
      inWords: expect.stringContaining('it is sensitive, and an approval covers it'),
    })
  })

  test('says so when the replica says something else, and OpenFGA’s word is the decision', async () => {
    const stale = await replicate()
    stale.remove({ user: 'user:anne', relation: 'member', object: 'group:eng' })
    const how = createExplainer({ sql: world.database, agentOf, fga: world.service.fga, index: stale, now })
    expect(await ask({}, how)).toMatchObject({
      decision: 'allowed',
      explanation: { allowed: false },
      agrees: false,
    })
  })

  test('tries again when a change came between the two answers', async () => {
    const late = await replicate()
    const key = { user: 'user:anne', relation: 'member', object: 'group:eng' } as const
    late.remove(key)
    let tries = 0
    const catchUp = async () => {
      if (++tries === 2) late.add(key)
    }
    const how = createExplainer({
      agentOf,
      sql: world.database,
      fga: world.service.fga,
      index: { ...late, catchUp },
      now,
    })
    expect(await ask({}, how)).toMatchObject({ decision: 'allowed', agrees: true })
  })

  test.each([
    ['is being built', (copy: TestIndex) => copy.set({ state: 'building' }), 'building'],
    ['follows another model', (copy: TestIndex) => copy.setModel('another'), 'other_model'],
  ])('explains nothing while the replica %s, and still gives OpenFGA’s decision', async (_, spoil, state) => {
    const copy = await replicate()
    spoil(copy)
    const how = createExplainer({ sql: world.database, agentOf, fga: world.service.fga, index: copy, now })
    const answer = await ask({}, how)
    expect(answer).toMatchObject({ decision: 'allowed', replica: { state } })
    expect([answer.explanation, answer.agrees]).toEqual([undefined, undefined])
  })

  test('says that the replica is behind when it cannot catch up', async () => {
    const copy = await replicate()
    const how = createExplainer({
      agentOf,
      sql: world.database,
      fga: world.service.fga,
      index: { ...copy, catchUp: () => Promise.reject(new Error('no log')) },
      now,
    })
    expect(await ask({}, how)).toMatchObject({ decision: 'allowed', replica: { state: 'behind' } })
  })

  test('is on record with its question and both answers', async () => {
    await lent('document:secret')
    const [row] = await world.database.query<{ subject: string; detail: object }>(
      `select subject, detail from decision_records where event = 'explained' order by record_no desc limit 1`,
    )
    expect(row).toMatchObject({
      subject: 'user:dan',
      detail: {
        question: {
          user: 'user:anne',
          agent: 'research-bot',
          delegation,
          relation: 'can_read_delegated',
          object: 'document:secret',
        },
        decision: 'denied',
        agrees: true,
        model_id: world.service.fga.modelId,
      },
    })
  })

  test('is not given where it cannot be put on record', async () => {
    const sql = { ...world.database, query: () => Promise.reject(new Error('down')) }
    const how = createExplainer({ sql, agentOf, fga: world.service.fga, index, now })
    await expect(ask({}, how)).rejects.toThrow('down')
  })

  test.each([
    ['user', { user: 'anne' }],
    ['user', { user: 'user:a b' }],
    ['user', { user: 'group:eng#member#x' }],
    ['user', { user: 'robot:x' }],
    ['user', { user: 'group:eng#nothing' }],
    ['object', { object: 'document' as FgaObject }],
    ['object', { object: 'document:../x' as FgaObject }],
    ['object', { object: 'robot:x' as FgaObject }],
    ['relation', { relation: 'can read' }],
    ['relation', { relation: 'nothing' }],
    ['delegation', { agent: 'research-bot' }],
    ['delegation', { delegation: 'd_1' }],
    ['grants', { grants: ['g_1'] }],
    ['grants.1', { agent: 'research-bot', delegation: 'd_1', grants: ['g_1', 'g 2'] }],
    ['agent', { agent: 'a:b', delegation: 'd_1' }],
    ['user', { user: 'group:eng#member', agent: 'research-bot', delegation: 'd_1' }],
    ['user', { user: 'user:*', agent: 'research-bot', delegation: 'd_1' }],
  ])('is refused with the field %s for %j', async (field, question) => {
    await expect(ask(question)).rejects.toMatchObject({ code: 'invalid_request', field })
  })
})
