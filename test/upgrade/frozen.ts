import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { embeddedUrl, openEmbedded } from '../../src/authz/embedded.ts'
import { createFgaApi } from '../../src/authz/openfga.ts'
import { compose, type Service } from '../../src/compose/compose.ts'
import { type Config, loadConfig } from '../../src/config/config.ts'
import { createSystemFetch } from '../../src/outbound/guarded-fetch.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPglite } from '../../src/store/pglite.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Database } from '../../src/store/sql.ts'
import { administer } from '../support/administer.ts'
import { createWordEmbedder } from '../support/embedder.ts'
import { native } from '../support/native.ts'
import { createTestTokens } from '../support/tokens.ts'
import type { RetrieveBody, World } from '../support/world.ts'
import type { Noted } from './noted.ts'
import { frozenSettings, frozenSources } from './settings.ts'

/** What an earlier version left, and the present one that was started on it ten minutes later. */
export interface Upgraded extends AsyncDisposable, Pick<World, 'call' | 'token' | 'retrieve'> {
  readonly noted: Noted
  readonly service: Service
  readonly config: Config
  readonly database: Database
  /** Files of migrations that the present version applied. */
  readonly applied: readonly string[]
}

/** What a version noted of the database that it left. */
export const readNoted = async (version: string): Promise<Noted> =>
  JSON.parse(await readFile(fileOf(version, 'noted.json'), 'utf8')) as Noted

const fileOf = (version: string, name: string): URL => new URL(`${version}/${name}`, import.meta.url)
const migrations = { dir: new URL('../../migrations/', import.meta.url), dimensions: 384 }
// What a process left that died is over by then: leases, heartbeats of jobs.
const secondsLater = 600

/** Loads it into a database of its own, migrates, and starts the whole service of the present version. */
export async function openUpgraded(version: string, kind: Database['kind']): Promise<Upgraded> {
  const noted = await readNoted(version)
  await using stack = new AsyncDisposableStack()
  const home = await mkdtemp(join(tmpdir(), 'remit-test-'))
  stack.defer(() => rm(home, { recursive: true, force: true }))
  const config = loadConfig({ REMIT_HOME: home, ...frozenSettings })
  await layKeys(version, join(home, 'keys'))
  const database = await openEmpty(stack, kind)
  await load(database, version)
  const begun = Date.now()
  const now = () => noted.frozenAt + secondsLater * 1_000 + Date.now() - begun
  const applied = await migrate(database, migrations)
  const { adapter } = await openEmbedded(database, now, () => undefined)
  const embedder = createWordEmbedder()
  const service = stack.use(
    await compose({
      config,
      infrastructure: {
        database,
        openfga: createFgaApi({ apiUrl: embeddedUrl, timeoutMs: 4_000, adapter }),
        embeddings: { available: true, embedder },
        [Symbol.asyncDispose]: async () => undefined,
      },
      clock: { now },
      log: () => undefined,
      fetch,
      outboundTo: createSystemFetch,
      sourceKinds: frozenSources(),
    }),
  )
  const { publicUrl, demo } = config
  const tokens = createTestTokens({ ...service, publicUrl, demo, clock: { now }, randomBytes })
  const call: Upgraded['call'] = async (method, path, { token, body } = {}) =>
    service.app.request(`${publicUrl}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
  const owned = stack.move()
  return {
    noted,
    service,
    config,
    database,
    applied,
    call,
    token: (who) => tokens.mint(who),
    async retrieve(token, body) {
      const response = await call('POST', '/retrieve', { token, body })
      if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`)
      return (await response.json()) as RetrieveBody
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function layKeys(version: string, folder: string): Promise<void> {
  const keys = JSON.parse(await readFile(fileOf(version, 'test-keys.json'), 'utf8')) as Record<string, string>
  await mkdir(folder, { mode: 0o700 })
  for (const [name, text] of Object.entries(keys))
    await writeFile(join(folder, name), Buffer.from(text, 'base64'), { mode: 0o600 })
}

async function openEmpty(stack: AsyncDisposableStack, kind: Database['kind']): Promise<Database> {
  if (kind === 'pglite') {
    const socketDir = await mkdtemp(join(tmpdir(), 'remit-test-'))
    stack.defer(() => rm(socketDir, { recursive: true, force: true }))
    return stack.use(await openPglite({ socketDir }))
  }
  const admin = native.databaseUrl ?? ''
  const name = `remit_test_${randomBytes(6).toString('hex')}`
  await administer(admin, `create database ${name}`)
  stack.defer(() => administer(admin, `drop database if exists ${name} with (force)`))
  const url = new URL(admin)
  url.pathname = `/${name}`
  return stack.use(await openPostgres({ url: url.href, poolSize: 5 }))
}

async function load(database: Database, version: string): Promise<void> {
  const text = gunzipSync(await readFile(fileOf(version, 'database.sql.gz'))).toString('utf8')
  await database.transaction((sql) => sql.query(text.replaceAll(':vector', database.vectorType)))
  await database.query(toThePresent)
}

/**
 * What the queue and sources hold of time is the database's own: some is forgotten, or stale, after a day.
 * So all of it becomes as old as the clock says.
 */
const toThePresent = `do $$
  declare
    since interval := now() - make_interval(secs => ${secondsLater}) - (select max(applied_at) from migrations);
    found record;
  begin
    for found in
      select table_schema, table_name, string_agg(format('%1$I = %1$I + $1', column_name), ', ') as moved
      from information_schema.columns join information_schema.tables using (table_schema, table_name)
      where table_type = 'BASE TABLE' and data_type = 'timestamp with time zone'
        -- A partition's rows are moved with its table's.
        and not (select relispartition from pg_class where oid = format('%I.%I', table_schema, table_name)::regclass)
        and (table_schema = 'pgboss' or table_name in ('jobs', 'leases') or table_name like 'source%')
      group by table_schema, table_name
    loop
      execute format('update %I.%I set %s', found.table_schema, found.table_name, found.moved) using since;
    end loop;
  end $$`
