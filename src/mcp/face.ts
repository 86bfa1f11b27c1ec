import { createMcpHandler, type McpServer } from '@modelcontextprotocol/server'
import type { Agents } from '../delegation/registry/agents.ts'
import { AppError } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import type { Principal, Scope } from '../kernel/principal.ts'
import type { Deadline } from '../retrieval/deadline.ts'
import { createRequestState, type RequestStateDeps } from './state.ts'
import type { ToolContext } from './tool.ts'
import { createCall } from './tool.ts'

/** One message as it came in, from a caller who was verified and admitted. */
export interface McpRequest {
  readonly request: Request
  /** Its body, read and parsed within limits. Undefined: it has none. */
  readonly body: unknown
  readonly principal: Principal
  readonly deadline: Deadline
}

/** Answers one message, in the revision of 2026-07-28 or the one before; keeps nothing of it. */
export type McpFace = (message: McpRequest) => Promise<Response>

export interface McpFaceDeps extends RequestStateDeps {
  readonly serve: (context: ToolContext) => McpServer
  /** The audience of the tokens. */
  readonly resource: string
  readonly agents: Pick<Agents, 'get'>
  readonly log: Log
}

/**
 * MCP on the official library: one server a message, made for its caller. The library gets no token: none can be passed on.
 * Throws `insufficient_scope` with the complete set, so that the door answers in its own form and scheme. NOT checked
 * here: the token, Origin and Host, size and rate: the door does.
 */
export function createMcpFace({ serve, resource, agents, log, ...stateDeps }: McpFaceDeps): McpFace {
  return async ({ request, body, principal, deadline }) => {
    const call = createCall(principal, deadline, agents)
    const { txn } = principal
    const state = createRequestState(principal, body, stateDeps)
    let lacking: readonly Scope[] | undefined
    const challenge: ToolContext['challenge'] = (scopes) => async () => {
      const missing = call.lacking(scopes)
      // What no consent gives is not asked for: the tool itself says so.
      const stepUp = missing !== undefined && (await call.isBeyond(scopes)) ? undefined : missing
      lacking = stepUp
      return stepUp && { scopes: [...stepUp] }
    }
    const handler = createMcpHandler(() => serve({ call, log, txn, challenge, state }), {
      onerror: (error) => log('mcp_refused', { txn, reason: error.message }),
      keepAliveMs: 0,
    })
    const response = await handler.fetch(request, { parsedBody: body })
    if (lacking !== undefined)
      throw new AppError('insufficient_scope', { challenge: { scopes: lacking, resource } })
    return response
  }
}
