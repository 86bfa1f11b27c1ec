import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { progressOf } from '../../src/ingest/job-progress.ts'
import { openWorld, type World } from '../support/world.ts'

let world: World
let loader: string
let second: string
let reader: string
let writer: string
beforeAll(async () => {
  world = await openWorld({ env: { REQUEST_DEADLINE_MS: '60000' } })
  const { administrators, services } = world.service
  await administrators.add('user:dan', ['security.read', 'security.write'])
  await services.save({ name: 'second', collections: ['finance'], prefixes: [] })
  loader = await world.token({ service: 'loader' })
  second = await world.token({ service: 'second' })
  reader = await world.token({ user: 'dan', scopes: ['security.read'] })
  writer = await world.token({ user: 'dan', scopes: ['security.write'] })
})
afterAll(() => world?.[Symbol.asyncDispose]())

interface Answer {
  readonly status: number
  readonly json: Record<string, unknown> & {
    readonly jobs?: readonly Record<string, unknown>[]
    readonly documents?: readonly Record<string, unknown>[]
    readonly job?: { readonly id: string }
    readonly cursor?: string | null
  }
}

async function ask(method: string, path: string, token: string, body?: unknown): Promise<Answer> {
  const response = await world.call(method, path, {
    token,
    ...(body !== undefined && { body }),
    headers: { prefer: 'wait' },
  })
  return { status: response.status, json: (await response.json()) as Answer['json'] }
}
const get = (path: string, token: string) => ask('GET', path, token)
const put = async (id: string, more: object = {}, token = loader) =>
  ask('PUT', `/documents/${encodeURIComponent(id)}`, token, {
    collection: 'handbook',
    title: 'Travel',
    text: 'Book early.',
    access: { viewers: ['user:anne'] },
    ...more,
  })
/** JSON that ends in the middle. */
const unreadable = { text: '{"secret plan":', mime_type: 'application/json', title: 'The secret plan' }
const idsOf = ({ json }: Answer) => (json.jobs ?? json.documents ?? []).map(({ id }) => id)

describe('GET /jobs', () => {
  test('lists a service’s own jobs alone, newest first, and each as it stands by itself', async () => {
    await put('j/1')
    await put('j/2', unreadable)
    await put('j/3', { collection: 'finance' }, second)
    const listed = await get('/jobs', loader)
    expect(listed.status).toBe(200)
    expect(listed.json.jobs).toMatchObject([
      { service: 'loader', kind: 'document', state: 'failed', done: 0, failed: 1, queued: 0, total: 1 },
      { service: 'loader', kind: 'document', state: 'done', done: 1, failed: 0, queued: 0, total: 1 },
    ])
    expect(listed.json.cursor).toBeNull()
    for (const job of listed.json.jobs ?? []) {
      expect(job).not.toHaveProperty('rate')
      expect(job).not.toHaveProperty('estimated_end')
      const { json: alone } = await get(`/jobs/${job['id']}`, loader)
      expect(alone).toMatchObject(job)
    }
    expect(idsOf(await get('/jobs', second))).toHaveLength(1)
  })

  test('says of another’s job what it says of none, to a service', async () => {
    const [id] = idsOf(await get('/jobs', loader))
    const hidden = await get(`/jobs/${id}`, second)
    const none = await get('/jobs/j_never', second)
    const { txn: _, ...told } = hidden.json
    expect([hidden.status, told]).toEqual([404, { ...none.json, txn: undefined }])
    expect(await get('/jobs?service=loader', second)).toMatchObject({
      status: 422,
      json: { field: 'service' },
    })
  })

  test('narrows by state and kind, each as it is told', async () => {
    const all = (await get('/jobs', loader)).json.jobs ?? []
    for (const state of ['queued', 'running', 'done', 'failed']) {
      const expected = all.filter((job) => job['state'] === state).map(({ id }) => id)
      expect(idsOf(await get(`/jobs?state=${state}`, loader)), state).toEqual(expected)
    }
    expect(idsOf(await get('/jobs?kind=import', loader))).toEqual([])
    expect(idsOf(await get('/jobs?kind=document', loader))).toEqual(all.map(({ id }) => id))
    expect((await get('/jobs?state=stuck', loader)).json).toMatchObject({ field: 'state' })
  })

  test('counts every state as GET /jobs/{id} does', async () => {
    const states = ['receiving', 'open', 'broken']
    const counts = [
      [0, 0, 0],
      [2, 0, 0],
      [2, 1, 0],
      [2, 0, 1],
      [2, 1, 1],
      [2, 2, 0],
      [2, 0, 2],
    ]
    for (const [n, state] of states.entries())
      for (const [m, [total, done, failed]] of counts.entries())
        await world.database.query(
          `insert into jobs (id, owner, kind, state, total, done, failed) values ($1, 'service:states', 'import', $2, $3, $4, $5)`,
          [`s_${n}_${m}`, state, total ?? 0, done ?? 0, failed ?? 0],
        )
    const { jobs } = (await get('/jobs?service=states&limit=200', reader)).json
    expect(jobs).toHaveLength(states.length * counts.length)
    for (const job of jobs ?? []) {
      expect((await get(`/jobs/${job['id']}`, reader)).json['state']).toBe(job['state'])
      expect(idsOf(await get(`/jobs?service=states&state=${job['state']}&limit=200`, reader))).toContain(
        job['id'],
      )
    }
  })

  test('is read in pages that stay as they are while jobs arrive', async () => {
    for (const n of [1, 2, 3]) await put(`j/page/${n}`)
    const all = idsOf(await get('/jobs', loader))
    const seen: unknown[] = []
    let cursor: string | null | undefined
    do {
      const page = await get(`/jobs?limit=2${cursor ? `&cursor=${cursor}` : ''}`, loader)
      seen.push(...idsOf(page))
      cursor = page.json.cursor
      await put(`j/page/${seen.length}/more`)
    } while (cursor !== null)
    expect(seen).toEqual(all)
  })

  test.each(['/jobs?cursor=x', '/jobs?limit=0', '/jobs?limit=201', '/jobs?page=2'])(
    'refuses %s and names the parameter',
    async (path) => {
      const { status, json } = await get(path, loader)
      expect([status, json['field']]).toEqual([422, path.slice(6, path.indexOf('='))])
    },
  )

  test('takes no cursor of the list of what failed', async () => {
    await put('j/cursor/1', unreadable)
    await put('j/cursor/2', unreadable)
    const { cursor } = (await get('/documents?state=failed&limit=1', loader)).json
    expect(cursor).toEqual(expect.any(String))
    expect((await get(`/jobs?cursor=${cursor}`, loader)).status).toBe(422)
  })

  test('says nothing in a cursor that it does not say of the row before it', async () => {
    const cursors = await Promise.all(
      ['/jobs?limit=1', '/documents?state=failed&limit=1'].map(
        async (path) => (await get(path, loader)).json,
      ),
    )
    for (const { cursor, jobs, documents } of cursors) {
      const [, time, ...rest] = JSON.parse(Buffer.from(String(cursor), 'base64url').toString()) as string[]
      const [row] = jobs ?? documents ?? []
      expect(rest).toEqual([row?.['id']])
      expect(String(time).slice(0, 23)).toBe(String(row?.['created_at'] ?? row?.['failed_at']).slice(0, 23))
    }
  })

  test('shows an administrator all, or one service’s, on record; and nobody else', async () => {
    const all = await get('/jobs?limit=200', reader)
    expect(new Set((all.json.jobs ?? []).map((job) => job['service']))).toEqual(
      new Set(['loader', 'second', 'states']),
    )
    const [job] = idsOf(await get('/jobs?service=second', reader))
    expect((await get(`/jobs/${job}`, reader)).json).toMatchObject({ service: 'second' })
    expect((await get('/jobs/j_never', reader)).status).toBe(404)
    const rows = await world.database.query(
      `select subject, detail - 'event' as detail from decision_records where event = 'jobs_read' order by record_no desc limit 3`,
    )
    expect(rows).toMatchObject([
      { subject: 'user:dan', detail: { question: 'job', filter: { job: 'j_never' } } },
      { subject: 'user:dan', detail: { question: 'job', filter: { job } } },
      { subject: 'user:dan', detail: { question: 'jobs', filter: { service: 'second' } } },
    ])
    const asked = [
      await world.token({ user: 'anne' }),
      await world.token({ user: 'dan', scopes: ['security.write'] }),
    ]
    await world.lend('anne', 'research-bot', 'collection:handbook')
    asked.push(await world.token({ user: 'anne', agent: 'research-bot' }))
    for (const token of asked)
      for (const path of ['/jobs', `/jobs/${job}`, '/documents?state=failed'])
        expect((await get(path, token)).status, path).toBe(403)
  })
})

describe('progress', () => {
  const open = { total: 100, done: 40, failed: 10, isOpen: true, pace: 0, pacedFor: null, pacedAgo: null }
  const now = Date.parse('2026-11-29T12:00:00Z')

  test('says nothing of a rate that is not known: before anything ended, at first, and after two minutes of silence', () => {
    expect(progressOf(open, now)).toEqual({ queued: 50 })
    expect(progressOf({ ...open, pace: 1, pacedFor: 1, pacedAgo: 0 }, now)).toEqual({ queued: 50 })
    expect(progressOf({ ...open, pace: 1, pacedFor: 300, pacedAgo: 121 }, now)).toEqual({ queued: 50 })
    expect(progressOf({ ...open, pace: 0, pacedFor: 300, pacedAgo: 1 }, now)).toEqual({ queued: 50 })
    expect(progressOf({ ...open, done: 90, pace: 1, pacedFor: 300, pacedAgo: 1 }, now)).toEqual({ queued: 0 })
  })

  test('says nothing of the end while documents come in, nor of one that is further away than jobs are kept', () => {
    const paced = { ...open, pace: 0.5, pacedFor: 600, pacedAgo: 0 }
    expect(progressOf({ ...paced, isOpen: false }, now)).toEqual({ queued: 50, rate: 0.5 })
    expect(progressOf({ ...paced, pace: 1e-6, total: 1000 }, now)).not.toHaveProperty('estimatedEnd')
    expect(progressOf(paced, now)).toEqual({
      queued: 50,
      rate: 0.5,
      estimatedEnd: new Date('2026-11-29T12:01:40Z'),
    })
  })

  test('is the rate of late: what ends by the queue counts, and what ends at once when it is accepted does not', async () => {
    const id = 'paced'
    await world.database.query(
      `insert into jobs (id, owner, kind, total) values ($1, 'service:paced', 'import', 10000)`,
      [id],
    )
    const passed = (seconds: number) =>
      world.database.query(
        `update jobs set paced_at = paced_at - make_interval(secs => $2), paced_from = paced_from - make_interval(secs => $2) where id = $1`,
        [id, seconds],
      )
    const told = async () => (await get(`/jobs/${id}`, reader)).json
    // Accepted and done at once: unchanged documents.
    for (const _ of [1, 2]) {
      await world.database.query('update jobs set total = total + 250, done = done + 250 where id = $1', [id])
      await passed(10)
    }
    expect(await told()).not.toHaveProperty('rate')
    // Ten a second for a minute, in groups of twenty.
    for (let n = 0; n < 30; n += 1) {
      await world.database.query('update jobs set done = done + 20 where id = $1', [id])
      await passed(2)
    }
    const { rate, estimated_end: end, queued } = await told()
    expect(queued).toBe(10_000 - 600)
    expect(Number(rate)).toBeGreaterThan(8)
    expect(Number(rate)).toBeLessThan(12)
    const seconds = (Date.parse(String(end)) - Date.now()) / 1_000
    expect(seconds).toBeGreaterThan(9_400 / 12)
    expect(seconds).toBeLessThan(9_400 / 8)
    // A silence of years is no error of arithmetic.
    await passed(300_000_000)
    expect(await told()).not.toHaveProperty('rate')
    await world.database.query('update jobs set done = done + 1 where id = $1', [id])
    expect(await told()).toMatchObject({ queued: 9_399 })
  })
})

describe('GET /documents?state=failed and POST /documents/{id}/retry', () => {
  test('tell the service that sent it of what failed, and nothing of what stands in it', async () => {
    await put('f/1', unreadable)
    const listed = await world.call('GET', '/documents?state=failed', { token: loader })
    const text = await listed.text()
    expect(text).not.toMatch(/secret/)
    const [first] = (JSON.parse(text) as { documents: readonly object[] }).documents
    expect(first).toEqual({
      id: 'f/1',
      collection: 'handbook',
      service: 'loader',
      code: 'unreadable',
      detail: expect.any(String),
      failed_at: expect.stringMatching(/Z$/),
      tries: 1,
      held: true,
    })
    expect(idsOf(await get('/documents?state=failed', second))).toEqual([])
    expect(idsOf(await get('/documents?state=failed&code=too_large', loader))).toEqual([])
    expect(idsOf(await get('/documents?state=failed&service=loader', reader))).toContain('f/1')
    expect((await get('/documents', loader)).json).toMatchObject({ field: 'state' })
    expect((await get('/documents?state=live', loader)).json).toMatchObject({ field: 'state' })
  })

  test('answer whoever waits that it failed once more, and a job to whoever does not', async () => {
    const path = '/documents/f%2F1/retry'
    expect(await ask('POST', path, loader)).toMatchObject({
      status: 422,
      json: { code: 'invalid_request', field: 'id' },
    })
    const begun = await world.call('POST', path, { token: writer })
    expect(begun.status).toBe(202)
    const { job } = (await begun.json()) as { job: { id: string } }
    await expect
      .poll(async () => (await get(`/jobs/${job.id}`, loader)).json)
      .toMatchObject({ kind: 'retry', state: 'failed', service: 'loader' })
    expect((await get('/documents?state=failed', loader)).json.documents?.[0]).toMatchObject({ tries: 3 })
  })

  test('say of a document of others, of one that never was and of one that never failed the same', async () => {
    await put('f/well')
    // Where both may write.
    await put('f/finance', { ...unreadable, collection: 'finance' })
    const retry = (id: string, token: string) =>
      ask('POST', `/documents/${encodeURIComponent(id)}/retry`, token)
    const none = await retry('never/was', second)
    for (const [id, token] of [
      ['f/1', second],
      ['f/finance', second],
      ['f/well', second],
      ['f/well', loader],
      ['never/was', writer],
    ] as const) {
      const { status, json } = await retry(id, token)
      expect([id, status, { ...json, txn: '' }]).toEqual([id, 404, { ...none.json, txn: '' }])
    }
  })

  test('are not for people without the role, for agents, or to change with the right to read', async () => {
    await world.service.administrators.remove('user:dan', ['security.write'])
    expect((await ask('POST', '/documents/f%2F1/retry', writer)).status).toBe(403)
    await world.service.administrators.add('user:dan', ['security.write'])
    const tokens = [
      reader,
      await world.token({ user: 'anne' }),
      await world.token({ user: 'anne', agent: 'research-bot' }),
    ]
    for (const token of tokens) expect((await ask('POST', '/documents/f%2F1/retry', token)).status).toBe(403)
    expect(idsOf(await get('/documents?state=failed', loader))).toContain('f/1')
  })
})
