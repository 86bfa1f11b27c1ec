import type { McpServer } from '@modelcontextprotocol/server'
import { id } from '@remit/contract/id'
import { documentSchema } from '@remit/contract/retrieval-schemas'
import { z } from 'zod'
import type { DocumentReader } from '../../retrieval/document.ts'
import { toDocument } from '../../retrieval/wire/answer.ts'
import type { ToolContext } from '../tool-context.ts'
import { quoted, untrustedMembers } from '../untrusted.ts'
import { addTool } from './tool.ts'

const readDocumentTool = {
  name: 'read_document',
  title: 'Read a document',
  description:
    'Gives one whole document by the `document_id` of a passage. A document that may not be read and one that does not exist give the same error, `not_found`.',
  scopes: ['docs.read'],
  input: z.strictObject({ id: id.describe('The document_id of a passage.') }),
  output: z.strictObject({ ...untrustedMembers, ...documentSchema.shape }),
  annotations: { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: true },
} as const

/** `read_document`: what `GET /documents/{id}` answers, marked as others' words. */
export function registerReadDocument(
  server: McpServer,
  { readDocument }: { readonly readDocument: DocumentReader },
  context: ToolContext,
): void {
  addTool(server, context, readDocumentTool, async (parsed, { principal, deadline }) =>
    quoted(toDocument(await readDocument(principal, parsed.id, deadline), principal.txn)),
  )
}
