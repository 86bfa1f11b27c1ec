import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { chmod, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { loadConfig } from '../../src/config/config.ts'
import { type ExamineDeps, examine } from '../../src/doctor/examine.ts'
import type { Facts } from '../../src/doctor/facts.ts'
import type { Finding } from '../../src/doctor/finding.ts'
import { ofDatabase } from '../../src/doctor/of-database.ts'
import { ofKeys } from '../../src/doctor/of-keys.ts'
import { ofService } from '../../src/doctor/of-service.ts'
import { examineService } from '../../src/doctor/service.ts'
import { openReading } from '../../src/store/postgres.ts'
import { freshSettings, listens, modelFolder, type Running, remit, startService } from '../e2e/process.ts'
import { inContainer } from '../e2e/production/compose-file.ts'
import { native, needs } from '../support/native.ts'
import { recordOwnerSql } from '../support/record-owner.ts'

const both = needs(
  native.databaseUrl !== undefined && native.openfga !== undefined && modelFolder !== undefined,
  'native Postgres, a real OpenFGA and the embedding model (TEST_DATABASE_URL, OPENFGA_TEST_URL, EMBEDDINGS_MODEL_PATH)',
)
const bearer = randomBytes(24).toString('hex')

describe('remit doctor on a running service', both, () => {
  const role = `remit_doctor_${randomBytes(5).toString('hex')}`
  const password = randomBytes(12).toString('hex')
  const stack = new AsyncDisposableStack()
  let admin: pg.Client
  let inside: pg.Client
  let env: Record<string, string>
  let service: Running
  let keys: string

  beforeAll(async () => {
    admin = new pg.Client({ connectionString: native.databaseUrl ?? '' })
    await admin.connect()
    await admin.query(`create role ${role} login password '${password}'`)
    await admin.query(`create database ${role} owner ${role}`)
    const url = new URL(native.databaseUrl ?? '')
    url.pathname = `/${role}`
    inside = new pg.Client({ connectionString: url.href })
    await inside.connect()
    await inside.query('create extension vector')
    await inside.query(await recordOwnerSql(role))
    ;[url.username, url.password] = [role, password]
    const settings = stack.use(await freshSettings(modelFolder))
    const folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
    stack.defer(() => rm(folder, { recursive: true, force: true }))
    await writeFile(join(folder, 'bearer'), `${bearer}\n`)
    keys = join(settings.home, 'keys')
    env = {
      ...settings.env,
      PUBLIC_URL: 'https://remit.example.com',
      DATABASE_URL: url.href,
      OPENFGA_API_URL: native.openfga?.url ?? '',
      OPENFGA_API_TOKEN: native.openfga?.token ?? '',
      OPENFGA_SECONDARY: 'none',
      OPS_BEARER_FILE: join(folder, 'bearer'),
      TRUSTED_ISSUERS: '[]',
    }
    service = stack.use(startService(env))
    await listens(service)
    await inside.query(`update backup_run set taken_at = now() - interval '3 hours', ended_at = now()`)
  }, 180_000)
  afterAll(async () => {
    await stack.disposeAsync()
    await inside?.end()
    await admin?.query(`drop database if exists ${role} with (force)`)
    await admin?.query(`drop role if exists ${role}`)
    await admin?.end()
  })

  const look = (changed: Record<string, string> = {}, now: () => number = Date.now) =>
    examineService({ ...env, ...changed }, { askRunning: async () => undefined, fetch, now })
  const bad = (found: readonly Finding[]) =>
    found.filter(({ status }) => status !== 'ok').map(({ part, status }) => `${status} ${part}`)
  /** Makes a fault, looks, and takes it back. */
  const during = async (fault: string, mended: string): Promise<readonly Finding[]> => {
    await inside.query(fault)
    try {
      return await look()
    } finally {
      await inside.query(mended)
    }
  }

  test('finds nothing but ok where all is well, in words and as JSON, with status 0', {
    timeout: 60_000,
  }, async () => {
    let found: readonly Finding[] = []
    // On a busy machine the record or the replica may be behind for a moment.
    await expect
      .poll(
        async () => {
          const { code, stdout, stderr } = await remit(['doctor', '--json'], env)
          found = stdout
            .trim()
            .split('\n')
            .map((line) => JSON.parse(line) as Finding)
          return { code, stderr, bad: found.filter(({ status }) => status !== 'ok') }
        },
        { timeout: 20_000 },
      )
      .toEqual({ code: 0, stderr: '', bad: [] })
    expect(new Set(found.map(({ part }) => part))).toEqual(
      new Set([
        'settings',
        'exposure',
        'service',
        'replica',
        'model',
        'embedding',
        'clock',
        'schema',
        'processes',
        'database',
        'pgvector',
        'roles',
        'record role',
        'recovery',
        'indexes',
        'backup',
        'jobs',
        'failed documents',
        'record',
        'sources',
        'drift',
        'OpenFGA',
        'OpenFGA key',
        'keys',
      ]),
    )
  })

  test('changes nothing, not even a record', async () => {
    const count = async () =>
      (
        await inside.query(`select (select count(*) from decision_records)::int as records,
        (select count(*) from settings)::int as settings, (select count(*) from migrations)::int as migrations`)
      ).rows
    const before = await count()
    await look()
    expect(await count()).toEqual(before)
    await using reading = openReading(env['DATABASE_URL'] ?? '')
    await expect(reading.query(`delete from settings`)).rejects.toThrow('read-only transaction')
  })

  test.each<[string, string, string, string]>([
    [
      'an old backup',
      `update backup_run set taken_at = now() - interval '3 days'`,
      `update backup_run set taken_at = now()`,
      'problem backup',
    ],
    [
      'no backup ever',
      `update backup_run set taken_at = null`,
      `update backup_run set taken_at = now()`,
      'warning backup',
    ],
    [
      'a backup that failed since',
      `update backup_run set failed_at = now() + interval '1 minute', failure = 'no space'`,
      `update backup_run set failed_at = null, failure = null`,
      'warning backup',
    ],
    [
      'a job that stands still',
      `insert into jobs (id, owner, kind, total, created_at) values ('job_x', 'x', 'import', 9, now() - interval '2 hours')`,
      `delete from jobs where id = 'job_x'`,
      'problem jobs',
    ],
    [
      'a restored database without recovery',
      `update epochs set restored = '{}'`,
      `update epochs set restored = null`,
      'problem recovery',
    ],
    [
      'a restore that died, before it tells of tables that are not there',
      `alter table migrations rename to migrations_away; create table restore_under_way ()`,
      `drop table restore_under_way; alter table migrations_away rename to migrations`,
      'problem recovery',
    ],
    [
      'a recovery that has not ended',
      `update epochs set recovering_since = now()`,
      `update epochs set recovering_since = null`,
      'problem recovery',
    ],
    [
      'the demo company’s people',
      `insert into settings (key, value) values ('sample_seeded', 'true')`,
      `delete from settings where key = 'sample_seeded'`,
      'problem exposure',
    ],
    [
      'an index that is not valid',
      `update pg_index set indisvalid = false where indexrelid = 'jobs_created_at'::regclass`,
      `update pg_index set indisvalid = true where indexrelid = 'jobs_created_at'::regclass`,
      'problem indexes',
    ],
    [
      'a role that is a superuser',
      `alter role ${role} superuser`,
      `alter role ${role} nosuperuser`,
      'problem roles',
    ],
    [
      'a role that owns its database, which it could drop with the record',
      `alter database ${role} owner to ${role}`,
      `alter database ${role} owner to remit_record`,
      'warning record role',
    ],
    [
      'a role that may act as the owner of its database',
      `grant remit_record to ${role}`,
      `revoke remit_record from ${role}`,
      'warning record role',
    ],
    [
      'tables of a newer version',
      `insert into migrations (name) values ('9999_coming.sql')`,
      `delete from migrations where name = '9999_coming.sql'`,
      'problem schema',
    ],
    [
      'tables of an older version',
      `update migrations set name = '0000_x.sql' where name like '0133%'`,
      `update migrations set name = '0133_backups.sql' where name = '0000_x.sql'`,
      'problem schema',
    ],
    [
      'objects that nobody mended',
      `insert into unreconciled (object, purge, since) values ('document:x', false, now() - interval '2 hours')`,
      `delete from unreconciled where object = 'document:x'`,
      'warning drift',
    ],
    [
      'a service that may write where a source files its documents',
      `insert into services (name, collections, prefixes, tuples_first) values ('scribe', '{diary}', '{}', true);
       insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds,
         crawl_seconds, max_age_seconds, purge_days, groups_at, items_at)
       values ('wiki', 'none', 'https://wiki.test', '{}', '{diary}', 'paused', 'user:a', 60, 60, 600, 1, now(), now())`,
      `delete from sources where id = 'wiki'; delete from services where name = 'scribe'`,
      'warning sources',
    ],
  ])('tells %s', async (_, fault, mended, line) => {
    expect(bad(await during(fault, mended))).toContain(line)
  })

  test('tells a failed document, and what to do also where its content is not held any more', async () => {
    const found = await during(
      `insert into collections (id, title) values ('x', 'X');
       insert into documents (id, collection, accepted_revision) values ('x', 'x', 7);
       insert into failed_documents (doc_no, revision, source, code, detail, tries, bytes)
         select doc_no, 7, 'x', 'c', 'd', 1, 1 from documents where id = 'x'`,
      `delete from failed_documents; delete from documents where id = 'x'; delete from collections where id = 'x'`,
    )
    expect(bad(found)).toEqual(['warning failed documents'])
    const { remedy } = found.find(({ part }) => part === 'failed documents') ?? {}
    expect(remedy).toMatch(/retry --all` tries .* is held; send the others again, or withdraw them\.$/)
  })

  test('says nothing of a document that failed and came again since, whose job is kept for 30 days', async () => {
    const found = await during(
      `insert into jobs (id, owner, kind, total, failed) values ('job_x', 'x', 'document', 1, 1)`,
      `delete from jobs where id = 'job_x'`,
    )
    expect(bad(found)).toEqual([])
  })

  test('looks at the operators’ port of the service of its folder, whatever that is, where its shell names none', {
    timeout: 60_000,
  }, async () => {
    const { PORT: _, OPS_PORT: __, ...rest } = env
    const { stdout } = await remit(['doctor', '--json'], { ...rest, PORT: '', OPS_PORT: '' })
    expect(stdout).toContain('"says":"The service answers and is ready."')
  })

  test('tells a clock that is a minute off, and one that is five seconds off as a warning', async () => {
    expect(bad(await look({}, () => Date.now() + 60_000))).toEqual(['problem clock', 'problem clock'])
    expect(bad(await look({}, () => Date.now() - 5_000))).toEqual(['warning clock', 'warning clock'])
  })

  test('tells a key that is missing or empty and one that others can read', async () => {
    const key = join(keys, 'oauth.key')
    await rename(key, `${key}.away`)
    expect(bad(await look())).toEqual(['problem keys'])
    await writeFile(key, '', { mode: 0o600 })
    expect(bad(await look())).toEqual(['problem keys'])
    await rename(`${key}.away`, key)
    await chmod(key, 0o644)
    const found = await look()
    await chmod(key, 0o600)
    expect(bad(found)).toEqual(['problem keys'])
  })

  test('tells Postgres, OpenFGA and the service that do not answer, each by itself, and no secret with it', async () => {
    const away = `postgres://${role}:${password}@127.0.0.1:9/${role}`
    const found = await look({ DATABASE_URL: away, OPENFGA_API_URL: 'http://127.0.0.1:9', OPS_PORT: '9' })
    expect(bad(found).toSorted()).toEqual([
      'problem OpenFGA',
      'problem database',
      'problem service',
      'warning exposure',
      'warning keys',
    ])
    const wrong = await look({ DATABASE_URL: (env['DATABASE_URL'] ?? '').replace(password, 'another') })
    expect(bad(wrong)).toContain('problem database')
    expect(wrong.find(({ part }) => part === 'database')?.says).toContain('password authentication failed')
    const text = JSON.stringify([...found, ...wrong, ...(await look())])
    for (const secret of [password, bearer, native.openfga?.token ?? '', 'another'])
      expect(text).not.toContain(secret)
  })

  test('tells a service that takes another token, and OpenFGA that refuses our key', async () => {
    const file = `${env['OPS_BEARER_FILE']}.other`
    await writeFile(file, 'x'.repeat(40))
    expect(bad(await look({ OPS_BEARER_FILE: file, OPENFGA_API_TOKEN: 'wrong' }))).toEqual([
      'problem service',
      'problem OpenFGA',
    ])
  })

  test('tells an OpenFGA that answers without a key', async () => {
    const server = createServer((_, response) => response.end('{"stores":[]}')).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    try {
      const { port } = server.address() as AddressInfo
      expect(bad(await look({ OPENFGA_API_URL: `http://127.0.0.1:${port}` }))).toEqual([
        'problem OpenFGA key',
      ])
    } finally {
      server.close()
    }
  })

  test('takes no error of OpenFGA for a refusal', async () => {
    const server = createServer((_, response) => response.writeHead(500).end()).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    try {
      const { port } = server.address() as AddressInfo
      expect(bad(await look({ OPENFGA_API_URL: `http://127.0.0.1:${port}` }))).toEqual([
        'problem OpenFGA',
        'warning OpenFGA key',
      ])
    } finally {
      server.close()
    }
  })

  test('tells settings that cannot be used, and ends with status 1', async () => {
    const { code, stdout } = await remit(['doctor'], { ...env, REMIT_DEMO: 'true' })
    expect(code).toBe(1)
    expect(stdout).toMatch(/^problem {2}settings: REMIT_DEMO needs everything embedded.*\n {9}→ /)
  })
})

describe('remit doctor on the demo', () => {
  const home = mkdtempSync(join(tmpdir(), 'remit-test-'))
  afterAll(() => rm(home, { recursive: true }))
  const config = loadConfig({ REMIT_HOME: home })
  const deps: ExamineDeps = {
    settings: config,
    openReading,
    askRunning: async () => undefined,
    fetch: () => Promise.reject(new TypeError('fetch failed')),
    now: Date.now,
    migrations: new URL('../../migrations/', import.meta.url),
    version: '0',
  }

  test('says that it is on, that it is http, and what does not run, and dies of nothing', async () => {
    const found = await examine(deps)
    expect(
      found.filter(({ status }) => status !== 'ok').map(({ part, status }) => `${status} ${part}`),
    ).toEqual(['warning exposure', 'warning exposure', 'problem service', 'warning database', 'problem keys'])
    expect(found.find(({ says }) => says.startsWith('The demo is on'))?.remedy).toContain('REMIT_DEMO=false')
  })

  test('says where there is no service that there is none, and what to do, and nothing else, with status 1', async () => {
    const argv = [fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url)), 'doctor', '--json']
    const env = { PATH: process.env['PATH'], HOME: home }
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { cwd: home, env, encoding: 'utf8' })
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' })
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Finding),
    ).toEqual([
      {
        part: 'settings',
        status: 'problem',
        says: expect.stringContaining(
          `no folder ${join(home, '.remit')}, and neither the environment nor a .env`,
        ),
        remedy: expect.stringContaining('npm start'),
      },
    ])
  })

  test('says where REMIT_HOME names no folder that its disk may be away, and has nobody begin anew there', async () => {
    const env = { REMIT_HOME: join(home, 'not-there') }
    const { code, stdout, stderr } = await remit(['doctor', '--json'], env)
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    const found = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Finding)
    expect(found).toEqual([
      {
        part: 'settings',
        status: 'problem',
        says: `REMIT_HOME names ${env.REMIT_HOME}, and there is no such folder.`,
        remedy: expect.stringMatching(/^(?!.*npm start).*disk is mounted/),
      },
    ])
  })

  test('of docker-compose.yml warns of nothing that nobody can change, and of another OpenFGA', async () => {
    const exposed = async (more: Record<string, string>) => {
      const env = { ...inContainer({ PUBLIC_URL: 'https://remit.example.com' }), ...more }
      const settings = loadConfig(env, (path) =>
        path.endsWith('database_url') ? 'postgres://remit:x@postgres:5432/remit' : 'x'.repeat(32),
      )
      const openReading: ExamineDeps['openReading'] = () => {
        throw new Error('away')
      }
      const found = await examine({ ...deps, settings, openReading })
      return found.flatMap(({ part, says }) =>
        part === 'exposure' && says.includes('not on this machine') ? [says.split(' ')[0]] : [],
      )
    }
    expect(await exposed({})).toEqual([])
    expect(await exposed({ OPENFGA_API_URL: 'http://openfga.corp.example:8080' })).toEqual([
      'OPENFGA_API_URL',
    ])
  })

  test.each<[string, string, readonly string[]]>([
    ['http://10.1.0.6:8080', 'postgres://remit:x@10.1.0.5/remit', ['OPENFGA_API_URL', 'DATABASE_URL']],
    ['https://openfga.example.com', 'postgres://remit:x@db/remit?sslmode=disable', ['DATABASE_URL']],
    ['https://openfga.example.com', 'postgres://remit:x@db/remit?sslmode=no-verify', ['DATABASE_URL']],
    ['https://openfga.example.com', 'postgres://remit:x@db/remit?sslmode=verify-full', []],
    ['http://openfga:8080', 'postgres://remit:x@postgres/remit', ['OPENFGA_API_URL', 'DATABASE_URL']],
    ['http://Mesh.example:80', 'postgres://remit:x@pooler/remit', []],
    ['http://127.0.0.1:9', 'postgres://remit:x@localhost/remit', []],
    ['http://[::1]:9', 'postgres://remit:x@[::1]/remit', []],
    ['http://localhost:9', 'postgres:///remit?host=/run/postgresql', []],
  ])(
    'tells what goes in the clear to another machine: %s, %s',
    async (OPENFGA_API_URL, DATABASE_URL, clear) => {
      const settings = loadConfig({
        DATABASE_URL,
        OPENFGA_API_URL,
        OPENFGA_API_TOKEN: 'hemlock',
        CLEAR_TEXT_HOSTS: 'mesh.example, Pooler',
        PUBLIC_URL: 'https://remit.example.com',
        TRUSTED_ISSUERS: '[]',
      })
      const reading: ExamineDeps['openReading'] = () => {
        throw new Error('away')
      }
      const found = await examine({ ...deps, settings, openReading: reading })
      const said = found.filter(({ part, status }) => part === 'exposure' && status === 'warning')
      expect(said.flatMap(({ says }) => /^[A-Z_]{3,}/.exec(says)?.[0] ?? [])).toEqual(clear)
    },
  )

  test('shows no secret of the settings that somebody else put into words', async () => {
    const url = 'postgres://remit:fox%2Fglove@127.0.0.1:9/remit'
    const found = await examine({
      ...deps,
      settings: loadConfig({
        DATABASE_URL: url,
        OPENFGA_API_URL: 'http://127.0.0.1:9',
        OPENFGA_API_TOKEN: 'hemlock',
        TRUSTED_ISSUERS: '[]',
      }),
      openReading: (address) => {
        throw new Error(`no way to ${address}, fox/glove`)
      },
      fetch: () => Promise.reject(new Error('not with Bearer hemlock')),
    })
    const text = JSON.stringify(found)
    expect(text).toContain('no way to …, …')
    expect(text).toContain('not with Bearer …')
    expect(text).not.toMatch(/fox|hemlock/)
  })
})

describe('what a running service says of itself', () => {
  const well = {
    status: 'ok',
    version: '1.2.3',
    database: true,
    permission_index: { state: 'following', lag_ms: 5, tuples: 3 },
    authorization_model: { id: 'm', known: true, matches_file: true },
    embeddings: { available: true },
  }
  test.each<[string, object, string]>([
    [
      'a replica that builds',
      { permission_index: { ...well.permission_index, state: 'building' } },
      'warning replica',
    ],
    [
      'a replica that is behind',
      { permission_index: { ...well.permission_index, lag_ms: 90_000 } },
      'problem replica',
    ],
    [
      'a model of another file',
      { authorization_model: { ...well.authorization_model, matches_file: false } },
      'warning model',
    ],
    [
      'a model that is not known',
      { authorization_model: { ...well.authorization_model, known: false } },
      'problem model',
    ],
    ['no embedding model', { embeddings: { available: false, reason: 'none' } }, 'warning embedding'],
    ['a process of another version', { version: '1.2.2' }, 'warning version'],
    ['an older copy', { status: 'unavailable', database_whole: false }, 'problem service'],
    ['changes that are not heard', { status: 'unavailable', changes_heard: false }, 'problem service'],
    [
      'clocks that are apart, alone: what is heard counts for nothing then',
      { status: 'unavailable', changes_heard: false, clocks_together: false },
      'problem service',
    ],
  ])('tells %s', (_, changed, line) => {
    const found = ofService({ ...well, ...changed }, { judgesLag: true, version: '1.2.3' })
    expect(
      found.filter(({ status }) => status !== 'ok').map(({ part, status }) => `${status} ${part}`),
    ).toEqual([line])
  })
})

test('a signing key of two years deserves a look', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  await chmod(folder, 0o700)
  for (const name of ['digest', 'dpop', 'mcp', 'oauth', 'record-seal'])
    await writeFile(join(folder, `${name}.key`), 'x', { mode: 0o600 })
  await writeFile(join(folder, 'issuer-es256.json'), '{}', { mode: 0o600 })
  const found = (now: number, needsVaultKey: boolean) => ofKeys(folder, { now, needsVaultKey })
  expect((await found(Date.now(), false)).map(({ status }) => status)).toEqual(['ok'])
  expect((await found(Date.now() + 730 * 86_400_000, false)).map(({ status }) => status)).toEqual(['warning'])
  expect((await found(Date.now(), true)).map(({ says }) => says)).toEqual([
    'vault.key is missing or empty: no linked account could be used.',
  ])
})

test.each([
  [1, '1 document waits; no job stands still.', '1 document could not be taken in as last sent.'],
  [2, '2 documents wait; no job stands still.', '2 documents could not be taken in as last sent.'],
])('counts %i as people do', (count, waits, failed) => {
  const facts = {
    kind: 'pglite',
    version: '17',
    restored: false,
    brokenIndexes: null,
    building: 0,
    withoutVector: 0,
    stock: { waiting: count, waitingSeconds: 0 },
    standing: 0,
    failedDocuments: count,
    unsealed: { seconds: 0 },
    besideSources: null,
    unreconciled: 0,
  } as unknown as Facts
  const said = ofDatabase(facts, 0).map(({ says }) => says)
  expect(said).toEqual(expect.arrayContaining([waits, failed]))
})
