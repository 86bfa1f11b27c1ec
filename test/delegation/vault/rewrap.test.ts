import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createEnvelope } from '../../../src/delegation/vault/envelope.ts'
import { createLocalKeys, type KeyEncryption, type VaultKey } from '../../../src/delegation/vault/keys.ts'
import { createVaultKeyring, markUnreadable, missingKeys } from '../../../src/delegation/vault/rewrap.ts'
import type { Database } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { type ProviderDouble, startProvider } from '../../support/provider.ts'
import { openVaultParts, recordedAs } from './world.ts'

const keyOf = (version: string, byte: number): VaultKey => ({
  version,
  key: new Uint8Array(Buffer.alloc(32, byte)),
})
/** What the world seals by. */
const one = keyOf('one', 1)
const two = keyOf('two', 2)

let double: ProviderDouble
beforeAll(async () => {
  double = await startProvider()
})
afterAll(() => double?.[Symbol.asyncDispose]())

describeDatabases('a change of the vault’s key', (kind) => {
  let database: Database
  let vaultParts: Awaited<ReturnType<typeof openVaultParts>>
  beforeAll(async () => {
    database = await openTestDatabase(kind)
    vaultParts = await openVaultParts(database, double)
  })
  afterAll(() => database?.close())
  beforeEach(async () => {
    double.mood = 'rotates'
    await database.query('delete from connections')
  })

  const local = createLocalKeys([two, one])
  const keyring = (keys: KeyEncryption = local) =>
    createVaultKeyring({ database, envelope: createEnvelope(keys) })
  const put = async (count: number) => {
    // Beside each other: on a machine that is busy hundreds one by one took more than a test has.
    await Promise.all(
      Array.from({ length: count }, (_, index) =>
        vaultParts.put({ id: `c_${String(index).padStart(4, '0')}`, tokens: double.grant() }),
      ),
    )
  }
  const versions = async () =>
    (await database.query<{ key_version: string }>('select key_version from connections order by id')).map(
      ({ key_version }) => key_version,
    )
  const recorded = async () =>
    (
      await database.query<{ detail: { to: string; rewrapped: number } }>(
        `select detail from decision_records where event = 'data_keys_rewrapped' order by record_no`,
      )
    ).map(({ detail }) => detail)
  /** Uses an account by the new key alone. */
  const usedBy = (id: string) =>
    vaultParts
      .process({ sealing: createEnvelope(createLocalKeys([two])) })
      .withToken(id, async (token) => token, { recordedAs })

  test('wraps every data key by it, on record, and leaves what is sealed; another run changes nothing', {
    timeout: 120_000,
  }, async () => {
    await put(230)
    const sealed = () => database.query('select id, sealed from connections order by id')
    const [before, records] = [await sealed(), (await recorded()).length]
    expect(await keyring().counts()).toEqual([
      { provider: 'acme', state: 'live', version: 'one', accounts: 230 },
    ])
    expect(await keyring().rewrap(recordedAs)).toEqual({ to: 'two', rewrapped: 230, left: 0 })
    expect(await sealed()).toEqual(before)
    expect(new Set(await versions())).toEqual(new Set(['two']))
    expect((await recorded()).slice(records)).toEqual([
      { to: 'two', rewrapped: 100 },
      { to: 'two', rewrapped: 100 },
      { to: 'two', rewrapped: 30 },
    ])
    expect(await keyring().rewrap(recordedAs)).toEqual({ to: 'two', rewrapped: 0, left: 0 })
    expect(await recorded()).toHaveLength(records + 3)
    expect(await usedBy('c_0007')).toMatch(/^at_/)
  })

  test('that ends half way goes on where it was', { timeout: 120_000 }, async () => {
    await put(150)
    let wrapped = 0
    const dying: KeyEncryption = {
      ...local,
      wrap: (...asked) => {
        wrapped += 1
        return wrapped > 120 ? Promise.reject(new Error('the process ends here')) : local.wrap(...asked)
      },
    }
    await expect(keyring(dying).rewrap(recordedAs)).rejects.toThrow('ends here')
    expect((await versions()).filter((version) => version === 'two')).toHaveLength(100)
    expect(await keyring().rewrap(recordedAs)).toEqual({ to: 'two', rewrapped: 50, left: 0 })
  })

  test('that two begin at once is done once for each', async () => {
    await put(40)
    const results = await Promise.all([keyring().rewrap(recordedAs), keyring().rewrap(recordedAs)])
    expect(results.reduce((sum, { rewrapped }) => sum + rewrapped, 0)).toBe(40)
    expect(await usedBy('c_0039')).toMatch(/^at_/)
  })

  test('takes nothing from a refresh that is under way, nor gets in its way', async () => {
    const old = double.grant()
    await vaultParts.put({ tokens: old, endsIn: -1 })
    const answer = double.holdTokens()
    const seen = double.tokenRequests.length
    const using = vaultParts.connections.withToken('c_1', async (token) => token, { recordedAs })
    await expect.poll(() => double.tokenRequests.length).toBe(seen + 1)
    expect(await keyring().rewrap(recordedAs)).toMatchObject({ rewrapped: 1 })
    answer()
    const token = await using
    expect(token).not.toBe(old.accessToken)
    // What the refresh wrote is by its own process's key, and is found at the next run.
    expect(await versions()).toEqual(['one'])
    expect(await keyring().rewrap(recordedAs)).toMatchObject({ rewrapped: 1, left: 0 })
    expect(await usedBy('c_1')).toBe(token)
  })

  test('leaves alone what was refreshed after it was read', async () => {
    await vaultParts.put({ tokens: double.grant(), endsIn: -1 })
    let refreshed: string | undefined
    const late: KeyEncryption = {
      ...local,
      async wrap(...asked) {
        refreshed ??= await vaultParts.connections.withToken('c_1', async (token) => token, { recordedAs })
        return local.wrap(...asked)
      },
    }
    expect(await keyring(late).rewrap(recordedAs)).toEqual({ to: 'two', rewrapped: 0, left: 1 })
    expect(await vaultParts.connections.withToken('c_1', async (token) => token, { recordedAs })).toBe(
      refreshed,
    )
  })

  test('is refused, with nothing changed, where a key that is needed is not here', async () => {
    await put(3)
    await vaultParts.put({ id: 'c_9', tokens: double.grant() })
    await database.query(`update connections set key_version = 'zero' where id = 'c_9'`)
    await expect(keyring().rewrap(recordedAs)).rejects.toMatchObject({
      code: 'conflict',
      public: expect.stringContaining('a key zero that is not here'),
    })
    expect(await versions()).toEqual(['one', 'one', 'one', 'zero'])
    await expect(keyring(createLocalKeys([two])).rewrap(recordedAs)).rejects.toMatchObject({
      code: 'conflict',
    })
    // Another key by the same name is not it either.
    await expect(keyring(createLocalKeys([two, keyOf('one', 9)])).rewrap(recordedAs)).rejects.toMatchObject({
      code: 'conflict',
    })
  })

  test('is not held up by one row that somebody broke: it stays, and is counted', async () => {
    await put(5)
    await database.query(`update connections set wrapped_key = '\\x00' where id = 'c_0002'`)
    expect(await keyring().rewrap(recordedAs)).toEqual({ to: 'two', rewrapped: 4, left: 1 })
  })

  test('that was lost has the accounts connected once more, and those only', async () => {
    await put(2)
    await vaultParts.put({ id: 'c_9', tokens: double.grant() })
    await database.query(`update connections set key_version = 'zero' where id = 'c_9'`)
    const vault = { database, envelope: createEnvelope(local) }
    expect(await missingKeys(database, vault.envelope)).toEqual([{ version: 'zero', accounts: 1 }])
    // What opens all the same is not given up, whatever the setting says.
    expect(await markUnreadable(vault, ['zero', 'one'], recordedAs)).toBe(1)
    expect(await missingKeys(database, vault.envelope)).toEqual([])
    const states = await database.query('select id, state from connections order by id')
    expect(states).toEqual([
      { id: 'c_0000', state: 'live' },
      { id: 'c_0001', state: 'live' },
      { id: 'c_9', state: 'needs_reconnect' },
    ])
    expect(await markUnreadable(vault, ['zero', 'one'], recordedAs)).toBe(0)
    const [last] = await database.query(
      `select event, detail->>'connection' as connection, detail->>'user' as user from decision_records order by record_no desc limit 1`,
    )
    expect(last).toEqual({ event: 'connection_broken', connection: 'c_9', user: 'user:anne' })
  })
})
