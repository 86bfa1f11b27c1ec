import {
  InsufficientScopeError,
  isInitializeRequest,
  isJSONRPCErrorResponse,
  isJSONRPCRequest,
  isJSONRPCResultResponse,
  type JSONRPCMessage,
  type JSONRPCRequest,
  SdkHttpError,
  StreamableHTTPClientTransport,
  type Transport,
} from '@modelcontextprotocol/client'
import { z } from 'zod'
import { parseJson } from '../../store/private-file.ts'
import { SignInNeeded } from './session.ts'

export interface StdioProxyDeps {
  /** Address of `/mcp`. */
  readonly url: string
  /** Where a program on this machine speaks MCP: standard input and output. */
  readonly inside: Transport
  /** Signs what goes out. */
  readonly fetch: typeof globalThis.fetch
  /** For people: what cannot be told in the protocol. */
  readonly say: (line: string) => void
}

/**
 * Passes messages between a program on this machine and `/mcp`, in whatever revision the two agree on, and
 * changes none of them. One message is one request; a request that cannot be passed on is answered with an
 * error, so that nobody waits for ever. Resolves when the program has closed its side: what is under way is
 * given up then.
 */
export async function proxyStdio({ url, inside, fetch, say }: StdioProxyDeps): Promise<void> {
  const outside = new StreamableHTTPClientTransport(new URL(url), { fetch })
  const open = new Map<string | number, AbortController>()
  const handshakes = new Set<string | number>()
  const closed = Promise.withResolvers<void>()

  const tell = (message: JSONRPCMessage) => {
    inside.send(message).catch(() => undefined)
  }

  function answer(id: string | number, error: unknown): void {
    if (open.delete(id)) tell({ jsonrpc: '2.0', id, error: asAnswer(error) })
  }

  async function passOn(message: JSONRPCRequest): Promise<void> {
    const { id } = message
    const giveUp = new AbortController()
    open.set(id, giveUp)
    if (isInitializeRequest(message)) handshakes.add(id)
    try {
      await outside.send(message, {
        requestSignal: giveUp.signal,
        onRequestStreamEnd: () => answer(id, new Error('The connection ended before the answer.')),
      })
    } catch (error) {
      answer(id, error)
    }
  }

  inside.onmessage = (message: JSONRPCMessage) => {
    if (isJSONRPCRequest(message)) {
      passOn(message).catch(() => undefined)
      return
    }
    const cancelled = cancelledBy(message)
    // Over HTTP whoever gives up closes the request; its answer is wanted no more.
    if (cancelled !== undefined) {
      const giveUp = open.get(cancelled)
      open.delete(cancelled)
      giveUp?.abort()
      return
    }
    outside.send(message).catch((error: unknown) => say(asAnswer(error).message))
  }
  outside.onmessage = (message: JSONRPCMessage) => {
    if (isJSONRPCResultResponse(message) || isJSONRPCErrorResponse(message)) {
      const { id } = message
      // Given up meanwhile.
      if (id === undefined || !open.delete(id)) return
      const agreed = handshakes.delete(id) && 'result' in message && message.result['protocolVersion']
      // The revision before says in a header what was agreed on in the handshake; the newest, in each
      // message.
      if (typeof agreed === 'string') outside.setProtocolVersion(agreed)
    }
    tell(message)
  }
  inside.onerror = (error: Error) => say(`A message could not be read: ${error.message}`)
  inside.onclose = () => closed.resolve()

  await outside.start()
  await inside.start()
  await closed.promise
  for (const giveUp of open.values()) giveUp.abort()
  open.clear()
  await outside.close()
}

const isId = (value: unknown): value is string | number =>
  typeof value === 'string' || typeof value === 'number'

function cancelledBy(message: JSONRPCMessage): string | number | undefined {
  if (!('method' in message) || message.method !== 'notifications/cancelled') return undefined
  const id = message.params?.['requestId']
  return isId(id) ? id : undefined
}

interface Answer {
  readonly code: number
  readonly message: string
  readonly data?: object
}

// JSON-RPC's first code for servers' own errors.
const code = -32_000

/** What went wrong on the way, for the program and its person. */
function asAnswer(error: unknown): Answer {
  if (error instanceof SignInNeeded) {
    const { url, code: userCode, seconds } = error.prompt
    return {
      code,
      message: error.message,
      data: { verification_uri: url, user_code: userCode, expires_in: seconds },
    }
  }
  if (error instanceof InsufficientScopeError) {
    const message = `The person did not agree to what this needs: ${error.requiredScope ?? 'more'}`
    return { code, message, data: { status: 403, code: 'insufficient_scope' } }
  }
  if (error instanceof SdkHttpError) return refusal(error)
  const { message } = error instanceof Error ? error : new Error('Something went wrong.')
  return { code, message: message === 'fetch failed' ? 'The service does not answer.' : message }
}

/** What a service says of a refusal, over HTTP or in JSON-RPC. */
const problem = z.looseObject({
  title: z.unknown().optional(),
  detail: z.unknown().optional(),
  code: z.unknown().optional(),
  error: z.looseObject({ message: z.unknown().optional() }).optional().catch(undefined),
})

function refusal({ status, data }: SdkHttpError): Answer {
  const { title, detail, code: reason, error } = problem.safeParse(parseJson(String(data.text))).data ?? {}
  const wording = detail ?? title ?? error?.message
  return {
    code,
    message: typeof wording === 'string' ? wording : `The service answered ${status}.`,
    data: { status, ...(typeof reason === 'string' && { code: reason }) },
  }
}
