import type { ErrorCode } from '@remit/contract/errors'
import type { Presented } from '../../src/delegation/tokens/verify.ts'
import { createApp } from '../../src/http/app.ts'
import type { App } from '../../src/http/env.ts'
import { createRequireBearer } from '../../src/http/middleware/bearer.ts'
import { hostsOf } from '../../src/http/middleware/frame.ts'
import { createAdmission } from '../../src/http/middleware/limits.ts'
import { retrievalRoutes } from '../../src/http/routes/retrieval/retrieve.ts'
import type { Principal } from '../../src/kernel/principal.ts'
import { ok, refuse } from '../../src/kernel/result.ts'
import type { DocumentReader } from '../../src/retrieval/document.ts'
import type { Answer } from '../../src/retrieval/question.ts'
import type { Retriever } from '../../src/retrieval/retrieve.ts'
import { principal } from './principal.ts'

export const publicUrl = 'http://localhost:8787'
export const nothing: Answer = {
  passages: [],
  complete: true,
  modeUsed: 'hybrid',
  modelId: 'm',
  scopeKey: 's',
}

export interface FaceOptions {
  readonly retrieve?: Retriever
  readonly readDocument?: DocumentReader
  /** Token → who it is, or the code of its refusal. */
  readonly tokens?: Readonly<Record<string, Principal | ErrorCode>>
  readonly perMinute?: number
  /** Default: so many that a machine which stands still for a moment is in time. */
  readonly requestDeadlineMs?: number
}

/** The real HTTP face over features that a test decides about, with what it logs. */
export function createFace({
  retrieve = async () => nothing,
  readDocument = () => Promise.reject(new Error('not asked for')),
  tokens = {},
  perMinute = 1_000,
  requestDeadlineMs = 30_000,
}: FaceOptions = {}) {
  const logged: object[] = []
  const shown: (Presented | undefined)[] = []
  const known = (token: string) => tokens[token] ?? (token === 'good' ? principal : 'invalid_token')
  const admission = createAdmission({ perMinute, now: () => 0 })
  let requests = 0
  const requireBearer = createRequireBearer({
    async verify(token, presented) {
      shown.push(presented)
      const who = known(token)
      return typeof who === 'string' ? refuse(who) : ok(who)
    },
    admit: admission.principal,
    publicUrl,
    nonce: () => 'a-nonce',
  })
  const app: App = createApp({
    publicUrl,
    hosts: hostsOf(publicUrl, '127.0.0.1', 8787),
    trustedProxies: [],
    requestDeadlineMs,
    writeDeadlineMs: 20_000,
    now: Date.now,
    newTxn: () => {
      requests += 1
      return `t_${requests}`
    },
    log: (event, fields) => logged.push({ event, ...fields }),
    limitAddress: admission.address,
    assertOpen: () => undefined,
    observe: (_, next) => next(),
    record: async () => undefined,
    isReady: async () => true,
    jwks: async () => ({ keys: [] }),
    routes: [
      retrievalRoutes({
        retrieve,
        readDocument,
        listCollections: () => Promise.reject(new Error('not asked for')),
        requireBearer,
        indexLagMs: () => 0,
      }),
    ],
  })
  const call = async (path: string, init: RequestInit = {}): Promise<Response> =>
    app.request(path.startsWith('/') ? `${publicUrl}${path}` : path, {
      ...init,
      headers: { authorization: 'Bearer good', ...init.headers },
    })
  /** `POST /retrieve` with these headers and this body. */
  const ask = (body: string | object = { query: 'q' }, headers: Readonly<Record<string, string>> = {}) =>
    call('/retrieve', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  return { call, ask, logged, shown }
}
