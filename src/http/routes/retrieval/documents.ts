import { createRoute, z } from '@hono/zod-openapi'
import { approval as approvalParameter, documentSchema } from '@remit/contract/retrieval-schemas'
import type { DocumentReader } from '../../../retrieval/document.ts'
import { toDocument } from '../../../retrieval/wire/answer.ts'
import { type App, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { endInTime } from '../../middleware/frame.ts'
import { bearer, id, problems } from '../../schemas.ts'

const approval = approvalParameter.clone()
// Made anew: only what is made after the library extended zod can be named in the contract.
const document = documentSchema.clone().openapi('Document')

export interface DocumentRouteDeps {
  readonly readDocument: DocumentReader
  readonly requireBearer: RequireBearer
}

/**
 * `GET /documents/{id}`: the whole text if cleared; 403 `approval_required` to an agent that may be told of it and may
 * ask; else the same 404 as for a missing one.
 */
export function documentRoutes({ readDocument, requireBearer }: DocumentRouteDeps): App {
  const route = createRoute({
    method: 'get',
    path: '/documents/{id}',
    summary: 'One document, whole',
    security: bearer,
    middleware: [endInTime, requireBearer({ kinds: ['person', 'agent'], scopes: ['docs.read'] })] as const,
    request: { params: z.strictObject({ id }), query: z.strictObject({ approval: approval.optional() }) },
    responses: {
      200: { description: 'The document', content: { 'application/json': { schema: document } } },
      ...problems(404),
    },
  })
  return createRouter().openapi(route, async (c) => {
    const { approval: grant } = c.req.valid('query')
    const found = await readDocument(c.get('principal'), c.req.valid('param').id, c.get('deadline'), grant)
    return c.json(toDocument(found, c.get('txn')), 200)
  })
}
