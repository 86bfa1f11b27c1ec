import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { BatchCheckRequest, ListObjectsRequest } from '@openfga/sdk'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { createFgaApi } from '../../src/authz/openfga.ts'

/** One call of the query path, as it came over the wire. */
export interface AskedCall {
  readonly kind: 'batch-check' | 'streamed-list-objects' | 'model'
  /** Objects of a batch check; empty otherwise. */
  readonly objects: readonly string[]
  /** Counts the calls of its kind since the fault was set, from 0. */
  readonly nth: number
}

export type Verdicts = Record<string, { allowed?: boolean; error?: object }>

/** What goes wrong. Left out: the true answer. */
export interface Fault {
  /** True: the connection breaks before an answer. */
  readonly drop?: (call: AskedCall) => boolean
  /** True: no answer ever comes, the connection stays open. */
  readonly hang?: (call: AskedCall) => boolean
  /** Instead of 200. */
  readonly status?: (call: AskedCall) => number | undefined
  /**
   * Changes the verdicts of one batch check, by object; of those on being told alone, by
   * `object can_be_told`.
   */
  readonly verdicts?: (verdicts: Verdicts, call: AskedCall) => Verdicts
  /** Runs once OpenFGA has decided and before its answer is sent. */
  readonly decided?: (call: AskedCall) => Promise<void>
}

export interface FaultyOpenFga extends AsyncDisposable {
  /**
   * Give it to `openWorld`: questions go over a socket through the faults, everything else straight to
   * `real`.
   */
  readonly wrap: (real: FgaApi) => FgaApi
  /** undefined: all is well again. */
  set(fault: Fault | undefined): void
}

/**
 * OpenFGA behind a loopback server that breaks as a test wants. The service's own client asks it over a real
 * socket, so that time-outs, aborts and broken connections are the real ones. `timeoutMs`: the client's own.
 */
export async function startFaultyOpenFga({ timeoutMs = 4_000 } = {}): Promise<FaultyOpenFga> {
  let fault: Fault = {}
  let real: FgaApi | undefined
  const counts = new Map<string, number>()

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The server has no port.')
  const remote = createFgaApi({ apiUrl: `http://127.0.0.1:${address.port}`, timeoutMs })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (real === undefined) throw new Error('Nothing is wrapped yet.')
    const [, , storeId = '', name = '', id = ''] = (request.url ?? '').split('/')
    let text = ''
    for await (const part of request) text += String(part)
    const body = text === '' ? {} : JSON.parse(text)
    const kind = name === 'authorization-models' ? 'model' : (name as AskedCall['kind'])
    const nth = counts.get(kind) ?? 0
    counts.set(kind, nth + 1)
    const checks: readonly Check[] = kind === 'batch-check' ? body.checks : []
    const call: AskedCall = { kind, nth, objects: checks.map(({ tuple_key }) => tuple_key.object) }
    if (fault.drop?.(call)) return void response.destroy()
    if (fault.hang?.(call)) return
    const sent = await trueAnswer(real, { storeId, id, kind, body, checks, fault, call })
    await fault.decided?.(call)
    response.writeHead(fault.status?.(call) ?? 200, {
      'content-type': 'application/json',
      'x-request-id': `r-${nth}`,
    })
    response.end(sent)
  }

  return {
    wrap(given) {
      real = given
      return new Proxy(given, {
        get(target, name) {
          if (name === 'batchCheck') return remote.batchCheck.bind(remote)
          if (name === 'streamedListObjects') return remote.streamedListObjects.bind(remote)
          if (name === 'readAuthorizationModel') return remote.readAuthorizationModel.bind(remote)
          return Reflect.get(target, name)
        },
      })
    },
    set(next) {
      fault = next ?? {}
      counts.clear()
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

interface Check {
  readonly tuple_key: { readonly object: string; readonly relation: string }
  readonly correlation_id: string
}

interface Asked {
  readonly storeId: string
  readonly id: string
  readonly kind: AskedCall['kind']
  readonly body: BatchCheckRequest & ListObjectsRequest
  readonly checks: readonly Check[]
  readonly fault: Fault
  readonly call: AskedCall
}

async function trueAnswer(real: FgaApi, asked: Asked): Promise<string> {
  const { storeId, id, kind, body, checks, fault, call } = asked
  if (kind === 'model') {
    const { authorization_model } = await real.readAuthorizationModel(storeId, id)
    return JSON.stringify({ authorization_model })
  }
  if (kind === 'streamed-list-objects') {
    let lines = ''
    // The SDK's type names the last answer; what it gives is the stream.
    const stream: unknown = await real.streamedListObjects(storeId, body)
    for await (const part of stream as AsyncIterable<Uint8Array>) lines += new TextDecoder().decode(part)
    return lines
  }
  const { result = {} } = await real.batchCheck(storeId, body)
  const byObject: Verdicts = {}
  for (const { tuple_key, correlation_id } of checks)
    byObject[nameOf(tuple_key)] = { ...result[correlation_id] }
  const told = fault.verdicts?.(byObject, call) ?? byObject
  const entries = checks.flatMap(({ tuple_key, correlation_id }) => {
    const verdict = told[nameOf(tuple_key)]
    return verdict === undefined ? [] : [[correlation_id, verdict] as const]
  })
  return JSON.stringify({ result: Object.fromEntries(entries) })
}

const nameOf = ({ object, relation }: Check['tuple_key']): string =>
  relation === 'can_be_told' ? `${object} ${relation}` : object
