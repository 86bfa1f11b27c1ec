import { beforeEach, describe, expect, test } from 'vitest'
import {
  clientCredentials,
  createWriter,
  errorFromJSON,
  isRemitError,
  type JobDesk,
  type Writer,
} from '../src/index.ts'
import { type Answering, createDouble, type Double, issuer, problem, url } from './double/double.ts'

let double: Double
let waited: number[]
beforeEach(async () => {
  double = await createDouble()
  waited = []
})

const ended = { id: 'j', state: 'done', done: 1, failed: 0, total: 1, withdrawn: 0, errors: [], notes: [] }
const document = {
  id: 'docs/a',
  collection: 'docs',
  title: 'A',
  text: 'x',
  access: { viewers: ['user:anne'] },
}

/**
 * A writer whose service answers as `answer` says; by default every write is accepted and its job has ended.
 */
function writer(answer: Answering = () => undefined, token: () => Promise<string> = async () => 't'): Writer {
  double.before = async (seen) =>
    (await answer(seen)) ??
    (seen.method === 'GET'
      ? Response.json(ended)
      : Response.json({ job: { id: 'j' }, txn: 't_1' }, { status: 202 }))
  const sleep = async (milliseconds: number) => {
    waited.push(milliseconds)
  }
  return createWriter({ url, token, fetch: double.fetch, now: () => double.now(), sleep })
}

describe('a writer', () => {
  test('puts a document with its access under its id as one segment, and waits for the job', async () => {
    const job = await writer().put({ ...document, id: 'docs/a%20b' })
    expect(job).toEqual(ended)
    const [put, poll] = double.seen
    expect(put).toMatchObject({ method: 'PUT', url: `${url}/documents/docs%2Fa%2520b` })
    expect(put?.headers.get('prefer')).toBe('wait')
    expect(JSON.parse(put?.body ?? '')).toEqual({ ...document, id: 'docs/a%20b' })
    expect(poll).toMatchObject({ method: 'GET', url: `${url}/jobs/j` })
  })

  test('asks for no job where the answer holds the ended one', async () => {
    await writer(({ method }) => (method === 'PUT' ? Response.json({ job: ended }) : undefined)).put(document)
    expect(double.seen).toHaveLength(1)
  })

  test('gives a job in a state that it does not know, and takes it for neither over nor well', async () => {
    const stopped = { ...ended, state: 'stopped', kind: 'merge' }
    const states = [stopped, { ...ended, state: 'failed' }]
    const answering = writer(({ method }) =>
      Response.json(method === 'PUT' ? { job: stopped } : states.shift()),
    ) as Writer & JobDesk
    await expect(answering.put(document)).rejects.toMatchObject({ code: 'write_failed' })
    states.push(stopped)
    expect(await answering.job('j')).toEqual(stopped)
  })

  test('throws a job that failed, with the whole job in an error that survives JSON', async () => {
    const errors = [{ id: 'docs/a', code: 'unreadable', detail: 'not a PDF' }]
    const failed = { ...ended, state: 'failed', done: 0, failed: 1, errors }
    const error: unknown = await writer(({ method }) =>
      method === 'GET' ? Response.json(failed) : undefined,
    )
      .put(document)
      .catch((thrown: unknown) => thrown)
    for (const one of [error, errorFromJSON(JSON.parse(JSON.stringify(error)))]) {
      expect(isRemitError(one, 'write_failed') && one.data.job.errors).toEqual(errors)
      expect(one).toMatchObject({ message: 'unreadable not a PDF' })
    }
  })

  test('gives an import’s job whatever became of its lines, and tells when it was accepted and how far it is', async () => {
    const told: unknown[] = []
    const failed = { ...ended, failed: 1, errors: [{ line: 1, code: 'invalid_request', detail: 'no' }] }
    const states = [{ ...ended, state: 'running', done: 0 }, failed]
    const job = await writer(({ method }) =>
      method === 'GET' ? Response.json(states.shift()) : undefined,
    ).importAll([document], {
      onAccepted: (id) => told.push(id),
      onProgress: ({ state }) => told.push(state),
    })
    expect(job).toEqual(failed)
    expect(told).toEqual(['j', 'running', 'done'])
  })

  test('ends a snapshot with the count of its documents, and says what may go', async () => {
    await writer().importAll([document, { ...document, id: 'docs/b' }], {
      snapshotOf: 'docs',
      allowEmpty: true,
      allowWithdraw: 3,
      idempotencyKey: 'k',
    })
    const [sent] = double.seen
    expect(sent?.url).toBe(`${url}/imports?mode=snapshot&collection=docs&allow_empty=true&allow_withdraw=3`)
    expect(sent?.headers.get('idempotency-key')).toBe('k')
    expect(sent?.body.split('\n').slice(2)).toEqual(['{"end":2}', ''])
  })

  test('sends an import again under the same key where the service is busy, and gives up after six tries', async () => {
    const busy = () => problem(503, 'unavailable', {}, { 'retry-after': '2' })
    const error: unknown = await writer(({ method }) => (method === 'POST' ? busy() : undefined))
      .importAll([document])
      .catch((thrown: unknown) => thrown)
    expect(isRemitError(error, 'unavailable') && error.status).toBe(503)
    expect(waited).toEqual([2_000, 2_000, 2_000, 2_000, 2_000])
    expect(new Set(double.seen.map(({ headers }) => headers.get('idempotency-key'))).size).toBe(1)
    expect(new Set(double.seen.map(({ body }) => body)).size).toBe(1)
  })

  test('waits longer each time where a busy service does not say how long, and never over half a minute', async () => {
    await writer(({ method }) => (method === 'DELETE' ? problem(429, 'rate_limited') : undefined))
      .withdraw('a')
      .catch(() => undefined)
    expect(waited).toEqual([500, 1_000, 2_000, 4_000, 8_000])
    waited = []
    await writer(({ method }) =>
      method === 'DELETE' && waited.length === 0
        ? problem(503, 'x', {}, { 'retry-after': '900' })
        : undefined,
    ).withdraw('a')
    expect(waited).toEqual([30_000])
  })

  test('throws a refusal with its code, its member and no token', async () => {
    const error: unknown = await writer(
      () => problem(403, 'forbidden', { detail: 'No right for secret-token.', field: 'collection' }),
      async () => 'secret-token',
    )
      .setAccess('docs/a', {})
      .catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'forbidden', status: 403, field: 'collection', txn: 't_1' })
    expect(String(error)).not.toContain('secret-token')
  })

  test('tells no answer, an answer that broke off, and one of another shape apart', async () => {
    const codeOf = async (answer: Answering) => {
      const error: unknown = await writer(answer)
        .changeAccess({ deletes: [] })
        .catch((thrown: unknown) => thrown)
      return isRemitError(error) ? [error.code, error.status] : error
    }
    expect(
      await codeOf(() => {
        throw new TypeError('fetch failed')
      }),
    ).toEqual(['unavailable', undefined])
    const broken = new ReadableStream({ pull: (controller) => controller.error(new Error('terminated')) })
    expect(await codeOf(() => new Response(broken))).toEqual(['unavailable', undefined])
    expect(await codeOf(() => Response.json({ notes: 'none' }))).toEqual(['bad_answer', 200])
    expect(await codeOf(() => new Response('<html>'))).toEqual(['bad_answer', 200])
  })

  test('ends with the signal’s reason, also while it waits for a job', async () => {
    const stop = new AbortController()
    const reason = new Error('enough')
    double.before = ({ method }) =>
      method === 'GET'
        ? Response.json({ ...ended, state: 'running' })
        : Response.json({ job: { id: 'j' } }, { status: 202 })
    const patient = createWriter({ url, token: async () => 't', fetch: double.fetch })
    const put = patient.put(document, { signal: stop.signal })
    setTimeout(() => stop.abort(reason), 50)
    await expect(put).rejects.toBe(reason)
  })

  test('follows no redirect with its token', async () => {
    await expect(
      writer(() => new Response(null, { status: 307, headers: { location: 'https://other.test' } })).put(
        document,
      ),
    ).rejects.toMatchObject({ status: 307 })
    expect(double.seen).toHaveLength(1)
  })

  test('sends its token over plain http to this machine alone, unless it is told otherwise', () => {
    const token = async () => 't'
    expect(() => createWriter({ url: 'http://remit.test', token })).toThrow(TypeError)
    createWriter({ url: 'http://127.0.0.1:1', token })
    createWriter({ url: 'http://remit.test', token, allowPlainHttp: true })
  })
})

describe('client credentials', () => {
  /** An issuer that gives these tokens in turn. */
  function issuing(...tokens: string[]) {
    const forms: URLSearchParams[] = []
    const answer: Answering = ({ url: address, body }) => {
      if (address !== `${issuer}/token`)
        return address.includes('.well-known')
          ? Response.json({ issuer, token_endpoint: `${issuer}/token` })
          : undefined
      forms.push(new URLSearchParams(body))
      return Response.json({ access_token: tokens.shift(), token_type: 'Bearer', expires_in: 300 })
    }
    return { forms, answer }
  }
  const tokens = () =>
    clientCredentials({ ...double.agents['agent-a'], issuer, fetch: double.fetch, now: () => double.now() })
  const minted = () => double.mint({ sub: 'loader', client_id: 'agent-a' })

  test('prove the client by its key, ask for writing at this service, and serve until shortly before their end', async () => {
    const { forms, answer } = issuing(await minted(), await minted())
    writer(answer)
    const writing = createWriter({ url, token: tokens(), fetch: double.fetch, now: () => double.now() })
    for (const _ of [1, 2]) await writing.put(document)
    expect(forms).toHaveLength(1)
    expect(Object.fromEntries(forms[0] ?? [])).toMatchObject({
      grant_type: 'client_credentials',
      resource: url,
      scope: 'docs.write',
      client_assertion: expect.stringMatching(/^eyJ/),
    })
    const later = Date.now() + 280_000
    double.now = () => later
    await writing.put(document)
    expect(forms).toHaveLength(2)
  })

  test('are asked for once more where the service does not take one', async () => {
    const [first, second] = [await minted(), await minted()]
    const { forms, answer } = issuing(first, second)
    writer((seen) =>
      seen.headers.get('authorization') === `Bearer ${first}` ? problem(401, 'invalid_token') : answer(seen),
    )
    await createWriter({ url, token: tokens(), fetch: double.fetch }).put(document)
    expect(forms).toHaveLength(2)
  })

  test('for another API than this one are not used', async () => {
    const { answer } = issuing(await double.mint({ sub: 'loader', aud: 'https://other.test' }))
    writer(answer)
    await expect(
      createWriter({ url, token: tokens(), fetch: double.fetch }).put(document),
    ).rejects.toMatchObject({ code: 'granted_differs' })
  })
})
