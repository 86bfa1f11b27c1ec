import { decodeJwt } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createRevocations } from '../../../src/delegation/revocation/revocations.ts'
import {
  createVaultFetch,
  type VaultFetch,
  type VaultFetchDeps,
  type VaultRequest,
} from '../../../src/delegation/vault/fetch.ts'
import { createCallResolution } from '../../../src/delegation/vault/resolve-call.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import {
  createGuardedFetch,
  createSystemFetch,
  type GuardedFetch,
} from '../../../src/outbound/guarded-fetch.ts'
import type { Database, Sql } from '../../../src/store/sql.ts'
import { openVaultWorld, type VaultWorld } from '../../http/vault-world.ts'
import { agentPrincipal } from './world.ts'

// What a call leaves behind when a part of it fails. What it answers otherwise:
// test/http/vault-fetch.test.ts.

let vault: VaultWorld
let outbound: GuardedFetch
beforeAll(async () => {
  vault = await openVaultWorld()
  outbound = createSystemFetch([vault.double.origin])
})
afterAll(() => vault?.[Symbol.asyncDispose]())
beforeEach(() => vault.anew())

const write = {
  connection: 'acme',
  method: 'POST',
  path: '/issues',
  headers: { 'content-type': 'text/plain' },
  body: Buffer.from('Hello'),
}
const read = { connection: 'acme', method: 'GET', path: '/issues/1', headers: {} }

const caller = (changes: Parameters<typeof agentPrincipal>[0] = {}) =>
  agentPrincipal({ client: 'demo-agent-research-bot', delegation: vault.delegation, ...changes })

/** The feature on the parts of the running service, some of them exchanged. */
function fetchWith(changes: Partial<VaultFetchDeps> = {}) {
  const { connections } = vault.world.service.vault
  const vaultFetch = createVaultFetch({
    database: vault.world.database,
    connections,
    resolve: createCallResolution({ connections }),
    grants: vault.world.service.grants.approvalGrants,
    outbound,
    log: () => undefined,
    ...changes,
  })
  return (principal: Principal, vaultRequest: VaultRequest, stands: Parameters<VaultFetch>[2] = {}) =>
    vaultFetch(principal, vaultRequest, stands)
}

const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'answered',
    (error: unknown) => (error instanceof AppError ? error.code : error),
  )

const approval = async () =>
  vault.approved(
    await vault.fetch({ method: 'POST', path: '/issues', headers: write.headers, body: 'Hello' }),
  )

/** What reached the provider's API during this. */
async function sentDuring(work: () => Promise<unknown>): Promise<number> {
  const before = vault.double.apiRequests.length
  await work()
  return vault.double.apiRequests.length - before
}

/** The database, on which records of this event fail. */
function failingAt(event: string): Database {
  const { database } = vault.world
  const failing = (sql: Sql): Sql => ({
    query(text, values) {
      if (text.includes('decision_records') && values?.[1] === event)
        throw new AppError('storage_unavailable', { internal: 'as the test wants it' })
      return sql.query(text, values)
    },
  })
  return {
    ...database,
    query: failing(database).query,
    transaction: (work, options) => database.transaction((sql) => work(failing(sql)), options),
    [Symbol.asyncDispose]: async () => undefined,
  }
}

describe('a call that nobody could account for', () => {
  test('is not sent, and its approval not counted', async () => {
    await vault.link()
    const granted = await approval()
    const failing = fetchWith({ database: failingAt('vault_call_begun') })
    const sent = await sentDuring(async () => {
      expect(await codeOf(failing(caller(), { ...write, approval: granted }))).toBe('storage_unavailable')
    })
    expect(sent).toBe(0)
    expect(await codeOf(fetchWith()(caller(), { ...write, approval: granted }))).toBe('answered')
  })

  test('is not answered', async () => {
    await vault.link()
    const failing = fetchWith({ database: failingAt('vault_called') })
    expect(await codeOf(failing(caller(), read))).toBe('storage_unavailable')
  })
})

describe('a call that waits for its account’s token', () => {
  /** The call, once its wait has begun; `meanwhile` is over before the provider answers. */
  async function waiting(begin: () => Promise<unknown>, meanwhile: () => Promise<unknown>): Promise<unknown> {
    await vault.link({ endsIn: -1 })
    const asked = vault.double.tokenRequests.length
    const answer = vault.double.holdTokens()
    const code = codeOf(begin())
    await expect.poll(() => vault.double.tokenRequests.length, { timeout: 10_000 }).toBe(asked + 1)
    await meanwhile()
    answer()
    return code
  }

  test('is not sent by what was agreed to before: an approval is asked for', async () => {
    const { database } = vault.world
    const narrow = () => database.query(`update connection_agents set rules = '[]'`)
    const sent = await sentDuring(async () => {
      expect(await waiting(() => fetchWith()(caller(), read), narrow)).toBe('approval_required')
    })
    expect(sent).toBe(0)
  })

  test('is on record to its end where its first token was refused and the second one came too late', async () => {
    const { database } = vault.world
    const { accessToken } = await vault.link({
      rules: [{ title: 'All', methods: ['POST'], paths: ['/**?*'] }],
    })
    vault.double.forget(accessToken)
    const asked = vault.double.tokenRequests.length
    const answer = vault.double.holdTokens()
    const code = codeOf(fetchWith()(caller(), write))
    await expect.poll(() => vault.double.tokenRequests.length, { timeout: 10_000 }).toBe(asked + 1)
    await database.query(`update connection_agents set rules = '[]'`)
    answer()
    expect(await code).toBe('approval_required')
    const [begun, called] = (await vault.recorded()).slice(-2)
    expect([begun?.event, called?.event, called?.detail]).toEqual([
      'vault_call_begun',
      'vault_called',
      expect.objectContaining({ outcome: 'answered', status: 401 }),
    ])
  })

  test('is not sent once the caller’s own token was revoked, over HTTP', async () => {
    const { database } = vault.world
    const token = await vault.world.token({ user: 'anne', agent: 'research-bot' })
    const { iss: issuer = '', jti: id = '' } = decodeJwt(token)
    const ask = () => vault.fetch({ method: 'GET', path: '/issues/1' }, { as: token })
    const sent = await sentDuring(async () => {
      await waiting(ask, async () => {
        const revocations = createRevocations({ sql: database, clock: { now: () => Date.now() } })
        await revocations.revoke({ kind: 'jti', issuer, id }, { reason: 'tests' })
        const retrieved = async () => (await vault.send('/retrieve', { query: 'x' }, { as: token })).status
        await expect.poll(retrieved, { timeout: 10_000 }).toBe(401)
      })
    })
    expect(sent).toBe(0)
    await vault.anew()
    const nothing = async () => undefined
    expect(await sentDuring(() => waiting(() => vault.fetch(read), nothing))).toBe(1)
  })
})

describe('an approval', () => {
  test('is used by a process that ends right after it was counted: never twice', async () => {
    await vault.link()
    const granted = await approval()
    const crash = () => Promise.reject(new Error('the process ends here'))
    const sent = await sentDuring(async () => {
      const ended = codeOf(fetchWith({ outbound: crash })(caller(), { ...write, approval: granted }))
      expect(await ended).toBeInstanceOf(Error)
      const again = codeOf(fetchWith()(caller(), { ...write, approval: granted }))
      expect(await again).toBe('approval_required')
    })
    expect(sent).toBe(0)
    expect((await vault.recorded()).at(-1)).toMatchObject({
      event: 'vault_call_begun',
      detail: { grant: granted },
    })
  })

  test('is not used where no token can be had', async () => {
    const { id } = await vault.link()
    const granted = await approval()
    await vault.world.database.query(`update connections set token_expires_at = now() where id = $1`, [id])
    vault.double.mood = 'is down'
    expect(await codeOf(fetchWith()(caller(), { ...write, approval: granted }))).toBe('provider_unavailable')
    vault.double.mood = 'rotates'
    expect(await codeOf(fetchWith()(caller(), { ...write, approval: granted }))).toBe('answered')
  })

  test('may be named by the token, and counts as if the request had named it', async () => {
    await vault.link()
    const granted = await approval()
    const sent = await sentDuring(async () => {
      expect(await codeOf(fetchWith()(caller({ grant: granted }), write))).toBe('answered')
      expect(await codeOf(fetchWith()(caller({ grant: granted }), write))).toBe('approval_required')
    })
    expect(sent).toBe(1)
  })

  test('is not another’s: of another person, agent, delegation, or of an agent that acts through this one', async () => {
    await vault.link()
    const granted = await approval()
    const sent = await sentDuring(async () => {
      for (const other of [
        { subject: 'user:bob' as const },
        { actors: ['agent:other-bot' as const] },
        { actors: ['agent:other-bot' as const, 'agent:research-bot' as const] },
        { delegation: 'd_other' },
        { client: 'another-client' },
      ]) {
        const code = await codeOf(fetchWith()(caller(other), { ...write, approval: granted }))
        expect(['connection_required', 'approval_required'], JSON.stringify(other)).toContain(code)
      }
    })
    expect(sent).toBe(0)
    expect(await codeOf(fetchWith()(caller(), { ...write, approval: granted }))).toBe('answered')
  })
})

describe('a provider', () => {
  test('that is too slow leaves a write unknown and a reading unanswered', async () => {
    await vault.link()
    vault.double.api = () => ({ afterMs: 2_000 })
    const hasty = fetchWith({ timeoutMs: 150 })
    /** Where the machine stands still for a moment, the time may be over before anything is sent. */
    async function written(): Promise<{ code: unknown; granted: string }> {
      const granted = await approval()
      let code: unknown
      const sent = await sentDuring(async () => {
        code = await codeOf(hasty(caller(), { ...write, approval: granted }))
      })
      return sent === 0 ? written() : { code, granted }
    }
    const { code, granted } = await written()
    expect(code).toBe('outcome_unknown')
    expect((await vault.recorded()).at(-1)?.detail).toMatchObject({ outcome: 'unknown', grant: granted })
    expect(await codeOf(hasty(caller(), read))).toBe('provider_unavailable')
    expect((await vault.recorded()).at(-1)?.detail).toMatchObject({ outcome: 'no_answer' })
  })

  test('that cannot be reached was sent nothing, which is said', async () => {
    await vault.link()
    const granted = await approval()
    // Its name leads into our network now.
    const inside = createGuardedFetch({
      lookup: async () => [{ address: '10.0.0.1', family: 4 }],
      allowedOrigins: [],
    })
    const sent = await sentDuring(async () => {
      const code = await codeOf(fetchWith({ outbound: inside })(caller(), { ...write, approval: granted }))
      expect(code).toBe('provider_unavailable')
    })
    expect(sent).toBe(0)
    expect((await vault.recorded()).at(-1)?.detail).toMatchObject({ outcome: 'no_answer', status: null })
  })

  test('that answers too much to a write leaves it unknown: it was done, or not', async () => {
    await vault.link()
    const granted = await approval()
    vault.double.api = () => ({ body: 'a'.repeat(2_000) })
    expect(await codeOf(fetchWith({ bytesMax: 1_000 })(caller(), { ...write, approval: granted }))).toBe(
      'outcome_unknown',
    )
  })
})
