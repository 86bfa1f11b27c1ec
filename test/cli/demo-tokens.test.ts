import { chmod, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAdminClient } from '../../src/cli/admin-client.ts'
import { startAdminServer } from '../../src/cli/admin-server.ts'
import { createDemoTokens } from '../../src/cli/demo-tokens.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { type Ran, remit } from './world.ts'

let world: IssuerWorld
let home: string
let socket: AsyncDisposable
let delegation: string
beforeAll(async () => {
  world = await openIssuerWorld()
  home = world.config.home
  await world.put({
    'handbook/travel': { text: 'Travel.', access: { viewers: ['user:anne'] } },
    'finance/budget': { collection: 'finance', text: 'Travel budget.', access: { viewers: ['user:anne'] } },
  })
  await world.service.administrators.add('user:dan', ['security.read'])
  delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  socket = await startAdminServer({
    dir: home,
    deps: {
      ...world.service,
      database: world.database,
      passwords: world.service.issuer.passwords,
      barring: world.service.issuer.barring,
      resources: world.service.issuer.resources,
      grants: world.service.issuer.grants,
      demoConsent: world.service.issuer.demoConsent,
      publicUrl: world.url,
      saveCollection: () => Promise.reject(new Error('not asked')),
      drift: async () => ({}),
    },
    onError: () => undefined,
  })
})
afterAll(async () => {
  await socket?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
})

const run = (...argv: readonly string[]): Promise<Ran> => remit(['token', ...argv], { home })

async function claims(...argv: readonly string[]) {
  const ran = await run(...argv)
  expect(ran).toMatchObject({ code: 0, stderr: '' })
  expect(ran.stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/)
  return { token: ran.stdout.trim(), claims: decodeJwt(ran.stdout.trim()) }
}

const found = async (token: string) =>
  (await world.retrieve(token, { query: 'travel', top_k: 5 })).results.map(({ document_id }) => document_id)

describe('remit token in the demo', () => {
  test('gives a person their own, as the command line’s client gets it, with roles only where they are', async () => {
    const { token, claims: anne } = await claims('--user', 'anne')
    expect(anne).toMatchObject({
      iss: world.issuer,
      sub: 'anne',
      aud: world.url,
      client_id: 'remit-cli',
      scope: 'docs.search docs.read',
      sub_profile: 'user',
      auth_time: expect.any(Number),
      demo: true,
    })
    expect((anne.exp ?? 0) - (anne.iat ?? 0)).toBeLessThanOrEqual(300)
    for (const absent of ['act', 'amr', 'delegation']) expect(anne).not.toHaveProperty(absent)
    expect((await found(token)).sort()).toEqual(['finance/budget', 'handbook/travel'])
    expect((await claims('--user', 'dan')).claims['scope']).toBe('docs.search docs.read security.read')
  })

  test('gives an agent one by exchange of the person’s, in the same thread, for what was lent', async () => {
    const { token, claims: bot } = await claims('--user', 'anne', '--agent', 'research-bot')
    expect(bot).toMatchObject({
      sub: 'anne',
      aud: world.url,
      client_id: 'demo-agent-research-bot',
      act: { iss: world.issuer, sub: 'research-bot', sub_profile: 'ai_agent' },
      delegation,
      demo: true,
    })
    expect(await found(token)).toEqual(['handbook/travel'])
    const [record] = await world.database.query<{ detail: object; actors: string[] }>(
      `select detail, actors from decision_records where event = 'token_exchanged' and detail->>'jti' = $1`,
      [bot.jti ?? ''],
    )
    expect(record).toMatchObject({ actors: ['agent:research-bot'], detail: { resource: world.url } })
  })

  test('gives a service one by its key', async () => {
    const { claims: loader } = await claims('--service', 'loader')
    expect(loader).toMatchObject({
      sub: 'demo-service-loader',
      client_id: 'demo-service-loader',
      scope: 'docs.write directory.write',
      sub_profile: 'service',
      demo: true,
    })
  })

  test('narrows to a scope and to another resource', async () => {
    const narrowed = await claims('--user', 'anne', '--agent', 'research-bot', '--scope', 'docs.search')
    expect(narrowed.claims['scope']).toBe('docs.search')
    expect((await claims('--user', 'anne', '--resource', 'mcp')).claims.aud).toBe(`${world.url}/mcp`)
  })

  test('keeps keys in files of 0600, one a client, however many ask first; a key that others can read is not used', async () => {
    const dir = join(home, 'demo-clients')
    await rm(dir, { recursive: true, force: true })
    const all = await Promise.all(Array.from({ length: 4 }, () => run('--service', 'loader')))
    expect(all.map(({ code }) => code)).toEqual([0, 0, 0, 0])
    expect((await stat(dir)).mode & 0o777).toBe(0o700)
    const path = join(dir, 'demo-service-loader.json')
    expect((await readdir(dir)).filter((name) => name.endsWith('.json'))).toEqual([
      'demo-service-loader.json',
    ])
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    await chmod(path, 0o644)
    expect(await run('--service', 'loader')).toMatchObject({ code: 1, stderr: expect.stringContaining(path) })
    await chmod(path, 0o600)
  })

  test('puts on record who was spoken for, and neither token nor key nor code', async () => {
    const { token } = await claims('--user', 'anne', '--agent', 'research-bot')
    const rows = await world.database.query<{ text: string }>(
      `select detail::text as text from decision_records where event = 'command'`,
    )
    const text = JSON.stringify(rows)
    expect(text).toContain('demo_confirm')
    const kept = JSON.parse(
      await readFile(join(home, 'demo-clients/demo-agent-research-bot.json'), 'utf8'),
    ) as { d: string }
    for (const secret of [token, token.split('.')[2] ?? '', kept.d]) expect(text).not.toContain(secret)
  })

  test.each<[string, readonly string[], string]>([
    [
      'an unknown person',
      ['--user', 'mallory'],
      'There is no account mallory. Known: anne, bob, carol, dan.',
    ],
    ['an unknown agent', ['--user', 'anne', '--agent', 'stranger'], 'There is no agent stranger'],
    [
      'an agent that was lent nothing',
      ['--user', 'bob', '--agent', 'research-bot'],
      'bob has lent nothing to research-bot that is live. They lend at http',
    ],
    ['an unknown service', ['--service', 'stranger'], 'There is no service stranger'],
    ['a scope that no person holds', ['--user', 'anne', '--scope', 'docs.write'], 'docs.write'],
    ['a role that this person lacks', ['--user', 'anne', '--scope', 'security.read'], 'security.read'],
    [
      'a role beside what they may',
      ['--user', 'anne', '--scope', 'docs.search security.read'],
      'The scope security.read is not among what this token may hold: docs.search.',
    ],
  ])('has none for %s, and says so', async (_, argv, says) => {
    const ran = await run(...argv)
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toContain(says)
  })

  test('has none for an agent that was switched off', async () => {
    await world.lend('anne', 'other-bot', 'collection:handbook')
    expect((await run('--user', 'anne', '--agent', 'other-bot')).code).toBe(0)
    await world.service.agents.disable('other-bot')
    const ran = await run('--user', 'anne', '--agent', 'other-bot')
    expect(ran).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('agent enable other-bot'),
    })
  })
})

describe('the word in a person’s stead', () => {
  const confirm = (code: string, user = 'anne') =>
    world.service.issuer.demoConsent?.confirm(code, user) ?? Promise.reject(new Error('no demo'))

  async function begin(clientId: string): Promise<string> {
    const response = await fetch(`${world.issuer}/device/auth`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: clientId, scope: 'docs.search' }),
    })
    return ((await response.json()) as { user_code: string }).user_code
  }

  test('is for codes of the command line alone, each once', async () => {
    const wrong = { code: 'invalid_request', field: 'code' }
    await expect(confirm(await begin('public-agent'))).rejects.toMatchObject(wrong)
    await expect(confirm('AAAA-AAAA')).rejects.toMatchObject(wrong)
    const code = await begin('remit-cli')
    await confirm(code)
    await expect(confirm(code, 'dan')).rejects.toMatchObject(wrong)
  })

  test('is not to be had outside the demo, nor by any route', async () => {
    for (const path of ['/demo_confirm', '/commands/demo_confirm', '/oauth/demo_confirm']) {
      const response = await fetch(`${world.url}${path}`, { method: 'POST', body: '{}' })
      expect([path, response.status]).toEqual([path, 404])
    }
    await using earnest = await openIssuerWorld({
      env: {
        REMIT_DEMO: 'false',
        TRUSTED_ISSUERS: JSON.stringify([
          {
            issuer: 'https://elsewhere.test',
            audiences: { api: 'a', mcp: 'b' },
            namespace: 'e',
            preset: 'generic',
          },
        ]),
      },
    })
    expect(earnest.service.issuer.demoConsent).toBeUndefined()
  })
})

test('no running service: it says how to start one', async () => {
  const tokens = createDemoTokens({ admin: createAdminClient({ home: join(home, 'none') }), home, fetch })
  await expect(tokens.person({ user: 'anne' })).rejects.toThrow('No service is running')
})
