import type { McpServer } from '@modelcontextprotocol/server'
import { answerSchema, questionSchema } from '@remit/contract/retrieval-schemas'
import { z } from 'zod'
import type { Retriever } from '../../retrieval/retrieve.ts'
import { toAnswer } from '../../retrieval/wire/answer.ts'
import { toQuestion } from '../../retrieval/wire/question.ts'
import type { ToolContext } from '../tool-context.ts'
import { quoted, untrustedMembers } from '../untrusted.ts'
import { addTool } from './tool.ts'

export interface RetrieveToolDeps {
  readonly retrieve: Retriever
  /** Milliseconds that the permission index is behind at most. */
  readonly indexLagMs: () => number
}

const retrieveTool = {
  name: 'retrieve',
  title: 'Search documents',
  description:
    'Finds passages that answer a question, best first, among the documents that the person you work for may read and has lent to you. Each passage names its document, its place in it and its source: cite them. An empty list means that nothing readable was found, not that nothing exists. `complete: false` means that the search was cut short; ask again. `approval.offer_id` means that the person could let you read more: pass it to `request_approval`.',
  scopes: ['docs.search'],
  input: questionSchema,
  output: z.strictObject({ ...untrustedMembers, ...answerSchema.shape }),
  // What it gives was written by anybody: where a client limits what a model may do after that, it should here.
  annotations: { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: true },
} as const

/** `retrieve`: what `POST /retrieve` answers, marked as others' words. */
export function registerRetrieve(
  server: McpServer,
  { retrieve, indexLagMs }: RetrieveToolDeps,
  context: ToolContext,
): void {
  addTool(server, context, retrieveTool, async (parsed, { principal, deadline }) => {
    const found = await retrieve(principal, toQuestion(parsed), deadline)
    return quoted(toAnswer(found, indexLagMs(), principal.txn))
  })
}
