import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Principal } from '../../../src/kernel/principal.ts'
import type { Database } from '../../../src/store/sql.ts'
import { openTestDatabase } from '../../support/database.ts'
import { type ProviderDouble, startProvider } from '../../support/provider.ts'
import { agentPrincipal, openVaultParts, recordedAs } from './world.ts'

let double: ProviderDouble
let database: Database
let vaultParts: Awaited<ReturnType<typeof openVaultParts>>
beforeAll(async () => {
  double = await startProvider()
  database = await openTestDatabase()
  vaultParts = await openVaultParts(database, double)
})
afterAll(async () => {
  await database?.close()
  await double?.[Symbol.asyncDispose]()
})
beforeEach(() => database.query('delete from connections'))

const found = async (changes: Partial<Principal> = {}, provider = 'acme') => {
  const result = await vaultParts.connections.find(agentPrincipal(changes), provider)
  return result.ok ? result.value.id : result.reason
}

describe('a connection is found', () => {
  test('by the person’s agent through the client that they agreed to, with its rules', async () => {
    await vaultParts.put({ tokens: double.grant() })
    const result = await vaultParts.connections.find(agentPrincipal(), 'acme')
    expect(result).toMatchObject({
      ok: true,
      value: { id: 'c_1', provider: { name: 'acme' }, rules: [{ methods: ['GET'], paths: ['/**?*'] }] },
    })
  })

  test.each<[string, Partial<Principal>]>([
    ['another person', { subject: 'user:bob' }],
    ['another agent', { actors: ['agent:other-bot'] }],
    ['another agent that acts for the right one', { actors: ['agent:other-bot', 'agent:research-bot'] }],
    ['another client of the same agent', { client: 'public-agent' }],
    ['an agent under a delegation that is not there', { delegation: 'd_none' }],
  ])('not by %s', async (_, changes) => {
    await vaultParts.put({ tokens: double.grant() })
    expect(await found(changes)).toBe('connection_required')
  })

  test('not by the person’s own program, nor under a name that is no provider’s', async () => {
    await vaultParts.put({ tokens: double.grant() })
    expect(await found({ kind: 'person', actors: [] })).toBe('not_found')
    expect(await found({}, 'elsewhere')).toBe('not_found')
  })

  test('not for longer than the agent, the person and what was lent', async () => {
    await vaultParts.put({ tokens: double.grant() })
    expect(await found()).toBe('c_1')
    const undo = async (change: string, back: string) => {
      await database.query(change)
      const result = await found()
      await database.query(back)
      return result
    }
    expect(
      await undo(
        `update agents set disabled_at = now() where id = 'research-bot'`,
        'update agents set disabled_at = null',
      ),
    ).toBe('connection_required')
    expect(
      await undo(
        `update delegations set state = 'revoked' where id = 'd_1'`,
        `update delegations set state = 'live'`,
      ),
    ).toBe('connection_required')
    expect(
      await undo(
        `insert into revocations values ('subject', 'user:anne', null, 'tests', now())`,
        'delete from revocations',
      ),
    ).toBe('connection_required')
    expect(await found()).toBe('c_1')
  })

  test('not where the provider’s name was given to another issuer: its tokens are not for that one', async () => {
    await vaultParts.put({ tokens: double.grant() })
    await database.query(`update connections set issuer = 'https://before.example'`)
    expect(await found()).toBe('connection_required')
    await expect(
      vaultParts.connections.withToken('c_1', async () => 'used', { recordedAs }),
    ).rejects.toMatchObject({
      code: 'connection_required',
    })
  })

  test('but says that the person has to connect it once more where the provider refuses', async () => {
    await vaultParts.put({ tokens: double.grant(), state: 'needs_reconnect' })
    expect(await found()).toBe('reconnect_required')
  })
})

test('leads to one page for each agent, client and provider, however often it is asked', async () => {
  const first = await vaultParts.connections.connectUrl(agentPrincipal(), 'acme')
  expect(first).toMatch(/^http:\/\/localhost:8787\/connections\/requests\/cr_[\w-]{22}$/)
  expect(await vaultParts.connections.connectUrl(agentPrincipal(), 'acme')).toBe(first)
  expect(
    await vaultParts.connections.connectUrl(agentPrincipal({ client: 'public-agent' }), 'acme'),
  ).not.toBe(first)
})
