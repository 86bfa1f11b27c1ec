import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openVault } from '../../../src/compose/vault.ts'
import { OperatorError } from '../../../src/kernel/operator-error.ts'
import { openVaultWorld, type VaultWorld } from '../../http/vault-world.ts'

let vault: VaultWorld
beforeAll(async () => {
  vault = await openVaultWorld()
})
afterAll(() => vault?.[Symbol.asyncDispose]())

const noPage = () => Promise.reject(new Error('There is no page.'))

/** As a start does it. */
const open = (vaultLostKeys: string[] = []) => {
  const { config, database, logged } = vault.world
  return openVault({
    config: { ...config, vaultLostKeys },
    database,
    clock: { now: Date.now },
    log: (event, fields) => void logged.push({ event, ...(fields && { fields }) }),
    outbound: () => Promise.reject(new Error('Nobody is asked.')),
    requireSession: { read: noPage, write: noPage, takeAway: noPage },
    newTxn: randomUUID,
  })
}

test('a start by other keys than accounts in use were sealed by is refused, and says what to do', async () => {
  const { id } = await vault.link()
  const { keyring } = await open()
  expect(await keyring.counts()).toMatchObject([{ version: 'home', accounts: 1 }])
  // The folder was not carried along: a fresh key of the same name is made.
  await rm(join(vault.world.config.home, 'keys', 'vault.key'))
  const refused: unknown = await open().catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(OperatorError)
  expect(String(refused)).toContain('1 accounts are sealed by a key home that is not here')
  expect(String(refused)).toContain('VAULT_LOST_KEYS=home')
  const state = () => vault.world.database.query('select state from connections where id = $1', [id])
  expect(await state()).toEqual([{ state: 'live' }])
  // What is lost for good is said to be: then it starts, and the account is to be connected once more.
  await open(['home'])
  expect(await state()).toEqual([{ state: 'needs_reconnect' }])
  expect(vault.world.logged.at(-1)).toEqual({ event: 'vault_keys_given_up', fields: { count: 1 } })
  await open()
})
