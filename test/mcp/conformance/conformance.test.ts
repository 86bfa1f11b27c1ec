import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { listen } from '../../../src/start.ts'
import { freePort } from '../../support/port.ts'
import type { World } from '../../support/world.ts'
import { openMcpWorld, revisions } from '../world.ts'
import { openFixtureFace } from './fixture-face.ts'
import { openProxy, type Proxy, runSuite, type SuiteResult } from './suite.ts'

// MCP's own suite is run by its command, as anybody would; a proxy on loopback adds the agent's token, which
// it knows nothing of.

const expected = z
  .record(z.string(), z.record(z.string(), z.string()))
  .parse(parse(readFileSync(new URL('expected-failures.yml', import.meta.url), 'utf8')))

const suiteFolder = new URL('../../../node_modules/@modelcontextprotocol/conformance/', import.meta.url)
const requirements = z.object({ server: z.array(z.string()), client: z.array(z.string()) })

/** The scenarios that a revision requires of a server or a client, as the suite lists them. */
const requiredBy = (revision: string, leg: 'server' | 'client' = 'server'): readonly string[] =>
  requirements.parse(parse(readFileSync(new URL(`requirements/${revision}.yaml`, suiteFolder), 'utf8')))[leg]

/**
 * What of these scenarios passed; what failed or was warned of beside what is expected; what was expected and
 * passed.
 */
async function examine(url: string, revision: string, scenarios: readonly string[], known: string) {
  const { checks } = await runSuite('server', ['--url', `${url}/mcp`, '--requirements', revision])
  return judge(checks, scenarios, known)
}

function judge(checks: SuiteResult['checks'], scenarios: readonly string[], known: string) {
  const reasons = expected[known] ?? {}
  const looked = [...checks].filter(([check]) => scenarios.includes(check.split(':')[0] ?? ''))
  const bad = looked.filter(([, outcomes]) => outcomes.some((one) => /FAILURE|WARNING/.test(one)))
  const failed = bad.map(([check]) => check)
  return {
    passed: looked.length - failed.length,
    scenarios: new Set(looked.map(([check]) => check.split(':')[0])).size,
    failed: failed.filter((check) => !(check in reasons)),
    notFailed: Object.keys(reasons).filter((check) => checks.has(check) && !failed.includes(check)),
  }
}

describe('the real server', () => {
  let world: World
  let proxy: Proxy
  let stop: () => PromiseLike<void>
  beforeAll(async () => {
    const front = createServer().listen(0, '127.0.0.1')
    await once(front, 'listening')
    const { port: outside } = front.address() as AddressInfo
    const port = await freePort()
    world = await openMcpWorld({ env: { PORT: String(port), PUBLIC_URL: `http://localhost:${outside}` } })
    const listening = await listen({ fetch: world.service.app.fetch, host: '127.0.0.1', port, drainMs: 100 })
    stop = () => listening[Symbol.asyncDispose]()
    proxy = await openProxy({
      server: front,
      to: port,
      token: () => world.token({ user: 'anne', agent: 'research-bot', resource: 'mcp' }),
    })
  })
  afterAll(async () => {
    await proxy?.[Symbol.asyncDispose]()
    await stop?.()
    await world?.[Symbol.asyncDispose]()
  })

  const generic = {
    '2026-07-28': [
      'server-stateless',
      'tools-list',
      'caching',
      'http-header-validation',
      'dns-rebinding-protection',
      'resources-list',
      'sep-2164-resource-not-found',
      'server-sse-multiple-streams',
      'input-required-result-unsupported-methods',
    ],
    '2025-11-25': ['server-initialize', 'ping', 'tools-list', 'resources-list', 'dns-rebinding-protection'],
  } as const

  test.each(Object.entries(generic))(
    'passes what every server is asked in revision %s',
    { timeout: 120_000 },
    async (revision, scenarios) => {
      const found = await examine(proxy.url, revision, scenarios, 'real')
      expect(found).toMatchObject({ failed: [], notFailed: [], scenarios: scenarios.length })
    },
  )
})

describe('a server under examination, in the same wiring', () => {
  let face: Proxy
  beforeAll(async () => {
    face = await openFixtureFace()
  })
  afterAll(() => face?.[Symbol.asyncDispose]())

  test.each(revisions)('passes all that revision %s requires', { timeout: 120_000 }, async (revision) => {
    const required = requiredBy(revision)
    const found = await examine(face.url, revision, required, revision)
    expect(found).toMatchObject({ failed: [], notFailed: [], scenarios: required.length })
  })
})

describe('a client with our sign-in', () => {
  const program = fileURLToPath(new URL('client.ts', import.meta.url))
  /** Extensions that it has; of the others it does not say that it would. */
  const extensions = ['auth/dpop', 'auth/dpop-nonce']

  test.each([
    ['2026-07-28', extensions],
    ['2025-11-25', []],
  ] as const)(
    'passes every scenario of signing in that revision %s requires',
    { timeout: 240_000 },
    async (revision, more) => {
      const scenarios = [
        ...requiredBy(revision, 'client').filter((name) => name.startsWith('auth/')),
        ...more,
      ]
      const { checks } = await runSuite('client', [
        '--command',
        `${process.execPath} ${program}`,
        // The suites of 2026-07-28 leave out what belongs to it alone.
        ...(revision === '2026-07-28'
          ? ['--requirements', revision]
          : ['--suite', 'auth', '--spec-version', revision]),
        ...['--timeout', '60000'],
      ])
      const found = judge(checks, scenarios, `client ${revision}`)
      expect(found).toMatchObject({ failed: [], notFailed: [], scenarios: scenarios.length })
    },
  )
})
