import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createApp } from '../../../src/http/app.ts'
import { createRequireBearer } from '../../../src/http/middleware/bearer.ts'
import { hostsOf } from '../../../src/http/middleware/frame.ts'
import { createAdmission } from '../../../src/http/middleware/limits.ts'
import { mcpRoutes } from '../../../src/http/routes/mcp.ts'
import { ok, refuse } from '../../../src/kernel/result.ts'
import { createMcpFace } from '../../../src/mcp/face.ts'
import { listen } from '../../../src/serve.ts'
import { freePort } from '../../delegation/issuer/world.ts'
import { principal } from '../../http/principal.ts'
import { createFixture } from './fixture.ts'
import { openProxy, type Proxy } from './suite.ts'

/** The real door and the real face, with the suite's tools inside, behind a proxy that knows the token. */
export async function openFixtureFace(): Promise<Proxy> {
  const front = createServer().listen(0, '127.0.0.1')
  await once(front, 'listening')
  const { port: outside } = front.address() as AddressInfo
  const publicUrl = `http://localhost:${outside}`
  const port = await freePort()
  const hosts = hostsOf(publicUrl, '127.0.0.1', port)
  const admission = createAdmission({ perMinute: 100_000, now: Date.now })
  const used = new Set<string>()
  const app = createApp({
    publicUrl,
    hosts,
    trustedProxies: [],
    requestDeadlineMs: 5_000,
    now: Date.now,
    newTxn: () => 't_fixture',
    log: () => undefined,
    limitAddress: admission.address,
    assertOpen: () => undefined,
    observe: (_, next) => next(),
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
          log: () => undefined,
        }),
        requireBearer: createRequireBearer({
          verify: async (token) =>
            token === 'good'
              ? ok({ ...principal, kind: 'agent', actors: ['agent:a'] })
              : refuse('invalid_token'),
          admit: admission.principal,
          publicUrl,
          nonce: () => 'a-nonce',
        }),
        origins: new Set([publicUrl]),
      }),
    ],
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
