import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Fga } from '../../src/authz/fga.ts'
import { createGrants, type Grants } from '../../src/compose/grants.ts'
import type { GrantDraft } from '../../src/delegation/approvals/terms.ts'
import { createAgents } from '../../src/delegation/registry/agents.ts'
import type { Principal } from '../../src/kernel/principal.ts'
import {
  byGrants,
  createPresenting,
  mayAsk,
  namedBy,
  type Presented,
  type Presenting,
  shownGrants,
} from '../../src/retrieval/approvals.ts'
import type { Database, Sql } from '../../src/store/sql.ts'
import { movableClock, openMigrated, ownIssuerUrl, putDelegation } from '../delegation/world.ts'
import { openFga } from '../delegation/world-fga.ts'
import { agree } from '../support/approvals.ts'

// Presenting step by step: grants as they are, and answers of the test's own. With the gate:
// approvals.test.ts.

let database: Database
let fga: Fga
let grants: Grants
let presenting: Presenting
let delegation: string
let count = 0
/** How many transactions began, and what was settled. */
let begun: number
let settled: (readonly string[])[]
let logged: unknown[]

beforeAll(async () => {
  database = await openMigrated()
  const clock = movableClock()
  fga = await openFga(database, clock)
  const log = (event: string, fields?: object) => void logged.push({ event, ...fields })
  grants = createGrants({ database, fga, clock, log, randomBytes })
  presenting = createPresenting({
    database: {
      ...database,
      transaction(work) {
        begun += 1
        return database.transaction(work)
      },
    },
    approvals: {
      ...grants.approvals,
      settle(ids) {
        settled.push(ids)
        return grants.approvals.settle(ids)
      },
    },
    log,
  })
  const id = 'research-bot'
  const agents = createAgents({ sql: database, clock })
  await agents.save({ id, owner: 'user:anne', purpose: 'tests', issuer: ownIssuerUrl, sub: id })
  await database.query('create table written (word text)')
})
afterAll(() => database?.close())
beforeEach(async () => {
  begun = 0
  settled = []
  logged = []
  await database.query('delete from written')
  // What one test leaves remembered is not the next one's.
  count += 1
  delegation = `d_${count}`
  const expiresAt = new Date(Date.now() + 3_600_000)
  await putDelegation(database, { id: delegation, subject: 'user:anne', agent: 'research-bot', expiresAt })
})

const bot = (overrides: Partial<Principal> = {}): Principal => ({
  kind: 'agent',
  subject: 'user:anne',
  actors: ['agent:research-bot'],
  client: 'bot-client',
  scopes: new Set(['docs.search']),
  authorizationDetails: [],
  delegation,
  txn: 't_1',
  expiresAt: 0,
  ...overrides,
})
const agreed = (overrides: Partial<GrantDraft> = {}) =>
  agree({ service: { grants }, database }, { delegation, objects: ['document:a'], ...overrides })
const remembered = () => agreed({ objects: ['folder:board'], remembered: true })

describe('an answer', () => {
  /** Gives what was presented to each attempt; the one of this number is an answer, those before are none. */
  async function attempts(
    good: number,
    asking: Parameters<Presenting['answer']>[1],
    { as = bot(), first }: { readonly as?: Principal; readonly first?: () => Promise<unknown> } = {},
  ) {
    const seen: string[][] = []
    const answer = await presenting.answer(as, asking, async (presented) => {
      seen.push(presented.map(({ id }) => id))
      if (seen.length === 1) await first?.()
      return seen.length === good ? `the answer ${good}` : undefined
    })
    expect(answer).toBe(`the answer ${good}`)
    return seen
  }

  test('is made with what was named and counts for its question, and with what is remembered', async () => {
    const [named, kept] = [await agreed(), await remembered()]
    const question = await agreed({ queryHmac: 'this' })
    const both = [named, kept].sort()
    expect(await attempts(1, { named: [named, question, 'g_never'] })).toEqual([both])
    expect(await attempts(1, { named: [question], queryHmac: 'this' })).toEqual([[kept, question].sort()])
  })

  test('that rests on a use that is gone is made with what is remembered alone, then with nothing', async () => {
    const [named, kept] = [await agreed(), await remembered()]
    const both = [named, kept].sort()
    expect(await attempts(2, { named: [named] })).toEqual([both, [kept]])
    expect(await attempts(3, { named: [named] })).toEqual([both, [kept], []])
  })

  test('is not made with nothing twice, and looks once more at what is remembered', async () => {
    const named = await agreed()
    expect(await attempts(2, { named: [named] })).toEqual([[named], []])
    const kept = await remembered()
    const first = () => grants.approvalGrants.revoke('user:anne', kept, operator('t_tests'))
    expect(await attempts(2, { named: [] }, { first })).toEqual([[kept], []])
  })

  test('for a person alone presents nothing', async () => {
    const named = await agreed()
    await remembered()
    expect(await attempts(1, { named: [named] }, { as: bot({ actors: [] }) })).toEqual([[]])
  })

  test('that presents nothing and is none all the same is a bug, and is not tried again', async () => {
    const [presented, asking] = [[] as number[], { named: [await agreed()] }]
    const none = async (grantList: readonly Presented[]) => void presented.push(grantList.length)
    await expect(presenting.answer(bot(), asking, none)).rejects.toThrow(
      'An answer without grants rested on one.',
    )
    expect(presented).toEqual([1, 0])
  })
})

describe('what leaves', () => {
  const usesOf = (
    covered: Readonly<Record<string, readonly string[]>> | undefined,
    ...presented: Presented[]
  ) =>
    presenting.usesOf(
      {
        async grantsOf(ids) {
          expect(ids).toEqual(['a', 'b', 'c'])
          return covered && new Map(Object.entries(covered))
        },
      },
      presented,
      ['a', 'b', 'c'],
    )
  const one: Presented = { id: 'g_1', objects: ['document:a', 'document:b'], remembered: false }
  const other: Presented = { id: 'g_2', objects: ['document:c'], remembered: false }
  const kept: Presented = { id: 'g_0', objects: ['folder:board'], remembered: true }

  test('goes by the grants whose rows know it, each once and in one order', async () => {
    const covered = { a: ['g_1'], b: ['g_1', 'g_0'], c: ['g_2'] }
    const uses = await usesOf(covered, one, other, kept)
    expect(uses).toEqual({ byDocument: new Map(Object.entries(covered)), grants: ['g_0', 'g_1', 'g_2'] })
    expect(await usesOf({}, one)).toEqual({ byDocument: new Map(), grants: [] })
    expect(logged).toEqual([])
  })

  test('by a grant whose row does not know it does not leave at all', async () => {
    expect(await usesOf({ a: ['g_1'], c: ['g_1', 'g_2'] }, other, one)).toBeUndefined()
    expect(logged).toEqual([{ event: 'grant_covers_more', grant: 'g_1' }])
  })

  test('without a grant that it needs does not leave, and nothing is said of the grants', async () => {
    expect(await usesOf(undefined, one)).toBeUndefined()
    expect(logged).toEqual([])
  })

  test('is on record by its grants, and without any where it needs none', () => {
    const uses = { byDocument: new Map([['a', ['g_1']]]), grants: ['g_1'] }
    expect(byGrants(uses, 'a')).toEqual({ grants: ['g_1'] })
    expect(byGrants(uses, 'b')).toStrictEqual({})
  })

  test('is what the gate is shown: documents by their ids, and none of a remembered one', () => {
    expect(shownGrants([one, kept])).toEqual([
      { id: 'g_1', documentIds: ['a', 'b'] },
      { id: 'g_0', documentIds: [] },
    ])
  })
})

describe('a release', () => {
  const write = (word: string) => async (sql: Sql) => {
    await sql.query('insert into written values ($1)', [word])
  }
  const failing = async (sql: Sql) => {
    await write('half')(sql)
    throw new Error('no room')
  }
  const written = async () =>
    (await database.query<{ word: string }>('select word from written')).map(({ word }) => word)
  const used = async (id: string) => (await grants.approvalGrants.get(id))?.used
  const commit = (
    ids: readonly string[],
    work: (sql: Sql) => Promise<void>,
    {
      principal = bot(),
      isSingle = false,
      queryHmac,
    }: { principal?: Principal; isSingle?: boolean; queryHmac?: string } = {},
  ) =>
    presenting.commit(
      {
        ...{ uses: { byDocument: new Map(), grants: ids }, principal, isSingle },
        ...(queryHmac !== undefined && { queryHmac }),
      },
      work,
    )

  test('counts each use with what is written, and settles what was used once it is committed', async () => {
    const [once, often] = [await agreed({ maxUses: 1 }), await agreed()]
    expect(await commit([once, often], write('all'), { isSingle: true })).toBe(true)
    expect(await written()).toEqual(['all'])
    expect([await used(once), await used(often)]).toEqual([1, 1])
    expect([begun, settled]).toEqual([1, [[once, often]]])
    const left: unknown[] = []
    for await (const tuple of fga.read({ object: `grant:${once}` })) left.push(tuple)
    expect(left).toEqual([])
  })

  test('of which a use does not count is none: nothing is written, and no other use is counted', async () => {
    const [often, once] = [await agreed(), await agreed({ maxUses: 1 })]
    expect(await commit([once], write('first'))).toBe(true)
    settled = []
    expect(await commit([often, once], write('second'))).toBe(false)
    expect(await commit([often], write('stranger'), { principal: bot({ subject: 'user:bob' }) })).toBe(false)
    expect(await written()).toEqual(['first'])
    expect(await used(often)).toBe(0)
    expect(settled).toEqual([])
  })

  test('by a grant for one question is for that question', async () => {
    const question = await agreed({ queryHmac: 'this' })
    expect(await commit([question], write('none'))).toBe(false)
    expect(await commit([question], write('that'), { queryHmac: 'that' })).toBe(false)
    expect(await commit([question], write('this'), { queryHmac: 'this' })).toBe(true)
    expect(await written()).toEqual(['this'])
  })

  test('that cannot be written counts no use, and says why', async () => {
    const often = await agreed()
    await expect(commit([often], failing)).rejects.toThrow('no room')
    await expect(commit([], failing)).rejects.toThrow('no room')
    expect(await used(often)).toBe(0)
    expect(await written()).toEqual([])
    expect(settled).toEqual([])
  })

  test('without grants takes a transaction only where it is more than one statement, and settles nothing', async () => {
    expect(await commit([], write('one'), { isSingle: true })).toBe(true)
    expect(begun).toBe(0)
    expect(await commit([], write('two'))).toBe(true)
    expect(begun).toBe(1)
    expect(await written()).toEqual(['one', 'two'])
    expect(settled).toEqual([])
  })
})

describe('a request', () => {
  test('names a grant by itself, by its token, by both or not at all', () => {
    expect(namedBy(bot({ grant: 'g_token' }), 'g_body')).toEqual(['g_body', 'g_token'])
    expect(namedBy(bot({ grant: 'g_token' }), undefined)).toEqual(['g_token'])
    expect(namedBy(bot(), 'g_body')).toEqual(['g_body'])
    expect(namedBy(bot(), undefined)).toEqual([])
  })

  test('is told that there is something to ask for only where an agent may ask', () => {
    const scopes = new Set(['approvals.request'] as const)
    expect(mayAsk(bot({ scopes }))).toBe(true)
    expect(mayAsk(bot())).toBe(false)
    expect(mayAsk(bot({ scopes, actors: [] }))).toBe(false)
  })
})
