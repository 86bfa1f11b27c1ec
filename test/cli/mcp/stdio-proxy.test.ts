import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digestOf } from '../../../src/delegation/approvals/view.ts'
import { programEnv } from '../../support/program-env.ts'
import { openProxyWorld, type ProxyOptions, type ProxyWorld, proxyArguments } from './world.ts'

// The proxy as a host starts it: a process of its own, spoken to by the official client over its standard
// streams. Signing in takes five seconds at least, so that most tests share one sign-in.

const slow = 120_000
const patience = 60_000

let world: ProxyWorld
/** Signed in as anne, with what she lent: the handbook. */
let signedIn: string
beforeAll(async () => {
  world = await openProxyWorld()
  signedIn = await world.folder()
  const { service } = world.service
  await service.agents.save({
    id: 'local-mcp',
    owner: 'user:dan',
    purpose: 'tests',
    issuer: service.ownIssuer,
    sub: 'local-mcp',
  })
  await service.clients.register(
    { clientId: 'remit-mcp', kind: 'agent', agent: 'local-mcp' },
    { title: 'Programs on your own computer', redirectUris: [], jwks: undefined },
  )
  await world.service.put({
    'handbook/travel': { text: 'Travel budget: 900.', access: { viewers: ['user:anne'] } },
    'handbook/board': {
      text: 'The travel budget of the board is secret.',
      access: { viewers: ['user:anne'], sensitive: true },
    },
    'finance/travel': {
      collection: 'finance',
      text: 'The travel budget of finance.',
      access: { viewers: ['user:anne'] },
    },
  })
}, slow)
afterAll(() => world?.[Symbol.asyncDispose]())

const legacy = { versionNegotiation: { mode: 'legacy' } } as const

/** The same in a folder of its own, to be spoiled. */
async function copied(): Promise<string> {
  const folder = await world.folder()
  await cp(signedIn, folder, { recursive: true })
  return folder
}

async function opened(options: Partial<ProxyOptions> = {}) {
  const proxy = world.open({ folder: options.folder ?? signedIn, ...options })
  await proxy.connect()
  return proxy
}

const file = (folder: string, end: 'json' | 'key') =>
  join(folder, 'remit', 'mcp', 'remit-mcp', `${encodeURIComponent(world.url)}.${end}`)

const keptIn = async (folder: string) =>
  JSON.parse(await readFile(file(folder, 'json'), 'utf8')) as Record<string, string | number>

/** As if the access token were over. */
async function expire(folder: string): Promise<void> {
  await writeFile(file(folder, 'json'), JSON.stringify({ ...(await keptIn(folder)), expires_at: 0 }))
}

const retrieve = (proxy: Awaited<ReturnType<typeof opened>>, query = 'travel budget') =>
  proxy.client.callTool({ name: 'retrieve', arguments: { query } })

test('signs the person in by a code on stderr, as an agent with what they lend it, its token bound to a key of 0600', {
  timeout: slow,
}, async () => {
  const proxy = await opened()
  // A host has its handshake at once, and asks for the first thing only then.
  expect([proxy.said(), proxy.codes]).toEqual(['', []])
  const { tools } = await proxy.client.listTools()
  expect(tools.map(({ name }) => name)).toContain('retrieve')
  expect(proxy.said()).toContain(`open in a browser:  ${world.url}/oauth/device\n`)
  expect(proxy.said()).toContain('remit-mcp may ask for anne: docs.search docs.read approvals.request\n')
  const found = await retrieve(proxy)
  expect(found.structuredContent).toMatchObject({
    content_trust: 'untrusted',
    results: [{ document_id: 'handbook/travel' }],
  })
  await proxy.close()
  expect(proxy.strays).toEqual([])
  for (const path of [file(signedIn, 'json'), file(signedIn, 'key')])
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect((await stat(join(signedIn, 'remit', 'mcp', 'remit-mcp'))).mode & 0o777).toBe(0o700)
  const { access_token: token } = await keptIn(signedIn)
  expect(decodeJwt(String(token))).toMatchObject({
    sub: 'anne',
    aud: `${world.url}/mcp`,
    client_id: 'remit-mcp',
    act: { sub: 'local-mcp' },
    delegation: expect.any(String),
    cnf: { jkt: expect.any(String) },
  })
  // Without the key it is nothing.
  const stolen = await fetch(`${world.url}/mcp`, {
    method: 'POST',
    headers: { authorization: `DPoP ${token}`, 'content-type': 'application/json' },
    body: '{}',
  })
  expect(stolen.status).toBe(401)
})

test.each([
  ['2026-07-28', {}],
  ['2025-11-25', legacy],
] as const)('speaks revision %s, and asks nobody again', { timeout: slow }, async (revision, client) => {
  const proxy = await opened({ client })
  expect(proxy.client.getNegotiatedProtocolVersion()).toBe(revision)
  const { tools } = await proxy.client.listTools()
  expect(tools.map(({ name }) => name)).toContain('request_approval')
  expect((await retrieve(proxy)).structuredContent).toMatchObject({ results: [{}] })
  const read = await proxy.client.readResource({ uri: 'remit://document/handbook%2Ftravel' })
  expect(read.contents).toMatchObject([{ text: 'Travel budget: 900.' }])
  const missing = await proxy.client.callTool({ name: 'read_document', arguments: { id: 'finance/travel' } })
  expect(missing).toMatchObject({ isError: true })
  expect(proxy.codes).toEqual([])
  await proxy.close()
  expect(proxy.strays).toEqual([])
})

test('two proxies with one sign-in refresh it once, and neither ends it for the other', {
  timeout: slow,
}, async () => {
  const folder = signedIn
  const { refresh_token: before } = await keptIn(folder)
  await expire(folder)
  const proxies = await Promise.all([opened({ folder }), opened({ folder, client: legacy })])
  await Promise.all(proxies.flatMap((proxy) => [retrieve(proxy), retrieve(proxy)]))
  expect((await keptIn(folder))['refresh_token']).not.toBe(before)
  await expire(folder)
  const again = await Promise.all(proxies.map((proxy) => retrieve(proxy)))
  expect(again).toMatchObject([{ structuredContent: {} }, { structuredContent: {} }])
  for (const proxy of proxies) {
    expect(proxy.codes).toEqual([])
    await proxy.close()
  }
})

/** The same again until it goes through, as a model does that was told to try again. */
async function eventually<T>(what: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await what()
    } catch (error) {
      if (tried === 40) throw error
      await sleep(500)
    }
  }
}

describe('what the person has to do', () => {
  test('is to agree to more where a tool needs it: asked once, with what is held already', {
    timeout: slow,
  }, async () => {
    const folder = signedIn
    const proxy = await opened()
    const args = { connection: 'acme', method: 'GET', path: '/issues/1' }
    const answered = await proxy.client.callTool({ name: 'vault_fetch', arguments: args })
    // There is no such account here, which only a token with the scope is told.
    expect(answered).toMatchObject({ isError: true })
    expect(JSON.stringify(answered.content)).toContain('not_found')
    expect(proxy.codes).toHaveLength(1)
    const { scope } = decodeJwt(String((await keptIn(folder))['access_token']))
    expect(String(scope).split(' ').sort()).toEqual([
      'approvals.request',
      'docs.read',
      'docs.search',
      'vault.use',
    ])
    await proxy.close()
  })

  test('comes through: the page of an approval, by URL-mode elicitation, and what they said there', {
    timeout: slow,
  }, async () => {
    const { approvals } = world.service.service
    const opens = { capabilities: { elicitation: { url: {} } } }
    const proxy = await opened({ client: { ...opens, versionNegotiation: { mode: { pin: '2026-07-28' } } } })
    const pages: string[] = []
    proxy.client.setRequestHandler('elicitation/create', async ({ params }) => {
      const { url } = params as { readonly url: string }
      pages.push(url)
      const id = url.split('/').at(-1) ?? ''
      const shown = await approvals.oneOfMine('user:anne', id)
      const session = { person: 'anne', subject: 'user:anne' as const, verifiedAt: new Date() }
      const decision = { answer: 'approve' } as const
      await approvals.decide('user:anne', id, decision, { digest: shown ? digestOf(shown) : '', session })
      return { action: 'accept' }
    })
    // The questions of the other tests were offered something as well, and there is a limit an hour.
    await world.service.database.query('delete from offer_limits')
    const found = await retrieve(proxy, 'travel budget of the board')
    const { approval } = found.structuredContent as { readonly approval: { readonly offer_id: string } }
    const asked = await proxy.client.callTool({
      name: 'request_approval',
      arguments: {
        authorization_details: [{ type: 'document_access', offer: approval.offer_id }],
        purpose: 'The report',
      },
    })
    const { id, state, grant_id } = asked.structuredContent as Record<string, string>
    expect(pages).toEqual([`${world.url}/approvals/${id}`])
    expect(state).toBe('approved')
    const opened_ = await proxy.client.callTool({
      name: 'retrieve',
      arguments: { query: 'travel budget of the board', approval: grant_id },
    })
    expect(JSON.stringify(opened_.structuredContent)).toContain('of the board is secret')
    await proxy.close()
    expect(proxy.strays).toEqual([])
  })
})

describe('a service that fails', () => {
  test('in the middle of a call ends it with an error, and the next call goes through when it is back', {
    timeout: slow,
  }, async () => {
    const proxy = await opened()
    const holding = world.hold()
    const call = retrieve(proxy)
    await holding
    world.kill()
    await expect(call).rejects.toThrow('The service does not answer.')
    world.release()
    await expect(retrieve(proxy)).rejects.toThrow('The service does not answer.')
    await world.revive()
    expect((await retrieve(proxy)).structuredContent).toMatchObject({ results: [{}] })
    expect(proxy.codes).toEqual([])
    await proxy.close()
  })

  test.each([
    ['2026-07-28', {}],
    ['2025-11-25', legacy],
  ] as const)(
    'to answer in time is given up by the client of %s, and by the proxy with it',
    {
      timeout: slow,
    },
    async (_, client) => {
      const proxy = await opened({ client })
      await retrieve(proxy)
      const holding = world.hold()
      const giveUp = new AbortController()
      const call = proxy.client.callTool(
        { name: 'retrieve', arguments: { query: 'travel' } },
        { signal: giveUp.signal },
      )
      const socket = await holding
      const ended = once(socket, 'close')
      giveUp.abort('enough')
      await expect(call).rejects.toThrow()
      socket.resume()
      await ended
      world.release()
      expect((await retrieve(proxy)).structuredContent).toMatchObject({ results: [{}] })
      await proxy.close()
      // No answer came to what was given up.
      expect(proxy.strays).toEqual([])
    },
  )
})

const codeShown = /enter this code: +(\S+)\n/

/** `remit mcp` without a client: what it prints, and how it ends. */
async function run(folder: string, input?: string, argv: readonly string[] = []) {
  const child = spawn(process.execPath, proxyArguments(world.url, argv), {
    env: { ...programEnv, HOME: folder, XDG_CONFIG_HOME: folder },
    cwd: folder,
  })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  if (input === undefined) child.stdin.end()
  else child.stdin.write(input)
  const exited = once(child, 'exit') as Promise<[number]>
  return { child, exited, stdout: () => stdout, stderr: () => stderr }
}

describe('the program', () => {
  test.each([
    ['key', 0o644],
    ['key', 0o660],
    ['json', 0o604],
  ] as const)(
    'uses no %s that others could read (%o), and asks nobody anything',
    { timeout: slow },
    async (end, mode) => {
      const folder = await copied()
      await chmod(file(folder, end), mode)
      const { exited, stdout, stderr } = await run(
        folder,
        end === 'key' ? undefined : '{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n',
      )
      if (end === 'key') expect((await exited)[0]).toBe(1)
      else await expect.poll(stdout, { timeout: patience }).toContain('Others can read')
      expect(end === 'key' ? stderr() : stdout()).toContain(file(folder, end))
      if (end === 'key') expect(stdout()).toBe('')
    },
  )

  test('uses no key that is none', { timeout: slow }, async () => {
    const folder = await copied()
    await writeFile(file(folder, 'key'), '{"kty":"EC"}')
    const { exited, stderr } = await run(folder)
    expect((await exited)[0]).toBe(1)
    expect(stderr()).toContain('is not a key. Remove it, and sign in again.')
  })

  test('ends when its host closes the input, and says nothing', { timeout: slow }, async () => {
    const { exited, stdout, stderr } = await run(signedIn)
    expect((await exited)[0]).toBe(0)
    expect([stdout(), stderr()]).toEqual(['', ''])
  })

  test('says who has to register its client where nobody did', { timeout: slow }, async () => {
    const folder = await world.folder()
    const argv = ['--client', 'nobody-knows']
    const { child, stdout } = await run(folder, '{"jsonrpc":"2.0","id":7,"method":"tools/list"}\n', argv)
    await expect.poll(stdout, { timeout: patience }).toContain('\n')
    expect(JSON.parse(stdout())).toMatchObject({
      id: 7,
      error: { code: -32_000, message: expect.stringContaining('knows no client nobody-knows') },
    })
    child.kill()
  })
})

// Beside each other: each has a sign-in of its own, and waits for it.
describe.concurrent('a sign-in', () => {
  test('is told to whoever cannot wait for it, and goes on meanwhile; a sign-in that they took back is asked for anew', {
    timeout: slow,
  }, async ({ expect }) => {
    const folder = await world.folder()
    const proxy = await opened({ folder, argv: ['--patience', '1'] })
    await expect(proxy.client.listTools()).rejects.toThrow(
      new RegExp(`Sign in first: open ${world.url}/oauth/device in a browser, enter [A-Z]{4}-[A-Z]{4}, and`),
    )
    await eventually(() => retrieve(proxy))
    expect(proxy.codes).toHaveLength(1)

    const { access_token: token } = await keptIn(folder)
    await world.service.service.delegations.revoke(String(decodeJwt(String(token))['delegation']))
    await expect(retrieve(proxy)).rejects.toThrow('Sign in first')
    // Whoever starts the proxy now has the handshake at once all the same, and as the service would give it.
    const other = await opened({ folder, onCode: async () => undefined })
    expect(other.client.getDiscoverResult()).toEqual(proxy.client.getDiscoverResult())
    await other.close()
    const found = await eventually(() => retrieve(proxy))
    expect(found.structuredContent).toMatchObject({ results: [{}] })
    expect(proxy.codes).toHaveLength(2)
    await proxy.close()
  })

  test('is asked for once where they say no, and the call ends with that', { timeout: slow }, async ({
    expect,
  }) => {
    const proxy = await opened({
      folder: await world.folder(),
      onCode: (code) => world.agree(code, { refuse: true }),
    })
    await expect(proxy.client.listTools()).rejects.toThrow('The sign-in was refused.')
    expect(proxy.codes).toHaveLength(1)
    await proxy.close()
  })

  test('ends when its host closes the input in the middle, and says nothing on stdout', {
    timeout: slow,
  }, async ({ expect }) => {
    const waiting = await run(await world.folder(), '{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n')
    await expect.poll(waiting.stderr, { timeout: patience }).toContain('enter this code')
    waiting.child.stdin.end()
    expect((await waiting.exited)[0]).toBe(0)
    expect(waiting.stdout()).toBe('')
  })

  test('signs in ahead, and out: the proxy asks nobody between the two, and no token counts after', {
    timeout: slow,
  }, async ({ expect }) => {
    const folder = await world.folder()
    const ahead = await run(folder, undefined, ['sign-in'])
    await expect.poll(ahead.stderr, { timeout: patience }).toMatch(codeShown)
    await world.agree(codeShown.exec(ahead.stderr())?.[1] ?? '')
    expect((await ahead.exited)[0]).toBe(0)
    const proxy = await opened({ folder })
    await retrieve(proxy)
    expect(proxy.codes).toEqual([])
    const out = await run(folder, undefined, ['sign-out'])
    expect((await out.exited)[0]).toBe(0)
    // The next call finds nobody signed in.
    const next = retrieve(proxy)
    await expect.poll(() => proxy.codes.length, { timeout: patience }).toBe(1)
    await next
    await proxy.close()
  })
})
