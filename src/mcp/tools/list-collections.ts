import type { McpServer } from '@modelcontextprotocol/server'
import { collectionListSchema } from '@remit/contract/retrieval-schemas'
import { z } from 'zod'
import type { CollectionLister } from '../../retrieval/collections.ts'
import { toCollectionList } from '../../retrieval/wire/answer.ts'
import type { ToolContext } from '../tool-context.ts'
import { listed, run } from './tool.ts'

const scopes = ['docs.search'] as const
const input = z.strictObject({})

/** `list_collections`: what `GET /collections` answers. */
export function registerListCollections(
  server: McpServer,
  { listCollections }: { readonly listCollections: CollectionLister },
  { call, challenge, ...toolContext }: ToolContext,
): void {
  server.registerTool(
    'list_collections',
    {
      title: 'List collections',
      description:
        'Lists the collections that hold at least one document for you, with their ids for the member `collections` of a search.',
      inputSchema: listed(input),
      outputSchema: collectionListSchema,
      annotations: { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: false },
      scopeChallenge: challenge(scopes),
    },
    (args) =>
      run(
        { call, tool: 'list_collections', scopes, input, args, ...toolContext },
        async (_, principal, deadline) => {
          const structuredContent = toCollectionList(
            await listCollections(principal, deadline),
            principal.txn,
          )
          return { structuredContent, content: [{ type: 'text', text: JSON.stringify(structuredContent) }] }
        },
      ),
  )
}
