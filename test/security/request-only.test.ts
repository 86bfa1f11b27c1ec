import { join } from 'node:path'
import { SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { compose } from '../../src/compose/compose.ts'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import type { Principal } from '../../src/kernel/principal.ts'
import { createSystemFetch } from '../../src/outbound/guarded-fetch.ts'
import { annesBot } from '../authz/double.ts'
import { gateOf } from '../authz/parts.ts'
import { openWorld, type World } from '../support/world.ts'

// `acting_for` and `presented` come with a check, from a verified token, and `not_blocked` with what is asked
// beside it. Stored ones would count for
// everybody: these tests put them into OpenFGA past the service, see the harm, and see it end.

let openfga: FgaApi | undefined
let world: World
let lentToOther: string

beforeAll(async () => {
  world = await openWorld({
    openfga: (real) => {
      openfga = real
      return real
    },
  })
  await world.put({
    'handbook/travel': { text: 'The travel budget.', access: { viewers: ['user:anne'] } },
    'finance/budget': {
      collection: 'finance',
      text: 'The finance budget.',
      access: { viewers: ['user:anne'] },
    },
  })
  await world.lend('anne', 'research-bot', 'collection:handbook')
  lentToOther = await world.lend('anne', 'other-bot', 'collection:finance')
})
afterEach(() => world.service.ingest.drift())
afterAll(() => world?.[Symbol.asyncDispose]())

const forced = () => [
  `user:anne acting_for agent:other-bot`,
  `user:anne presented delegation:${lentToOther}`,
  'user:anne not_blocked collection:handbook',
  'user:anne not_blocked zone:z',
]

const seen = async () => {
  const token = await world.token({ user: 'anne', agent: 'research-bot' })
  const { results } = await world.retrieve(token, { query: 'budget' })
  return results.map(({ document_id }) => document_id).sort()
}

const requestOnly = ['acting_for', 'presented', 'not_blocked']

const stored = async (): Promise<string[]> => {
  const lines: string[] = []
  for await (const { user, relation, object } of world.service.fga.read({})) {
    if (requestOnly.includes(relation)) lines.push(`${user} ${relation} ${object}`)
  }
  return lines.sort()
}

test('stored by force they would lend one agent what was lent to another: the harm is real', async () => {
  expect(await seen()).toEqual(['handbook/travel'])
  await world.write(...forced())
  expect(await seen()).toEqual(['finance/budget', 'handbook/travel'])
})

describe('they are deleted, said aloud and put on record', () => {
  const isTold = async () => {
    expect(await stored()).toEqual([])
    expect(await seen()).toEqual(['handbook/travel'])
    const rows = await world.database.query<{ detail: { removed: string[] } }>(
      `select detail from decision_records where event = 'drift_mended' and detail ->> 'object' = 'store'
       order by record_no desc limit 1`,
    )
    expect([...(rows[0]?.detail.removed ?? [])].sort()).toEqual(forced().sort())
  }

  test('by the drift job', async () => {
    await world.write(...forced())
    expect(await stored()).toEqual(forced().sort())
    expect((await world.service.ingest.drift()).requestOnly).toBe(4)
    await isTold()
    expect(world.logged.some(({ event }) => event === 'request_only_tuples_stored')).toBe(true)
  })

  test('at start, before anybody is answered', async () => {
    await world.write(...forced())
    if (openfga === undefined) throw new Error('No OpenFGA.')
    const logged: string[] = []
    const again = await compose({
      config: world.config,
      infrastructure: {
        database: world.database,
        openfga,
        embeddings: { available: false, reason: 'not needed' },
        [Symbol.asyncDispose]: async () => undefined,
      },
      clock: { now: Date.now },
      log: (event) => void logged.push(event),
      fetch,
      outboundTo: createSystemFetch,
    })
    try {
      await isTold()
      expect(logged).toContain('request_only_tuples_stored')
    } finally {
      await again[Symbol.asyncDispose]()
    }
  })
})

test('a delegation stored by force lends nothing, though OpenFGA says yes: its row is asked first', async () => {
  const { fga, ownIssuer } = world.service
  await fga.write({
    writes: [
      {
        user: 'user:bob',
        relation: 'delegator',
        object: 'delegation:d_forged',
        condition: { name: 'until', context: { expires_at: '2099-01-01T00:00:00Z' } },
      },
      { user: 'agent:research-bot', relation: 'agent', object: 'delegation:d_forged' },
      { user: 'delegation:d_forged', relation: 'delegated_to', object: 'collection:finance' },
      { user: 'user:bob', relation: 'viewer', object: 'document:finance/budget' },
    ],
  })
  const gate = gateOf({ fga, now: Date.now })
  const bobsBot: Principal = {
    ...annesBot,
    subject: 'user:bob',
    actors: ['agent:research-bot'],
    delegation: 'd_forged',
  }
  const { cleared } = await gate
    .open(bobsBot, { consistency: 'strict' })
    .clear([{ documentId: 'finance/budget' }])
  expect(cleared).toHaveLength(1)

  // Signed with the service's own key, as nobody else could.
  const ring = await openKeyRing(join(world.config.home, 'keys'), { now: Date.now })
  const { privateKey, kid } = ring.current()
  await world.token({ user: 'anne', agent: 'research-bot' })
  const token = await new SignJWT({
    client_id: 'demo-agent-research-bot',
    scope: 'docs.search docs.read',
    act: { iss: ownIssuer, sub: 'research-bot' },
    delegation: 'd_forged',
    demo: true,
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
    .setIssuer(ownIssuer)
    .setSubject('bob')
    .setAudience(world.config.publicUrl)
    .setIssuedAt()
    .setExpirationTime('60s')
    .setJti('forged')
    .sign(privateKey)
  for (const [method, path, body] of [
    ['POST', '/retrieve', { query: 'budget' }],
    ['GET', '/documents/finance%2Fbudget'],
    ['GET', '/collections'],
  ] as const) {
    const response = await world.call(method, path, { token, body })
    expect([response.status, await codeOf(response)]).toEqual([403, 'actor_unauthorized'])
  }
  expect(world.logged).toContainEqual({ event: 'token_refused', fields: { reason: 'delegation_unknown' } })
})

test.each([
  { user: 'user:anne', relation: 'acting_for', object: 'agent:research-bot' },
  { user: 'user:anne', relation: 'presented', object: 'delegation:d_1' },
  { user: 'user:anne', relation: 'presented', object: 'grant:g_1' },
  { user: 'user:anne', relation: 'delegator', object: 'delegation:d_1' },
  { user: 'agent:research-bot', relation: 'agent', object: 'delegation:d_1' },
  { user: 'agent:research-bot', relation: 'sub_agent', object: 'delegation:d_1' },
  { user: 'delegation:d_1', relation: 'delegated_to', object: 'collection:handbook' },
  { user: 'delegation:d_1', relation: 'delegated_to', object: 'document:handbook/travel' },
  { user: 'grant:g_1', relation: 'granted_by', object: 'document:handbook/travel' },
  { user: 'user:anne', relation: 'grantor', object: 'grant:g_1' },
])('nobody may write or delete $user $relation $object', async (tuple) => {
  await world.service.administrators.add('user:dan', ['security.write'])
  const tokens = [await world.token({ service: 'loader' }), await world.token({ user: 'dan' })]
  for (const token of tokens) {
    for (const body of [{ writes: [tuple] }, { deletes: [tuple] }]) {
      const before = await everything()
      const response = await world.call('POST', '/access', { token, body })
      expect([response.status, await codeOf(response)]).toEqual([403, 'forbidden'])
      expect(await everything()).toEqual(before)
    }
  }
})

async function everything(): Promise<string[]> {
  const lines: string[] = []
  for await (const { user, relation, object } of world.service.fga.read({}))
    lines.push(`${user} ${relation} ${object}`)
  return lines.sort()
}

const codeOf = async (response: Response) => ((await response.json()) as { code?: string }).code
