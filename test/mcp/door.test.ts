import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { World } from '../support/world.ts'
import { callTool, message, openMcpWorld, replyOf, revisions, say, textOf } from './world.ts'

let world: World
let token: string
beforeAll(async () => {
  world = await openMcpWorld()
  token = await world.token({ user: 'anne', agent: 'research-bot', resource: 'mcp' })
})
afterAll(() => world?.[Symbol.asyncDispose]())

const agent = { user: 'anne', agent: 'research-bot', resource: 'mcp' } as const
const metadata = () => `${world.config.publicUrl}/.well-known/oauth-protected-resource/mcp`
const everything = 'docs.search docs.read approvals.request vault.use'
const challengeOf = (headers: Headers): string | null => headers.get('www-authenticate')

describe('a token at /mcp', () => {
  test('is demanded of every message, and whoever has none is told the scopes of all tools and where the resource is described', async () => {
    for (const method of ['initialize', 'tools/list', 'tools/call', 'ping', 'server/discover']) {
      const { status, headers } = await say(world, method, {})
      expect(status).toBe(401)
      expect(challengeOf(headers)).toBe(`Bearer scope="${everything}", resource_metadata="${metadata()}"`)
    }
    expect((await world.call('GET', '/mcp')).status).toBe(401)
  })

  test('is described where the challenge points', async () => {
    const described: unknown = await (await world.call('GET', new URL(metadata()).pathname)).json()
    expect(described).toMatchObject({
      resource: `${world.config.publicUrl}/mcp`,
      authorization_servers: [`${world.config.publicUrl}/oauth`],
      actor_profile_required: true,
      scopes_supported: everything.split(' '),
    })
  })

  test('for the API is a 401 here, and one for here is a 401 at the API', async () => {
    const forApi = await world.token({ user: 'anne', agent: 'research-bot' })
    const here = await say(world, 'tools/list', {}, { token: forApi })
    expect(here.status).toBe(401)
    expect(challengeOf(here.headers)).toBe(
      `Bearer error="invalid_token", scope="${everything}", resource_metadata="${metadata()}"`,
    )
    const there = await world.call('POST', '/retrieve', { token, body: { query: 'a' } })
    expect(there.status).toBe(401)
    expect(challengeOf(there.headers)).toContain('/.well-known/oauth-protected-resource"')
  })

  test('without an actor is a 403, the person’s own included: every client here is an agent’s', async () => {
    const own = await world.token({ user: 'anne', resource: 'mcp' })
    const service = await world.token({ service: 'loader', resource: 'mcp' })
    for (const stray of [own, service]) {
      const { status, body } = await say(world, 'tools/list', {}, { token: stray })
      expect([status, body.code]).toEqual([403, 'actor_unauthorized'])
    }
  })

  test('of a disabled agent, and one whose delegation ended, is a 403 at the next message', async () => {
    const id = await world.lend('dan', 'other-bot', 'collection:handbook')
    const dans = await world.token({ user: 'dan', agent: 'other-bot', resource: 'mcp' })
    expect((await callTool(world, 'retrieve', { query: 'a' }, { token: dans })).status).toBe(200)
    await world.service.delegations.revoke(id)
    expect((await callTool(world, 'retrieve', { query: 'a' }, { token: dans })).status).toBe(403)
  })
})

describe.each(revisions)('what is said in revision %s', (revision) => {
  const routes = /\b(GET|POST|PUT|DELETE) \/[a-z]/

  test('of tools, and of an error that says how to go on, names tools and no routes', async () => {
    const listed = await say(world, 'tools/list', {}, { token, revision })
    expect(listed.body.result).toMatchObject({ tools: expect.arrayContaining([]) })
    expect(JSON.stringify(listed.body)).not.toMatch(routes)
    const refused = await callTool(world, 'read_document', { id: 'handbook/secret' }, { token, revision })
    expect(JSON.parse(textOf(refused))).toMatchObject({
      code: 'approval_required',
      detail:
        'The person has to agree first. Ask retrieve what you need it for: the approval that its answer offers is what request_approval takes.',
    })
    const uri = 'remit://document/handbook%2Fsecret'
    const resource = await say(world, 'resources/read', { uri }, { token, revision })
    expect(resource.body.error?.data).toMatchObject({ code: 'approval_required' })
    expect(JSON.stringify(resource.body)).not.toMatch(routes)
  })
})

describe.each(revisions)('a missing scope in revision %s', (revision) => {
  const reading = ['read_document', 'resources/read'] as const
  test.each(reading)('stops %s before it runs, with the set to ask for that loses nothing', async (what) => {
    const narrow = await world.token({ ...agent, scopes: ['docs.search', 'vault.use'] })
    const said = { token: narrow, revision }
    const { status, headers, body } =
      what === 'read_document'
        ? await callTool(world, what, { id: 'handbook/travel' }, said)
        : await say(world, what, { uri: 'remit://document/handbook%2Ftravel' }, said)
    expect([status, body.code]).toEqual([403, 'insufficient_scope'])
    expect(challengeOf(headers)).toBe(
      `Bearer error="insufficient_scope", scope="docs.search vault.use docs.read", resource_metadata="${metadata()}"`,
    )
    expect(JSON.stringify(body)).not.toContain('Travel')
  })

  test('stops a search as well, and a token with the scope passes', async () => {
    const reader = await world.token({ ...agent, scopes: ['docs.read'] })
    expect((await callTool(world, 'retrieve', { query: 'a' }, { token: reader, revision })).status).toBe(403)
    expect((await callTool(world, 'list_collections', {}, { token: reader, revision })).status).toBe(403)
    const read = await callTool(
      world,
      'read_document',
      { id: 'handbook/travel' },
      { token: reader, revision },
    )
    expect(read.body.result).toMatchObject({ structuredContent: { id: 'handbook/travel' } })
  })
})

describe.each(revisions)('a scope beyond the agent’s own limits in revision %s', (revision) => {
  const limit = (scopes: readonly string[] | null) =>
    world.database.query(`update agents set scopes = $1 where id = 'research-bot'`, [scopes])
  afterAll(() => limit(null))

  test('is refused at once and asked of nobody, while what a consent gives is still asked for', async () => {
    await limit(['docs.search', 'docs.read', 'approvals.request'])
    const narrow = await world.token({ ...agent, scopes: ['docs.search'] })
    const said = { token: narrow, revision }
    const request = { connection: 'acme', method: 'GET', path: '/' }
    for (const args of [request, {}]) {
      const refused = await callTool(world, 'vault_fetch', args, said)
      expect([refused.status, challengeOf(refused.headers)]).toEqual([200, null])
      expect(JSON.parse(textOf(refused))).toMatchObject({
        code: 'forbidden',
        detail: expect.stringContaining('may not have vault.use, whatever the person agrees to'),
      })
    }
    const asked = await callTool(world, 'read_document', { id: 'handbook/travel' }, said)
    expect([asked.status, asked.body.code]).toEqual([403, 'insufficient_scope'])
    expect(challengeOf(asked.headers)).toContain('scope="docs.search docs.read"')
    await limit(['docs.search'])
    const uri = 'remit://document/handbook%2Ftravel'
    const resource = await say(world, 'resources/read', { uri }, said)
    expect(challengeOf(resource.headers)).toBeNull()
    const recorded = await world.database.query(
      `select distinct tool from decision_records where event = 'request_refused' and detail->>'code' = 'forbidden'
       and detail->>'route' = '/mcp' order by tool`,
    )
    expect(recorded).toEqual([{ tool: 'resources/read' }, { tool: 'vault_fetch' }])
    expect(resource.body.error?.data).toMatchObject({ code: 'forbidden' })
    expect(JSON.stringify(resource.body)).not.toContain('Travel')
  })

  test('of another agent alone is asked for: it is none of this one’s limits', async () => {
    await limit(['docs.search'])
    const other = await world.token({
      user: 'anne',
      agent: 'other-bot',
      resource: 'mcp',
      scopes: ['docs.search'],
    })
    const { status, body } = await callTool(
      world,
      'read_document',
      { id: 'handbook/travel' },
      { token: other, revision },
    )
    expect([status, body.code]).toEqual([403, 'insufficient_scope'])
  })
})

describe('a page', () => {
  test.each([
    'https://evil.example',
    'null',
    'http://localhost.evil.example:8787',
    'http://localhost',
    'file://',
  ])('of the origin %s gets 403, whatever token it has', async (origin) => {
    const { status, body } = await say(world, 'tools/list', {}, { token, headers: { origin } })
    expect([status, body.code]).toEqual([403, 'forbidden'])
  })

  test('of our own origin passes, and so does a program, which sends none', async () => {
    const { origin } = new URL(world.config.publicUrl)
    expect((await say(world, 'tools/list', {}, { token, headers: { origin } })).status).toBe(200)
    expect((await say(world, 'tools/list', {}, { token })).status).toBe(200)
  })

  test('that reaches us by another name gets 421', async () => {
    const { status } = await say(world, 'tools/list', {}, { token, headers: { host: 'evil.example' } })
    expect(status).toBe(421)
  })
})

describe('a message', () => {
  const post = async (body: string, headers: Readonly<Record<string, string>> = {}) =>
    replyOf(await world.call('POST', '/mcp', { token, body, headers }))

  test('that is not JSON, is too large, or is many, is refused before anything is made for it', async () => {
    expect(await post('{')).toMatchObject({ status: 400, body: { error: { code: -32_700 } } })
    expect((await post(' '.repeat(1_100_000))).status).toBe(413)
    expect((await post('{}', { 'content-type': 'text/plain' })).status).toBe(415)
    const { body } = message('ping', {}, { revision: '2025-11-25' })
    expect(await post(JSON.stringify([body, body]))).toMatchObject({
      status: 400,
      body: { error: { code: -32_600 } },
    })
    expect((await post('{"__proto__":{}}')).status).toBe(422)
  })

  test('whose headers say something else than its body is refused', async () => {
    const said = { token, headers: { 'mcp-method': 'tools/list' } }
    const { status, body } = await callTool(world, 'retrieve', { query: 'a' }, said)
    expect([status, body.error?.code]).toEqual([400, -32_020])
  })

  test('in a revision that nobody serves is refused, and told which are', async () => {
    const { body, headers } = message('tools/list', {}, {})
    const text = JSON.stringify(body).replace('2026-07-28', '2031-01-01')
    const reply = await post(text, { ...headers, 'mcp-protocol-version': '2031-01-01' })
    expect([reply.status, reply.body.error?.code]).toEqual([400, -32_022])
    expect(JSON.stringify(reply.body.error?.data)).toContain('2026-07-28')
  })

  test('that is refused puts none of its own text on the operator’s log', async () => {
    const own = 'A'.repeat(100_000)
    const version = (text: string) => text.replaceAll('2026-07-28', own)
    const call = message('tools/call', { name: own, arguments: {} }, {})
    for (const { text, headers } of [
      { text: JSON.stringify(message('x', {}, {}).body).replace('"x"', `"${own}"`), headers: {} },
      { text: JSON.stringify(call.body), headers: { 'mcp-name': 'x' } },
      { text: version(JSON.stringify(call.body)), headers: {} },
      { text: JSON.stringify(message(own, {}, {}).body), headers: { 'mcp-method': 'tools/list' } },
    ]) {
      const before = world.logged.length
      const { 'mcp-name': _, ...modern } = call.headers
      expect((await post(text, { ...modern, ...headers })).status).toBe(400)
      const [line, ...more] = world.logged.slice(before)
      expect([line?.event, more]).toEqual(['mcp_refused', []])
      expect(line?.fields).toEqual({
        txn: expect.any(String),
        reason: expect.stringMatching(/^[A-Za-z][A-Za-z -]{1,60}(-\d+)?$/),
      })
    }
  })

  test('by another method than POST has no meaning: there are no streams and no sessions', async () => {
    for (const method of ['GET', 'DELETE', 'PUT']) {
      const response = await world.call(method, '/mcp', { token })
      expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST'])
    }
  })

  test('is answered with nothing that a cache may keep', async () => {
    for (const revision of revisions) {
      const { headers } = await callTool(world, 'retrieve', { query: 'travel' }, { token, revision })
      expect(headers.get('cache-control')).toBe('private, no-store')
    }
    for (const method of ['tools/list', 'resources/templates/list', 'resources/list', 'server/discover']) {
      const { body } = await say(world, method, {}, { token })
      expect(body.result).toMatchObject({ cacheScope: 'private' })
    }
    const read = await say(world, 'resources/read', { uri: 'remit://document/handbook%2Ftravel' }, { token })
    expect(read.body.result).toMatchObject({ cacheScope: 'private', ttlMs: 0 })
  })

  test('counts like any other of the same person and agent', async () => {
    await using slow = await openMcpWorld({ env: { RATE_PER_MINUTE: '3' } })
    const both = {
      mcp: await slow.token({ user: 'anne', agent: 'research-bot', resource: 'mcp' }),
      api: await slow.token({ user: 'anne', agent: 'research-bot' }),
    }
    expect((await say(slow, 'tools/list', {}, { token: both.mcp })).status).toBe(200)
    expect((await slow.call('POST', '/retrieve', { token: both.api, body: { query: 'a' } })).status).toBe(200)
    expect((await say(slow, 'tools/list', {}, { token: both.mcp })).status).toBe(200)
    const late = await say(slow, 'tools/list', {}, { token: both.mcp })
    expect(late.status).toBe(429)
    expect(late.headers.get('retry-after')).toMatch(/^\d+$/)
  })
})
