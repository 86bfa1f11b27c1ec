import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type DirectoryWorld, openDirectoryWorld, patch } from './world.ts'

let world: DirectoryWorld
beforeAll(async () => {
  world = await openDirectoryWorld()
})
afterAll(() => world?.[Symbol.asyncDispose]())

const listOf = (body: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>[] =>
  Array.isArray(body['Resources']) ? body['Resources'] : []
const users = async (query: string) => (await world.scim('GET', `/Users?${query}`)).body

describe('a user', () => {
  test('is keyed by the registered attribute, which never changes, and by no other', async () => {
    const without = { userName: 'no-key@acme.test', active: true }
    expect(await world.scim('POST', '/Users', without)).toMatchObject({
      status: 400,
      body: { scimType: 'invalidValue', detail: expect.stringContaining('externalId') },
    })
    const id = await world.user('key/ä')
    const [row] = await world.database.query('select account from directory_users where id = $1', [id])
    expect(row).toEqual({ account: 'acme/key%2F%C3%A4' })
    for (const answer of [
      await world.scim('PATCH', `/Users/${id}`, patch({ op: 'replace', path: 'externalId', value: 'ceo' })),
      await world.scim('PATCH', `/Users/${id}`, patch({ op: 'replace', value: { externalId: 'ceo' } })),
      await world.scim('PUT', `/Users/${id}`, { userName: 'u', externalId: 'ceo', active: true }),
    ])
      expect(answer).toMatchObject({ status: 400, body: { scimType: 'mutability' } })
    const gone = patch({ op: 'remove', path: 'externalId' })
    expect((await world.scim('PATCH', `/Users/${id}`, gone)).status).toBe(400)
  })

  test('of a key or a userName that is taken is a 409, in other letters too', async () => {
    await world.user('twin')
    for (const body of [
      { userName: 'other@acme.test', externalId: 'twin', active: true },
      { userName: 'TWIN@acme.test', externalId: 'other', active: true },
    ])
      expect(await world.scim('POST', '/Users', body)).toMatchObject({
        status: 409,
        body: { scimType: 'uniqueness' },
      })
    const id = await world.user('triplet')
    const rename = patch({ op: 'replace', path: 'userName', value: 'Twin@ACME.test' })
    expect((await world.scim('PATCH', `/Users/${id}`, rename)).status).toBe(409)
  })

  test('is another directory’s to nobody: neither read, listed, changed, deleted nor made a member', async () => {
    const id = await world.user('mine')
    const group = await world.group('Mine')
    const { directories } = world.service
    await world.database.query(
      `insert into directories (name, issuer, namespace, prefix, key_attribute, created_at)
       values ('other', 'https://other.test', 'other', 'other/', 'externalId', now())`,
    )
    // Its namespace is no trusted issuer's: not even its token counts.
    const { token } = await directories.issueToken('other', { days: 1, isOnly: false })
    expect((await world.call('GET', '/scim/v2/Users', { token })).status).toBe(401)
    await world.database.query(`update directory_users set directory = 'other' where id = $1`, [id])
    await world.database.query(`update directory_groups set directory = 'other' where id = $1`, [group])
    const off = patch({ op: 'replace', path: 'active', value: false })
    for (const [method, path, body] of [
      ['GET', `/Users/${id}`, undefined],
      ['PATCH', `/Users/${id}`, off],
      ['PUT', `/Users/${id}`, { userName: 'x', externalId: 'mine', active: false }],
      ['DELETE', `/Users/${id}`, undefined],
      ['GET', `/Groups/${group}`, undefined],
      ['PATCH', `/Groups/${group}`, patch({ op: 'replace', path: 'displayName', value: 'x' })],
      ['PUT', `/Groups/${group}`, { displayName: 'x' }],
      ['DELETE', `/Groups/${group}`, undefined],
    ] as const) {
      const answer = await world.scim(method, path, body)
      const none = await world.scim(method, path.replace(/[ug]_.*/, 'u_none'), body)
      expect([method, path, answer.status]).toEqual([method, path, 404])
      expect(answer.body).toEqual(none.body)
    }
    expect(listOf(await users('count=500')).map((user) => user['id'])).not.toContain(id)
    for (const member of [id, group, 'u_none'])
      expect(
        await world.scim('POST', '/Groups', { displayName: 'Theirs', members: [{ value: member }] }),
      ).toMatchObject({ status: 400, body: { scimType: 'invalidValue' } })
  })
})

describe('a version', () => {
  test('that is not the one there is changes nothing: 412; the one that is there is a 304', async () => {
    const id = await world.user('versioned')
    const read = await world.scim('GET', `/Users/${id}`)
    const etag = read.headers.get('etag') ?? ''
    expect(read.body['meta']).toMatchObject({ version: etag })
    const unchanged = await world.scim('GET', `/Users/${id}`, undefined, { 'if-none-match': etag })
    expect(unchanged.status).toBe(304)
    const rename = patch({ op: 'replace', path: 'displayName', value: 'One' })
    const first = await world.scim('PATCH', `/Users/${id}`, rename, { 'if-match': etag })
    expect(first.status).toBe(200)
    expect(first.headers.get('etag')).not.toBe(etag)
    for (const [method, body] of [
      ['PATCH', rename],
      ['PUT', { userName: 'x', externalId: 'versioned', active: false }],
      ['DELETE', undefined],
    ] as const)
      expect((await world.scim(method, `/Users/${id}`, body, { 'if-match': etag })).status).toBe(412)
    expect((await world.scim('GET', `/Users/${id}`)).body).toMatchObject({ displayName: 'One', active: true })
  })

  test('of a group changes with its members, also where somebody leaves it by an activation', async () => {
    const id = await world.user('leaver')
    const group = await world.group('Versioned', id)
    const before = (await world.scim('GET', `/Groups/${group}`)).headers.get('etag') ?? ''
    const turn = (value: boolean) =>
      world.scim('PATCH', `/Users/${id}`, patch({ op: 'replace', path: 'active', value }))
    await turn(false)
    const shown = await world.scim('GET', `/Groups/${group}`)
    expect(shown.headers.get('etag')).toBe(before)
    expect(shown.body).toMatchObject({ members: [{ value: id }] })
    await turn(true)
    const stale = await world.scim('PUT', `/Groups/${group}`, { displayName: 'V' }, { 'if-match': before })
    expect(stale.status).toBe(412)
  })
})

describe('a list', () => {
  test('comes in pages that hold each once, with how many there are; counts are cut', async () => {
    const keys = Array.from({ length: 7 }, (_, index) => `page-${index}`)
    for (const key of keys) await world.user(key)
    const filter = `filter=${encodeURIComponent('externalId sw "page-"')}`
    const seen: unknown[] = []
    for (const start of [1, 4, 7, 10]) {
      const body = await users(`${filter}&startIndex=${start}&count=3`)
      expect(body).toMatchObject({ totalResults: 7, startIndex: start })
      seen.push(...listOf(body).map((user) => user['externalId']))
    }
    expect(seen).toEqual(keys)
    expect(await users(`${filter}&startIndex=-3&count=2`)).toMatchObject({ startIndex: 1, itemsPerPage: 2 })
    expect(await users(`${filter}&count=0`)).toMatchObject({ totalResults: 7, Resources: [] })
    expect(await users(`${filter}&count=-1`)).toMatchObject({ totalResults: 7, Resources: [] })
    expect((await world.scim('GET', '/Users?count=a')).status).toBe(400)
    const all = await users('startIndex=2&count=3')
    expect(all).toMatchObject({ startIndex: 2, itemsPerPage: 3 })
  })

  test('has what was asked for of each, and never more', async () => {
    const id = await world.user('projected', {
      name: { familyName: 'F', givenName: 'G' },
      emails: [{ value: 'a@b.c', type: 'work' }],
    })
    const read = async (query: string) => (await world.scim('GET', `/Users/${id}?${query}`)).body
    const schemas = ['urn:ietf:params:scim:schemas:core:2.0:User']
    expect(await read('attributes=userName')).toEqual({ schemas, id, userName: 'projected@acme.test' })
    expect(await read('attributes=name.givenName,emails.value')).toEqual({
      schemas,
      id,
      name: { givenName: 'G' },
      emails: [{ value: 'a@b.c' }],
    })
    const without = await read('excludedAttributes=name.givenName,emails,meta,id')
    expect(without).toMatchObject({ id, name: { familyName: 'F' } })
    expect(without).not.toHaveProperty('emails')
    expect(without).not.toHaveProperty('meta')
    const search = { schemas: [], attributes: ['id'], filter: 'userName eq "projected@acme.test"' }
    expect(listOf((await world.scim('POST', '/Users/.search', search)).body)).toEqual([{ schemas, id }])
  })

  test('of both kinds goes on from users to groups', async () => {
    await world.group('Both')
    const search = { filter: 'displayName eq "Both" or externalId eq "page-1"', attributes: 'displayName' }
    const first = await world.scim('POST', '/.search', { ...search, count: 1 })
    expect(first.body).toMatchObject({ totalResults: 2, itemsPerPage: 1 })
    const second = await world.scim('POST', '/.search', { ...search, startIndex: 2, count: 5 })
    expect(listOf(second.body)).toMatchObject([{ displayName: 'Both' }])
  })
})

describe('a bulk', () => {
  const bulk = (body: object) => world.scim('POST', '/Bulk', body)
  const schemas = ['urn:ietf:params:scim:api:messages:2.0:BulkRequest']

  test('makes what its operations say, one that names another by its bulkId too', async () => {
    const { status, body } = await bulk({
      schemas,
      Operations: [
        {
          method: 'POST',
          path: '/Users',
          bulkId: 'one',
          data: { userName: 'bulk@acme.test', externalId: 'bulk', active: true },
        },
        {
          method: 'POST',
          path: '/Groups',
          bulkId: 'two',
          data: { displayName: 'Bulk', members: [{ value: 'bulkId:one' }] },
        },
        {
          method: 'PATCH',
          path: '/Groups/bulkId:two',
          data: patch({ op: 'replace', path: 'displayName', value: 'Named' }),
        },
      ],
    })
    expect(status).toBe(200)
    expect(body['Operations']).toMatchObject([
      { method: 'POST', bulkId: 'one', status: '201', location: expect.stringContaining('/Users/u_') },
      { method: 'POST', bulkId: 'two', status: '201', version: 'W/"1"' },
      { method: 'PATCH', status: '204' },
    ])
    const operations: unknown[] = Array.isArray(body['Operations']) ? body['Operations'] : []
    const { location } = operations[1] as { location: string }
    expect(await world.members(location.split('/').at(-1) ?? '')).toEqual(['user:acme/bulk'])
  })

  test('goes on behind an error until there are failOnErrors, and is refused where it is too large', async () => {
    const wrong = { method: 'DELETE', path: '/Users/u_none' }
    const count = async (failOnErrors?: number) => {
      const { body } = await bulk({ schemas, failOnErrors, Operations: [wrong, wrong, wrong] })
      const operations: unknown[] = Array.isArray(body['Operations']) ? body['Operations'] : []
      expect(operations[0]).toMatchObject({ status: '404', response: { status: '404' } })
      return operations.length
    }
    expect(await count()).toBe(3)
    expect(await count(2)).toBe(2)
    expect((await bulk({ schemas, Operations: Array.from({ length: 501 }, () => wrong) })).status).toBe(413)
    expect((await bulk({ schemas, Operations: 'x' })).status).toBe(400)
  })
})

describe('a request', () => {
  test('that is wrong is answered in SCIM’s own form', async () => {
    const cases = [
      ['GET', '/Users?filter=userName', undefined, 400, 'invalidFilter'],
      ['POST', '/Users', { userName: 1, externalId: 'x', active: true }, 400, 'invalidValue'],
      ['POST', '/Users', [], 400, 'invalidSyntax'],
      ['POST', '/Users', '{', 400, 'invalidSyntax'],
      ['POST', '/Groups', {}, 400, 'invalidValue'],
      ['POST', '/Groups', { displayName: 'x', members: [{ value: 1 }] }, 400, 'invalidValue'],
      ['PATCH', '/Users/u_none', patch(), 400, 'invalidSyntax'],
      ['PATCH', '/Users/u_none', patch({ op: 'move' }), 400, 'invalidSyntax'],
      ['PATCH', '/Users/u_none', patch({ op: 'remove' }), 400, 'noTarget'],
      ['PATCH', '/Users/u_none', patch({ op: 'replace', path: 'id', value: 'x' }), 400, 'mutability'],
      [
        'PATCH',
        '/Users/u_none',
        patch({ op: 'replace', path: 'emails[type', value: 'x' }),
        400,
        'invalidPath',
      ],
      ['PUT', '/Schemas', {}, 405, undefined],
      ['GET', '/Me', undefined, 404, undefined],
    ] as const
    for (const [method, path, body, status, scimType] of cases) {
      const answer = await world.scim(method, path, body)
      expect([path, answer.status, answer.body['scimType']]).toEqual([path, status, scimType])
      expect(answer.body).toMatchObject({
        schemas: ['urn:ietf:params:scim:api:messages:2.0:Error'],
        status: String(status),
      })
      expect(answer.headers.get('content-type')).toBe('application/scim+json')
    }
    const text = await world.scim('POST', '/Users', '{}', { 'content-type': 'text/plain' })
    expect(text.status).toBe(415)
  })

  test('is let in by a directory’s own token that has not ended, and by nothing else', async () => {
    const { directories } = world.service
    const { token } = await directories.issueToken('acme', { days: 1, isOnly: true })
    const get = async (authorization?: string) => {
      const headers = authorization === undefined ? {} : { authorization }
      return (await world.call('GET', '/scim/v2/Users', { headers })).status
    }
    expect(await get(`Bearer ${token}`)).toBe(200)
    const next = await directories.issueToken('acme', { days: 1, isOnly: false })
    expect(await get(`Bearer ${next.token}`)).toBe(200)
    await expect(directories.issueToken('acme', { days: 1, isOnly: false })).rejects.toMatchObject({
      code: 'conflict',
    })
    for (const authorization of [
      undefined,
      '',
      'Bearer',
      `Basic ${token}`,
      `DPoP ${token}`,
      `Bearer ${token} x`,
      `Bearer ${token.slice(0, -1)}`,
      `Bearer ${await world.token({ user: 'anne' })}`,
      `Bearer ${await world.token({ service: 'loader' })}`,
      `Bearer ${await world.personToken('anne')}`,
    ])
      expect(await get(authorization)).toBe(401)
    // And theirs opens nothing else.
    expect((await world.call('POST', '/retrieve', { token, body: { query: 'x' } })).status).toBe(401)
    const last = await directories.issueToken('acme', { days: 1, isOnly: true })
    expect([await get(`Bearer ${token}`), await get(`Bearer ${last.token}`)]).toEqual([401, 200])
    await world.database.query(`update directory_tokens set expires_at = now() - interval '1 second'`)
    expect(await get(`Bearer ${last.token}`)).toBe(401)
    const dump = JSON.stringify(await world.database.query('select * from directory_tokens'))
    expect(dump).not.toContain(last.token.slice('remit_dir_'.length))
  })
})
