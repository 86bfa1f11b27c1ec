import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../../../src/audit/record.ts'
import { createDeniedHosts } from '../../../../src/delegation/oauth/cimd/hosts.ts'
import { createMetadataClients } from '../../../../src/delegation/oauth/cimd/metadata-clients.ts'
import { createAgents } from '../../../../src/delegation/registry/agents.ts'
import { createClients } from '../../../../src/delegation/registry/clients.ts'
import type { Database, Sql } from '../../../../src/store/sql.ts'
import { openTestDatabase } from '../../../support/database.ts'
import { needsPostgres } from '../../../support/native.ts'

describe('a program that a person lets in while its host is denied', needsPostgres, () => {
  const clock = { now: Date.now }
  let database: Database
  beforeAll(async () => {
    database = await openTestDatabase('postgres')
  })
  afterAll(() => database?.close())

  /** Called before what is written for a program is committed. */
  let beforeCommit: (sql: Sql) => Promise<void> = async () => undefined
  async function letIn(clientId: string): Promise<string> {
    const agents = createAgents({ sql: database, clock })
    const hosts = createDeniedHosts({ database, clock })
    const strangers = createMetadataClients({
      clients: createClients({ sql: database }),
      agents,
      documents: { get: async () => ({ clientId, host: 'evil.example', redirectUris: [clientId] }) },
      hosts: {
        isDenied: hosts.isDenied,
        unlessDenied: (id, work) =>
          hosts.unlessDenied(id, async (sql) => {
            await work(sql)
            await beforeCommit(sql)
          }),
      },
      issuer: 'https://own.test',
      clock,
    })
    const client = await strangers.clients.registered(clientId)
    if (client?.kind !== 'agent') throw new Error('The program is not known.')
    await strangers.introduce(client, 'anne')
    return client.agent
  }
  const enabled = () => database.query(`select id from agents where disabled_at is null and id like 'cimd/%'`)
  const isWaiting = async () =>
    (
      await database.query(
        `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      )
    ).length > 0

  test('is let in by nothing where the host comes first', async () => {
    const [denied, commit] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const denying = database.transaction(async (sql) => {
      await sql.query(`insert into denied_hosts (host, denied_at) values ('evil.example', now())`)
      denied.resolve()
      await commit.promise
    })
    await denied.promise
    const letting = letIn('https://evil.example/first')
    // Else it would find out only after all was written.
    await expect.poll(isWaiting).toBe(true)
    commit.resolve()
    await Promise.all([denying, letting])
    expect(await enabled()).toEqual([])
    await database.query('delete from denied_hosts')
  })

  test('is disabled with its host where it comes first', async () => {
    const [written, commit] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    beforeCommit = async () => {
      written.resolve()
      await commit.promise
    }
    const letting = letIn('https://evil.example/second')
    await written.promise
    const denying = createDeniedHosts({ database, clock }).deny(operator('t_1'), 'evil.example')
    await expect.poll(isWaiting).toBe(true)
    commit.resolve()
    const [agent, { agents }] = await Promise.all([letting, denying])
    expect(agents).toEqual([agent])
    expect(await enabled()).toEqual([])
  })
})
