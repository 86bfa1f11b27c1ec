import { createRoute } from '@hono/zod-openapi'
import { collectionListSchema } from '@remit/contract/retrieval-schemas'
import type { CollectionLister } from '../../../retrieval/collections.ts'
import { toCollectionList } from '../../../retrieval/wire/answer.ts'
import { type App, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { endInTime } from '../../middleware/frame.ts'
import { bearer, problems } from '../../schemas.ts'

// Made anew: only what is made after the library extended zod can be named in the contract.
const list = collectionListSchema.clone().openapi('CollectionList')

export interface CollectionRouteDeps {
  readonly listCollections: CollectionLister
  readonly requireBearer: RequireBearer
}

/** `GET /collections`: those in which this principal was just cleared for at least one document. */
export function collectionRoutes({ listCollections, requireBearer }: CollectionRouteDeps): App {
  const route = createRoute({
    method: 'get',
    path: '/collections',
    summary: 'Collections with something to read for this person',
    security: bearer,
    middleware: [endInTime, requireBearer({ kinds: ['person', 'agent'], scopes: ['docs.search'] })] as const,
    responses: {
      200: { description: 'The collections', content: { 'application/json': { schema: list } } },
      ...problems(),
    },
  })
  return createRouter().openapi(route, async (c) => {
    const listed = await listCollections(c.get('principal'), c.get('deadline'))
    return c.json(toCollectionList(listed, c.get('txn')), 200)
  })
}
