import { McpServer, type ServerOptions } from '@modelcontextprotocol/server'
import type { VaultFetch } from '../delegation/vault/fetch.ts'
import { mcpCapabilities, mcpInstructions, mcpListed, mcpServer } from '../kernel/mcp.ts'
import type { CollectionLister } from '../retrieval/collections.ts'
import type { DocumentReader } from '../retrieval/document.ts'
import { registerDocuments } from './documents.ts'
import type { ToolContext } from './tool-context.ts'
import { registerListCollections } from './tools/list-collections.ts'
import { registerReadDocument } from './tools/read-document.ts'
import { type ApprovalToolDeps, registerRequestApproval } from './tools/request-approval.ts'
import { type RetrieveToolDeps, registerRetrieve } from './tools/retrieve.ts'
import { registerVaultFetch } from './tools/vault-fetch.ts'

export interface ServerDeps extends RetrieveToolDeps, ApprovalToolDeps {
  readonly vaultFetch: VaultFetch
  readonly readDocument: DocumentReader
  readonly listCollections: CollectionLister
}

/**
 * What every server of ours is made with. Nothing is announced: every list is what it was, and each answer stands for its own
 * moment, so that no stream outlives its token. A client of the revision before cannot be asked anything during a call: there
 * is no session through which its answer would come.
 */
export const serverOptions = ({ state }: ToolContext): ServerOptions => ({
  inputRequired: { legacyShim: false },
  requestState: { verify: state.verify },
})

/** A server for one call: which tools there are is the same for everybody, what they give is for this caller. */
export function createServer(dependencies: ServerDeps, context: ToolContext): McpServer {
  const server = new McpServer(mcpServer, {
    ...serverOptions(context),
    instructions: mcpInstructions,
    capabilities: mcpCapabilities,
    cacheHints: {
      'server/discover': mcpListed,
      'tools/list': mcpListed,
      'resources/list': mcpListed,
      'resources/templates/list': mcpListed,
      'resources/read': { ttlMs: 0, cacheScope: 'private' },
    },
  })
  registerRetrieve(server, dependencies, context)
  registerReadDocument(server, dependencies, context)
  registerListCollections(server, dependencies, context)
  registerRequestApproval(server, dependencies, context)
  registerVaultFetch(server, dependencies, context)
  registerDocuments(server, dependencies, context)
  return server
}
