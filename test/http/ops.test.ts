import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { operator, record } from '../../src/audit/record.ts'
import { observeStock } from '../../src/http/metrics.ts'
import { markUnsettled, setTags } from '../../src/ingest/desired-tuples.ts'
import type { Stock } from '../../src/ingest/stock.ts'
import { version } from '../../src/kernel/version.ts'
import { listen } from '../../src/start.ts'
import { callTool, type Revision, revisions } from '../mcp/world.ts'
import { type FaultyDatabase, faultyDatabase } from '../security/faulty-database.ts'
import { type FaultyOpenFga, startFaultyOpenFga } from '../security/faulty-openfga.ts'
import { freePort } from '../support/port.ts'
import { programEnv } from '../support/program-env.ts'
import { openWorld, type World } from '../support/world.ts'

let faulty: FaultyOpenFga
let storage: FaultyDatabase
let world: World
let moved = 0
beforeAll(async () => {
  faulty = await startFaultyOpenFga()
  storage = faultyDatabase()
  world = await openWorld({
    openfga: faulty.wrap,
    database: storage.wrap,
    now: () => Date.now() + moved,
  })
})
afterEach(() => {
  faulty.set(undefined)
  storage.set(undefined)
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await faulty?.[Symbol.asyncDispose]()
})

const operators = (path: string, host?: string): Response | Promise<Response> =>
  world.service.ops.request(`http://127.0.0.1:${world.config.ops.port}${path}`, {
    ...(host !== undefined && { headers: { host } }),
  })

/** NaN where there is none. */
const gaugeOf = async (name: string): Promise<number> => {
  const text = await (await operators('/metrics')).text()
  const line = text.split('\n').find((one) => one.replace(/ \S+$/, '') === name)
  return Number(line?.split(' ').at(-1))
}

describe('/metrics', () => {
  test('says which version this process is', async () => {
    expect(await gaugeOf(`remit_build_info{version="${version}"}`)).toBe(1)
  })

  test('says how many records are not sealed yet and how old the oldest is, and answers where the database does not', async () => {
    const gauges = async () => {
      const text = await (await operators('/metrics')).text()
      return ['remit_record_unsealed', 'remit_record_unsealed_seconds'].map((name) =>
        Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1]),
      )
    }
    await world.service.record.seal()
    expect(await gauges()).toEqual([0, 0])
    for (const n of [1, 2, 3])
      await record(world.database, operator(`t_${n}`), { event: 'command', command: 'drift', arguments: {} })
    await world.database.query('alter table decision_records disable trigger user')
    await world.database.query(
      `update decision_records set at = at - interval '10 minutes' where txn = 't_1'`,
    )
    await world.database.query('alter table decision_records enable trigger user')
    const [rows, seconds = 0] = await gauges()
    expect(rows).toBe(3)
    expect(seconds).toBeGreaterThan(595)
    expect((await operators('/readyz')).status).toBe(200)
    storage.set(/./)
    expect(await gauges()).toEqual([Number.NaN, Number.NaN])
    storage.set(undefined)
    await world.service.record.seal()
    expect(await gauges()).toEqual([0, 0])
  })

  test('says what waits, what failed and what is there, a minute old at most, and that nothing is an older copy', async () => {
    const gauges = async (...names: readonly string[]) => {
      const text = await (await operators('/metrics')).text()
      return names.map((name) => Number(new RegExp(`^remit_${name} (.*)$`, 'm').exec(text)?.[1]))
    }
    const stock = ['ingest_waiting', 'ingest_failed', 'documents', 'passages']
    expect(await gauges('database_whole', 'openfga_whole')).toEqual([1, 1])
    moved += 60_000
    const [waiting, failed = 0, documents = 0, passages = 0] = await gauges(...stock)
    expect(waiting).toBe(0)
    await world.put({ godwit: { title: 'Godwit', text: 'A godwit.', access: { viewers: ['user:anne'] } } })
    const token = await world.token({ service: 'loader' })
    const unreadable = {
      collection: 'handbook',
      title: 'x',
      content_base64: 'AAAA',
      mime_type: 'application/pdf',
      access: {},
    }
    await world.call('PUT', '/documents/broken', { token, body: unreadable, headers: { prefer: 'wait' } })
    await world.database.query(`update jobs set total = total + 7 where id = (select min(id) from jobs)`)
    expect(await gauges(...stock)).toEqual([waiting, failed, documents, passages])
    moved += 60_000
    expect(await gauges(...stock)).toEqual([7, failed + 1, documents + 1, passages + 1])
    expect((await gauges('database_bytes'))[0]).toBeGreaterThan(1_000_000)
    storage.set(/./)
    moved += 60_000
    expect(await gauges(...stock)).toEqual([Number.NaN, Number.NaN, Number.NaN, Number.NaN])
    storage.set(undefined)
    await world.database.query(`update jobs set total = total - 7 where id = (select min(id) from jobs)`)
  })

  test('says how long the oldest document waits that was sent by itself, and forgets an import', async () => {
    const age = async () => {
      moved += 60_000
      const text = await (await operators('/metrics')).text()
      return Number(/^remit_ingest_waiting_seconds (.*)$/m.exec(text)?.[1])
    }
    const job = (id: string, kind: string, minutes: number, done: number) =>
      world.database.query(
        `insert into jobs (id, owner, kind, total, done, created_at)
         values ($1, 'loader', $2, 1, $3, now() - make_interval(mins => $4))`,
        [id, kind, done, minutes],
      )
    expect(await age()).toBe(0)
    await job('job_import', 'import', 40, 0)
    await job('job_done', 'document', 30, 1)
    expect(await age()).toBe(0)
    await job('job_young', 'document', 5, 0)
    await job('job_old', 'withdrawal', 20, 0)
    expect(Math.abs((await age()) - 1_200)).toBeLessThan(60)
    await world.database.query(`delete from jobs where id like 'job\\_%' and owner = 'loader' and total = 1`)
  })

  test('counts the seconds until a revocation counts, each once', async () => {
    const effects = async () => {
      const text = await (await operators('/metrics')).text()
      return ['count', 'bucket{le="5"}', 'sum'].map((name) =>
        Number(
          text
            .split('\n')
            .find((line) => line.startsWith(`remit_revocation_seconds_${name} `))
            ?.split(' ')[1],
        ),
      )
    }
    const [count = 0, inTime = 0] = await effects()
    for (const id of ['user:nobody', 'user:no-one'])
      await world.service.revocations.revoke(
        { kind: 'subject', id },
        { until: new Date(Date.now() + 60_000), reason: 'test' },
      )
    await expect.poll(async () => (await effects()).slice(0, 2)).toEqual([count + 2, inTime + 2])
  })

  test('counts the passages that the model was asked for, and none for a document that comes unchanged', async () => {
    const embedded = async () =>
      Number(/^remit_passages_embedded_total (.*)$/m.exec(await (await operators('/metrics')).text())?.[1])
    const dunlin = { dunlin: { title: 'Dunlin', text: 'A dunlin.', access: { viewers: ['user:anne'] } } }
    const before = await embedded()
    await world.put(dunlin)
    expect(await embedded()).toBe(before + 1)
    await world.put(dunlin)
    expect(await embedded()).toBe(before + 1)
    await world.put({ dunlin: { ...dunlin.dunlin, text: 'Two dunlins.' } })
    expect(await embedded()).toBe(before + 2)
  })

  test('counts documents that waited and ended, in whichever way, and none that comes unchanged', async () => {
    const before = await gaugeOf('remit_ingest_ended_total')
    const knot = { knot: { title: 'Knot', text: 'A knot.', access: { viewers: ['user:anne'] } } }
    await world.put(knot)
    expect(await gaugeOf('remit_ingest_ended_total')).toBe(before + 1)
    await world.put(knot)
    expect(await gaugeOf('remit_ingest_ended_total')).toBe(before + 1)
    await world.call('PUT', '/documents/torn', {
      token: await world.token({ service: 'loader' }),
      body: {
        collection: 'handbook',
        title: 'x',
        content_base64: 'AAAA',
        mime_type: 'application/pdf',
        access: {},
      },
    })
    await expect.poll(() => gaugeOf('remit_ingest_ended_total'), { timeout: 10_000 }).toBe(before + 2)
  })

  test('says how long the oldest object waits that OpenFGA may not have, however often it is changed since', async () => {
    const waits = async () => {
      moved += 60_000
      return gaugeOf('remit_unreconciled_seconds')
    }
    expect(await waits()).toBe(0)
    await world.database.query(
      `insert into unreconciled (object, purge, since) values ('document:stuck', false, now() - interval '20 minutes')`,
    )
    await markUnsettled(world.database, 'document:stuck', true)
    await setTags(world.database, 'document:stuck', [])
    expect(Math.abs((await waits()) - 1_200)).toBeLessThan(60)
    await world.database.query(`delete from unreconciled where object = 'document:stuck'`)
    expect(await waits()).toBe(0)
  })

  test('counts what somebody else wrote to OpenFGA, once it was mended', async () => {
    const before = await gaugeOf('remit_drift_mended_total')
    await world.service.ingest.drift()
    expect(await gaugeOf('remit_drift_mended_total')).toBe(before)
    await world.put({
      sanderling: { title: 'Sanderling', text: 'A sanderling.', access: { viewers: ['user:anne'] } },
    })
    await world.write('user:bob viewer document:sanderling')
    await world.service.ingest.drift()
    expect(await gaugeOf('remit_drift_mended_total')).toBe(before + 1)
    // A change of Remit's own that has not ended.
    await markUnsettled(world.database, 'document:sanderling', false)
    await world.write('user:bob viewer document:sanderling')
    await world.service.ingest.drift()
    expect(await gaugeOf('remit_drift_mended_total')).toBe(before + 1)
  })

  test('counts what fails in a tool of MCP by the status that HTTP has for it', async () => {
    await world.put({
      turnstone: { title: 'Turnstone', text: 'A turnstone.', access: { viewers: ['user:anne'] } },
    })
    await world.lend('anne', 'research-bot', 'collection:handbook')
    const token = await world.token({ user: 'anne', agent: 'research-bot', resource: 'mcp' })
    const failures = (status: number) => gaugeOf(`remit_tool_failures_total{status="${status}"}`)
    const read = (id: string, revision: Revision) =>
      callTool(world, 'read_document', { id }, { token, revision })
    for (const revision of revisions) {
      const [missing, down] = [(await failures(404)) || 0, (await failures(503)) || 0]
      expect(await read('turnstone', revision)).toMatchObject({ status: 200 })
      expect(await read('no-such', revision)).toMatchObject({
        status: 200,
        body: { result: { isError: true } },
      })
      expect([await failures(404), (await failures(503)) || 0]).toEqual([missing + 1, down])
      faulty.set({ drop: () => true })
      expect(await read('turnstone', revision)).toMatchObject({
        status: 200,
        body: { result: { isError: true } },
      })
      expect([await failures(404), await failures(503)]).toEqual([missing + 1, down + 1])
      faulty.set(undefined)
    }
  })

  test('counts what is stored once at a time, however late the database is', async () => {
    const registry = new Registry()
    const begun: ((stock: Stock) => void)[] = []
    let now = Date.now()
    observeStock(
      registry,
      () => new Promise((resolve) => begun.push(resolve)),
      () => now,
    )
    const documents = async () => Number(/^remit_documents (.*)$/m.exec(await registry.metrics())?.[1])
    expect([await documents(), await documents(), begun.length]).toEqual([Number.NaN, Number.NaN, 1])
    begun[0]?.({
      waiting: 0,
      waitingSeconds: 0,
      failed: 0,
      unreconciledSeconds: 0,
      documents: 5,
      passages: 9,
      databaseBytes: 1,
    })
    expect([await documents(), begun.length]).toEqual([5, 1])
    // Nor for an hour where the clock is set back by one.
    now -= 3_600_000
    void documents()
    await expect.poll(() => begun.length).toBe(2)
  })

  test('tells when the last backup was taken, how large it is, and when one failed; 0 before the first', async () => {
    const told = async () =>
      [...(await (await operators('/metrics')).text()).matchAll(/^remit_last_backup_\w+ (.*)$/gm)].map(
        ([, value]) => Number(value),
      )
    expect(await told()).toEqual([0, 0, 0])
    await world.database.query(
      `update backup_run set taken_at = '2026-03-01T00:00:00Z', bytes = 4711, failed_at = '2026-03-02T00:00:00Z'`,
    )
    expect(await told()).toEqual([1_772_323_200, 4_711, 1_772_409_600])
  })

  test('tells when a verification of the record last found nothing, and when one last found something, which none takes back', async () => {
    const told = async () =>
      [
        ...(await (await operators('/metrics')).text()).matchAll(
          /^remit_record_\w+_timestamp_seconds (.*)$/gm,
        ),
      ].map(([, value]) => Number(value))
    expect(await told()).toEqual([0, 0])
    const begun = Date.now() / 1_000 - 1
    const { record } = world.service
    expect(await record.verify([])).toMatchObject({ found: 0 })
    const [whole = 0, none] = await told()
    expect([whole > begun, none]).toEqual([true, 0])
    const kept = await record.heads(0, 1)
    const cutOff = kept.map((head) => ({ ...head, seal: 9_999 }))
    expect((await record.verify(cutOff)).found).toBeGreaterThan(0)
    const [, wrong = 0] = await told()
    expect(wrong > begun).toBe(true)
    await record.verify([])
    expect((await told())[1]).toBe(wrong)
  })

  const names = ['nightjar', 'wagtail', 'redstart']
  const recognisable = [
    ...names,
    'anne',
    'research-bot',
    'loader',
    'handbook',
    'finance',
    'demo-person',
    'job_of_nobody',
  ]

  test('counts real traffic by route, method and status, and by nothing else', async () => {
    const before = await labels()
    await traffic()
    const found = await labels()
    expect(found.length).toBeGreaterThan(before.length)
    const names = new Set(found.map(([name]) => name))
    for (const ours of ['route', 'method', 'status']) expect(names).toContain(ours)
    // The rest is the runtime's own; `kind` is there once the garbage was collected, which may be never.
    const searches = ['strategy', 'verdict']
    const runtimes = ['le', 'kind', 'space', 'type', 'version', 'major', 'minor', 'patch']
    expect(
      [...names].filter((name) => !['route', 'method', 'status', ...searches, ...runtimes].includes(name)),
    ).toEqual([])
    const routes = new Set(found.flatMap(([name, value]) => (name === 'route' ? [value] : [])))
    expect(routes).toContain('/documents/:id')
    expect(routes).toContain('/retrieve')
    const known = world.service.app.routes.map(({ path }) => path)
    for (const route of routes) expect([...known, 'none']).toContain(route)
  })

  test('name no subject, agent, service, client, collection, document or question', async () => {
    await traffic()
    const response = await operators('/metrics')
    expect(response.headers.get('content-type')).toMatch(/^text\/plain/)
    const text = await response.text()
    expect(text).toMatch(
      /remit_http_answers_total\{route="\/documents\/:id",method="GET",status="200"\} [1-9]/,
    )
    expect(text).toMatch(
      /remit_http_answers_total\{route="\/documents\/:id",method="GET",status="404"\} [1-9]/,
    )
    // What searching took and brought.
    for (const told of [
      /remit_search_strategy_seconds_count\{strategy="exact"\} [1-9]/,
      /remit_search_strategy_actual_to_predicted_count\{strategy="exact"\} [1-9]/,
      /remit_gate_documents_total\{verdict="allowed"\} [1-9]/,
      /remit_gate_checks_total [1-9]/,
      /remit_gate_calls_count [1-9]/,
      /remit_answer_documents_total [1-9]/,
    ])
      expect(text).toMatch(told)
    for (const name of recognisable) expect(text.toLowerCase()).not.toContain(name)
  })

  test('are not on the public listener', async () => {
    expect((await world.call('GET', '/metrics')).status).toBe(404)
  })

  /** Answers, refusals and errors that carry recognisable names in every place that can hold one. */
  async function traffic(): Promise<void> {
    await world.put({
      nightjar: { title: 'wagtail', text: 'A redstart.', access: { viewers: ['user:anne'] } },
    })
    await world.lend('anne', 'research-bot', 'collection:handbook')
    const anne = await world.token({ user: 'anne' })
    const agent = await world.token({ user: 'anne', agent: 'research-bot' })
    const loader = await world.token({ service: 'loader' })
    const asking = { query: 'redstart', collections: ['handbook', 'finance'] }
    const calls = [
      ['POST', '/retrieve', { token: anne, body: asking }, 200],
      ['POST', '/retrieve', { token: agent, body: asking }, 200],
      ['GET', '/documents/nightjar', { token: anne }, 200],
      ['GET', '/documents/wagtail', { token: agent }, 404],
      ['GET', '/collections', { token: anne }, 200],
      ['GET', '/jobs/job_of_nobody', { token: loader }, 404],
      ['PUT', '/documents/nightjar/access', { token: loader, body: { viewers: ['user:anne'] } }, 200],
      ['GET', '/nightjar/wagtail', { token: anne }, 404],
      ['GET', '/documents/nightjar?subject=anne', { token: 'redstart' }, 401],
      ['POST', '/documents/nightjar', { token: loader }, 405],
    ] as const
    for (const [method, path, options, status] of calls) {
      expect([method, path, (await world.call(method, path, options)).status]).toEqual([method, path, status])
    }
  }

  async function labels(): Promise<readonly (readonly [string, string])[]> {
    const text = await (await operators('/metrics')).text()
    const samples = text.split('\n').filter((line) => !line.startsWith('#'))
    return samples.flatMap((line) =>
      [...line.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = '', value = '']) => [name, value] as const),
    )
  }
})

describe("the operators' /readyz", () => {
  test('says what it runs on: database, OpenFGA, the model in force, embeddings', async () => {
    const response = await operators('/readyz')
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({
      status: 'ok',
      database: true,
      version,
      database_whole: true,
      openfga_whole: true,
      changes_heard: true,
      clocks_together: true,
      openfga: true,
      record: { insert_only_by_role: false },
      permission_index: { state: expect.any(String), lag_ms: expect.any(Number), tuples: expect.any(Number) },
      authorization_model: { id: world.service.fga.modelId, known: true, matches_file: true },
      embeddings: { available: true, model: 'test-words', passages_without_vector: 0 },
    })
  })

  test('answers 503 and names OpenFGA while that is down; the public one names nothing', async () => {
    faulty.set({ drop: () => true })
    const response = await operators('/readyz')
    expect(response.status).toBe(503)
    expect(await response.json()).toMatchObject({ status: 'unavailable', database: true, openfga: false })
    await expectPublic(503, 'unavailable')
  })

  test('answers 503 and names the database while that is down; the public one names nothing', async () => {
    storage.set(/./)
    const { activeModel } = world.service
    const said = async () => {
      const response = await operators('/readyz')
      expect(response.status).toBe(503)
      return (await response.json()) as object
    }
    expect(await said()).toMatchObject({ status: 'unavailable', database: false, openfga: true })
    await expectPublic(503, 'unavailable')
    // For so long that the model in force is not known any more: OpenFGA still answers.
    await expect(activeModel.refresh()).rejects.toThrow()
    expect(await said()).toMatchObject({
      database: false,
      openfga: true,
      authorization_model: { known: false },
    })
    storage.set(/settings/)
    expect(await said()).toMatchObject({
      database: true,
      openfga: true,
      authorization_model: { known: false },
    })
    await expectPublic(503, 'unavailable')
    storage.set(undefined)
    await activeModel.refresh()
  })

  test('says when there is no model to embed with, which is no reason to be unavailable', async () => {
    await using words = await openWorld({ embedder: null })
    const response = await words.service.ops.request(`http://127.0.0.1:${words.config.ops.port}/readyz`)
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({
      embeddings: { available: false, reason: 'as the test wants it', mode: 'keyword' },
    })
  })

  test('says while all is well no more in public than that it is', () => expectPublic(200, 'ok'))

  async function expectPublic(status: number, word: string): Promise<void> {
    const response = await world.call('GET', '/readyz')
    expect([response.status, await response.json()]).toEqual([status, { status: word }])
  }
})

describe("the operators' listener", () => {
  test.each(['127.0.0.1', 'localhost', '[::1]'])('is known as %s', async (name) => {
    expect((await operators('/readyz', `${name}:${world.config.ops.port}`)).status).toBe(200)
  })

  test.each(['evil.example', 'localhost', 'localhost:1', 'localhost:8787', ''])(
    'refuses the Host "%s": a page elsewhere could reach it by its own name',
    async (host) => {
      for (const path of ['/metrics', '/readyz']) {
        const response = await operators(path, host)
        expect([response.status, await response.json()]).toEqual([421, { status: 'refused' }])
      }
    },
  )

  describe('with OPS_BEARER_FILE', () => {
    const bearer = 'a token of at least thirty-two-characters'.replaceAll(' ', '-')
    let folder: string
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
    })
    afterAll(() => rm(folder, { recursive: true, force: true }))
    const fileOf = async (text: string): Promise<string> => {
      const file = join(folder, 'bearer')
      await writeFile(file, text)
      return file
    }

    test('answers nobody without its token, and whoever has it by whatever name', async () => {
      await using guarded = await openWorld({ env: { OPS_BEARER_FILE: await fileOf(`${bearer}\n`) } })
      const ask = (path: string, headers: Record<string, string>) =>
        guarded.service.ops.request(`http://prometheus.internal${path}`, { headers })
      for (const path of ['/metrics', '/readyz', '/nowhere']) {
        for (const authorization of [
          '',
          'Bearer',
          `Bearer ${bearer}x`,
          `Basic ${bearer}`,
          `Bearer ${bearer} x`,
        ]) {
          const refused = await ask(path, authorization === '' ? {} : { authorization })
          expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
          expect(await refused.json()).toEqual({ status: 'refused' })
        }
      }
      for (const path of ['/metrics', '/readyz'])
        expect((await ask(path, { authorization: `Bearer ${bearer}` })).status).toBe(200)
    })

    test('is well for the image’s own check, which brings that token, and for no check without', async () => {
      const file = await fileOf(`${bearer}\n`)
      await using guarded = await openWorld({ env: { OPS_BEARER_FILE: file } })
      const port = await freePort()
      const { ops } = guarded.service
      await using _listening = await listen({ fetch: ops.fetch, host: '127.0.0.1', port, drainMs: 100 })
      const dockerfile = await readFile(new URL('../../Dockerfile', import.meta.url), 'utf8')
      const [, command = '[]'] = /^HEALTHCHECK [^[]*CMD (\[.*\])$/m.exec(dockerfile) ?? []
      const [, ...args] = JSON.parse(command) as string[]
      const check = (env: object) =>
        new Promise<number | null>((resolve) => {
          const given = args.map((one) => one.replace(':8788/', `:${port}/`))
          spawn(process.execPath, given, { env: { ...programEnv, ...env } }).on('exit', resolve)
        })
      expect(await check({ OPS_BEARER_FILE: file })).toBe(0)
      expect(await check({})).toBe(1)
    })

    test.each([
      ['is not there', () => join(folder, 'none')],
      ['is empty', () => fileOf('')],
      ['holds less than 32 characters', () => fileOf('secret\n')],
      ['holds two lines', () => fileOf(`${bearer}\n${bearer}`)],
    ])('does not start where the file %s', async (_, file) => {
      const opened = openWorld({ env: { OPS_BEARER_FILE: await file() } })
      await expect(opened).rejects.toThrow('The file of OPS_BEARER_FILE')
    })
  })

  test('has no route of the public face', async () => {
    const response = await operators('/collections')
    expect(response.status).toBe(404)
  })
})
