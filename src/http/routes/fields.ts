import { createRoute, z } from '@hono/zod-openapi'
import { named } from '@remit/contract/text'
import type { Ingest } from '../../ingest/ingest.ts'
import { type App, createRouter } from '../env.ts'
import type { RequireBearer } from '../middleware/bearer.ts'
import { jsonBody } from '../middleware/json.ts'
import { bearer, problems } from '../schemas.ts'
import { assertAdministrator, type IsAdministrator } from './writing.ts'

export interface FieldRouteDeps {
  readonly ingest: Ingest
  readonly requireBearer: RequireBearer
  readonly isAdministrator: IsAdministrator
  readonly now: () => number
}

const bodyBytesMax = 64 * 1024
const fields = named(
  z.enum(['string', 'number', 'boolean', 'date'], 'must be string, number, boolean or date'),
  200,
)

const answer = z.strictObject({ fields, txn: z.string() }).openapi('Fields')

/** `/fields`: the metadata fields that filters may use, one list for the deployment. PUT replaces it. */
export function fieldRoutes({ ingest, requireBearer, isAdministrator, now }: FieldRouteDeps): App {
  const asWriter = requireBearer({ kinds: ['person'], scopes: ['security.write'] })
  const responses = {
    200: { description: 'The list in force', content: { 'application/json': { schema: answer } } },
    ...problems(),
  }
  // Only for whom PUT is for: what fields are called may tell what documents are about.
  const get = createRoute({
    method: 'get',
    path: '/fields',
    summary: 'The metadata fields that filters may use',
    security: bearer,
    middleware: [asWriter] as const,
    responses,
  })
  const putRoute = createRoute({
    method: 'put',
    path: '/fields',
    summary: 'Declare the metadata fields that filters may use',
    description: 'The whole list: a field that is left out is declared no more.',
    security: bearer,
    middleware: [asWriter, ...jsonBody(bodyBytesMax)] as const,
    request: { body: { required: true, content: { 'application/json': { schema: fields } } } },
    responses,
  })
  return createRouter()
    .openapi(get, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      return c.json({ fields: Object.fromEntries(await ingest.fields()), txn: c.get('txn') }, 200)
    })
    .openapi(putRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const list = c.req.valid('json')
      await ingest.saveFields({ ...c.get('principal'), over: c.get('over') }, list)
      return c.json({ fields: list, txn: c.get('txn') }, 200)
    })
}
