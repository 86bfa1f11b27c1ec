import { openWorld, type World, type WorldOptions } from '../support/world.ts'

/** The two revisions that are served; each request says which one it is in. */
export const revisions = ['2026-07-28', '2025-11-25'] as const
export type Revision = (typeof revisions)[number]

export interface Reply {
  readonly status: number
  readonly headers: Headers
  /** The JSON-RPC message that answers, or the problem. */
  readonly body: {
    readonly result?: Readonly<Record<string, unknown>>
    readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown }
    readonly code?: string
  }
}

export interface Said {
  readonly token?: string
  readonly revision?: Revision
  readonly headers?: Readonly<Record<string, string>>
  /** What the client says that it can do. */
  readonly capabilities?: object
  readonly query?: string
}

const meta = 'io.modelcontextprotocol'
const clientInfo = { name: 'test', version: '1.0.0' }

/** One message as an official client puts it on the wire, without one. */
export function message(method: string, params: object = {}, { revision, capabilities = {} }: Said = {}) {
  const isModern = (revision ?? revisions[0]) === '2026-07-28'
  const named = params as { readonly name?: string; readonly uri?: string }
  const body = {
    jsonrpc: '2.0',
    id: 1,
    method,
    params: isModern
      ? {
          ...params,
          _meta: {
            [`${meta}/protocolVersion`]: '2026-07-28',
            [`${meta}/clientInfo`]: clientInfo,
            [`${meta}/clientCapabilities`]: capabilities,
          },
        }
      : params,
  }
  const name = named.name ?? named.uri
  const headers = {
    accept: 'application/json, text/event-stream',
    'content-type': 'application/json',
    'mcp-protocol-version': isModern ? '2026-07-28' : '2025-11-25',
    ...(isModern && { 'mcp-method': method, ...(name !== undefined && { 'mcp-name': name }) }),
  }
  return { body, headers }
}

/** Says one message to `/mcp` and reads the answer, whichever way it is framed. */
export async function say(world: World, method: string, params: object, said: Said = {}): Promise<Reply> {
  const { body, headers } = message(method, params, said)
  const response = await world.call('POST', `/mcp${said.query ?? ''}`, {
    ...(said.token !== undefined && { token: said.token }),
    body,
    headers: { ...headers, ...said.headers },
  })
  return replyOf(response)
}

export async function replyOf(response: Response): Promise<Reply> {
  const text = await response.text()
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true
  const [, data] = isStream ? (/^data: (.*)$/m.exec(text) ?? []) : [text, text]
  return {
    status: response.status,
    headers: response.headers,
    body: data === undefined || data === '' ? {} : (JSON.parse(data) as Reply['body']),
  }
}

export const callTool = (world: World, name: string, args: object, said: Said = {}): Promise<Reply> =>
  say(world, 'tools/call', { name, arguments: args }, said)

/** What a model reads of a tool's result. */
export function textOf({ body }: Reply): string {
  const content = (body.result?.['content'] ?? []) as { readonly text?: string }[]
  return content.map(({ text = '' }) => text).join('\n')
}

/** A world in which anne and bob read different things and lent different parts of them. */
export async function openMcpWorld(options: WorldOptions = {}): Promise<World> {
  const world = await openWorld(options)
  await world.put({
    'handbook/travel': {
      text: '# Travel\n\nBook trains early. The travel budget is 900.',
      access: { owner: 'user:dan', viewers: ['group:staff#member'] },
    },
    'handbook/secret': {
      text: 'The secret travel budget is 5,000.',
      access: { viewers: ['user:anne'], sensitive: true },
    },
    'handbook/blocked': {
      text: 'Travel rules for the board.',
      access: { viewers: ['group:staff#member'], blocked: ['user:bob'] },
    },
    'finance/budget': {
      collection: 'finance',
      text: 'The finance budget for travel is 12,000.',
      access: { viewers: ['user:anne'] },
    },
  })
  await world.write('user:anne member group:staff', 'user:bob member group:staff')
  await world.lend('anne', 'research-bot', 'collection:handbook')
  await world.lend('anne', 'other-bot', 'collection:handbook', 'collection:finance')
  await world.lend('bob', 'research-bot', 'collection:handbook', 'collection:finance')
  return world
}
