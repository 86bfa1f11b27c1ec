import type { McpServer } from '@modelcontextprotocol/server'
import { id } from '@remit/contract/id'
import { documentSchema } from '@remit/contract/retrieval-schemas'
import { z } from 'zod'
import type { DocumentReader } from '../../retrieval/document.ts'
import { toDocument } from '../../retrieval/wire/answer.ts'
import type { ToolContext } from '../tool-context.ts'
import { quoted, untrustedMembers } from '../untrusted.ts'
import { listed, run } from './tool.ts'

const scopes = ['docs.read'] as const
const input = z.strictObject({ id: id.describe('The document_id of a passage.') })
const output = z.strictObject({ ...untrustedMembers, ...documentSchema.shape })

/** `read_document`: what `GET /documents/{id}` answers, marked as others' words. */
export function registerReadDocument(
  server: McpServer,
  { readDocument }: { readonly readDocument: DocumentReader },
  { call, challenge, ...toolContext }: ToolContext,
): void {
  server.registerTool(
    'read_document',
    {
      title: 'Read a document',
      description:
        'Gives one whole document by the `document_id` of a passage. A document that may not be read and one that does not exist give the same error, `not_found`.',
      inputSchema: listed(input),
      outputSchema: output,
      annotations: { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: true },
      scopeChallenge: challenge(scopes),
    },
    (args) =>
      run(
        { call, tool: 'read_document', scopes, input, args, ...toolContext },
        async (parsed, principal, deadline) =>
          quoted(toDocument(await readDocument(principal, parsed.id, deadline), principal.txn)),
      ),
  )
}
