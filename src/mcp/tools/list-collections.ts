import type { McpServer } from '@modelcontextprotocol/server'
import { collectionListSchema } from '@remit/contract/retrieval-schemas'
import { z } from 'zod'
import type { CollectionLister } from '../../retrieval/collections.ts'
import { toCollectionList } from '../../retrieval/wire/answer.ts'
import type { ToolContext } from '../tool-context.ts'
import { addTool } from './tool.ts'

const listCollectionsTool = {
  name: 'list_collections',
  title: 'List collections',
  description:
    'Lists the collections that hold at least one document for you, with their ids for the member `collections` of a search.',
  scopes: ['docs.search'],
  input: z.strictObject({}),
  output: collectionListSchema,
  annotations: { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: false },
} as const

/** `list_collections`: what `GET /collections` answers. */
export function registerListCollections(
  server: McpServer,
  { listCollections }: { readonly listCollections: CollectionLister },
  context: ToolContext,
): void {
  addTool(server, context, listCollectionsTool, async (_, { principal, deadline }) => {
    const structuredContent = toCollectionList(await listCollections(principal, deadline), principal.txn)
    return { structuredContent, content: [{ type: 'text', text: JSON.stringify(structuredContent) }] }
  })
}
