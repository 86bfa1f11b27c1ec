import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { embeddedUrl, openEmbedded } from '../../src/authz/embedded.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { createFgaApi } from '../../src/authz/openfga.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPglite } from '../../src/store/pglite.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Database } from '../../src/store/sql.ts'
import { dimensions } from './corpus.ts'

export interface ServersOptions {
  /**
   * The name of a loaded database that stays for the next run, which then begins at once. Native Postgres
   * only. Whether it holds the same corpus is NOT checked: name it after it.
   */
  readonly keep?: string
}

/** Where everything runs, ours and the peers'. */
export interface Servers extends AsyncDisposable {
  /** `Postgres 18.4, pgvector 0.8.5 × OpenFGA`, or `PGlite … × engine`: said beside every figure. */
  readonly name: string
  readonly openfga: { readonly url: string; readonly token: string } | undefined
  /** A migrated database of its own: what `fill` puts into the first is in every other one too. */
  open(fill: Fill): Promise<Place>
}

export interface Fill {
  /** Passages and indexes: minutes. */
  load(place: Place): Promise<void>
  /** What may have to follow a change of the service: run over a kept database too. */
  renew(place: Place): Promise<void>
}

/** One database, and the way to OpenFGA. */
export interface Place extends AsyncDisposable {
  readonly database: Database
  readonly api: FgaApi
  /** Of native Postgres: connections beside the service's own can be opened. */
  readonly url: string | undefined
}

const openfgaTimeoutMs = 30_000
// As many as the service's own pool has, and those that load.
const poolSize = 16

/**
 * Native Postgres and a real OpenFGA where the environment names both (`TEST_DATABASE_URL`,
 * `OPENFGA_TEST_URL`, `_TOKEN`).
 */
export async function openServers(env: NodeJS.ProcessEnv, { keep }: ServersOptions = {}): Promise<Servers> {
  const { TEST_DATABASE_URL: url, OPENFGA_TEST_URL: openfga, OPENFGA_TEST_TOKEN: token } = env
  return url && openfga && token ? openNative(url, { url: openfga, token }, keep) : openEmbeddedOnes()
}

async function openNative(
  admin: string,
  openfga: { readonly url: string; readonly token: string },
  keep: string | undefined,
): Promise<Servers> {
  const made: string[] = []
  let template: string | undefined
  const connect = (name: string) => openPostgres({ url: urlOf(admin, name), poolSize })
  const make = async (from?: string): Promise<string> => {
    const name = `remit_search_${randomBytes(6).toString('hex')}`
    await administer(admin, `create database ${name}${from === undefined ? '' : ` template ${from}`}`)
    made.push(name)
    return name
  }
  const drop = (name: string) => administer(admin, `drop database if exists ${name} with (force)`)
  const api = createFgaApi({ apiUrl: openfga.url, apiToken: openfga.token, timeoutMs: openfgaTimeoutMs })
  const filled = async (name: string, fill: Fill, isLoaded = false): Promise<string> => {
    await using database = await connect(name)
    await migrated(database)
    const place = { database, api, url: urlOf(admin, name), [Symbol.asyncDispose]: async () => undefined }
    if (!isLoaded) await fill.load(place)
    await fill.renew(place)
    return name
  }
  const kept = async (keep: string, fill: Fill): Promise<string> => {
    const name = `remit_search_kept_${keep}`
    const said = await administer(
      admin,
      `select coalesce(shobj_description(oid, 'pg_database'), '') from pg_database where datname = '${name}'`,
    )
    const isLoaded = said === 'loaded'
    if (!isLoaded) {
      // One that a stop left half filled.
      await drop(name)
      await administer(admin, `create database ${name}`)
    }
    await filled(name, fill, isLoaded)
    await administer(admin, `comment on database ${name} is 'loaded'`)
    return name
  }
  return {
    name: `Postgres ${await administer(admin, 'show server_version')} × OpenFGA`,
    openfga,
    async open(fill) {
      template ??= await (keep === undefined ? filled(await make(), fill) : kept(keep, fill))
      const name = await make(template)
      const database = await connect(name)
      return {
        database,
        api,
        url: urlOf(admin, name),
        async [Symbol.asyncDispose]() {
          await database.close()
          await drop(name)
        },
      }
    },
    async [Symbol.asyncDispose]() {
      for (const name of made) await drop(name)
    },
  }
}

async function openEmbeddedOnes(): Promise<Servers> {
  return {
    name: 'PGlite × engine',
    openfga: undefined,
    async open(fill) {
      const socketDir = await mkdtemp(join(tmpdir(), 'remit-search-'))
      const database = await openPglite({ socketDir })
      await migrated(database)
      const { adapter } = await openEmbedded(database, Date.now, () => undefined)
      const api = createFgaApi({ apiUrl: embeddedUrl, timeoutMs: openfgaTimeoutMs, adapter })
      const place: Place = {
        database,
        api,
        url: undefined,
        async [Symbol.asyncDispose]() {
          await database.close()
          await rm(socketDir, { recursive: true, force: true })
        },
      }
      await fill.load(place)
      await fill.renew(place)
      return place
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}

const migrated = (database: Database) =>
  migrate(database, { dir: new URL('../../migrations/', import.meta.url), dimensions })

function urlOf(admin: string, name: string): string {
  const url = new URL(admin)
  url.pathname = `/${name}`
  return url.href
}

/** The first column of the first row, where there is one. */
async function administer(url: string, statement: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<Record<string, unknown>>(statement)
    return Object.values(rows[0] ?? {})[0]
  } finally {
    await client.end()
  }
}
