import { DpopSession, extractWWWAuthenticateParams, withDpop } from '@modelcontextprotocol/client'
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server'
import type { Fetch } from '../../delegation/tokens/fetch-json.ts'
import { mcpCapabilities, mcpInstructions, mcpListed, mcpServer } from '../../kernel/mcp.ts'
import type { ProofKey } from './proof-key.ts'
import type { Session } from './session.ts'

export interface DpopFetchDeps {
  readonly session: Session
  readonly key: ProofKey
  readonly fetch: Fetch
}

/**
 * Sends each request under a token of the session with a proof of its key. What a token cannot do is mended once each: a nonce
 * is put into the proof, a token that is refused makes way for another, and the person is asked for the scopes that are
 * missing. Whatever is still refused then is the answer.
 */
export async function createDpopFetch({
  session,
  key,
  fetch,
}: DpopFetchDeps): Promise<typeof globalThis.fetch> {
  const proofs = await DpopSession.create({ keyPair: key })

  // The library signs, and puts a nonce into the proof where the service asks for one.
  const send = (url: string, init: RequestInit, token: string): Promise<Response> =>
    withDpop(proofs, () => token)((to, signed) => fetch(String(to), { ...signed, redirect: 'manual' }))(
      url,
      init,
    )

  /** Asks no person. Undefined: nobody is signed in. */
  async function greetService(url: string, init: RequestInit): Promise<Response | undefined> {
    const token = await session.held()
    if (token === undefined) return undefined
    const response = await send(url, init, token)
    if (!isRefused(response)) return response
    await response.body?.cancel()
    const other = await session.held(token)
    return other === undefined ? undefined : send(url, init, other)
  }

  return async (input, init = {}) => {
    const url = input instanceof Request ? input.url : String(input)
    if (isGreeting(init.body)) return (await greetService(url, init)) ?? greet(new Request(url, init))
    const signal = init.signal ?? new AbortController().signal
    const token = await session.token(signal)
    const response = await send(url, init, token)
    const missing = scopeMissing(response)
    if (missing !== undefined && (await session.widen(missing, signal))) {
      await response.body?.cancel()
      return send(url, init, await session.token(signal))
    }
    if (!isRefused(response)) return response
    const other = await session.token(signal, token)
    await response.body?.cancel()
    return send(url, init, other)
  }
}

/**
 * Whether another token may do better. 403 without a scope: what was lent is over, or the agent is barred; a sign-in that has
 * ended shows at the refresh.
 */
const isRefused = (response: Response): boolean =>
  response.status === 401 || (response.status === 403 && scopeMissing(response) === undefined)

const greetings = new Set<unknown>(['server/discover', 'initialize', 'notifications/initialized', 'ping'])

const isGreeting = (body: RequestInit['body']): boolean =>
  typeof body === 'string' && greetings.has((JSON.parse(body) as { readonly method?: unknown }).method)

/**
 * Answers a handshake as the service would, while nobody is signed in: the official client tries one with a process of which
 * it shows nothing. There is nothing in it that is not the same for everybody.
 */
const greet = (request: Request): Promise<Response> =>
  createMcpHandler(
    () =>
      new McpServer(mcpServer, {
        instructions: mcpInstructions,
        capabilities: mcpCapabilities,
        cacheHints: { 'server/discover': mcpListed },
      }),
  ).fetch(request)

function scopeMissing(response: Response): string | undefined {
  const { error, scope } = extractWWWAuthenticateParams(response)
  return response.status === 403 && error === 'insufficient_scope' ? scope : undefined
}
