import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEnvelope } from '../../src/delegation/vault/envelope.ts'
import { createLocalKeys } from '../../src/delegation/vault/keys.ts'
import { createVaultKeyring } from '../../src/delegation/vault/rewrap.ts'
import { type Commands, openCommands, remit, serving } from './world.ts'

const keyOf = (version: string, byte: number) => ({ version, key: new Uint8Array(Buffer.alloc(32, byte)) })
const [one, two] = [keyOf('one', 1), keyOf('two', 2)]

let world: Commands
beforeAll(async () => {
  world = await openCommands()
  const before = createEnvelope(createLocalKeys([one]))
  for (const id of ['c_1', 'c_2']) {
    const sealed = await before.seal({ connection: id, subject: 'user:anne' }, { accessToken: `at_${id}` })
    await world.database.query(
      `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed,
         wrapped_key, key_version, refreshable, sealed_at, created_at)
       values ($1, 'user:anne', 'github', 'https://github.com', $1, 'anne', 'live', '{}', $2, $3, $4, false, now(), now())`,
      [id, sealed.jwe, sealed.key.bytes, sealed.key.version],
    )
  }
})
afterAll(() => world?.database.close())

/** The running service by these keys. */
const servingBy = (...keys: readonly [typeof one, ...(typeof one)[]]) => {
  const keyring = createVaultKeyring({
    database: world.database,
    envelope: createEnvelope(createLocalKeys(keys)),
  })
  return serving({ ...world, deps: { ...world.deps, vault: { keyring } } })
}

test('keys are listed by what they seal, and wrapped anew; nothing that is printed names anybody', async () => {
  {
    await using _server = await servingBy(two)
    const refused = await remit(['vault', 'rewrap'], world)
    expect([refused.code, refused.stderr]).toEqual([
      1,
      'Nothing was changed: 2 accounts are sealed by a key one that is not here.\n',
    ])
  }
  await using _server = await servingBy(two, one)
  const list = async () => (await remit(['vault', 'list', '--json'], world)).stdout
  expect(JSON.parse(await list())).toEqual({
    provider: 'github',
    state: 'live',
    version: 'one',
    accounts: 2,
  })
  const done = await remit(['vault', 'rewrap'], world)
  expect([done.code, done.stderr]).toEqual([0, '2 data keys are wrapped by two from now on.\n'])
  expect(await list()).toContain('"version":"two"')
  expect((await remit(['vault', 'list'], world)).stdout).toBe(
    'github\n  state: live\n  version: two\n  accounts: 2\n',
  )
  const commands = await world.database.query<{ detail: { command: string } }>(
    `select detail from decision_records where event = 'command'`,
  )
  expect(commands.map(({ detail }) => detail.command)).toContain('vault_rewrap')
})

test('whoever would remove the old key too early is told not to', async () => {
  await world.database.query(
    `update connections set wrapped_key = '\\x00', key_version = 'one' where id = 'c_2'`,
  )
  await using _server = await servingBy(two, one)
  // One of one cannot be read: that key is needed, or it was changed.
  expect((await remit(['vault', 'rewrap'], world)).code).toBe(1)
  await world.database.query(`update connections set state = 'needs_reconnect' where id = 'c_2'`)
  const { code, stderr } = await remit(['vault', 'rewrap'], world)
  expect(code).toBe(1)
  expect(stderr).toContain('1 are wrapped by another key still')
})
