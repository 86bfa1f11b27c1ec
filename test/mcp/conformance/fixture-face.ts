import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createApp } from '../../../src/http/app.ts'
import type { App } from '../../../src/http/env.ts'
import { createRequireBearer } from '../../../src/http/middleware/bearer.ts'
import { hostsOf } from '../../../src/http/middleware/frame.ts'
import { createAdmission } from '../../../src/http/middleware/limits.ts'
import { mcpRoutes } from '../../../src/http/routes/service/mcp.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import { ok, refuse } from '../../../src/kernel/result.ts'
import { createMcpFace } from '../../../src/mcp/server.ts'
import { listen } from '../../../src/start.ts'
import { principal } from '../../http/principal.ts'
import { freePort } from '../../support/port.ts'
import { createFixture } from './fixture.ts'
import { openProxy, type Proxy } from './suite.ts'

export const agent: Principal = { ...principal, kind: 'agent', actors: ['agent:a'], delegation: 'd_1' }

export interface FixtureOptions {
  readonly publicUrl: string
  readonly port?: number
  /** Token → who it is. */
  readonly tokens: Readonly<Record<string, Principal>>
}

/** The real door and the real face, with the suite's tools inside. */
export function createFixtureApp({ publicUrl, port = 0, tokens }: FixtureOptions): App {
  const admission = createAdmission({ perMinute: 100_000, now: Date.now })
  const used = new Set<string>()
  return createApp({
    publicUrl,
    hosts: hostsOf(publicUrl, '127.0.0.1', port),
    trustedProxies: [],
    requestDeadlineMs: 5_000,
    writeDeadlineMs: 120_000,
    now: Date.now,
    newTxn: () => 't_fixture',
    log: () => undefined,
    limitAddress: admission.address,
    assertOpen: () => undefined,
    observe: (_, next) => next(),
    record: async () => undefined,
    isReady: async () => true,
    jwks: async () => ({ keys: [] }),
    routes: [
      mcpRoutes({
        face: createMcpFace({
          serve: createFixture,
          key: new Uint8Array(32).fill(7),
          spent: {
            async spend(value) {
              return used.size < used.add(value).size
            },
          },
          resource: `${publicUrl}/mcp`,
          agents: { get: async () => undefined },
          log: () => undefined,
          record: async () => undefined,
          onFailed: () => undefined,
        }),
        requireBearer: createRequireBearer({
          async verify(token) {
            const who = tokens[token]
            return who === undefined ? refuse('invalid_token') : ok(who)
          },
          admit: admission.principal,
          publicUrl,
          nonce: () => 'a-nonce',
        }),
        origins: new Set([publicUrl]),
      }),
    ],
  })
}

/** The same on a port, behind a proxy that knows the token. */
export async function openFixtureFace(): Promise<Proxy> {
  const front = createServer().listen(0, '127.0.0.1')
  await once(front, 'listening')
  const { port: outside } = front.address() as AddressInfo
  const port = await freePort()
  const app = createFixtureApp({
    publicUrl: `http://localhost:${outside}`,
    port,
    tokens: { good: agent },
  })
  const listening = await listen({ fetch: app.fetch, host: '127.0.0.1', port, drainMs: 100 })
  const proxy = await openProxy({ server: front, to: port, token: async () => 'good' })
  return {
    url: proxy.url,
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]()
      await listening[Symbol.asyncDispose]()
    },
  }
}
