import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { ProviderEntry } from '../../../src/delegation/vault/provider.ts'
import type { Database } from '../../../src/store/sql.ts'
import { startCommand } from '../../e2e/process.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { native, needsPostgres } from '../../support/native.ts'
import {
  type ProviderDouble,
  type ProviderMood,
  providerSecret,
  startProvider,
} from '../../support/provider.ts'
import type { Dying } from './dying.ts'
import { openVaultParts, recordedAs } from './world.ts'

/**
 * Where a process dies in a refresh, how the provider treats an old refresh token, and what the next use
 * comes to.
 */
const cases: readonly (readonly [
  step: string,
  mood: ProviderMood,
  outcome: 'works' | 'reconnect_required',
])[] = [
  ['leased', 'rotates', 'works'],
  ['leased', 'keeps the refresh token', 'works'],
  // What it gave nobody has; what we have is not good any more: only the person can mend that, and is told.
  ['refreshed', 'rotates', 'reconnect_required'],
  ['refreshed', 'keeps the refresh token', 'works'],
  ['kept', 'rotates', 'works'],
  ['kept', 'keeps the refresh token', 'works'],
]

let double: ProviderDouble
beforeAll(async () => {
  double = await startProvider()
})
afterAll(() => double?.[Symbol.asyncDispose]())

/** The account is there whatever happened, and what is sealed opens. */
async function survived(
  { database, envelope, pass, connections }: Awaited<ReturnType<typeof openVaultParts>>,
  outcome: 'works' | 'reconnect_required',
): Promise<void> {
  // The lease of whoever died is over.
  await pass(31_000)
  const next = connections.withToken('c_1', async (token) => token, { recordedAs })
  const said = await next.then(
    (token) => (double.issued.includes(token) ? 'works' : 'another token'),
    (error: { readonly code?: string }) => error.code,
  )
  expect(said).toBe(outcome)
  const [row] = await database.query<{
    state: string
    sealed: string
    wrapped_key: Uint8Array
    key_version: string
  }>(`select state, sealed, wrapped_key, key_version from connections where id = 'c_1'`)
  expect(row?.state).toBe(outcome === 'works' ? 'live' : 'needs_reconnect')
  const context = { connection: 'c_1', subject: 'user:anne' }
  const sealed = {
    jwe: row?.sealed ?? '',
    key: { bytes: row?.wrapped_key ?? new Uint8Array(), version: row?.key_version ?? '' },
  }
  expect((await envelope.open(context, sealed)).accessToken).toMatch(/^at_/)
}

describeDatabases('a refresh that nobody ends', (kind) => {
  let database: Database
  let vaultParts: Awaited<ReturnType<typeof openVaultParts>>
  beforeAll(async () => {
    database = await openTestDatabase(kind)
    vaultParts = await openVaultParts(database, double)
  })
  afterAll(() => database?.close())
  beforeEach(() => database.query('delete from connections'))

  test.each(cases)('once %s, of a provider that %s: the account %s', async (dies, mood, outcome) => {
    double.mood = mood
    const there = Promise.withResolvers<void>()
    const dead = vaultParts.process({
      async step(name) {
        if (name !== dies) return
        there.resolve()
        await new Promise(() => undefined)
      },
    })
    await vaultParts.put({ tokens: double.grant(), endsIn: -1 })
    void dead.withToken('c_1', async (token) => token, { recordedAs })
    await there.promise
    await survived(vaultParts, outcome)
  })
})

describe('a process that is killed in a refresh', needsPostgres, () => {
  let database: Database
  let vaultParts: Awaited<ReturnType<typeof openVaultParts>>
  beforeAll(async () => {
    if (native.databaseUrl === undefined) return
    database = await openTestDatabase('postgres')
    vaultParts = await openVaultParts(database, double)
  })
  afterAll(() => database?.close())
  beforeEach(() => database?.query('delete from connections'))

  test.each(cases)('once %s, of a provider that %s: the account %s', async (step, mood, outcome) => {
    double.mood = mood
    await vaultParts.put({ tokens: double.grant(), endsIn: -1 })
    const [is] = await database.query<{ name: string }>('select current_database() as name')
    const url = new URL(native.databaseUrl ?? '')
    url.pathname = `/${is?.name}`
    const dying: Dying = {
      databaseUrl: url.href,
      entry: double.entry() as unknown as ProviderEntry,
      secret: providerSecret,
      key: Buffer.alloc(32, 1).toString('base64'),
      now: vaultParts.clock.now(),
      step,
    }
    await using child = startCommand([JSON.stringify(dying)], {}, 'test/delegation/vault/dying.ts')
    expect([await child.exit, child.stdout(), child.stderr()]).toEqual([
      { code: null, signal: 'SIGKILL' },
      '',
      '',
    ])
    await survived(vaultParts, outcome)
  })
})
