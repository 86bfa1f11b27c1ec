import {
  Client,
  type DpopSession,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from '@modelcontextprotocol/client'
import { UnauthorizedError as UnauthorizedErrorV1 } from '@modelcontextprotocol/sdk/client/auth.js'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { McpSignIn } from '@remit/client'

export interface ToolResult {
  readonly structuredContent?: unknown
  readonly isError?: boolean | undefined
  readonly content?: unknown
}

/**
 * One official client, as a test drives it. Every step throws {@link isSignInNeeded} where the person has to
 * sign in.
 */
export interface Driven extends AsyncDisposable {
  connect(): Promise<void>
  /** The person came back to the program with this. */
  finish(back: URL): Promise<void>
  tools(): Promise<readonly string[]>
  call(name: string, args: Record<string, unknown>): Promise<ToolResult>
  read(uri: string): Promise<unknown>
}

export type SignIn = McpSignIn<DpopSession>

const info = { name: 'test-client', version: '1.0.0' }

export const isSignInNeeded = (error: unknown): boolean =>
  error instanceof UnauthorizedError || error instanceof UnauthorizedErrorV1

/** The one before: `@modelcontextprotocol/sdk`, in the revision of 2025-11-25. */
export function driveV1(url: string, signIn: SignIn): Driven {
  const transport = new TransportV1(new URL(url), { authProvider: signIn })
  let client = new ClientV1(info)
  let current = transport
  return {
    async connect() {
      client = new ClientV1(info)
      current = new TransportV1(new URL(url), { authProvider: signIn })
      await client.connect(current as Parameters<ClientV1['connect']>[0])
    },
    finish: (back) => current.finishAuth(signIn.back(back).get('code') ?? ''),
    tools: async () => (await client.listTools()).tools.map(({ name }) => name),
    async call(name, args) {
      const result = await client.callTool({ name, arguments: args })
      return 'content' in result ? result : {}
    },
    read: (uri) => client.readResource({ uri }),
    [Symbol.asyncDispose]: () => client.close(),
  }
}

/** The newest: `@modelcontextprotocol/client`, which asks the server for its revisions. */
export function driveV2(url: string, signIn: SignIn): Driven {
  const make = () => new StreamableHTTPClientTransport(new URL(url), { authProvider: signIn })
  const makeClient = () => new Client(info, { versionNegotiation: { mode: { pin: '2026-07-28' } } })
  let client = makeClient()
  let current = make()
  return {
    async connect() {
      client = makeClient()
      current = make()
      await client.connect(current)
    },
    finish: (back) => current.finishAuth(signIn.back(back)),
    tools: async () => (await client.listTools()).tools.map(({ name }) => name),
    call: (name, args) => client.callTool({ name, arguments: args }),
    read: (uri) => client.readResource({ uri }),
    [Symbol.asyncDispose]: () => client.close(),
  }
}
