import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { SignJWT } from 'jose'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Fga } from '../../src/authz/fga.ts'
import { deployModel } from '../../src/authz/model/deploy.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import { createDelegations } from '../../src/delegation/lending/delegations.ts'
import { readMarker } from '../../src/delegation/recovery/restore-detection.ts'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { tuplesOf } from '../delegation/world-fga.ts'
import { native, needsOpenfga, needsPostgres } from '../support/native.ts'
import { programEnv } from '../support/program-env.ts'
import { freshSettings, listens, remit, type Settings, startService } from './process.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const clock = { now: () => Date.now() }
const name = `remit_test_${randomBytes(6).toString('hex')}`

describe(
  'the service on an older copy of its database',
  needsPostgres.skip ? needsPostgres : needsOpenfga,
  () => {
    let settings: Settings
    let env: Readonly<Record<string, string>>
    beforeAll(async () => {
      settings = await freshSettings(undefined)
      await administer(`create database ${name}`)
      env = {
        ...settings.env,
        PUBLIC_URL: settings.url,
        DATABASE_URL: urlOf(name),
        // It ends every wait for a document as well: 5 s are too few on a machine that is busy.
        REQUEST_DEADLINE_MS: '20000',
        OPENFGA_API_URL: native.openfga?.url ?? '',
        OPENFGA_API_TOKEN: native.openfga?.token ?? '',
        // Some other issuer has to be trusted outside the demo; nobody comes from this one.
        TRUSTED_ISSUERS: JSON.stringify([
          {
            issuer: 'http://127.0.0.1:9',
            audiences: { api: settings.url, mcp: `${settings.url}/mcp` },
            namespace: 'elsewhere',
            preset: 'generic',
          },
        ]),
      }
    })
    afterAll(async () => {
      for (const one of [name, `${name}_copy`])
        await administer(`drop database if exists ${one} with (force)`)
      await settings?.[Symbol.asyncDispose]()
    })

    /** The service, until the end of the block; it has then ended, with nobody at the database. */
    async function running(): Promise<AsyncDisposable> {
      const service = startService(env)
      await listens(service)
      return {
        async [Symbol.asyncDispose]() {
          service.kill('SIGTERM')
          await service.exit
        },
      }
    }

    const command = async (...args: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await remit(args, env)
      if (code !== 0) throw new Error(`remit ${args.join(' ')}: ${stderr}`)
      return stdout
    }

    /** The same database and OpenFGA, past the service. */
    async function beside<T>(work: (stand: Stand) => Promise<T>): Promise<T> {
      await using database = await openPostgres({ url: urlOf(name), poolSize: 4 })
      const { url: apiUrl = '', token: apiToken = '' } = native.openfga ?? {}
      const api = createFgaApi({ apiUrl, apiToken, timeoutMs: 4_000 })
      const dsl = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
      const { storeId, model } = await deployModel({
        api,
        database,
        dsl,
        redeploy: false,
        newTxn: () => 't_test',
        now: clock.now,
      })
      const fga = createFga(api, storeId, () => model.id)
      const delegations = createDelegations({ database, fga, clock, randomBytes })
      return await work({
        fga,
        query: (text) => database.query(text),
        lend: async () => {
          const wish = {
            subject: 'user:bob',
            agent: 'bot',
            scope: ['collection:handbook'],
            purpose: 'tests',
          } as const
          return (await delegations.lend({ ...wish, expiresAt: new Date(Date.now() + 3_600_000) })).id
        },
      })
    }

    async function token(claims: {
      readonly sub: string
      readonly client_id: string
      readonly scope: string
    }) {
      const { kid, privateKey } = (await openKeyRing(join(settings.home, 'keys'), clock)).current()
      return new SignJWT({ ...claims, jti: `j_${randomUUID()}`, txn: `t_${randomUUID()}` })
        .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
        .setIssuer(`${settings.url}/oauth`)
        .setAudience(settings.url)
        .setIssuedAt()
        .setExpirationTime('290 s')
        .sign(privateKey)
    }
    const bobs = () => token({ sub: 'bob', client_id: 'bobs-app', scope: 'docs.search docs.read' })

    async function call(path: string, bearer: string, body?: object, method = 'POST') {
      const response = await fetch(`${settings.url}${path}`, {
        method: body === undefined ? 'GET' : method,
        headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json', prefer: 'wait' },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      return { status: response.status, json: (await response.json()) as Said }
    }
    const ready = async () => (await fetch(`${settings.url}/readyz`)).status
    /** Asks again while the answer says that something may be missing, as of a machine that is busy. */
    const found = async (bearer: string) => {
      for (let left = 50; ; left -= 1) {
        const { status, json } = await call('/retrieve', bearer, { query: 'travel' })
        if (json.complete !== false || left === 0)
          return [status, json.results?.map(({ document_id }) => document_id)]
        await delay(200)
      }
    }

    test('answers nobody until `remit recover`, which ends what came after the copy; then permissions are those that OpenFGA has', {
      timeout: 180_000,
    }, async () => {
      let old = ''
      let before = ''
      {
        await using _service = await running()
        await expect.poll(ready, { timeout: 60_000 }).toBe(200)
        await command('collection', 'add', 'handbook', '--title', 'Handbook')
        await command('service', 'add', 'loader', '--collection', 'handbook')
        await command('person', 'add', 'bob', '--name', 'Bob')
        await beside(async ({ query, lend }) => {
          await query(
            `insert into agents (id, owner, title, purpose, issuer, sub)
           values ('bot', 'user:bob', 'Bot', 'tests', '${settings.url}/oauth', 'bot')`,
          )
          await query(`insert into clients (client_id, kind) values ('bobs-app', 'person')`)
          await query(`insert into clients (client_id, kind, service) values ('load', 'service', 'loader')`)
          before = await lend()
        })
        const loader = await token({ sub: 'loader', client_id: 'load', scope: 'docs.write' })
        const text = { collection: 'handbook', title: 'Travel', text: 'Travel costs.' }
        for (const [id, viewer] of [
          ['early', 'user:bob'],
          ['late', 'group:late#member'],
        ])
          expect(
            (await call(`/documents/${id}`, loader, { ...text, access: { viewers: [viewer] } }, 'PUT'))
              .status,
          ).toBe(200)
        old = await bobs()
        expect(await found(old)).toEqual([200, ['early']])
      }
      const refused = await remit(['drift'], { ...env, OPENFGA_API_TOKEN: 'a-wrong-one' })
      expect([refused.code, refused.stderr]).toEqual([
        2,
        `OpenFGA at ${native.openfga?.url} cannot be used: it refuses the key of OPENFGA_API_TOKEN (401).\n`,
      ])
      // By it a start or a command that forgets DATABASE_URL is refused.
      const { hostname, port } = new URL(urlOf(name))
      expect(await readFile(join(settings.home, 'database'), 'utf8')).toBe(
        `${hostname}:${port || '5432'}/${name}\n`,
      )
      await administer(`create database ${name}_copy template ${name}`)

      let since = ''
      let lentSince = ''
      {
        await using _service = await running()
        await beside(async ({ fga, lend }) => {
          const told = await readMarker(fga)
          lentSince = await lend()
          await command('delegation', 'revoke', before)
          await fga.write({ writes: [{ user: 'user:bob', relation: 'member', object: 'group:late' }] })
          await expect.poll(() => readMarker(fga), { timeout: 10_000 }).toBeGreaterThan(told)
          expect(await tuplesOf(fga, lentSince)).not.toEqual([])
        })
        since = await bobs()
        expect((await found(since))[0]).toBe(200)
      }

      await administer(`drop database ${name} with (force)`)
      await administer(`alter database ${name}_copy rename to ${name}`)
      // Nothing that the copy believes of permissions may be believed.
      await beside(({ query }) => query(`delete from index_tuples where object = 'document:early'`))
      await using _service = await running()
      expect(await ready()).toBe(503)
      const told = await (await fetch(`${settings.opsUrl}/metrics`)).text()
      expect(told).toMatch(/^remit_database_whole 0$/m)
      expect(told).toMatch(/^remit_openfga_whole 1$/m)
      for (const bearer of [old, since, await bobs(), 'not.a.token'])
        expect(await found(bearer)).toEqual([503, undefined])

      const recovered = JSON.parse(await command('recover', '--json'))
      expect(recovered).toMatchObject({ delegations_ended: 1 })
      expect(await ready()).toBe(200)
      expect([await found(old), await found(since)]).toEqual([
        [401, undefined],
        [401, undefined],
      ])
      await beside(async ({ fga, query }) => {
        expect([...(await tuplesOf(fga, before)), ...(await tuplesOf(fga, lentSince))]).toEqual([])
        expect(await query(`select id from delegations where state <> 'revoked'`)).toEqual([])
      })
      // A token says in whole seconds when it was issued.
      await delay(1_000)
      const [status, documents] = await found(await bobs())
      expect([status, [...(documents as string[])].sort()]).toEqual([200, ['early', 'late']])
      // What OpenFGA has of groups since the copy is taken over, not taken away.
      await command('drift')
      expect((await found(await bobs()))[1]).toHaveLength(2)
    })
  },
)

interface Stand {
  readonly fga: Fga
  query(text: string): Promise<unknown[]>
  /** Everything in the handbook, of bob to the agent. */
  lend(): Promise<string>
}

interface Said {
  readonly complete?: boolean
  readonly results?: readonly { readonly document_id: string }[]
}

function urlOf(database: string): string {
  const url = new URL(native.databaseUrl ?? '')
  url.pathname = `/${database}`
  return url.href
}

async function administer(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: native.databaseUrl ?? '' })
  await client.connect()
  await client.query(statement)
  await client.end()
}

test('the embedded database’s folder, copied and put back by the page, has no key that signed before', async () => {
  await using settings = await freshSettings(undefined)
  const env = { ...settings.env, REMIT_DEMO: 'false', TRUSTED_ISSUERS: '[]', PUBLIC_URL: settings.url }
  /** The keys by which the service of this folder signs. */
  const published = async (home: string): Promise<readonly string[]> => {
    await using service = startService({ ...env, REMIT_HOME: home })
    await listens(service)
    const { keys } = (await (await fetch(`${settings.url}/oauth/jwks`)).json()) as {
      readonly keys: readonly { readonly kid: string }[]
    }
    service.kill('SIGTERM')
    await service.exit
    return keys.map(({ kid }) => kid)
  }
  const page = await readFile(new URL('../../docs/recovery.md', import.meta.url), 'utf8')
  const marked = /^ *<!-- run: test\/e2e\/recover\.test\.ts -->\n *```sh\n([\s\S]*?)^ *```$/gm
  const [backUp = 'exit 1', goBack = 'exit 1'] = [...page.matchAll(marked)].map(([, block]) => block)
  const folder = dirname(settings.home)
  const inFolder = (script: string) =>
    promisify(execFile)('sh', ['-euc', script], { cwd: folder, env: { ...programEnv, ...env } })

  const before = await published(settings.home)
  await inFolder(backUp)
  const [copy = ''] = await readdir(join(folder, 'backups'))
  const keys = await readdir(join(folder, 'backups', copy, 'keys'))
  expect(keys).toContain('oauth.key')
  expect(keys.filter((name) => name.startsWith('issuer-'))).toEqual([])
  const { stdout } = await inFolder(
    goBack
      .replace(/home-2026\S+/, copy)
      .replace('npm run -s remit --', `'${process.execPath}' '${root}src/cli/main.ts'`),
  )
  expect(stdout).toMatch(/^older: not_known$/m)
  const after = await published(settings.home)
  expect(after).not.toHaveLength(0)
  expect(after.filter((kid) => before.includes(kid))).toEqual([])
}, 300_000)
