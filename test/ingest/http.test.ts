import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openWorld, type World } from '../support/world.ts'

let world: World
let loader: string
let root: string
beforeAll(async () => {
  world = await openWorld()
  await world.service.administrators.add('user:dan', ['security.write'])
  loader = await world.token({ service: 'loader' })
  root = await world.token({ user: 'dan', scopes: ['security.write'] })
})
afterAll(() => world[Symbol.asyncDispose]())

const wait = { prefer: 'wait' }
const body = {
  collection: 'handbook',
  title: 'Travel',
  text: 'Book early.',
  access: { viewers: ['user:anne'] },
}

async function answer(response: Response): Promise<{ status: number; json: Record<string, unknown> }> {
  return { status: response.status, json: (await response.json()) as Record<string, unknown> }
}
const put = async (id: string, sent: unknown, headers: Record<string, string> = wait) =>
  answer(
    await world.call('PUT', `/documents/${encodeURIComponent(id)}`, { token: loader, body: sent, headers }),
  )

describe('PUT and DELETE /documents/{id}', () => {
  test('bring a document in and take it out again; who may read it can, then cannot', async () => {
    const anne = await world.token({ user: 'anne' })
    const read = () => world.call('GET', `/documents/${encodeURIComponent('a/b')}`, { token: anne })
    expect(await put('a/b', body)).toMatchObject({
      status: 200,
      json: { job: { state: 'done', done: 1, errors: [], notes: [] } },
    })
    expect(await answer(await read())).toMatchObject({
      status: 200,
      json: { id: 'a/b', text: 'Book early.' },
    })
    const removed = await world.call('DELETE', `/documents/${encodeURIComponent('a/b')}`, {
      token: loader,
      headers: wait,
    })
    expect(removed.status).toBe(200)
    expect((await read()).status).toBe(404)
  })

  test('are refused before they are parsed where they are of more parts than any document', async () => {
    const many = { ...body, metadata: { year: Array.from({ length: 200_001 }, () => ({})) } }
    expect(await put('of/parts', many)).toMatchObject({
      status: 413,
      json: { code: 'payload_too_large', detail: 'A body has at most 200000 members and elements.' },
    })
  })

  test('say of text that cannot be read that it was the text', async () => {
    expect(await put('damaged', { ...body, text: '{"a":', mime_type: 'application/json' })).toMatchObject({
      status: 422,
      json: { field: 'text' },
    })
  })

  test.each([
    [{ year: null }, 'metadata.year', /^must be a string, a number, a boolean or a list/],
    [{ year: { of: 1 } }, 'metadata.year', /^must be a string, a number, a boolean or a list/],
    [{ '': 1 }, 'metadata.""', /^an empty name is no field$/],
    [[], 'metadata', /^must be an object$/],
  ])('say of the metadata %j what metadata is, and in whose member', async (metadata, field, detail) => {
    expect(await put('of/metadata', { ...body, metadata })).toMatchObject({
      status: 422,
      json: { field, detail: expect.stringMatching(detail) },
    })
  })

  test('answer 202 with a job that its owner can look up, and only its owner', async () => {
    const { status, json } = await put('later', body, {})
    expect({ status, json }).toMatchObject({ status: 202, json: { job: { id: expect.any(String) } } })
    const { id } = json.job as { id: string }
    await world.service.services.save({ name: 'second', collections: [], prefixes: [] })
    const second = await world.token({ service: 'second' })
    expect((await world.call('GET', `/jobs/${id}`, { token: second })).status).toBe(404)
    expect((await world.call('GET', '/jobs/j_unknown', { token: loader })).status).toBe(404)
    await expect
      .poll(async () => answer(await world.call('GET', `/jobs/${id}`, { token: loader })))
      .toMatchObject({ status: 200, json: { id, state: 'done', done: 1, failed: 0, total: 1, errors: [] } })
  })

  test('do the same request once under one Idempotency-Key, and refuse another under it', async () => {
    const headers = { ...wait, 'idempotency-key': 'abc' }
    const first = await put('idem', body, headers)
    expect(await put('idem', body, headers)).toMatchObject({
      status: 200,
      json: { job: { id: (first.json.job as { id: string }).id } },
    })
    expect(await put('idem', { ...body, text: 'Other.' }, headers)).toMatchObject({
      status: 409,
      json: { code: 'idempotency_mismatch' },
    })
    expect(await put('idem', body, { 'idempotency-key': 'é' })).toMatchObject({
      status: 422,
      json: { field: 'Idempotency-Key' },
    })
  })

  test.each<[string, string, unknown, number, string | undefined]>([
    ['an id with ..', 'a/../b', body, 422, 'id'],
    ['an id with an encoded dot segment', '%2e%2e/%zz', body, 422, 'id'],
    ['another id in the body', 'x', { ...body, id: 'y' }, 422, 'id'],
    ['an unknown member', 'x', { ...body, owner: 'user:anne' }, 422, 'owner'],
    ['an unknown member of access', 'x', { ...body, access: { readers: [] } }, 422, 'access.readers'],
    ['no content', 'x', { ...body, text: undefined }, 422, 'text'],
    ['two contents', 'x', { ...body, content_base64: 'AA==', mime_type: 'text/plain' }, 422, 'text'],
    ['bytes without their type', 'x', { ...body, text: undefined, content_base64: 'AA==' }, 422, 'mime_type'],
    ['a NUL in the title', 'x', { ...body, title: 'a\0b' }, 422, 'title'],
    [
      'a lone surrogate in the text',
      'x',
      `{"collection":"handbook","title":"t","text":"\\ud800"}`,
      422,
      'text',
    ],
    [
      'a viewer that is an agent',
      'x',
      { ...body, access: { viewers: ['agent:research-bot'] } },
      422,
      'access.viewers.0',
    ],
    ['a negative version', 'x', { ...body, version: -1 }, 422, 'version'],
    ['a foreign collection', 'x', { ...body, collection: 'nowhere' }, 403, 'collection'],
    ['a type that is not read', 'x', { ...body, mime_type: 'image/png' }, 415, 'mime_type'],
    ['a broken JSON', 'x', '{"title":', 400, undefined],
  ])('refuse %s', async (_, id, sent, status, field) => {
    const refused = await put(id, sent)
    expect([refused.status, refused.json.field]).toEqual([status, field])
    expect(JSON.stringify(refused.json)).not.toContain('node_modules')
  })

  test('say with the status that content cannot be read, to whoever waits', async () => {
    const sent = { ...body, text: undefined, content_base64: 'AAAA', mime_type: 'application/pdf' }
    expect(await put('broken.pdf', sent)).toMatchObject({
      status: 422,
      json: { code: 'invalid_request', field: 'content_base64' },
    })
  })

  test.each(['docs.read', 'docs.search'])('are not for a person with %s', async (scope) => {
    const anne = await world.token({ user: 'anne', scopes: [scope] })
    const response = await world.call('PUT', '/documents/x', { token: anne, body })
    expect(response.status).toBe(403)
  })

  test('refuse a body that is not JSON, and one that is too large', async () => {
    const asText = await world.call('PUT', '/documents/x', {
      token: loader,
      body: 'text',
      headers: { 'content-type': 'text/plain' },
    })
    expect(asText.status).toBe(415)
    const huge = await put('x', { ...body, text: 'x'.repeat(world.config.bodyBytesMax) })
    expect(huge.status).toBe(413)
  })
})

describe('PUT /documents/{id}/access', () => {
  test('is in force when it is answered', async () => {
    await put('tagged', body)
    const bob = await world.token({ user: 'bob' })
    const response = await world.call('PUT', '/documents/tagged/access', {
      token: loader,
      body: { viewers: ['user:bob'] },
    })
    expect(await answer(response)).toMatchObject({ status: 200, json: { notes: [] } })
    expect((await world.call('GET', '/documents/tagged', { token: bob })).status).toBe(200)
    expect(
      (await world.call('GET', '/documents/tagged', { token: await world.token({ user: 'anne' }) })).status,
    ).toBe(404)
  })

  test('does not take a document whose id ends in /access for itself', async () => {
    expect(await put('tagged/access', { ...body, text: 'Its own.' })).toMatchObject({ status: 200 })
    const read = await world.call('GET', '/documents/tagged%2Faccess', {
      token: await world.token({ user: 'anne' }),
    })
    expect(await answer(read)).toMatchObject({ status: 200, json: { text: 'Its own.' } })
  })
})

describe('POST /imports', () => {
  const post = async (query: string, lines: readonly unknown[], type = 'application/x-ndjson') =>
    answer(
      await world.call('POST', `/imports${query}`, {
        token: loader,
        body: lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'),
        headers: { 'content-type': type, ...wait },
      }),
    )

  test('takes nine of ten lines in and reports the seventh', async () => {
    const lines: unknown[] = Array.from({ length: 10 }, (_, index) => ({ ...body, id: `imp/${index}` }))
    lines[6] = 'not json'
    expect(await post('', lines)).toMatchObject({
      status: 200,
      json: {
        job: { state: 'done', done: 9, failed: 1, total: 10, errors: [{ line: 7, code: 'malformed_body' }] },
      },
    })
  })

  test('of one line answers what that line is refused for, with its own field', async () => {
    const one = { ...body, id: 'imp/one' }
    expect(await post('', [{ ...one, collection: 'nobody/knows' }])).toMatchObject({
      status: 403,
      json: { code: 'forbidden', field: 'collection' },
    })
    expect(await post('', [{ ...one, title: '' }])).toMatchObject({ status: 422, json: { field: 'title' } })
  })

  test.each([
    ['?mode=snapshot', 'collection'],
    ['?collection=handbook', 'mode'],
    ['?mode=mirror', 'mode'],
    ['?mode=snapshot&collection=handbook&allow_withdraw=many', 'allow_withdraw'],
    ['?surprise=1', 'surprise'],
  ])('refuses %s, naming %s', async (query, field) => {
    expect(await post(query, [])).toMatchObject({ status: 422, json: { field } })
  })

  test('refuses another media type', async () => {
    expect((await post('', [], 'application/json')).status).toBe(415)
  })
})

describe('POST /access', () => {
  const post = async (token: string, sent: unknown) =>
    answer(await world.call('POST', '/access', { token, body: sent }))
  test('writes what the allow-list lets a service write, and names what it does not', async () => {
    await put('acc', body)
    const viewer = { user: 'user:carol', relation: 'viewer', object: 'document:acc' }
    expect(await post(loader, { writes: [viewer] })).toMatchObject({ status: 200 })
    expect(
      (await world.call('GET', '/documents/acc', { token: await world.token({ user: 'carol' }) })).status,
    ).toBe(200)
    const forged = { user: 'user:anne', relation: 'acting_for', object: 'agent:research-bot' }
    expect(await post(loader, { writes: [viewer, forged] })).toMatchObject({
      status: 403,
      json: { field: 'writes.1' },
    })
    expect(await post(root, { writes: [forged] })).toMatchObject({ status: 403, json: { field: 'writes.0' } })
    expect(await post(loader, { writes: [viewer, { ...viewer, relation: 'reader' }] })).toMatchObject({
      status: 422,
      json: { field: 'writes.1.relation' },
    })
    expect(await post(loader, { deletes: [{ ...viewer, condition: {} }] })).toMatchObject({ status: 422 })
  })

  test('keeps groups to the registered prefixes', async () => {
    await world.service.services.save({ name: 'hr', collections: [], prefixes: ['ho/'] })
    const hr = await world.token({ service: 'hr', scopes: ['directory.write'] })
    const member = (group: string) => ({
      writes: [{ user: 'user:anne', relation: 'member', object: `group:${group}` }],
    })
    expect((await post(hr, member('ho/sales'))).status).toBe(200)
    expect(await post(hr, member('eng'))).toMatchObject({ status: 403, json: { field: 'writes.0' } })
  })

  test('is closed to a person without the row, whatever their token says', async () => {
    const anne = await world.token({ user: 'anne' })
    const write = { writes: [{ user: 'service:x', relation: 'writer', object: 'collection:handbook' }] }
    expect((await post(anne, write)).status).toBe(403)
    expect((await post(root, write)).status).toBe(200)
  })
})

describe('PUT /collections/{id} and PUT /fields', () => {
  test('are for administrators, and what they set counts at once', async () => {
    const collection = {
      title: 'New',
      public_allowed: true,
      writers: ['service:loader'],
      taggers: ['service:loader'],
    }
    const made = await world.call('PUT', '/collections/new', { token: root, body: collection })
    expect(await answer(made)).toMatchObject({
      status: 200,
      json: { id: 'new', title: 'New', public_allowed: true },
    })
    const open = { ...body, collection: 'new', metadata: { year: 'x' }, access: { viewers: ['user:*'] } }
    expect((await put('new/1', open)).status).toBe(200)
    expect((await world.call('PUT', '/fields', { token: root, body: { year: 'number' } })).status).toBe(200)
    expect(await put('new/1', open)).toMatchObject({ status: 422, json: { field: 'metadata.year' } })
  })

  test('GET /fields lists what was declared last, and nothing else, to whom PUT /fields is for', async () => {
    const declare = (fields: object) => world.call('PUT', '/fields', { token: root, body: fields })
    expect((await declare({ year: 'number', team: 'string' })).status).toBe(200)
    expect((await declare({ published: 'date' })).status).toBe(200)
    expect(await answer(await world.call('GET', '/fields', { token: root }))).toMatchObject({
      status: 200,
      json: { fields: { published: 'date' } },
    })
    for (const token of [loader, await world.token({ user: 'anne' })])
      expect((await world.call('GET', '/fields', { token })).status).toBe(403)
  })

  test('a day as a filter is its first instant: what is later that day is found by a range', async () => {
    expect((await world.call('PUT', '/fields', { token: root, body: { published: 'date' } })).status).toBe(
      200,
    )
    const published = { ...body, metadata: { published: '2025-05-01T10:00Z' } }
    expect((await put('of/may', published)).status).toBe(200)
    const anne = await world.token({ user: 'anne' })
    const found = async (condition: unknown) => {
      const asked = { query: 'book early', filter: { published: condition } }
      const { results } = await world.retrieve(anne, asked)
      return results.map(({ document_id }) => document_id)
    }
    expect(await found('2025-05-01')).toEqual([])
    expect(await found('2025-05-01T12:00+02:00')).toEqual(['of/may'])
    expect(await found({ gte: '2025-05-01', lt: '2025-05-02' })).toEqual(['of/may'])
  })

  test.each(['/collections/new', '/fields'])(
    '%s is closed to services and to people without the row',
    async (path) => {
      const sent = path === '/fields' ? {} : { title: 'x' }
      expect((await world.call('PUT', path, { token: loader, body: sent })).status).toBe(403)
      expect(
        (await world.call('PUT', path, { token: await world.token({ user: 'anne' }), body: sent })).status,
      ).toBe(403)
    },
  )

  test('say which name is no name of a field', async () => {
    const refused = async (fields: object) =>
      answer(await world.call('PUT', '/fields', { token: root, body: fields }))
    expect(await refused({ '': 'string' })).toMatchObject({
      status: 422,
      json: { field: '""', detail: 'an empty name is no field' },
    })
    expect(await refused({ 'a b': 'string' })).toMatchObject({ status: 422, json: { field: 'a b' } })
    expect(await refused({ year: 'decimal' })).toMatchObject({
      json: { field: 'year', detail: 'must be string, number, boolean or date' },
    })
  })

  test('refuse a service named wrongly and an unknown type of field', async () => {
    const wrong = await world.call('PUT', '/collections/new', {
      token: root,
      body: { title: 'x', writers: ['user:anne'] },
    })
    expect(await answer(wrong)).toMatchObject({ status: 422, json: { field: 'writers.0' } })
    const field = await world.call('PUT', '/fields', { token: root, body: { year: 'decimal' } })
    expect(await answer(field)).toMatchObject({ status: 422, json: { field: 'year' } })
  })
})
