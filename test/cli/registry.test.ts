import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { record } from '../../src/audit/record.ts'
import { type Commands, openCommands, remit, serving } from './world.ts'

let world: Commands
let server: AsyncDisposable
beforeAll(async () => {
  world = await openCommands()
  server = await serving(world)
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
  await world.database.close()
})

const run = (...argv: readonly string[]) => remit(argv, world)
const json = async (...argv: readonly string[]) =>
  (await run(...argv, '--json')).stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line): unknown => JSON.parse(line))

test('a collection that is there needs no title, and keeps what is not named', async () => {
  expect(await run('collection', 'add', 'diary')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('--title'),
  })
  await run('collection', 'add', 'diary', '--title', 'My diary', '--public-allowed')
  const ran = await run('collection', 'add', 'diary', '--organization', 'nosuchorg')
  expect(ran).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('nothing is known of an organization nosuchorg'),
  })
  expect(await json('collection', 'list')).toContainEqual({
    collection: 'diary',
    title: 'My diary',
    public_allowed: true,
    organization: 'nosuchorg',
  })
  await run('collection', 'add', 'diary', '--no-public-allowed')
  expect((await run('collection', 'list')).stdout).toContain(
    'diary\n  title: My diary\n  public allowed: false\n  organization: nosuchorg\n',
  )
  await run('collection', 'add', 'lone', '--title', 'Lone')
  expect(await json('collection', 'list')).toContainEqual(
    expect.objectContaining({ collection: 'lone', organization: null }),
  )
})

test('services and clients are listed', async () => {
  expect(await run('service', 'list')).toMatchObject({ code: 0, stdout: '', stderr: 'No services.\n' })
  const directory = ['service', 'add', 'directory', '--prefix', 'acme/', '--prefix', 'eu/']
  expect((await run(...directory)).stderr).toBe(
    'The service directory may write to no collection, and groups and organizations whose id begins with acme/ or eu/.\n',
  )
  await run('service', 'remove', 'directory')
  await run('service', 'add', 'loader', '--collection', 'handbook')
  expect(await json('service', 'list')).toEqual([
    { service: 'loader', collections: ['handbook'], prefixes: [] },
  ])
  await run('client', 'add', 'bot-app', '--kind', 'agent', '--of', 'research-bot', '--title', 'Bot')
  expect(await json('client', 'list')).toContainEqual({
    client: 'bot-app',
    kind: 'agent',
    of: 'research-bot',
    title: 'Bot',
    redirect_uris: [],
    keys: 0,
    id_token_algorithm: 'RS256',
  })
})

test('a service that is registered again is told what it lost by that, and nothing where it lost nothing', async () => {
  await run('collection', 'add', 'left', '--title', 'Left')
  await run('collection', 'add', 'kept', '--title', 'Kept')
  const kept = ['--collection', 'kept', '--prefix', 'acme/']
  const first = await run('service', 'add', 'mover', ...kept, '--collection', 'left', '--prefix', 'old/')
  expect(first).toMatchObject({ code: 0, stderr: expect.not.stringContaining('no longer') })
  expect((await run('service', 'add', 'mover', ...kept)).stderr).toMatch(
    /^Note: no longer to left, old\/\. /m,
  )
  expect((await run('service', 'add', 'mover', ...kept)).stderr).not.toContain('no longer')
  await run('service', 'remove', 'mover')
})

test('what is empty is said on stderr, and to a program is no line', async () => {
  for (const more of [[], ['--json']])
    expect(await run('delegation', 'list', 'user:zzz', ...more)).toEqual({
      code: 0,
      stdout: '',
      stderr: 'Nothing lent.\n',
    })
})

test('an agent is listed for people without what does not limit it', async () => {
  expect((await run('agent', 'list')).stdout).toBe(
    'research-bot\n  owner: user:anne\n  title: research-bot\n  purpose: tests\n  keys: 0\n',
  )
})

test('an agent whose owner has no account is registered, with a note', async () => {
  const base = ['agent', 'add', 'a-bot', '--purpose', 'tests', '--scope', 'docs.search', '--any-collection']
  expect((await run(...base, '--owner', 'user:nobody')).stderr).toContain(
    'no account of its owner user:nobody',
  )
  expect((await run(...base, '--owner', 'user:anne')).stderr).not.toContain('Note')
})

test('a scope that reads like one of Remit’s and is none is refused by name; one that no API has yet is named', async () => {
  const add = (scope: string) =>
    run(
      'agent',
      'add',
      'b-bot',
      '--owner',
      'user:anne',
      '--purpose',
      'tests',
      '--any-collection',
      '--scope',
      scope,
    )
  expect(await add('docs.serch')).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/no scope docs\.serch\. Of Remit's an agent may hold docs\.search, /),
  })
  expect((await run('agent', 'list')).stdout).not.toContain('b-bot')
  expect((await add('parcels.send')).stderr).toContain('Note: no API here has parcels.send yet.')
  await run('resource', 'add', 'https://parcels.test', '--scope', 'parcels.send', '--any-client')
  expect((await add('parcels.send')).stderr).not.toContain('Note: no API')
})

test('a file that is not there, and an id that is none, are named', async () => {
  const file = join(world.home, 'none.json')
  const add = ['client', 'add', 'x', '--kind', 'person', '--title', 'X', '--jwks', file]
  expect((await run(...add)).stderr).toBe(`There is no file ${file}.\n`)
  expect((await run('service', 'add', '../x', '--collection', 'handbook')).stderr).toBe(
    'name: "../x" is not an id\n',
  )
})

test('no service and no client of one has the name of a source', async () => {
  for (const argv of [
    ['service', 'add', 'source/wiki', '--collection', 'handbook'],
    ['client', 'add', 'x', '--kind', 'service', '--of', 'source/wiki', '--title', 'X'],
  ])
    expect((await run(...argv)).stderr, argv.join(' ')).toContain('Only a source is called source/…')
  expect(await json('service', 'list')).not.toContainEqual(
    expect.objectContaining({ service: 'source/wiki' }),
  )
})

test('whoami says that it asked nobody where no sign-in is kept', async () => {
  const ran = await remit(['whoami'], world, { url: 'http://127.0.0.1:9' })
  expect(ran).toMatchObject({ code: 1, stdout: '' })
  expect(ran.stderr).toContain('No sign-in is kept here for http://127.0.0.1:9; nothing was asked there.')
})

test('an administrator loses the roles that are named, or all of them', async () => {
  await run('admin', 'add', 'user:carol', '--role', 'security.read', '--role', 'agents.write')
  expect((await run('admin', 'remove', 'user:carol', '--role', 'agents.write')).stderr).toBe(
    'user:carol: security.read\n',
  )
  expect(await json('admin', 'list')).toContainEqual({
    administrator: 'user:carol',
    roles: ['security.read'],
  })
  expect((await run('admin', 'remove', 'user:carol')).stderr).toBe('user:carol: no role\n')
  expect(await json('admin', 'list')).not.toContainEqual(
    expect.objectContaining({ administrator: 'user:carol' }),
  )
  expect(await run('admin', 'remove', 'user:carol')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('no administrator'),
  })
})

test('a host is disabled with the agents that came from it, listed and enabled; its agents stay disabled', async () => {
  const { agents, clients } = world.deps
  const [agent, clientId] = ['cimd/x', 'https://evil.example/client']
  await agents.save({ id: agent, owner: 'user:anne', purpose: 'tests', issuer: 'https://x.test', sub: agent })
  await clients.register({ clientId, kind: 'agent', agent })
  expect((await run('host', 'disable', 'evil.example')).stderr).toBe(
    'The host evil.example is disabled, and 1 agent that came from it.\n',
  )
  expect(await json('host', 'list')).toEqual([{ host: 'evil.example', since: expect.any(String) }])
  expect((await run('host', 'enable', 'evil.example')).code).toBe(0)
  expect((await agents.get(agent))?.disabledAt).toBeInstanceOf(Date)
  expect((await run('host', 'enable', 'evil.example')).stderr).toContain('is not disabled')
  expect((await run('host', 'disable', 'evil.example:443')).stderr).toContain('without port')
})

test.each([
  ['my_app.example', 'my_app.example', 'https://sub.my_app.example:8443/client'],
  ['2606:4700:0::00AA', '[2606:4700::aa]', 'https://[2606:4700::aa]/client'],
  ['[2606:4700::AB]', '[2606:4700::ab]', 'https://[2606:4700::ab]:8443/client'],
  ['93.184.216.34', '93.184.216.34', 'https://93.184.216.34/client'],
  ['a~b.Shared.example', 'a~b.shared.example', 'https://a~b.shared.example/client'],
  ['c*d.shared.example', 'c*d.shared.example', 'https://c*d.shared.example/client'],
  ['ai', 'ai', 'https://ai/client'],
  ['ends.example.', 'ends.example', 'https://ends.example./client'],
])('a host that a client’s address may have is disabled: %s', async (given, host, clientId) => {
  const { agents, clients, deniedHosts } = world.deps
  const agent = `cimd/${given.replaceAll(/\W/g, '-').toLowerCase()}`
  await agents.save({ id: agent, owner: 'user:anne', purpose: 'tests', issuer: 'https://x.test', sub: agent })
  await clients.register({ clientId, kind: 'agent', agent })
  expect((await run('host', 'disable', given)).stderr).toBe(
    `The host ${host} is disabled, and 1 agent that came from it.\n`,
  )
  expect(await deniedHosts.isDenied(clientId)).toBe(true)
  expect((await run('host', 'enable', host)).code).toBe(0)
})

test.each([
  '',
  '.',
  'me@evil.example',
  'evil.example?a',
  'b\u{fc}cher.example',
  '1',
  '::1%lo',
  '[::1',
  '2606:4700::zz',
  '[::1]:443',
  '*.evil.example',
  '1.2',
  'a..b',
  'a.b..',
])('a host that no client’s address has is refused: %s', async (host) => {
  expect((await run('host', 'disable', host)).stderr).toContain('without port or path')
})

test('a service goes with its rights and its clients', async () => {
  await run('service', 'add', 'passing', '--collection', 'handbook')
  await world.deps.clients.register({ clientId: 'passing-app', kind: 'service', service: 'passing' })
  const rights = async () => {
    const found = []
    for await (const { user, relation } of world.fga.read({ object: 'collection:handbook' }))
      if (user === 'service:passing') found.push(relation)
    return found.sort()
  }
  expect(await rights()).toEqual(['tagger', 'writer'])
  expect((await run('service', 'remove', 'passing')).code).toBe(0)
  expect(await rights()).toEqual([])
  expect(await json('service', 'list')).not.toContainEqual(expect.objectContaining({ service: 'passing' }))
  expect(await json('client', 'list')).not.toContainEqual(expect.objectContaining({ client: 'passing-app' }))
  expect((await run('service', 'remove', 'passing')).code).toBe(1)
})

test('a client goes with the consents for it, unless an API has it', async () => {
  const add = (name: string) =>
    run('client', 'add', name, '--kind', 'agent', '--of', 'research-bot', '--title', name)
  await add('leaving')
  const delegation = await world.deps.delegations.lend({
    subject: 'user:anne',
    agent: 'research-bot',
    scope: ['collection:handbook'],
    purpose: 'tests',
    expiresAt: new Date(Date.now() + 60_000),
  })
  await world.database.query(
    `insert into oauth_grants (grant_id, client_id, subject, delegation, signed_in_at, expires_at)
     values ('g1', 'leaving', 'anne', $1, now(), now() + interval '1 hour')`,
    [delegation.id],
  )
  expect((await run('client', 'remove', 'leaving')).stderr).toContain('1 consent ')
  expect(await world.deps.delegations.isLive(delegation.id)).toBe(false)
  expect(await json('client', 'list')).not.toContainEqual(expect.objectContaining({ client: 'leaving' }))

  await add('broker')
  await run(
    'resource',
    'add',
    'https://broker.test',
    '--scope',
    'orders.read',
    '--any-client',
    '--owner',
    'broker',
  )
  expect(await run('client', 'remove', 'broker')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('https://broker.test'),
  })
  for (const name of ['nobody', 'remit-cli']) expect((await run('client', 'remove', name)).code).toBe(1)
})

test('one action is printed from its first record to its last, by its txn or its trace, others’ left out', async () => {
  const traceOf = '4bf92f3577b34da6a3ce929d0e0e4736'
  const who = { subject: 'user:anne', actors: ['agent:research-bot'], client: 'bot-app' } as const
  for (const txn of ['t_thread', 't_other', 't_thread'])
    await record(
      world.database,
      { ...who, txn, trace: txn === 't_other' ? null : traceOf },
      {
        event: 'collections_listed',
        collections: [txn],
        model_id: 'm',
        considered: 1,
        denied: 0,
        passed_over: 0,
        errors: 0,
      },
    )
  const ran = await run('trace', 't_thread')
  expect((await json('trace', traceOf)).length).toBe(2)
  expect((await run('trace', traceOf)).stdout).toContain('  txn: t_thread\n')
  expect(ran.stdout.split('\n').filter((line) => !line.startsWith(' '))).toEqual([
    expect.stringMatching(/^\d{4}-.*Z collections_listed allowed$/),
    expect.stringMatching(/ collections_listed allowed$/),
    '',
  ])
  expect(ran.stdout).toContain('  for: user:anne\n  by: agent:research-bot\n  client: bot-app\n')
  expect(ran.stdout).not.toContain('t_other')
  expect(await run('trace', 't_none')).toMatchObject({
    code: 0,
    stdout: '',
    stderr: 'Nothing is on record under t_none.\n',
  })
})
