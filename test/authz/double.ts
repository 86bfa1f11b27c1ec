import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Fga } from '../../src/authz/fga.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import type { Principal } from '../../src/kernel/principal.ts'

export const storeId = '01ARZ3NDEKTSV4RRFFQ69G5FAV'
export const modelId = '01ARZ3NDEKTSV4RRFFQ69G5FAW'
export const apiToken = 'preshared-key-of-the-test'

export interface BatchItem {
  readonly tuple_key: { readonly user: string; readonly relation: string; readonly object: string }
  readonly contextual_tuples?: { readonly tuple_keys: readonly object[] }
  readonly context: { readonly current_time: string }
  readonly correlation_id: string
}

export interface Call {
  /** The part of the path after the store. */
  readonly path: string
  readonly authorization: string | undefined
  readonly body: {
    readonly checks?: readonly BatchItem[]
    readonly authorization_model_id?: string
    readonly consistency?: string
    readonly continuation_token?: string
    readonly tuple_key?: object
    readonly writes?: { readonly tuple_keys: readonly object[]; readonly on_duplicate?: string }
    readonly deletes?: { readonly tuple_keys: readonly object[]; readonly on_missing?: string }
  }
}

/**
 * Answers one call: a value is sent as JSON with 200; undefined: the function answers by itself, or never.
 */
export type Answer = (call: Call, response: ServerResponse, nth: number) => unknown

export interface Double extends AsyncDisposable {
  readonly fga: Fga
  readonly url: string
  readonly calls: readonly Call[]
}

// What is answered may take its time on a machine that is busy. Whoever waits for its end gives another.
const patientMs = 20_000

/**
 * An OpenFGA server on loopback that answers as wrongly as a test wants, reached by the real client. No call
 * has fewer checks because one before it took long.
 */
export async function startDouble(answer: Answer, timeoutMs = patientMs): Promise<Double> {
  const calls: Call[] = []
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let text = ''
    for await (const part of request) text += String(part)
    const path = (request.url ?? '').replace(`/stores/${storeId}/`, '')
    const { authorization } = request.headers
    const call: Call = { path, authorization, body: text === '' ? {} : JSON.parse(text) }
    calls.push(call)
    const value = answer(call, response, calls.length - 1)
    if (value === undefined) return
    response.setHeader('x-request-id', `request-${calls.length}`)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(value))
  }
  const server = createServer((request, response) => void serve(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The double has no port.')
  const url = `http://127.0.0.1:${address.port}`
  const api = createFgaApi({ apiUrl: url, apiToken, timeoutMs })
  return {
    url,
    fga: createFga(api, storeId, () => modelId, 4 * patientMs),
    calls,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

/** Answers every item of a BatchCheck with `result(item)`; undefined leaves it out. */
export const batch =
  (result: (item: BatchItem) => unknown): Answer =>
  ({ body }) => ({
    result: Object.fromEntries(
      (body.checks ?? []).flatMap((item) => {
        const value = result(item)
        return value === undefined ? [] : [[item.correlation_id, value]]
      }),
    ),
  })

export const anne: Principal = {
  kind: 'person',
  subject: 'user:anne',
  actors: [],
  client: 'pages',
  scopes: new Set(['docs.search']),
  authorizationDetails: [],
  txn: 't_1',
  expiresAt: 0,
}

export const annesBot: Principal = {
  ...anne,
  kind: 'agent',
  actors: ['agent:research-bot', 'agent:inner'],
  delegation: 'd_1',
}
