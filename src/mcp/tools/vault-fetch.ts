import type { McpServer, ServerContext } from '@modelcontextprotocol/server'
import { vaultAnswerSchema, vaultRequestSchema } from '@remit/contract/vault-schemas'
import { z } from 'zod'
import type { VaultFetch } from '../../delegation/vault/fetch.ts'
import { toVaultRequest } from '../../delegation/vault/wire.ts'
import { AppError } from '../../kernel/errors.ts'
import { opensPages, sendTo } from '../pages.ts'
import type { ToolContext } from '../tool-context.ts'
import { quoted, untrustedMembers } from '../untrusted.ts'
import { addTool, type Outcome } from './tool.ts'

const connecting = 'connecting'
const vaultFetchTool = {
  name: 'vault_fetch',
  title: 'Call another service for the person',
  description:
    'Makes one HTTP call to an API of others with an account that the person linked; their token never comes to you. What they did not agree to beforehand needs their approval of exactly this call: the error approval_required says what to pass to request_approval.',
  scopes: ['vault.use'],
  input: vaultRequestSchema,
  output: z.strictObject({ ...untrustedMembers, ...vaultAnswerSchema.shape }),
  annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true },
  untimed: true,
} as const

/** `vault_fetch`: what `POST /vault/fetch` answers, marked as others' words. No token comes through here. */
export function registerVaultFetch(
  server: McpServer,
  { vaultFetch }: { readonly vaultFetch: VaultFetch },
  toolContext: ToolContext,
): void {
  /** Sends the person to link the account, once; whoever comes back without a link gets the error. */
  async function toConnect(error: unknown, context: ServerContext): Promise<Outcome> {
    const url = error instanceof AppError ? error.members.connect_url : undefined
    if (url === undefined || context.mcpReq.requestState<string>() === connecting || !opensPages(server))
      throw error
    const message =
      'An agent needs an account of yours at another service. What it may do there is yours to say on this page.'
    return sendTo({ url, message, carried: connecting }, toolContext.state, context)
  }

  addTool(server, toolContext, vaultFetchTool, async (parsed, { principal, context }) => {
    try {
      return quoted({ ...(await vaultFetch(principal, toVaultRequest(parsed))), txn: principal.txn })
    } catch (error) {
      return toConnect(error, context)
    }
  })
}
