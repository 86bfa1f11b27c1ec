import type { BatchCheckRequest, ReadChangesResponse } from '@openfga/sdk'
import { type Dispatcher, EnvHttpProxyAgent } from 'undici'
import { traceHeaders } from '../kernel/trace.ts'
import { PositionRefused } from './fga.ts'
import type { BatchCheck, FgaApi, OpenFgaTransport } from './fga-api.ts'
import { NoAnswer } from './fga-errors.ts'

type Direct = Pick<FgaApi, 'batchCheck' | 'readChanges'>

/**
 * BatchCheck and ReadChanges as the SDK has them, past the SDK and axios, and past undici's streams and
 * signals: every answer waits for the one, and those in parts for the other (docs/decisions/0024). One
 * attempt; what is no JSON is an answer without results. Throws `NoAnswer`; `PositionRefused` for a place of
 * the log that the server refuses.
 */
export function createDirect({ apiUrl, apiToken, timeoutMs }: OpenFgaTransport): Direct {
  // HTTP_PROXY, HTTPS_PROXY and NO_PROXY hold, as for all other calls. Unlike those, ALL_PROXY does not, and
  // https goes by HTTP_PROXY where HTTPS_PROXY is not set. By HTTP/2 a time-out would end its stream and not
  // the connection: one that is lost was found out after two minutes, and all that was asked until then was
  // denied.
  const dispatcher = new EnvHttpProxyAgent({ allowH2: false })
  const authorization = apiToken === undefined ? {} : { authorization: `Bearer ${apiToken}` }

  async function ask(
    request: { readonly url: URL; readonly method: 'GET' | 'POST'; readonly body?: string },
    bytesMax: number,
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    const { url, method, body = null } = request
    const headers = { ...authorization, 'content-type': 'application/json', ...traceHeaders() }
    const { origin, pathname, search } = url
    const path = `${pathname}${search}`
    return answerTo(
      dispatcher,
      { origin, path, method, headers, body },
      { timeoutMs, bytesMax, signal },
    ).catch(unreached)
  }

  return {
    async batchCheck(storeId, body, options) {
      const { status, headers, text } = await ask(
        {
          url: new URL(`${apiUrl}/stores/${encodeURIComponent(storeId)}/batch-check`),
          method: 'POST',
          body: JSON.stringify(body satisfies BatchCheckRequest),
        },
        verdictBytesMax,
        options?.signal,
      )
      if (status !== 200) throw new NoAnswer(String(status))
      const { result } = jsonOf(text)
      return { result, $response: { headers } } as Awaited<ReturnType<BatchCheck>>
    },

    async readChanges(storeId, type, pageSize, token, startTime, options) {
      const url = new URL(`${apiUrl}/stores/${encodeURIComponent(storeId)}/changes`)
      const query = { type, page_size: pageSize, continuation_token: token, start_time: startTime }
      for (const [name, value] of Object.entries(query))
        if (value !== undefined) url.searchParams.set(name, String(value))
      const { status, text } = await ask({ url, method: 'GET' }, changeBytesMax, options?.signal)
      const { changes, continuation_token, code } = jsonOf(text)
      // Not a failure to wait out: the same question would be refused for ever.
      if (status === 400) throw new PositionRefused(code)
      if (status !== 200 || !Array.isArray(changes)) throw new NoAnswer(String(status))
      return { changes, continuation_token } as ReadChangesResponse
    },
  }
}

// Fifty verdicts are some 2 kB, fifty errors some 20.
const verdictBytesMax = 1_048_576
// A hundred changes, each with a condition of at most 32 kB.
const changeBytesMax = 8_388_608

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly text: string
}

/**
 * The whole answer within the time, however slowly it comes; a request that is given up is sent no further.
 */
function answerTo(
  dispatcher: Dispatcher,
  request: Dispatcher.DispatchOptions,
  {
    timeoutMs,
    bytesMax,
    signal,
  }: { readonly timeoutMs: number; readonly bytesMax: number; readonly signal: AbortSignal | undefined },
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  let controller: Dispatcher.DispatchController | undefined
  let firstError: Error | undefined
  const giveUp = (reason: Error): void => {
    firstError = reason
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
      if (firstError !== undefined) started.abort(firstError)
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

function jsonOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}
