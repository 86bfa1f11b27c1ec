import type { BatchCheckRequest, BatchCheckResponse } from '@openfga/sdk'
import { type Dispatcher, EnvHttpProxyAgent } from 'undici'
import { traceHeaders } from '../kernel/trace.ts'
import type { BatchCheck } from './fga-api.ts'
import { NoAnswer } from './guarded.ts'
import type { OpenFgaTransport } from './openfga.ts'

/**
 * BatchCheck as the SDK has it, past the SDK and axios, and past undici's streams and signals: every answer waits for this
 * call (docs/decisions/0024). One attempt; what is no JSON is an answer without results. Throws `NoAnswer`.
 */
export function createBatchCheck({ apiUrl, apiToken, timeoutMs }: OpenFgaTransport): BatchCheck {
  // HTTP_PROXY, HTTPS_PROXY and NO_PROXY hold, as for all other calls. Unlike those, ALL_PROXY does not, and https goes by
  // HTTP_PROXY where HTTPS_PROXY is not set. By HTTP/2 a time-out would end its stream and not the connection: one that is lost
  // was found out after two minutes, and all that was asked until then was denied.
  const dispatcher = new EnvHttpProxyAgent({ allowH2: false })
  const authorization = apiToken === undefined ? {} : { authorization: `Bearer ${apiToken}` }

  return async (storeId, body, options) => {
    const { origin, pathname } = new URL(`${apiUrl}/stores/${encodeURIComponent(storeId)}/batch-check`)
    const { status, headers, text } = await answerTo(
      dispatcher,
      {
        origin,
        path: pathname,
        method: 'POST',
        headers: { ...authorization, 'content-type': 'application/json', ...traceHeaders() },
        body: JSON.stringify(body satisfies BatchCheckRequest),
      },
      timeoutMs,
      options?.signal,
    ).catch(unreached)
    if (status !== 200) throw new NoAnswer(String(status))
    return { ...resultOf(text), $response: { headers } }
  }
}

// Fifty verdicts are some 2 kB, fifty errors some 20.
const bytesMax = 1_048_576

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly text: string
}

/** The whole answer within the time, however slowly it comes; a request that is given up is sent no further. */
function answerTo(
  dispatcher: Dispatcher,
  request: Dispatcher.DispatchOptions,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  let controller: Dispatcher.DispatchController | undefined
  let given: Error | undefined
  const giveUp = (reason: Error): void => {
    given = reason
    reject(reason)
    controller?.abort(reason)
  }
  const leave = (): void => giveUp(signal?.reason)
  const timer = setTimeout(() => giveUp(new DOMException('', 'TimeoutError')), timeoutMs)
  if (signal?.aborted) leave()
  else signal?.addEventListener('abort', leave, { once: true })

  let status = 0
  let headers: Answer['headers'] = {}
  const chunks: Buffer[] = []
  let bytes = 0
  dispatcher.dispatch(request, {
    onRequestStart(started) {
      controller = started
      // It was given up while it waited for a connection.
      if (given !== undefined) started.abort(given)
    },
    onResponseStart(_, statusCode, received) {
      status = statusCode
      headers = received
    },
    onResponseData(_, chunk) {
      bytes += chunk.length
      if (bytes > bytesMax) return giveUp(new DOMException('', 'TooLargeError'))
      chunks.push(chunk)
    },
    onResponseEnd() {
      resolve({ status, headers, text: Buffer.concat(chunks).toString() })
    },
    onResponseError(_, error) {
      reject(error)
    },
  })
  return promise.finally(() => {
    clearTimeout(timer)
    signal?.removeEventListener('abort', leave)
  })
}

// By its code alone: errors of the network hold what was received.
function unreached(error: unknown): never {
  const { code, name } = (error ?? {}) as { readonly code?: unknown; readonly name?: unknown }
  throw new NoAnswer(String(typeof code === 'string' ? code : (name ?? 'given up')))
}

function resultOf(text: string): BatchCheckResponse {
  try {
    const { result } = JSON.parse(text)
    return { result }
  } catch {
    return {}
  }
}
