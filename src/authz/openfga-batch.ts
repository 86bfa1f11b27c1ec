import type { BatchCheckRequest, BatchCheckResponse } from '@openfga/sdk'
import { EnvHttpProxyAgent, request } from 'undici'
import { traceHeaders } from '../kernel/trace.ts'
import type { BatchCheck } from './fga-api.ts'
import { NoAnswer } from './guarded.ts'
import type { OpenFgaTransport } from './openfga.ts'

/**
 * BatchCheck as the SDK has it, past the SDK and axios: every answer waits for this call, and they cost it 0.6 to 1.1 ms
 * (docs/decisions/0024). One attempt; what is no JSON is an answer without results. Throws `NoAnswer`.
 */
export function createBatchCheck({ apiUrl, apiToken, timeoutMs }: OpenFgaTransport): BatchCheck {
  // HTTP_PROXY, HTTPS_PROXY and NO_PROXY hold, as for all other calls. Unlike those, ALL_PROXY does not, and https goes by
  // HTTP_PROXY where HTTPS_PROXY is not set.
  const dispatcher = new EnvHttpProxyAgent()
  const authorization = apiToken === undefined ? {} : { authorization: `Bearer ${apiToken}` }

  async function post(path: string, body: BatchCheckRequest, given: AbortSignal | undefined) {
    const limit = AbortSignal.timeout(timeoutMs)
    const answer = await request(`${apiUrl}${path}`, {
      dispatcher,
      method: 'POST',
      headers: { ...authorization, 'content-type': 'application/json', ...traceHeaders() },
      body: JSON.stringify(body),
      signal: given ? AbortSignal.any([given, limit]) : limit,
    })
    return { ...answer, text: await answer.body.text() }
  }

  return async (storeId, body, options) => {
    const path = `/stores/${encodeURIComponent(storeId)}/batch-check`
    const { statusCode, headers, text } = await post(path, body, options?.signal).catch(unreached)
    if (statusCode !== 200) throw new NoAnswer(String(statusCode))
    return { ...resultOf(text), $response: { headers } }
  }
}

// By its code alone: errors of the network hold what was received.
function unreached(error: unknown): never {
  const { code, name } = error as { readonly code?: unknown; readonly name?: unknown }
  throw new NoAnswer(String(typeof code === 'string' ? code : name))
}

function resultOf(text: string): BatchCheckResponse {
  try {
    const { result } = JSON.parse(text)
    return { result }
  } catch {
    return {}
  }
}
