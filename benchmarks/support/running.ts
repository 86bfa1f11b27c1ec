import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compose, type Service } from '../../src/compose/compose.ts'
import { type Infrastructure, openInfrastructure } from '../../src/compose/infrastructure.ts'
import { loadConfig } from '../../src/config/config.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { createSystemFetch } from '../../src/outbound/guarded-fetch.ts'
import { listen } from '../../src/start.ts'
import { startTestIssuer, type TestIssuer, type TokenOptions } from '../../test/support/issuer.ts'
import { freePort } from '../../test/support/port.ts'
import { remembering } from './remember.ts'

/** The whole service, listening on loopback, with an issuer of its own that speaks for anybody. */
export interface Running extends AsyncDisposable {
  readonly service: Service
  readonly ground: Infrastructure
  readonly issuer: TestIssuer
  readonly url: string
  /** Its folder, which goes with it. */
  readonly home: string
  /** `postgres` or `pglite`, and `OpenFGA` or `engine`: said beside every figure. */
  readonly backend: string
  /** Subject of a person of the issuer, `user:bench/anne`. */
  subject(person: string): FgaObject
  token(options: TokenOptions): Promise<string>
  /** One request; throws unless the answer is 2xx. */
  call(method: string, path: string, token: string, body?: string, type?: string): Promise<unknown>
}

export interface RunningOptions {
  /** Native Postgres; left out: PGlite on disk, in a folder that goes with it. */
  readonly databaseUrl?: string | undefined
  /** A real OpenFGA server; left out: the embedded engine. */
  readonly openfga?: { readonly url: string; readonly token: string } | undefined
  readonly modelFolder?: string | undefined
  /** Vectors of passages to use again and to add to; left out: each passage is embedded. */
  readonly vectors?: Map<string, Float32Array> | undefined
  /** More settings, as the environment would hold them. */
  readonly env?: Readonly<Record<string, string>>
}

export const serviceClient = 'loader-client'
export const serviceName = 'loader'
export const agentName = 'research-bot'
const namespace = 'bench'

export async function startService({
  databaseUrl,
  openfga,
  modelFolder,
  vectors,
  env = {},
}: RunningOptions): Promise<Running> {
  const stack = new AsyncDisposableStack()
  try {
    const home = await mkdtemp(join(tmpdir(), 'remit-bench-'))
    stack.defer(() => rm(home, { recursive: true, force: true }))
    const issuer = stack.use(
      await startTestIssuer({ namespace, serviceClients: { [serviceClient]: serviceName } }),
    )
    const config = loadConfig({
      REMIT_HOME: home,
      REMIT_DEMO: 'false',
      // It names the hosts that are answered: 0 would answer none.
      PORT: String(await freePort()),
      TRUSTED_ISSUERS: JSON.stringify([issuer.entry()]),
      // The limits are for strangers; here they would be what is measured.
      RATE_PER_MINUTE: '1000000',
      DATABASE_URL: databaseUrl,
      OPENFGA_API_URL: openfga?.url,
      OPENFGA_SECONDARY: 'none',
      OPENFGA_API_TOKEN: openfga?.token,
      EMBEDDINGS_MODEL_PATH: modelFolder,
      ...env,
    })
    const log = (event: string, fields?: object): void => {
      process.stderr.write(`${JSON.stringify({ event, ...fields })}\n`)
    }
    const opened = stack.use(
      await openInfrastructure(config, { now: Date.now, log, step: (_, work) => work(), mayMake: true }),
    )
    if (!opened.embeddings.available)
      throw new Error(`There is no embedding model: ${opened.embeddings.reason}`)
    const { embedder } = opened.embeddings
    const used = vectors === undefined ? embedder : remembering(embedder, vectors)
    const ground: Infrastructure = { ...opened, embeddings: { available: true, embedder: used } }
    const service = stack.use(
      await compose({
        config,
        infrastructure: ground,
        clock: { now: Date.now },
        log,
        fetch,
        outboundTo: createSystemFetch,
      }),
    )
    stack.use(
      await listen({ fetch: service.app.fetch, host: config.host, port: config.port, drainMs: 1_000 }),
    )
    await service.agents.save({
      id: agentName,
      owner: `user:${namespace}/operator`,
      purpose: 'benchmarks',
      issuer: issuer.issuer,
      sub: agentName,
    })
    const owned = stack.move()
    return {
      service,
      ground,
      issuer,
      url: config.publicUrl,
      home,
      backend: `${ground.database.kind} × ${openfga === undefined ? 'engine' : 'OpenFGA'}`,
      subject: (person): FgaObject => `user:${namespace}/${person}`,
      token: (options) => issuer.token(options),
      call: (method, path, token, body, type = 'application/json') =>
        call(`${config.publicUrl}${path}`, method, token, body, type),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    }
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

async function call(
  url: string,
  method: string,
  token: string,
  body: string | undefined,
  type: string,
): Promise<unknown> {
  const response = await fetch(url, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body !== undefined && { 'content-type': type }) },
    ...(body !== undefined && { body }),
  })
  if (!response.ok)
    throw new Error(`${method} ${new URL(url).pathname}: ${response.status} ${await response.text()}`)
  return response.json()
}
