import { join } from 'node:path'
import type { Agents } from '../delegation/registry/agents.ts'
import { publicErrorOf } from '../delegation/tokens/reasons.ts'
import type { ReplayGuard } from '../delegation/tokens/replay-guard.ts'
import type { App } from '../http/env.ts'
import { createRequireBearer } from '../http/middleware/bearer.ts'
import { hostsOf } from '../http/middleware/frame.ts'
import { mcpRoutes } from '../http/routes/service/mcp.ts'
import type { Principal } from '../kernel/principal.ts'
import { refuse } from '../kernel/result.ts'
import { createMcpFace, createServer, type McpFaceDeps, type ServerDeps } from '../mcp/server.ts'
import { loadSecret } from '../store/secret.ts'
import type { ComposeContext } from './context.ts'
import type { DelegationPart } from './delegation.ts'

/** The features that the tools call, and what tokens are verified by. */
export interface McpDeps
  extends Omit<ServerDeps, 'publicUrl'>,
    Pick<ComposeContext, 'config' | 'log'>,
    Pick<DelegationPart, 'verifier' | 'proofs'> {
  /** Counts what this principal asks, with what it asks elsewhere; throws 429. */
  readonly admit: (principal: Principal) => void
  readonly spent: ReplayGuard
  readonly agents: Pick<Agents, 'get'>
  readonly record: McpFaceDeps['record']
  readonly onFailed: McpFaceDeps['onFailed']
}

/** `/mcp`, an audience of its own: a token for the API is no good here, nor one for here at the API. */
export async function openMcp(dependencies: McpDeps): Promise<App> {
  const {
    config,
    verifier,
    proofs,
    admit,
    spent: replayGuard,
    agents,
    log,
    record,
    onFailed,
    ...features
  } = dependencies
  const { publicUrl, host, port } = config
  const resource = `${publicUrl}/mcp`
  const { protocol } = new URL(publicUrl)
  return mcpRoutes({
    face: createMcpFace({
      serve: (context) => createServer({ ...features, publicUrl }, context),
      key: await loadSecret(join(config.home, 'keys'), 'mcp.key'),
      spent: replayGuard,
      resource,
      agents,
      log,
      record,
      onFailed,
    }),
    requireBearer: createRequireBearer({
      async verify(token, credentials) {
        const verified = await verifier.verify(token, 'mcp', credentials)
        // Every client of MCP is an agent's: a token without an actor would let it do whatever the person
        // may.
        if (verified.ok && verified.value.kind === 'agent') return verified
        const reason = verified.ok ? 'actor_missing' : verified.reason
        log('token_refused', { reason })
        return refuse(publicErrorOf(reason), reason)
      },
      admit,
      publicUrl,
      resource,
      nonce: () => proofs.nonce(),
    }),
    origins: new Set([...hostsOf(publicUrl, host, port)].map((name) => `${protocol}//${name}`)),
  })
}
