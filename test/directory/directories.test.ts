import { afterAll, beforeAll, expect, test } from 'vitest'
import { type DirectoryWorld, openDirectoryWorld } from './world.ts'

const tenant = '11111111-2222-4333-8444-aaaaaaaaaaaa'
let world: DirectoryWorld
beforeAll(async () => {
  const issuers = ['https://b.test', 'https://c.test'].map((issuer, index) => ({
    issuer,
    audiences: { api: 'a', mcp: 'm' },
    namespace: ['beta', 'gamma'][index],
    preset: 'generic',
  }))
  const entra = {
    issuer: `https://login.test/${tenant}/v2.0`,
    audiences: { api: 'a', mcp: 'm' },
    namespace: 'corp',
    preset: 'entra',
  }
  world = await openDirectoryWorld({ trusted: [...issuers, entra] })
})
afterAll(() => world?.[Symbol.asyncDispose]())

const beta = { name: 'beta', namespace: 'beta', prefix: 'beta/', keyAttribute: 'externalId' } as const

test('a directory’s prefix ends in / and has no group in common with another directory’s or a service’s', async () => {
  const { directories, services } = world.service
  await services.save({ name: 'feeder', collections: [], prefixes: ['fed/x/', 'gam'] })
  for (const prefix of [
    '',
    '/',
    'beta',
    'beta//',
    'be ta/',
    'acme/',
    'acme/sub/',
    'fed/',
    'fed/x/',
    'gamma/',
  ])
    await expect(directories.add({ ...beta, prefix })).rejects.toMatchObject({ field: 'prefix' })
  await world.database.query(
    `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds, crawl_seconds,
       max_age_seconds, purge_days)
     values ('wiki', 'k', 'o', '{}', '{}', 'active', 'user:anne', 60, 60, 60, 1)`,
  )
  for (const prefix of ['wiki/', 'wiki/en/'])
    await expect(directories.add({ ...beta, prefix })).rejects.toMatchObject({ field: 'prefix' })
  // `acme/` is the first one's.
  for (const prefixes of [['acme/'], ['acme/staff'], ['ac']])
    await expect(
      services.save({ name: 'feeder', collections: [], prefixes: ['fed/x/', ...prefixes] }),
    ).rejects.toMatchObject({ field: 'prefixes' })
  expect((await services.get('feeder'))?.prefixes).toEqual(['fed/x/', 'gam'])
})

test('a directory brings the people of one trusted issuer, whose people no other brings', async () => {
  const { directories } = world.service
  await expect(directories.add({ ...beta, namespace: 'nobody' })).rejects.toMatchObject({
    field: 'namespace',
  })
  await expect(directories.add({ ...beta, namespace: 'acme' })).rejects.toMatchObject({ field: 'namespace' })
  for (const name of ['', 'a/b', 'a b'])
    await expect(directories.add({ ...beta, name })).rejects.toMatchObject({ field: 'name' })
})

test('a directory never changes: the same again is nothing, anything else is refused', async () => {
  const { directories } = world.service
  await directories.add(beta)
  await directories.add(beta)
  for (const other of [{ prefix: 'other/' }, { namespace: 'gamma' }, { keyAttribute: 'userName' as const }])
    await expect(directories.add({ ...beta, ...other })).rejects.toMatchObject({ code: 'conflict' })
  expect(await directories.list()).toMatchObject([
    { name: 'acme', users: 0, groups: 0, tokensEnd: [expect.any(Date)] },
    { name: 'beta', namespace: 'beta', prefix: 'beta/', keyAttribute: 'externalId', tokensEnd: [] },
  ])
})

test('two that are registered at once for the same groups are one', async () => {
  const { directories } = world.service
  const both = await Promise.allSettled(
    ['gamma', 'delta'].map((name) =>
      directories.add({
        name,
        namespace: 'gamma',
        prefix: `x/${name === 'gamma' ? '' : 'y/'}`,
        keyAttribute: 'userName',
      }),
    ),
  )
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
})

test('a token counts for 1 to 400 days, of a directory that there is', async () => {
  const { directories } = world.service
  for (const days of [0, 401, 1.5, Number.NaN])
    await expect(directories.issueToken('acme', { days, isOnly: false })).rejects.toMatchObject({
      field: 'days',
    })
  await expect(directories.issueToken('none', { days: 1, isOnly: false })).rejects.toMatchObject({
    field: 'name',
  })
})

test('a person whom a directory keeps is not moved to another key, and no user is made of one that was moved', async () => {
  const { fga, personMove } = world.service
  const id = await world.user('kept')
  await expect(personMove.look('acme/kept', 'acme/new')).rejects.toMatchObject({ field: 'from' })
  await expect(personMove.move('acme/kept', 'acme/new')).rejects.toMatchObject({ field: 'from' })
  expect((await world.scim('GET', `/Users/${id}`)).body['active']).toBe(true)
  await fga.write({ writes: [{ user: 'user:acme/gone', relation: 'member', object: 'group:before' }] })
  await personMove.move('acme/gone', 'acme/new')
  const body = { userName: 'gone@acme.test', externalId: 'gone', active: true }
  expect((await world.scim('POST', '/Users', body)).status).toBe(409)
})

test('the key of a person of Microsoft Entra ID is tenant and object in lower case, as in its tokens, or is refused', async () => {
  const { directories } = world.service
  await directories.add({ name: 'corp', namespace: 'corp', prefix: 'corp/', keyAttribute: 'externalId' })
  const { token } = await directories.issueToken('corp', { days: 1, isOnly: true })
  const post = async (externalId: string) => {
    const body = { userName: `${externalId}@corp.test`, externalId, active: true }
    return world.call('POST', '/scim/v2/Users', {
      token,
      body,
      headers: { 'content-type': 'application/scim+json' },
    })
  }
  const object = 'BBBBBBBB-2222-4333-8444-CCCCCCCCCCCC'
  const other = 'dddddddd-2222-4333-8444-cccccccccccc'
  for (const key of ['anne', object, `${tenant}.`, `${other}.${object}`, `${tenant}.${object}.x`])
    expect([key, (await post(key)).status]).toEqual([key, 400])
  expect((await post(`${tenant.toUpperCase()}.${object}`)).status).toBe(201)
  const key = `${tenant}.${object.toLowerCase()}`
  expect(
    await world.database.query(`select sub, account from directory_users where directory = 'corp'`),
  ).toEqual([{ sub: key, account: `corp/${key}` }])
  expect((await post(key)).status).toBe(409)
  const seen = async () => (await directories.list()).find(({ name }) => name === 'corp')
  expect(await seen()).toMatchObject({ users: 1, usersSeen: 0 })
  const account = { issuer: `https://login.test/${tenant}/v2.0`, sub: key }
  await world.service.people.arrive({ key: `corp/${key}`, name: 'B' }, account)
  expect(await seen()).toMatchObject({ users: 1, usersSeen: 1 })
})

test('a token that ends while a body comes in brings nobody', async () => {
  const { directories } = world.service
  const { token } = await directories.issueToken('acme', { days: 30, isOnly: true })
  const body = new TransformStream<Uint8Array, Uint8Array>()
  const writer = body.writable.getWriter()
  const answer = world.service.app.request(`${world.config.publicUrl}/scim/v2/Users`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/scim+json' },
    body: body.readable,
    duplex: 'half',
  } as RequestInit)
  const user = {
    schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'],
    userName: 'late',
    externalId: 'late',
  }
  const bytes = Buffer.from(JSON.stringify(user))
  await writer.write(bytes.subarray(0, 10))
  await directories.issueToken('acme', { days: 30, isOnly: true })
  await writer.write(bytes.subarray(10))
  await writer.close()
  expect((await answer).status).toBe(401)
})
