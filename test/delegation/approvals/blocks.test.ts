import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import { blockAgent, createBlocks, isHostBlocked } from '../../../src/delegation/approvals/blocks.ts'
import { createAgents } from '../../../src/delegation/registry/agents.ts'
import { createClients } from '../../../src/delegation/registry/clients.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import { openMigrated, ownIssuerUrl } from '../world.ts'

// Blocks by themselves. With questions, programs that are let in and what an older version wrote:
// decide.test.ts, limits.test.ts, issuer/cimd/hosts.test.ts.

let database: Awaited<ReturnType<typeof openMigrated>>
// Of one length, so that they sort as they come.
let number = 100
beforeAll(async () => {
  database = await openMigrated()
})
afterAll(() => database?.close())
beforeEach(async () => {
  for (const table of ['approval_askers', 'approval_host_askers', 'clients'])
    await database.query(`delete from ${table}`)
})

const anne = 'user:anne'
const bob = 'user:bob'
const start = Date.UTC(2026, 0, 1)
/** So many milliseconds after the first. */
const at = (ms: number) => new Date(start + ms)

/** An agent by itself, or the one at these addresses. */
async function agent(id: string, ...clientIds: string[]): Promise<string> {
  const { save } = createAgents({ sql: database, clock: { now: () => start } })
  await save({ id, title: `The ${id}`, owner: anne, purpose: 'tests', issuer: ownIssuerUrl, sub: id })
  for (const clientId of clientIds)
    await createClients({ sql: database }).register({ clientId, kind: 'agent', agent: id })
  return id
}
/** A program that nobody registered, whose document is at this address. */
function program(address: string): Promise<string> {
  number += 1
  return agent(`cimd/${number}`, address)
}
const block = (agentId: string, subject: FgaObject = anne, ms = 0, txn = 't') =>
  database.transaction((sql) =>
    blockAgent(sql, { subject, agent: agentId }, { recordedAs: operator(txn), now: at(ms) }),
  )
/** As a version writes it that knows of no hosts. */
const blockAlone = (agentId: string) =>
  database.query('insert into approval_askers values ($1, $2, $3)', [anne, agentId, at(0)])
const isBlocked = (agentId: string, subject: FgaObject = anne) =>
  database.transaction((sql) => isHostBlocked(sql, subject, agentId))
const lift = (agentId: string, subject: FgaObject = anne, txn = 't') =>
  createBlocks(database).lift(subject, agentId, operator(txn))
const listed = async (subject: FgaObject = anne) =>
  (await createBlocks(database).of(subject)).map((one) => one.agent)
const hosts = (subject: FgaObject = anne) =>
  database.query(
    'select host, blocked_at as since from approval_host_askers where subject = $1 order by host',
    [subject],
  )
const recorded = (txn: string) =>
  database.query(
    'select event, subject, client, detail from decision_records where txn = $1 order by record_no',
    [txn],
  )
const said = (event: string, agentId: string) => ({
  event,
  subject: 'service:remit',
  client: 'machine',
  detail: { agent: agentId },
})

describe('whom a person blocks', () => {
  test('is listed to them alone, the newest first, with its title and since when', async () => {
    const [a, b, c, bobs] = [await agent('a'), await agent('b'), await agent('c'), await agent('bobs')]
    await block(b, anne, 1)
    await block(a, anne, 1)
    await block(c, anne, 2)
    await block(bobs, bob)
    // Who has asked and is not blocked.
    await database.query('insert into approval_askers values ($1, $2, null)', [anne, bobs])
    expect(await createBlocks(database).of(anne)).toEqual([
      { agent: c, agentTitle: 'The c', since: at(2) },
      { agent: a, agentTitle: 'The a', since: at(1) },
      { agent: b, agentTitle: 'The b', since: at(1) },
    ])
    expect(await listed(bob)).toEqual([bobs])
  })

  test('stays blocked since the first time, with its host, each time on record', async () => {
    const one = await program('https://asks.example/one')
    // Who asked before has rows that say nothing.
    expect(await isBlocked(one)).toBe(false)
    await database.query('insert into approval_askers values ($1, $2, null)', [anne, one])
    await block(one, anne, 1, 't_block')
    await block(one, anne, 2, 't_block')
    expect(await createBlocks(database).of(anne)).toMatchObject([{ agent: one, since: at(1) }])
    expect(await hosts()).toEqual([{ host: 'asks.example', since: at(1) }])
    expect(await hosts(bob)).toEqual([])
    expect(await recorded('t_block')).toEqual([said('agent_blocked', one), said('agent_blocked', one)])
  })

  test('is one agent where somebody registered it, wherever its address is', async () => {
    const partner = await agent('partner', 'https://asks.example/partner', 'https://asks.example/other')
    const [bare, stranger] = [await agent('bare', 'app'), await program('https://asks.example/one')]
    for (const one of [partner, bare]) {
      expect(await isBlocked(one)).toBe(false)
      await block(one)
    }
    expect(await isBlocked(stranger)).toBe(false)
    // Nobody waits for others of its host, where it has none.
    expect(await hosts()).toEqual([{ host: 'asks.example', since: null }])
    await block(stranger)
    const colleague = await agent('colleague', 'https://asks.example/colleague')
    expect(await isBlocked(colleague)).toBe(false)
    expect(await isBlocked(partner)).toBe(true)
    expect(await lift(stranger)).toBe(true)
    expect(await listed()).toEqual([bare, partner])
    expect(await lift(bare)).toBe(true)
    expect(await listed()).toEqual([partner])
  })
})

describe('a host is blocked with one of its programs', () => {
  test.each([
    ['https://asks.example/two', true],
    ['https://asks.example:8443/two', true],
    ['https://asks.example./two', true],
    ['https://asks.example?two', true],
    ['https://asks.example#two', true],
    ['https://more.asks.example/two', false],
    ['https://asks.example.net/two', false],
    ['https://elsewhere.example/https://asks.example/two', false],
    ['http://asks.example/two', false],
  ])('and %s is of it: %s', async (address, isOfIt) => {
    const [one, two] = [await program('https://asks.example/one'), await program(address)]
    await block(one)
    expect(await isBlocked(two)).toBe(isOfIt)
    expect(await isBlocked(two, bob)).toBe(false)
    // The same of blocks that know of no host.
    await database.query('delete from approval_host_askers')
    expect(await isBlocked(two)).toBe(isOfIt)
    await block(two)
    expect(await lift(two)).toBe(true)
    expect(await listed()).toEqual(isOfIt ? [] : [one])
  })

  test('by its whole address where it has no name', async () => {
    const one = await program('https://[2001:db8::1]/one')
    const [two, other] = [
      await program('https://[2001:db8::1]:8443/two'),
      await program('https://[2001:db8::2]/one'),
    ]
    await block(one)
    expect(await hosts()).toEqual([{ host: '[2001:db8::1]', since: at(0) }])
    expect([await isBlocked(two), await isBlocked(other)]).toEqual([true, false])
  })

  test('of a program that somebody registered further clients for, by its document', async () => {
    const one = await agent('cimd/more', 'app', 'https://asks.example/more', 'https://asks.example/again')
    await block(one)
    expect(await hosts()).toEqual([{ host: 'asks.example', since: at(0) }])
    expect(await isBlocked(await program('https://asks.example/two'))).toBe(true)
  })

  test('and stays so without it: its client is removed, another comes', async () => {
    const [one, elsewhere] = [
      await program('https://asks.example/one'),
      await program('https://elsewhere.example/one'),
    ]
    await block(elsewhere, anne, 1)
    await block(one, anne, 2)
    await createClients({ sql: database }).remove('https://asks.example/one')
    const two = await program('https://asks.example/two')
    expect(await isBlocked(two)).toBe(true)
    expect(await isBlocked(two, bob)).toBe(false)
    // Nothing but the moment of the block says any more which host it was of.
    expect(await lift(one)).toBe(true)
    expect(await isBlocked(two)).toBe(false)
    expect(await hosts()).toEqual([
      { host: 'asks.example', since: null },
      { host: 'elsewhere.example', since: at(1) },
    ])
  })
})

describe('a block is lifted', () => {
  test('with those of every other program of the host, each on record, and nothing else is', async () => {
    const [one, two, elsewhere] = [
      await program('https://asks.example/one'),
      await program('https://asks.example/two'),
      await program('https://elsewhere.example/one'),
    ]
    for (const blocked of [two, one, elsewhere]) await block(blocked)
    await block(one, bob)
    expect(await lift(two, anne, 't_lift')).toBe(true)
    expect(await listed()).toEqual([elsewhere])
    expect(await listed(bob)).toEqual([one])
    expect(await hosts()).toEqual([
      { host: 'asks.example', since: null },
      { host: 'elsewhere.example', since: at(0) },
    ])
    expect(await hosts(bob)).toEqual([{ host: 'asks.example', since: at(0) }])
    expect(await recorded('t_lift')).toEqual([one, two].map((id) => said('agent_unblocked', id)))
  })

  test('only where there is one, of this agent and of this person', async () => {
    const [one, two] = [await program('https://asks.example/one'), await program('https://asks.example/two')]
    expect(await lift(one)).toBe(false)
    await block(one)
    // Who has asked.
    await database.query('insert into approval_askers values ($1, $2, null)', [anne, two])
    for (const [agentId, subject] of [
      [two, anne],
      [one, bob],
      ['none', anne],
    ] as const)
      expect(await lift(agentId, subject, 't_none')).toBe(false)
    expect(await listed()).toEqual([one])
    expect(await hosts()).toEqual([{ host: 'asks.example', since: at(0) }])
    expect(await recorded('t_none')).toEqual([])
  })

  test('of one that an older version made, and only its own host’s', async () => {
    const [one, two] = [await program('https://asks.example/one'), await program('https://asks.example/two')]
    await blockAlone(one)
    expect(await isBlocked(two)).toBe(true)
    // Waited for, and not made a block of the host.
    expect(await hosts()).toEqual([{ host: 'asks.example', since: null }])
    expect(await lift(one)).toBe(true)
    expect(await isBlocked(two)).toBe(false)
  })
})
