import { createRoute, z } from '@hono/zod-openapi'
import { text } from '@remit/contract/text'
import type { Ingest } from '../../../ingest/ingest.ts'
import { AppError } from '../../../kernel/errors.ts'
import { type App, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { bearer, problems } from '../../schemas.ts'
import { jobSchema, toWire } from '../writing.ts'

export interface JobRouteDeps {
  readonly ingest: Ingest
  readonly requireBearer: RequireBearer
}

/** `GET /jobs/{id}`: for the service that asked for it; anybody else gets the 404 of a missing one. */
export function jobRoutes({ ingest, requireBearer }: JobRouteDeps): App {
  const route = createRoute({
    method: 'get',
    path: '/jobs/{id}',
    summary: 'How a job stands',
    security: bearer,
    middleware: [requireBearer({ kinds: ['service'], scopes: ['docs.write'] })] as const,
    request: { params: z.strictObject({ id: text(1, 200) }) },
    responses: {
      200: { description: 'The job', content: { 'application/json': { schema: jobSchema } } },
      ...problems(404),
    },
  })
  return createRouter().openapi(route, async (c) => {
    const job = await ingest.job(c.req.valid('param').id, c.get('principal').subject)
    if (job === undefined) throw new AppError('not_found')
    return c.json(toWire(job), 200)
  })
}
