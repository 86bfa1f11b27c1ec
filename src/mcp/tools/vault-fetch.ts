import type { McpServer, ServerContext } from '@modelcontextprotocol/server'
import { vaultAnswerSchema, vaultRequestSchema } from '@remit/contract/vault-schemas'
import { z } from 'zod'
import type { VaultFetch } from '../../delegation/vault/fetch.ts'
import { toVaultAnswer, toVaultRequest } from '../../delegation/vault/wire.ts'
import { AppError } from '../../kernel/errors.ts'
import { opensPages, sendTo } from '../pages.ts'
import type { ToolContext } from '../tool-context.ts'
import { quoted, untrustedMembers } from '../untrusted.ts'
import { listed, type Outcome, run } from './tool.ts'

const scopes = ['vault.use'] as const
const connecting = 'connecting'
const output = z.strictObject({ ...untrustedMembers, ...vaultAnswerSchema.shape })

/** `vault_fetch`: what `POST /vault/fetch` answers, marked as others' words. No token comes through here. */
export function registerVaultFetch(
  server: McpServer,
  { vaultFetch }: { readonly vaultFetch: VaultFetch },
  { call, challenge, state, ...toolContext }: ToolContext,
): void {
  /** Sends the person to link the account, once; whoever comes back without a link gets the error. */
  async function toConnect(error: unknown, context: ServerContext): Promise<Outcome> {
    const url = error instanceof AppError ? error.members.connect_url : undefined
    if (url === undefined || context.mcpReq.requestState<string>() === connecting || !opensPages(server))
      throw error
    const message =
      'An agent needs an account of yours at another service. What it may do there is yours to say on this page.'
    return sendTo({ url, message, carried: connecting }, state, context)
  }

  server.registerTool(
    'vault_fetch',
    {
      title: 'Call another service for the person',
      description:
        'Makes one HTTP call to an API of others with an account that the person linked; their token never comes to you. What they did not agree to beforehand needs their approval of exactly this call: the error approval_required says what to pass to request_approval.',
      inputSchema: listed(vaultRequestSchema),
      outputSchema: output,
      annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true },
      scopeChallenge: challenge(scopes),
    },
    (args, context) =>
      run(
        { call, tool: 'vault_fetch', scopes, input: vaultRequestSchema, args, untimed: true, ...toolContext },
        async (parsed, principal) => {
          try {
            const answered = await vaultFetch(principal, toVaultRequest(parsed))
            return quoted(toVaultAnswer(answered, principal.txn))
          } catch (error) {
            return toConnect(error, context)
          }
        },
      ),
  )
}
