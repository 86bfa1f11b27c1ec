import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { OpenFgaClient } from '@openfga/sdk'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseDsl } from './support/target.ts'

const cli = join(import.meta.dirname, '../src/server/cli.ts')
const modelFile = join(import.meta.dirname, '../../../model.fga')
const now = { current_time: '2026-06-01T12:00:00Z' }
const later = '2027-01-01T00:00:00Z'
const past = '2026-01-01T00:00:00Z'

let child: ChildProcess
let fga: OpenFgaClient

beforeAll(async () => {
  child = spawn(process.execPath, [cli, '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const apiUrl = await address(child)
  const storeId = (await new OpenFgaClient({ apiUrl }).createStore({ name: 'design' })).id
  fga = new OpenFgaClient({ apiUrl, storeId, retryParams: { maxRetry: 0 } })
  const model = parseDsl(readFileSync(modelFile, 'utf8'))
  await fga.writeAuthorizationModel(JSON.parse(JSON.stringify(model)))
  await fga.write({ writes: tuples.map(toTuple) })
})

afterAll(() => {
  child.kill()
})

function address(from: ChildProcess): Promise<string> {
  return new Promise((found, failed) => {
    from.once('error', failed)
    from.once('exit', (code) => failed(new Error(`remit-fga ended with ${String(code)}`)))
    from.stdout?.on('data', (data: Buffer) => {
      const url = /http:\/\/127\.0\.0\.1:\d+/.exec(data.toString())
      if (url !== null) found(url[0])
    })
  })
}

/** `user relation object` and, for an `until` tuple, its end. */
type Line = readonly [user: string, relation: string, object: string, until?: string]

const tuples: readonly Line[] = [
  ['user:anne', 'member', 'group:eng'],
  ['group:eng#member', 'viewer', 'folder:plans'],
  ['collection:hr', 'filed_in', 'folder:plans'],
  ['folder:plans', 'parent', 'document:plan'],
  ['collection:hr', 'filed_in', 'document:plan'],
  ['user:bob', 'viewer', 'document:plan', later],
  ['user:carl', 'viewer', 'document:plan', past],
  ['user:dora', 'owner', 'document:plan'],
  ['user:dora', 'blocked', 'document:plan'],
  ['user:anne', 'owner', 'document:secret'],
  ['collection:hr', 'filed_in', 'document:secret'],
  ['user:*', 'sensitive', 'document:secret'],
  ['user:anne', 'owner', 'document:loose'],
  ['user:anne', 'delegator', 'delegation:t1', later],
  ['agent:bot', 'agent', 'delegation:t1'],
  ['agent:helper', 'sub_agent', 'delegation:t1'],
  ['delegation:t1', 'delegated_to', 'collection:hr'],
  ['user:anne', 'delegator', 'delegation:t0', past],
  ['agent:bot', 'agent', 'delegation:t0'],
  ['delegation:t0', 'delegated_to', 'collection:hr'],
  ['user:dora', 'delegator', 'delegation:t2', later],
  ['agent:bot', 'agent', 'delegation:t2'],
  ['delegation:t2', 'delegated_to', 'collection:hr'],
  ['user:anne', 'grantor', 'grant:g1', later],
  ['agent:bot', 'agent', 'grant:g1'],
  ['grant:g1', 'granted_by', 'document:secret'],
]

const toTuple = ([user, relation, object, until]: Line) => ({
  user,
  relation,
  object,
  ...(until === undefined ? {} : { condition: { name: 'until', context: { expires_at: until } } }),
})

const presented = (user: string, agent: string, delegation: string, grant?: string): Line[] => [
  [user, 'acting_for', agent],
  [user, 'presented', delegation],
  ...(grant === undefined ? [] : [[user, 'presented', grant] as const]),
]

async function check(
  user: string,
  relation: string,
  object: string,
  contextual: readonly Line[] = [],
): Promise<boolean> {
  const answer = await fga.check({
    user,
    relation,
    object,
    context: now,
    contextualTuples: contextual.map(toTuple),
  })
  return answer.allowed === true
}

describe('the model of the service through the official SDK', () => {
  test.each<readonly [string, string, string, string, Line[], boolean]>([
    ['a member of a group reads through the folder', 'user:anne', 'can_read', 'document:plan', [], true],
    ['a viewer until later reads', 'user:bob', 'can_read', 'document:plan', [], true],
    ['a viewer until the past does not', 'user:carl', 'can_read', 'document:plan', [], false],
    ['a blocked owner does not', 'user:dora', 'can_read', 'document:plan', [], false],
    ['a stranger does not', 'user:eve', 'can_read', 'document:plan', [], false],
    ['an owner reads a sensitive document', 'user:anne', 'can_read', 'document:secret', [], true],
    [
      'an agent reads within what was lent',
      'user:anne',
      'can_read_delegated',
      'document:plan',
      presented('user:anne', 'agent:bot', 'delegation:t1'),
      true,
    ],
    [
      'a sub-agent named in the consent too',
      'user:anne',
      'can_read_delegated',
      'document:plan',
      presented('user:anne', 'agent:helper', 'delegation:t1'),
      true,
    ],
    [
      'another agent does not',
      'user:anne',
      'can_read_delegated',
      'document:plan',
      presented('user:anne', 'agent:other', 'delegation:t1'),
      false,
    ],
    ['without a presented delegation nothing', 'user:anne', 'can_read_delegated', 'document:plan', [], false],
    [
      'without the agent nothing',
      'user:anne',
      'can_read_delegated',
      'document:plan',
      [['user:anne', 'presented', 'delegation:t1']],
      false,
    ],
    [
      'an expired delegation lends nothing',
      'user:anne',
      'can_read_delegated',
      'document:plan',
      presented('user:anne', 'agent:bot', 'delegation:t0'),
      false,
    ],
    [
      'the delegation of another lends nothing',
      'user:anne',
      'can_read_delegated',
      'document:plan',
      presented('user:anne', 'agent:bot', 'delegation:t2'),
      false,
    ],
    [
      'nobody lends what they may not read',
      'user:dora',
      'can_read_delegated',
      'document:plan',
      presented('user:dora', 'agent:bot', 'delegation:t2'),
      false,
    ],
    [
      'what is filed nowhere is outside the scope',
      'user:anne',
      'can_read_delegated',
      'document:loose',
      presented('user:anne', 'agent:bot', 'delegation:t1'),
      false,
    ],
    [
      'a sensitive document is refused to the agent',
      'user:anne',
      'can_read_delegated',
      'document:secret',
      presented('user:anne', 'agent:bot', 'delegation:t1'),
      false,
    ],
    [
      'it may be told that it is there',
      'user:anne',
      'can_be_told',
      'document:secret',
      presented('user:anne', 'agent:bot', 'delegation:t1'),
      true,
    ],
    [
      'a grant releases it',
      'user:anne',
      'can_read_delegated',
      'document:secret',
      presented('user:anne', 'agent:bot', 'delegation:t1', 'grant:g1'),
      true,
    ],
    [
      'a grant to one agent does not serve another',
      'user:anne',
      'can_read_delegated',
      'document:secret',
      presented('user:anne', 'agent:helper', 'delegation:t1', 'grant:g1'),
      false,
    ],
  ])('%s', async (_, user, relation, object, contextual, expected) => {
    expect(await check(user, relation, object, contextual)).toBe(expected)
  })

  test('a batch answers each item on its own', async () => {
    const items = ['plan', 'secret', 'loose'].map((id) => ({
      user: 'user:anne',
      relation: 'can_read',
      object: `document:${id}`,
      correlationId: id,
      context: now,
    }))
    const { result } = await fga.batchCheck({
      checks: [
        ...items,
        { user: 'user:bob', relation: 'can_read', object: 'document:plan', correlationId: 'no-clock' },
      ],
    })
    const byId = Object.fromEntries(
      result.map((one) => [one.correlationId, one.error === undefined ? one.allowed : 'error']),
    )
    expect(byId).toEqual({ plan: true, secret: true, loose: true, 'no-clock': 'error' })
  })

  test('lists and streams what may be read, with the agent too', async () => {
    const { objects } = await fga.listObjects({
      user: 'user:anne',
      relation: 'can_read',
      type: 'document',
      context: now,
    })
    expect(objects.sort()).toEqual(['document:loose', 'document:plan', 'document:secret'])
    const streamed: string[] = []
    const contextualTuples = presented('user:anne', 'agent:bot', 'delegation:t1').map(toTuple)
    for await (const { object } of fga.streamedListObjects({
      user: 'user:anne',
      relation: 'can_read_delegated',
      type: 'document',
      context: now,
      contextualTuples,
    }))
      streamed.push(object)
    expect(streamed).toEqual(['document:plan'])
  })

  test('reads, pages and follows changes', async () => {
    const page = await fga.read({ object: 'document:secret' }, { pageSize: 2 })
    expect(page.tuples.length).toBe(2)
    const rest = await fga.read({ object: 'document:secret' }, { continuationToken: page.continuation_token })
    expect([...page.tuples, ...rest.tuples].map(({ key }) => key.relation)).toEqual([
      'owner',
      'filed_in',
      'sensitive',
      'granted_by',
    ])
    const { changes } = await fga.readChanges({ type: 'grant' })
    expect(changes.map((change) => change.tuple_key.relation)).toEqual(['grantor', 'agent'])
  })

  test('tells who may read', async () => {
    const { users } = await fga.listUsers({
      object: { type: 'document', id: 'plan' },
      relation: 'can_read',
      user_filters: [{ type: 'user' }],
      context: now,
    })
    expect(users.map((user) => user.object?.id).sort()).toEqual(['anne', 'bob'])
  })
})
