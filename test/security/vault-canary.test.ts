import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTelemetry } from '../../src/compose/telemetry.ts'
import { openVaultWorld, type VaultWorld } from '../http/vault-world.ts'

// Tokens of a third party are the provider's own random ones: wherever one of them stands, it leaked.
let vault: VaultWorld
const exported: string[] = []

beforeAll(async () => {
  const receiver = createServer((request, response) => {
    request.on('data', (part: Buffer) => exported.push(part.toString()))
    request.on('end', () => response.setHeader('content-type', 'application/json').end('{}'))
  })
  receiver.listen(0, '127.0.0.1')
  await once(receiver, 'listening')
  const { port } = receiver.address() as AddressInfo
  const telemetry = await openTelemetry({ endpoint: `http://127.0.0.1:${port}`, version: 'test' })
  vault = await openVaultWorld()
  const { double } = vault
  const call = async (options?: Parameters<VaultWorld['link']>[0]) => {
    await vault.world.database.query('delete from connections')
    const { accessToken } = await vault.link(options)
    return { accessToken, ask: async () => (await vault.fetch({ method: 'GET', path: '/issues/1' })).status }
  }
  const answered = await call()
  expect(await answered.ask()).toBe(200)
  const refreshed = await call({ endsIn: -1 })
  expect(await refreshed.ask()).toBe(200)
  // The provider refuses the token that it gave, and what should renew it; or breaks off in the middle of its
  // answer.
  const refused = await call()
  double.forget(refused.accessToken)
  double.mood = 'refuses'
  expect(await refused.ask()).toBeGreaterThanOrEqual(400)
  double.mood = 'rotates'
  const broken = await call()
  double.api = () => ({ hangsUp: 'at once' })
  expect(await broken.ask()).toBeGreaterThanOrEqual(400)
  await telemetry[Symbol.asyncDispose]()
  receiver.close()
}, 60_000)
afterAll(() => vault?.[Symbol.asyncDispose]())

/** Which of them stand in it, as they are or encoded. */
const leakedIn = (text: string): string[] =>
  vault.double.issued.filter((one) =>
    [one, Buffer.from(one).toString('base64'), Buffer.from(one).toString('hex')].some((form) =>
      text.includes(form),
    ),
  )

test('provider tokens were really used', () => {
  const used = vault.double.apiRequests.map(({ headers }) => JSON.stringify(headers)).join('\n')
  expect(leakedIn(used).length).toBeGreaterThanOrEqual(4)
})

test('no exported trace holds a token of a third party', () => {
  const text = exported.join('')
  expect(text).toContain('/vault/fetch')
  expect(leakedIn(text)).toEqual([])
})

test('no log line, record or metric does', async () => {
  const { world } = vault
  const rows = await vault.recorded()
  expect(rows.map(({ event }) => event)).toContain('vault_called')
  const record = await world.database.query('select * from decision_records')
  const metrics = await (
    await world.service.ops.request(`http://127.0.0.1:${world.config.ops.port}/metrics`)
  ).text()
  expect(metrics).toContain('/vault/fetch')
  expect(leakedIn(JSON.stringify([world.logged, record]) + metrics)).toEqual([])
})

test('no table of the database does, other than sealed', async () => {
  const { database } = vault.world
  const tables = await database.query<{ name: string }>(
    `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
     where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`,
  )
  expect(tables.map(({ name }) => name)).toContain('public.connections')
  for (const { name } of tables) {
    const rows = await database.query<{ row: string }>(`select one::text as row from ${name} one`)
    expect(leakedIn(rows.map(({ row }) => row).join('\n'))).toEqual([])
  }
})
