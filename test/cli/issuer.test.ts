import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { exportJWK, generateKeyPair } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ownIssuerUrl, publicUrl } from '../delegation/world.ts'
import { type Commands, openCommands, remit, serving } from './world.ts'

let world: Commands
beforeAll(async () => {
  world = await openCommands()
})
afterAll(() => world.database.close())

test('an account is added and gets a password that is printed once and fits', async () => {
  await using _server = await serving(world)
  expect((await remit(['person', 'add', 'ida', '--name', 'Ida'], world)).code).toBe(0)
  expect(await world.deps.passwords.has('ida')).toBe(false)
  const { stdout, code } = await remit(['password', 'ida'], world)
  expect(code).toBe(0)
  expect(await world.deps.passwords.verify('ida', stdout.trim())).toBeInstanceOf(Date)
  expect(await world.deps.passwords.verify('ida', `${stdout.trim()}x`)).toBeUndefined()
  expect(await world.deps.passwords.verify('nobody', stdout.trim())).toBeUndefined()
  expect((await remit(['password', 'nobody'], world)).code).toBe(1)
  const records = await world.database.query('select detail::text as detail from decision_records')
  expect(JSON.stringify(records)).not.toContain(stdout.trim())
})

test('a client is registered with its public keys, and a private one is refused', async () => {
  await using _server = await serving(world)
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const file = join(world.database.folder, 'jwks.json')
  const add = async (key: Parameters<typeof exportJWK>[0], of = 'research-bot') => {
    await writeFile(file, JSON.stringify({ keys: [await exportJWK(key)] }))
    return remit(
      ['client', 'add', 'bot-app', '--kind', 'agent', '--of', of, '--title', 'Bot', '--jwks', file],
      world,
    )
  }
  expect((await add(privateKey)).stderr).toContain('private key')
  expect(await world.deps.clients.registered('bot-app')).toBeUndefined()
  expect((await add(publicKey, 'nobody')).stderr).toContain('There is no agent nobody')
  expect((await add(publicKey)).code).toBe(0)
  expect(await world.deps.clients.registered('bot-app')).toMatchObject({ kind: 'agent', title: 'Bot' })
  const other = await remit(['client', 'add', 'bot-app', '--kind', 'person', '--title', 'Bot'], world)
  expect(other.stderr).toContain('registered as something else')
})

test('a key pair is made in two files of one user: its public half is registered as it is, and none is written over', async () => {
  await using _server = await serving(world)
  const name = join(world.database.folder, 'pair-app')
  const made = await remit(['client', 'key-pair', name], world)
  expect(made).toMatchObject({ code: 0, stdout: '' })
  const [key, jwks] = await Promise.all(
    ['key', 'jwks'].map((half) => readFile(`${name}.${half}.json`, 'utf8')),
  )
  expect(JSON.parse(key ?? '')).toMatchObject({ kid: 'pair-app-1', alg: 'ES256', d: expect.any(String) })
  expect(jwks).not.toContain('"d"')
  expect((await stat(`${name}.key.json`)).mode & 0o077).toBe(0)
  const of = ['--kind', 'agent', '--of', 'research-bot', '--title', 'Pair']
  const added = await remit(['client', 'add', 'pair-app', ...of, '--jwks', `${name}.jwks.json`], world)
  expect(added.code).toBe(0)
  const again = await remit(['client', 'key-pair', name], world)
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('is there already') })
  expect(await readFile(`${name}.key.json`, 'utf8')).toBe(key)
})

test.each([
  ['jwks', 'key'],
  ['key', 'jwks'],
])(
  'beside an old %s.json of the name no key pair is made: no other half lies there to be registered',
  async (there, missing) => {
    const name = join(world.database.folder, `${there}-left`)
    await writeFile(`${name}.${there}.json`, 'old')
    const made = await remit(['client', 'key-pair', name], world)
    expect(made).toMatchObject({ code: 1, stderr: expect.stringContaining(`${name}.${there}.json is there`) })
    expect(await readFile(`${name}.${there}.json`, 'utf8')).toBe('old')
    await expect(stat(`${name}.${missing}.json`)).rejects.toMatchObject({ code: 'ENOENT' })
  },
)

test('the agent of programs on people’s own computers is registered with an owner, and its client without a key', async () => {
  await using _server = await serving(world)
  expect((await remit(['mcp', 'register'], world)).stderr).toContain('--owner')
  const registered = await remit(['mcp', 'register', '--owner', 'user:anne'], world)
  expect(registered).toMatchObject({ code: 0, stdout: '' })
  expect(await world.deps.agents.get('local-mcp')).toMatchObject({ owner: 'user:anne', issuer: ownIssuerUrl })
  expect(await world.deps.clients.registered('remit-mcp')).toMatchObject({
    kind: 'agent',
    agent: 'local-mcp',
    redirectUris: [],
    jwks: undefined,
  })
})

test('a client that asks people from afar says where it is told and how it signs, which takes a key', async () => {
  await using _server = await serving(world)
  const file = join(world.database.folder, 'asking.json')
  const { publicKey } = await generateKeyPair('ES256')
  await writeFile(file, JSON.stringify({ keys: [await exportJWK(publicKey)] }))
  const of = ['--kind', 'agent', '--of', 'research-bot', '--title', 'Asking']
  const add = (...flags: readonly string[]) => remit(['client', 'add', 'asking-app', ...of, ...flags], world)
  const ping = ['--ping', 'https://asking.test/ciba']
  for (const flags of [ping, ['--signs', 'ES256']])
    expect(await add(...flags)).toMatchObject({ code: 1, stderr: expect.stringContaining('has a key') })
  expect((await add('--jwks', file, '--ping', 'ftp://asking.test')).stderr).toContain('https URL')
  expect((await add('--jwks', file, '--signs', 'RS256')).stderr).toContain('Allowed choices are ES256, PS256')
  expect((await add('--jwks', file, ...ping, '--signs', 'ES256')).code).toBe(0)
  expect(await world.deps.clients.registered('asking-app')).toMatchObject({
    notificationEndpoint: 'https://asking.test/ciba',
    requestAlgorithm: 'ES256',
  })
  const { stdout } = await remit(['client', 'list', '--json'], world)
  expect(stdout).toContain('"request_algorithm":"ES256"')
  // FAPI, whose requests are signed, refuses RS256; what says nothing else of OpenID Connect expects it.
  expect(stdout).toContain('"id_token_algorithm":"ES256"')
  // What is left out is taken back.
  expect((await add('--jwks', file)).code).toBe(0)
  expect(await world.deps.clients.registered('asking-app')).toMatchObject({
    requestAlgorithm: undefined,
    idTokenAlgorithm: 'RS256',
  })
  expect((await add('--id-tokens', 'ES256')).code).toBe(0)
  expect(await world.deps.clients.registered('asking-app')).toMatchObject({ idTokenAlgorithm: 'ES256' })
  expect((await add('--id-tokens', 'none')).stderr).toContain('Allowed choices are RS256, ES256')
})

test('after a rotation a new key signs, and the old one is still published', async () => {
  await using _server = await serving(world)
  const { keys } = world.deps
  const before = keys.current().kid
  const idTokens = (await keys.idTokens()).kid
  expect((await remit(['keys', 'rotate'], world)).code).toBe(0)
  expect(keys.current().kid).not.toBe(before)
  const published = await keys.jwks()
  expect(published.keys.map(({ kid }) => kid)).toEqual([
    keys.current().kid,
    before,
    (await keys.idTokens()).kid,
    idTokens,
  ])
  expect(new Set(published.keys.map(({ kid }) => kid)).size).toBe(4)
  expect(await keys.find({ alg: 'ES256', kid: before })).toMatchObject({ ok: true })
  // What signs ID tokens signs no access token.
  expect(await keys.find({ alg: 'RS256', kid: idTokens })).toMatchObject({ ok: false })
  expect(JSON.stringify(published)).not.toMatch(/"(d|p|q|dp|dq|qi)"/)
})

test('an agent is registered with its limits, listed, switched off and on', async () => {
  await using _server = await serving(world)
  const base = [
    'agent',
    'add',
    'trade-bot',
    '--owner',
    'user:anne',
    '--purpose',
    'Trades',
    '--scope',
    'docs.search',
  ]
  expect((await remit(base, world)).stderr).toContain('--any-collection')
  expect((await remit([...base, '--collection', 'nocoll'], world)).stderr).toContain('no collection nocoll')
  expect(await world.deps.agents.get('trade-bot')).toBeUndefined()
  const again = [...base, '--collection', 'handbook']
  expect((await remit(again, world)).stderr).toBe('The agent trade-bot is registered.\n')
  expect((await remit(again, world)).stderr).toContain('replaced')
  expect(await world.deps.agents.get('trade-bot')).toMatchObject({
    title: 'trade-bot',
    issuer: world.deps.ownIssuer,
    limits: { scopes: ['docs.search'], collections: ['handbook'] },
    jwks: undefined,
  })
  const { stdout } = await remit(['agent', 'list', '--json'], world)
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object)
  expect(lines).toContainEqual(expect.objectContaining({ agent: 'trade-bot', collections: ['handbook'] }))

  const lend = () =>
    world.deps.delegations.lend({
      subject: 'user:anne',
      agent: 'trade-bot',
      scope: ['collection:handbook'],
      purpose: 'tests',
      expiresAt: new Date(Date.now() + 86_400_000),
    })
  const { id: first } = await lend()
  await remit(['agent', 'disable', 'trade-bot'], world)
  const wider = [...base, '--any-collection']
  const refused = await remit(wider, world)
  expect(refused).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('What it would end: 1 delegation,'),
  })
  expect((await world.deps.agents.get('trade-bot'))?.limits.collections).toEqual(['handbook'])
  await remit([...wider, '--keep-lent'], world)
  expect((await world.deps.agents.get('trade-bot'))?.limits.collections).toBeUndefined()
  expect(await world.deps.delegations.isLive(first)).toBe(true)
  expect((await world.deps.agents.get('trade-bot'))?.disabledAt).toBeInstanceOf(Date)
  const enable = (...more: string[]) => remit(['agent', 'enable', 'trade-bot', ...more], world)
  expect(await enable()).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(
      /^1 delegation to trade-bot would count again.* --end-lent .* --keep-lent /,
    ),
  })
  expect((await world.deps.agents.get('trade-bot'))?.disabledAt).toBeInstanceOf(Date)
  expect(await world.deps.delegations.isLive(first)).toBe(true)
  expect((await enable('--end-lent')).stderr).toContain('ended: 1')
  expect((await world.deps.agents.get('trade-bot'))?.disabledAt).toBeUndefined()
  expect(await world.deps.delegations.isLive(first)).toBe(false)
  const { id: second } = await lend()
  await remit(['agent', 'disable', 'trade-bot'], world)
  expect(await enable('--keep-lent')).toMatchObject({
    code: 0,
    stderr: 'The agent trade-bot is enabled.\n',
  })
  expect(await world.deps.delegations.isLive(second)).toBe(true)
  // One that is not disabled gives up nothing.
  expect((await enable()).stderr).toBe('The agent trade-bot is enabled.\n')
  expect((await enable('--end-lent')).stderr).toContain('ended: 0')
  expect(await world.deps.delegations.isLive(second)).toBe(true)
  expect((await remit(['agent', 'enable', 'nobody'], world)).stderr).toContain('There is no agent nobody')
  const ending = [...again, '--actor-issuer', 'https://idp.test', '--actor-sub', 'other', '--end-lent']
  expect((await remit(ending, world)).stderr).toContain('Delegations ended: 1.')
  expect(await world.deps.delegations.isLive(second)).toBe(false)
})

test.each([
  ['end', 'Delegations ended: 1.', false],
  ['keep', 'is enabled.\n', true],
  ['yes', '1 delegation to asked-bot would count again', true],
  [undefined, '1 delegation to asked-bot would count again', true],
])(
  'who sits at a terminal is asked what becomes of what an enabled agent was lent: %s',
  async (typed, said, stands) => {
    const { agents, delegations } = world.deps
    await using _server = await serving(world)
    await agents.save({
      id: 'asked-bot',
      owner: 'user:anne',
      purpose: 'tests',
      issuer: ownIssuerUrl,
      sub: 'asked-bot',
    })
    const { id } = await delegations.lend({
      subject: 'user:anne',
      agent: 'asked-bot',
      scope: ['collection:handbook'],
      purpose: 'tests',
      expiresAt: new Date(Date.now() + 86_400_000),
    })
    await agents.disable('asked-bot')
    const stdin = Object.assign(Readable.from(typed === undefined ? [] : [`${typed}\n`]), { isTTY: true })
    const { stderr } = await remit(['agent', 'enable', 'agent:asked-bot'], world, { stdin })
    expect(stderr).toContain('Type end or keep: ')
    expect(stderr).toContain(said)
    expect(await delegations.isLive(id)).toBe(stands)
    const isAnswer = typed === 'end' || typed === 'keep'
    expect((await agents.get('asked-bot'))?.disabledAt === undefined).toBe(isAnswer)
    await agents.enable('asked-bot')
    await delegations.revoke(id)
  },
)

test('another’s API is registered, listed and removed; Remit’s own are there and stay', async () => {
  await using _server = await serving(world)
  const url = 'https://broker.test/api'
  const add = (...more: string[]) =>
    remit(['resource', 'add', url, '--scope', 'orders.place', ...more], world)
  expect((await add()).stderr).toContain('--any-client')
  expect((await add('--any-client', '--owner', 'nobody')).stderr).toContain('There is no client nobody')
  expect((await add('--allow', 'no-app')).stderr).toContain('There is no client no-app')
  expect((await add('--any-client', '--details-type', 'document_access')).code).toBe(1)
  const more = ['--accept', 'https://orders.example read=orders.place', '--no-verification']
  expect((await add('--allow', 'bot-app', '--details-type', 'trade_order', ...more)).code).toBe(0)
  expect((await add('--allow', 'bot-app', '--accept', 'read=read')).code).toBe(1)
  const listed = async () => {
    const { stdout } = await remit(['resource', 'list', '--json'], world)
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { resource: string })
  }
  const [api, mcp, ...others] = await listed()
  expect([api?.resource, mcp?.resource]).toEqual([publicUrl, `${publicUrl}/mcp`])
  expect(others).toEqual([
    {
      resource: url,
      scopes: ['orders.place'],
      authorization_details_types: ['trade_order'],
      allowed_clients: ['bot-app'],
      accepts: { 'https://orders.example': { read: 'orders.place' } },
      takes_verification: false,
      owner_client: null,
    },
  ])
  expect(
    (await remit(['resource', 'add', `${publicUrl}/x`, '--scope', 'y', '--any-client'], world)).code,
  ).toBe(1)
  expect((await remit(['resource', 'remove', url], world)).code).toBe(0)
  expect((await remit(['resource', 'remove', publicUrl], world)).stderr).toContain('There is no row')
  expect(await listed()).toHaveLength(2)
})

test('what was lent is listed and taken back, and an agent is switched off', async () => {
  await using _server = await serving(world)
  const { stdout } = await remit(['delegation', 'list', 'user:anne', '--json'], world)
  const lent = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { delegation: string; agent: string; state: string })
    .find(({ agent }) => agent === 'research-bot')
  expect(lent).toMatchObject({ agent: 'research-bot', scope: ['collection:handbook'], state: 'live' })
  const id = lent?.delegation ?? ''
  expect((await remit(['delegation', 'revoke', id], world)).code).toBe(0)
  expect(await world.deps.delegations.isLive(id)).toBe(false)
  expect((await remit(['delegation', 'revoke', id], world)).stderr).toContain('There is no live delegation')
  expect((await remit(['agent', 'disable', 'research-bot'], world)).code).toBe(0)
  expect((await world.deps.agents.get('research-bot'))?.disabledAt).toBeInstanceOf(Date)
  expect((await remit(['agent', 'disable', 'nobody'], world)).stderr).toContain('There is no agent nobody')
})

test('a person is barred and let in again, from the next request on', async () => {
  await using _server = await serving(world)
  const barred = () => world.database.query(`select key, until from revocations where kind = 'subject'`)
  expect((await remit(['person', 'disable', 'anne'], world)).stderr).toContain('anne is disabled')
  expect(await barred()).toEqual([{ key: 'user:anne', until: null }])
  expect((await remit(['person', 'enable', 'anne'], world)).code).toBe(0)
  expect(await barred()).toEqual([])
  expect((await remit(['person', 'enable', 'anne'], world)).stderr).toContain('not disabled')
})

test('nobody is barred whom the service does not know, unless in advance', async () => {
  await using _server = await serving(world)
  const barred = () => world.database.query(`select key from revocations where kind = 'subject'`)
  for (const key of ['ane', 'acme/ida']) {
    expect(await remit(['person', 'disable', key], world)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`There is no account ${key}`),
    })
  }
  expect(await barred()).toEqual([])
  expect((await remit(['person', 'disable', 'acme/ida', '--unknown'], world)).code).toBe(0)
  expect(await barred()).toEqual([{ key: 'user:acme/ida' }])
  await remit(['person', 'enable', 'acme/ida'], world)
})
