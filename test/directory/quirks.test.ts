import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type DirectoryWorld, openDirectoryWorld, patch } from './world.ts'

let world: DirectoryWorld
beforeAll(async () => {
  world = await openDirectoryWorld()
})
afterAll(() => world?.[Symbol.asyncDispose]())

const user = async (id: string) => (await world.scim('GET', `/Users/${id}`)).body
const names = (...keys: readonly string[]) => keys.map((key) => `user:acme/${key}`)

// learn.microsoft.com, "Develop and plan provisioning for a SCIM endpoint in Microsoft Entra ID", and
// "Known issues with SCIM 2.0 protocol compliance": requests as they stand there.
describe('Microsoft Entra ID', () => {
  test('"Disable User": the operation in capitals, the boolean as a string', async () => {
    const id = await world.user('entra-off')
    const answer = await world.scim(
      'PATCH',
      `/Users/${id}`,
      patch({ op: 'Replace', path: 'active', value: 'False' }),
    )
    expect(answer).toMatchObject({ status: 200, body: { active: false } })
  })

  test('"Update User [Multi-valued properties]" and [Single-valued properties]', async () => {
    const id = await world.user('entra-update', { emails: [{ type: 'work', value: 'old@acme.test' }] })
    const multi = patch(
      { op: 'Replace', path: 'emails[type eq "work"].value', value: 'updatedEmail@microsoft.com' },
      { op: 'Replace', path: 'name.familyName', value: 'updatedFamilyName' },
    )
    expect((await world.scim('PATCH', `/Users/${id}`, multi)).body).toMatchObject({
      emails: [{ type: 'work', value: 'updatedEmail@microsoft.com' }],
      name: { familyName: 'updatedFamilyName' },
    })
    const single = patch({ op: 'Replace', path: 'userName', value: '5b50642d-79fc-4410@testuser.com' })
    expect((await world.scim('PATCH', `/Users/${id}`, single)).body['userName']).toBe(
      '5b50642d-79fc-4410@testuser.com',
    )
  })

  test('a replace without a path, with dotted and foreign names in one value', async () => {
    const id = await world.user('entra-dotted')
    const body = patch({
      op: 'replace',
      value: {
        displayName: 'Bjfe',
        'name.givenName': 'Kyler',
        'name.familyName': 'Nora',
        active: 'True',
        'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department': 'Sales',
        'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:active': 'False',
        'addresses[type eq "work"].country': 'DE',
      },
    })
    expect(await world.scim('PATCH', `/Users/${id}`, body)).toMatchObject({
      status: 200,
      body: { displayName: 'Bjfe', name: { givenName: 'Kyler', familyName: 'Nora' }, active: true },
    })
  })

  test('an Add behind a filter that finds nothing makes the value', async () => {
    const id = await world.user('entra-add')
    const add = patch({ op: 'Add', path: 'emails[type eq "work"].value', value: 'new@acme.test' })
    expect((await world.scim('PATCH', `/Users/${id}`, add)).body['emails']).toEqual([
      { type: 'work', value: 'new@acme.test' },
    ])
    const replace = patch({ op: 'Replace', path: 'emails[type eq "home"].value', value: 'x@acme.test' })
    expect(await world.scim('PATCH', `/Users/${id}`, replace)).toMatchObject({
      status: 400,
      body: { scimType: 'noTarget' },
    })
  })

  test('"Update Group [Add Members]" and both forms of [Remove Members]', async () => {
    const ids = await Promise.all(['e1', 'e2', 'e3'].map((key) => world.user(key)))
    const group = await world.group('Entra')
    const add = patch({ op: 'Add', path: 'members', value: ids.map((value) => ({ $ref: null, value })) })
    expect((await world.scim('PATCH', `/Groups/${group}`, add)).status).toBe(204)
    expect(await world.members(group)).toEqual(names('e1', 'e2', 'e3'))
    const remove = patch({ op: 'Remove', path: 'members', value: [{ $ref: null, value: ids[0] }] })
    expect((await world.scim('PATCH', `/Groups/${group}`, remove)).status).toBe(204)
    expect(await world.members(group)).toEqual(names('e2', 'e3'))
    const filtered = patch({ op: 'remove', path: `members[value eq "${ids[1]}"]` })
    expect((await world.scim('PATCH', `/Groups/${group}`, filtered)).status).toBe(204)
    expect(await world.members(group)).toEqual(names('e3'))
  })

  test('a Remove that names nobody takes nobody out, and is refused; without a value all go', async () => {
    const id = await world.user('e4', { emails: [{ value: 'e4@acme.test' }] })
    const group = await world.group('Entra, all', id)
    const remove = (path: string, more: object = {}) => patch({ op: 'Remove', path, ...more })
    const refused = { status: 400, body: { scimType: 'invalidValue' } }
    const unsaid = patch({ op: 'Replace', path: 'members' })
    expect(await world.scim('PATCH', `/Groups/${group}`, unsaid)).toMatchObject(refused)
    for (const value of [[], [{}], {}, [{ value: null }]]) {
      expect(await world.scim('PATCH', `/Groups/${group}`, remove('members', { value }))).toMatchObject(
        refused,
      )
      expect(await world.members(group)).toEqual(names('e4'))
      expect(await world.scim('PATCH', `/Users/${id}`, remove('emails', { value }))).toMatchObject(refused)
      expect((await world.scim('GET', `/Users/${id}`)).body['emails']).toEqual([{ value: 'e4@acme.test' }])
    }
    // What is left out may be sent as null.
    for (const more of [{}, { value: null }]) {
      await world.scim(
        'PATCH',
        `/Groups/${group}`,
        patch({ op: 'Add', path: 'members', value: [{ value: id }] }),
      )
      expect((await world.scim('PATCH', `/Groups/${group}`, remove('members', more))).status).toBe(204)
      expect(await world.members(group)).toEqual([])
    }
  })

  test('"Get User by query" and a group without its members', async () => {
    await world.user('entra-query')
    const byName = encodeURIComponent('userName eq "entra-query@acme.test"')
    expect((await world.scim('GET', `/Users?filter=${byName}`)).body).toMatchObject({ totalResults: 1 })
    const group = await world.group('Entra query', await world.user('entra-member'))
    const byTitle = encodeURIComponent('displayName eq "entra QUERY"')
    const { body } = await world.scim('GET', `/Groups?excludedAttributes=members&filter=${byTitle}`)
    expect(body['Resources']).toEqual([expect.objectContaining({ id: group })])
    expect(body['Resources']).toEqual([expect.not.objectContaining({ members: expect.anything() })])
    const none = encodeURIComponent('userName eq "nobody@acme.test"')
    // "should return a 200 with an empty list", not a 404.
    expect(await world.scim('GET', `/Users?filter=${none}`)).toMatchObject({
      status: 200,
      body: { totalResults: 0, Resources: [] },
    })
  })
})

// developer.okta.com, "SCIM 2.0 protocol" and "Understanding SCIM": requests as they stand there.
describe('Okta', () => {
  test('"Update a specific user (PUT)": the whole, with what we do not keep', async () => {
    const id = await world.user('okta-put')
    const body = {
      schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'],
      id,
      externalId: 'okta-put',
      userName: 'test.user@okta.local',
      name: { givenName: 'Another', middleName: 'Excited', familyName: 'User' },
      emails: [{ primary: true, value: 'test.user@okta.local', type: 'work', display: 'work' }],
      locale: 'en-US',
      groups: [],
      active: true,
      meta: { resourceType: 'User' },
    }
    const answer = await world.scim('PUT', `/Users/${id}`, body)
    expect(answer).toMatchObject({
      status: 200,
      body: { id, userName: 'test.user@okta.local', name: { givenName: 'Another', familyName: 'User' } },
    })
    expect(answer.body).not.toHaveProperty('locale')
    expect(answer.body['name']).not.toHaveProperty('middleName')
  })

  test('"Update a specific user (PATCH)": deactivation without a path', async () => {
    const id = await world.user('okta-off')
    await world.scim('PATCH', `/Users/${id}`, patch({ op: 'replace', value: { active: false } }))
    expect((await user(id))['active']).toBe(false)
  })

  test('"Update a specific group name": a replace without a path that names the id as well', async () => {
    const group = await world.group('Old name')
    const body = patch({ op: 'replace', value: { id: group, displayName: 'Test SCIMv2' } })
    expect((await world.scim('PATCH', `/Groups/${group}`, body)).status).toBe(204)
    expect((await world.scim('GET', `/Groups/${group}`)).body['displayName']).toBe('Test SCIMv2')
  })

  test('"Update specific group membership": remove and add in one, and the whole list by replace', async () => {
    const [first = '', second = '', third = ''] = await Promise.all(
      ['o1', 'o2', 'o3'].map((key) => world.user(key)),
    )
    const group = await world.group('Okta', first, second)
    const both = patch(
      { op: 'remove', path: `members[value eq "${first}"]` },
      { op: 'add', path: 'members', value: [{ value: third, display: 'test.user@okta.local' }] },
    )
    await world.scim('PATCH', `/Groups/${group}`, both)
    expect(await world.members(group)).toEqual(names('o2', 'o3'))
    const whole = patch({ op: 'replace', path: 'members', value: [{ value: first }, { value: third }] })
    await world.scim('PATCH', `/Groups/${group}`, whole)
    expect(await world.members(group)).toEqual(names('o1', 'o3'))
    await world.scim('PUT', `/Groups/${group}`, { displayName: 'Okta', members: [{ value: second }] })
    expect(await world.members(group)).toEqual(names('o2'))
    await world.scim('PUT', `/Groups/${group}`, { displayName: 'Okta' })
    expect(await world.members(group)).toEqual([])
  })
})
