import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { keycloakKind } from '../../../src/directory/keycloak/reading.ts'
import { type ReadingBounds, readingBounds } from '../../../src/directory/reading/bounds.ts'
import { startTestIssuer, type TestIssuer } from '../../support/issuer.ts'
import { openRealm, type Realm } from '../../support/keycloak.ts'
import { native, needsKeycloak } from '../../support/native.ts'
import { openWorld, type World } from '../../support/world.ts'

describe('a realm of Keycloak that is read', needsKeycloak, () => {
  let realm: Realm
  let issuer: TestIssuer
  let world: World
  const { url = '', user = '', password = '' } = native.keycloak ?? {}
  const ids = new Map<string, string>()
  const groups = new Map<string, string>()
  let name = ''
  let account = ''

  /** As the administrator of the server. */
  async function administer(method: string, path: string, body?: unknown): Promise<unknown> {
    const answer = await fetch(`${url}/realms/master/protocol/openid-connect/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'password', client_id: 'admin-cli', username: user, password }),
    })
    const { access_token: token } = (await answer.json()) as { readonly access_token: string }
    const response = await fetch(`${url}/admin/realms/${name}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return text === ''
      ? (response.headers.get('location')?.split('/').at(-1) ?? '')
      : (JSON.parse(text) as unknown)
  }
  const idOf = (key: string): string => ids.get(key) ?? ''
  const join = (key: string, group: string) =>
    administer('PUT', `/users/${idOf(key)}/groups/${groups.get(group) ?? ''}`)
  async function give(role: string): Promise<void> {
    const [management] = (await administer('GET', '/clients?clientId=realm-management')) as { id: string }[]
    const found = await administer('GET', `/clients/${management?.id ?? ''}/roles/${role}`)
    await administer('POST', `/users/${account}/role-mappings/clients/${management?.id ?? ''}`, [found])
  }

  beforeAll(async () => {
    realm = await openRealm()
    name = realm.issuer.split('/').at(-1) ?? ''
    issuer = await startTestIssuer({ namespace: 'acme', personClients: ['portal'] })
    const client = await administer('POST', '/clients', {
      clientId: 'remit',
      secret: 'of remit',
      publicClient: false,
      serviceAccountsEnabled: true,
      standardFlowEnabled: false,
      fullScopeAllowed: true,
    })
    account = ((await administer('GET', `/clients/${String(client)}/service-account-user`)) as { id: string })
      .id
    for (const key of ['anne', 'bob', 'carol', 'dan', 'eve'])
      ids.set(key, await realm.addUser({ name: key, password: 'secret' }))
    groups.set('staff', String(await administer('POST', '/groups', { name: 'staff' })))
    groups.set('other', String(await administer('POST', '/groups', { name: 'other' })))
    const inner = (await administer('POST', `/groups/${groups.get('staff') ?? ''}/children`, {
      name: 'inner',
    })) as { readonly id: string }
    groups.set('inner', inner.id)
    for (const [key, group] of [
      ['anne', 'staff'],
      ['bob', 'inner'],
      ['carol', 'inner'],
      ['dan', 'other'],
    ] as const)
      await join(key, group)
    world = await openWorld({
      env: {
        TRUSTED_ISSUERS: JSON.stringify([issuer.entry()]),
        DIRECTORY_SECRETS: JSON.stringify([
          { name: 'sso', kind: 'keycloak', origin: url, secret_env: 'SSO_CLIENT_SECRET' },
        ]),
        SSO_CLIENT_SECRET: 'of remit',
        OUTBOUND_ALLOWED_ORIGINS: url,
      },
    })
    await world.service.directories.add({
      name: 'sso',
      namespace: 'acme',
      prefix: 'sso/',
      kind: 'keycloak',
      secret: 'sso',
      settings: { url, realm: name, client_id: 'remit', page_size: 2 },
    })
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await issuer?.[Symbol.asyncDispose]()
    await realm?.[Symbol.asyncDispose]()
  })

  async function read() {
    await world.service.directories.wake('sso')
    await world.service.directoryReader.runDue()
    return (await world.service.directories.list())[0]?.reading
  }
  async function members(): Promise<Record<string, string[]>> {
    const listed = await world.service.directories.groupsOf('sso')
    const found: [string, string[]][] = []
    for (const { group, name: called } of listed) {
      const inside: string[] = []
      for await (const { user: member } of world.service.fga.read({
        object: group as `group:${string}`,
        relation: 'member',
      })) {
        const key = [...ids].find(([, id]) => member === `user:acme/${id}`)?.[0]
        inside.push(key ?? `#${listed.find((one) => member === `${one.group}#member`)?.name ?? member}`)
      }
      found.push([called, inside.sort()])
    }
    return Object.fromEntries(found)
  }
  const statusOf = async (key: string, now?: number): Promise<number> => {
    const token = await issuer.token({
      sub: idOf(key),
      client_id: 'portal',
      ...(now !== undefined && { now, ttl: 60 }),
      overrides: { jti: randomUUID() },
    })
    return (await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })).status
  }

  test('is not read without the right, and says so', async () => {
    expect(await read()).toMatchObject({ problem: 'The service account may not read /users.', readAt: null })
    await give('view-users')
  })

  test('brings users by their ids, groups, and groups in groups, in pages of two', async () => {
    expect(await read()).toMatchObject({ problem: null, problems: [] })
    expect(await members()).toEqual({ staff: ['#inner', 'anne'], inner: ['bob', 'carol'], other: ['dan'] })
    expect((await world.service.directories.list())[0]).toMatchObject({ users: 5, keyAttribute: 'id' })
  })

  test('takes memberships away, ends who is disabled or deleted, and lets in again who is enabled', async () => {
    const delegation = await world.lend(`acme/${idOf('bob')}`, 'research-bot', 'collection:handbook')
    await administer('DELETE', `/users/${idOf('anne')}/groups/${groups.get('staff') ?? ''}`)
    await administer('PUT', `/users/${idOf('bob')}`, { enabled: false })
    await administer('DELETE', `/users/${idOf('dan')}`)
    expect(await read()).toMatchObject({ problem: null, problems: [] })
    expect(await members()).toEqual({ staff: ['#inner'], inner: ['carol'], other: [] })
    expect(await world.service.delegations.isLive(delegation)).toBe(false)
    expect([await statusOf('bob'), await statusOf('dan'), await statusOf('carol')]).toEqual([401, 401, 200])
    await administer('PUT', `/users/${idOf('bob')}`, { enabled: true })
    expect(await read()).toMatchObject({ problem: null, problems: [] })
    expect(await statusOf('bob', Date.now() + 2_000)).toBe(200)
    expect(await world.service.delegations.isLive(delegation)).toBe(false)
    expect((await members())['inner']).toEqual(['bob', 'carol'])
  })

  test('counts for nothing where the client’s secret is not taken', async () => {
    const before = await members()
    await administer('PUT', `/clients/${String(await clientId())}`, { clientId: 'remit', secret: 'another' })
    expect((await read())?.problem).toContain('does not take the client’s secret')
    expect(await members()).toEqual(before)
    expect(await statusOf('carol')).toBe(200)
  })
  const clientId = async () =>
    ((await administer('GET', '/clients?clientId=remit')) as { readonly id: string }[])[0]?.id

  test('refuses another address, and what it does not know', () => {
    const settings = { url: 'https://sso.test', realm: 'main', client_id: 'remit' }
    for (const [wrong, field] of [
      [{ url: 'http://sso.test' }, 'settings.url'],
      [{ url: 'https://sso.test/auth' }, 'settings.url'],
      [{ realm: '../master' }, 'settings.realm'],
      [{ path: '/../x' }, 'settings.path'],
      [{ username: 'admin' }, 'settings.username'],
    ] as const)
      expect(() => keycloakKind.open({ ...settings, ...wrong })).toThrow(expect.objectContaining({ field }))
  })
})

test('somebody who is passed over while a realm is read, since another one was deleted, is not gone', async () => {
  // Three users in pages of one. The first is deleted once it was read, so the next page skips the second.
  const users = ['a', 'b', 'c']
  let reads = 0
  const kind = keycloakKind.open({ url: 'https://sso.test', realm: 'main', client_id: 'remit', page_size: 1 })
  const { people } = await kind.read({
    secret: 'secret',
    signal: new AbortController().signal,
    outbound: async (address) => {
      const { pathname, searchParams } = new URL(address)
      const answer = (body: unknown) => ({
        status: 200,
        headers: new Headers(),
        body: Buffer.from(JSON.stringify(body)),
      })
      if (pathname.endsWith('/token')) return answer({ access_token: 't', expires_in: 300 })
      if (!pathname.endsWith('/users')) return answer([])
      const first = Number(searchParams.get('first'))
      const page = users.slice(first, first + 1).map((id) => ({ id, enabled: true }))
      reads += 1
      if (reads === 1) users.shift()
      return answer(page)
    },
  })
  expect(people.map(({ id }) => id)).toEqual(['b', 'c'])
})

test.each([
  ['where somebody registers during each of its readings', 1, true],
  ['not where somebody goes during each', -1, false],
])('a realm is read, %s', async (_, change, isRead) => {
  const users = Array.from({ length: 12 }, (_, index) => `m${index}`)
  let reads = 0
  const kind = keycloakKind.open({ url: 'https://sso.test', realm: 'main', client_id: 'remit', page_size: 1 })
  const reading = kind.read({
    secret: 'secret',
    signal: new AbortController().signal,
    outbound: async (address) => {
      const { pathname, searchParams } = new URL(address)
      const answer = (body: unknown) => ({
        status: 200,
        headers: new Headers(),
        body: Buffer.from(JSON.stringify(body)),
      })
      if (pathname.endsWith('/token')) return answer({ access_token: 't', expires_in: 300 })
      if (!pathname.endsWith('/users')) return answer([])
      const first = Number(searchParams.get('first'))
      const page = users.slice(first, first + 1).map((id) => ({ id, enabled: true }))
      if (first === 5) {
        reads += 1
        if (change > 0) users.unshift(`a${reads}`)
        else users.shift()
      }
      return answer(page)
    },
  })
  if (!isRead) await expect(reading).rejects.toThrow('changed while it was read')
  else
    expect((await reading).people.map(({ id }) => id)).toEqual(
      expect.arrayContaining(Array.from({ length: 12 }, (_, index) => `m${index}`)),
    )
})

test('a realm whose lists do not come to an end fills no memory: bytes and entries are bounded', async () => {
  const kind = keycloakKind.open({ url: 'https://sso.test', realm: 'main', client_id: 'remit' })
  let asked = 0
  const read = (bounds: Partial<ReadingBounds>, rows: (path: string, first: number) => readonly unknown[]) =>
    kind.read({
      secret: 'secret',
      signal: new AbortController().signal,
      bounds: { ...readingBounds, ...bounds },
      outbound: async (address, { bytesMax }) => {
        asked += 1
        // Without a bound it would go on for ever.
        if (asked > 500) throw new Error('It was asked too often.')
        const { pathname, searchParams } = new URL(address)
        const body = pathname.endsWith('/token')
          ? { access_token: 't', expires_in: 300 }
          : rows(pathname, Number(searchParams.get('first')))
        const bytes = Buffer.from(JSON.stringify(body))
        expect(bytesMax).toBe(readingBounds.answerBytes)
        return { status: 200, headers: new Headers(), body: bytes }
      },
    })
  const users = Array.from({ length: 100 }, (_, index) => ({ id: `u${index}`, enabled: true }))
  await expect(read({ entries: 5_000 }, () => users)).rejects.toThrow('within 5000 entries')
  await expect(read({ bytes: 50_000 }, () => users)).rejects.toThrow('within 50000 bytes')
  // In each group another one.
  let made = 0
  const deep = (path: string, first: number): readonly unknown[] => {
    if (first > 0 || path.endsWith('/users') || path.endsWith('/members')) return []
    made += 1
    return [{ id: `g${made}`, name: 'g' }]
  }
  asked = 0
  await expect(read({ entries: 50 }, deep)).rejects.toThrow('within 50 entries')
})
