import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import pg from 'pg'
import { afterEach, beforeEach } from 'vitest'
import { type Fga, tupleId } from '../../src/authz/fga.ts'
import { deployModel } from '../../src/authz/model/deploy.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import { createDelegations, type Delegations } from '../../src/delegation/lending/delegations.ts'
import { type Kept, type RecoverDeps, recover } from '../../src/delegation/recovery/recover.ts'
import {
  openRestoreDetection,
  type RestoreDetection,
} from '../../src/delegation/recovery/restore-detection.ts'
import { createAgents } from '../../src/delegation/registry/agents.ts'
import { openRevocationFeed, type RevocationFeed } from '../../src/delegation/revocation/revocation-feed.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Database } from '../../src/store/sql.ts'
import { native } from '../support/native.ts'
import { movableClock, ownIssuerUrl } from './world.ts'

export const clock = movableClock()

/** What stands on one database and OpenFGA, as a process has it. */
export interface Stand extends AsyncDisposable {
  readonly database: Database
  readonly fga: Fga
  readonly authority: RevocationFeed
  readonly delegations: Delegations
  readonly epoch: RestoreDetection
  lend(): Promise<string>
  recover(more?: Partial<RecoverDeps>, kept?: Kept): ReturnType<typeof recover>
}

export async function standOn(
  database: Database,
  fga: Fga,
  { isApart = true }: { readonly isApart?: boolean } = {},
): Promise<Stand> {
  const authority = await openRevocationFeed({ database, clock, log: () => undefined })
  const delegations = createDelegations({ database, fga, clock, randomBytes })
  const epoch = await openRestoreDetection({
    database,
    fga,
    authority,
    clock,
    log: () => undefined,
    isApart,
    everyMs: 1e6,
  })
  return {
    database,
    fga,
    authority,
    delegations,
    epoch,
    async lend() {
      const { id } = await delegations.lend({
        subject: 'user:anne',
        agent: 'bot',
        scope: ['collection:handbook'],
        purpose: 'tests',
        expiresAt: new Date(clock.now() + 3_600_000),
      })
      return id
    },
    recover: (more = {}, kept) =>
      recover(
        {
          database,
          fga,
          delegations,
          epoch,
          clock,
          areClocksApart: () => authority.areClocksApart,
          mendAccess: async () => 0,
          rebuildIndex: async () => undefined,
          forgetSearched: async () => undefined,
          countMissing: async () => undefined,
          endAccess: async () => 0,
          agents: { enabled: async () => [], disable: async () => undefined },
          ...more,
        },
        't_tests',
        kept,
      ),
    async [Symbol.asyncDispose]() {
      await epoch[Symbol.asyncDispose]()
      await authority[Symbol.asyncDispose]()
      await database.close()
    },
  }
}

/** An epoch of a process that dies before OpenFGA was told. */
export const dyingOn = ({ database, authority, fga }: Stand): Promise<RestoreDetection> =>
  openRestoreDetection({
    database,
    authority,
    clock,
    log: () => undefined,
    isApart: true,
    everyMs: 1e6,
    fga: { ...fga, write: async () => Promise.reject(new Error('killed')) },
  })

export const addBot = (database: Database) =>
  createAgents({ sql: database, clock }).save({
    id: 'bot',
    owner: 'user:anne',
    purpose: 'tests',
    issuer: ownIssuerUrl,
    sub: 'bot',
  })

export const putSession = (database: Database) =>
  database.query(
    `insert into oauth_artifacts (model, id_hash, sealed, expires_at)
     select model, 'x', ''::bytea, now() + interval '1 day'
     from unnest(array['RefreshToken', 'Session', 'ReplayDetection']) as model`,
  )

export async function tuplesLeft(fga: Fga): Promise<string[]> {
  const found: string[] = []
  for await (const page of fga.readAll()) found.push(...page.map(tupleId))
  return found.filter((tuple) => tuple.includes('delegation:d_')).sort()
}

/**
 * A database of native Postgres beside a real OpenFGA, and older copies of both: for one `describe`, dropped
 * after each test.
 */
export function openCopies() {
  const name = `remit_test_${randomBytes(6).toString('hex')}`
  const url = (database: string): string => {
    const address = new URL(native.databaseUrl ?? '')
    address.pathname = `/${database}`
    return address.href
  }
  async function administer(statement: string): Promise<void> {
    const client = new pg.Client({ connectionString: native.databaseUrl ?? '' })
    await client.connect()
    await client.query(statement)
    await client.end()
  }
  async function standOnPostgres(database: string): Promise<Stand> {
    const opened = await openPostgres({ url: url(database), poolSize: 5 })
    await migrate(opened, { dir: new URL('../../migrations/', import.meta.url), dimensions: 384 })
    const api = createFgaApi({
      apiUrl: native.openfga?.url ?? '',
      apiToken: native.openfga?.token ?? '',
      timeoutMs: 4_000,
    })
    const dsl = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
    const { storeId, model } = await deployModel({
      api,
      database: opened,
      dsl,
      redeploy: false,
      newTxn: () => 't_test',
      now: () => clock.now(),
    })
    return standOn(
      opened,
      createFga(api, storeId, () => model.id),
    )
  }

  /**
   * OpenFGA's rows of a store as they are now. Gives what puts them back, as a backup of its database does.
   */
  async function openfgaNow(storeId: string): Promise<() => Promise<void>> {
    const address = new URL(native.databaseUrl ?? '')
    address.pathname = '/openfga'
    const tables = ['tuple', 'changelog'] as const
    async function each(work: (client: pg.Client, table: string) => Promise<void>): Promise<void> {
      const client = new pg.Client({ connectionString: address.href })
      await client.connect()
      for (const table of tables) await work(client, table)
      await client.end()
    }
    const held = new Map<string, readonly unknown[]>()
    await each(async (client, table) => {
      const { rows } = await client.query(
        `select to_jsonb(t) as row from ${client.escapeIdentifier(table)} t where store = $1`,
        [storeId],
      )
      held.set(
        table,
        rows.map(({ row }) => row),
      )
    })
    return () =>
      each(async (client, table) => {
        const into = client.escapeIdentifier(table)
        await client.query(`delete from ${into} where store = $1`, [storeId])
        await client.query(
          `insert into ${into} select * from jsonb_populate_recordset(null::${into}, $1::jsonb)`,
          [JSON.stringify(held.get(table))],
        )
      })
  }

  /** A database with `before` lent, its older copy, and in OpenFGA what came after that. */
  async function wentOn(after: (stand: Stand, before: string) => Promise<void>): Promise<string> {
    await administer(`create database ${name}`)
    let before: string
    {
      await using stand = await standOnPostgres(name)
      await addBot(stand.database)
      before = await stand.lend()
      await putSession(stand.database)
      await stand.epoch.raise()
    }
    await administer(`create database ${name}_copy template ${name}`)
    await using stand = await standOnPostgres(name)
    await after(stand, before)
    await stand.epoch.raise()
    return before
  }

  beforeEach(() => clock.move(10_000))
  afterEach(async () => {
    for (const one of [name, `${name}_copy`]) await administer(`drop database if exists ${one} with (force)`)
  })

  return { name, administer, standOnPostgres, openfgaNow, wentOn }
}
