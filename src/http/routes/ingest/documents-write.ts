import { z } from '@hono/zod-openapi'
import type { Ingest } from '../../../ingest/ingest.ts'
import { accessSchema, documentBodySchema } from '../../../ingest/wire.ts'
import { invalid } from '../../../kernel/errors.ts'
import { type App, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearerRoute, bodyOf, id, json, problems } from '../../schemas.ts'
import { answerJob, idempotencyKeyOf, jobResponses, notesSchema, notesToWire } from '../writing.ts'

export interface DocumentWriteRouteDeps {
  readonly ingest: Ingest
  readonly requireBearer: RequireBearer
  /** Largest body of a PUT, in bytes. */
  readonly bodyBytesMax: number
}

const accessBytesMax = 1_000_000
const params = z.strictObject({ id })

const retagged = z
  .strictObject({
    notes: notesSchema,
    txn: z.string(),
  })
  .openapi('RetagAnswer')

/** `PUT` and `DELETE /documents/{id}`, `PUT /documents/{id}/access`: for services with `docs.write`. */
export function documentWriteRoutes({ ingest, requireBearer, bodyBytesMax }: DocumentWriteRouteDeps): App {
  const writes = requireBearer({ kinds: ['service'], scopes: ['docs.write'] })

  const putRoute = bearerRoute('put', '/documents/{id}', {
    summary: 'Bring a document in, or replace it: content and access together',
    middleware: [writes, ...jsonBody(bodyBytesMax)],
    request: { params, body: bodyOf(documentBodySchema) },
    responses: { ...jobResponses, ...problems(404, 409) },
  })

  const remove = bearerRoute('delete', '/documents/{id}', {
    summary: 'Withdraw a document: hidden when this is answered',
    middleware: [writes],
    request: { params },
    responses: { ...jobResponses, ...problems(404, 409) },
  })

  const retag = bearerRoute('put', '/documents/{id}/access', {
    summary: 'Set anew who may read a document; removals are in force when this is answered',
    middleware: [writes, ...jsonBody(accessBytesMax)],
    request: { params, body: bodyOf(accessSchema) },
    responses: { 200: json('In force', retagged), ...problems(404, 409) },
  })

  return createRouter()
    .openapi(putRoute, async (c) => {
      const { id } = c.req.valid('param')
      const body = c.req.valid('json')
      if (body.id !== undefined && body.id !== id)
        throw invalid('id', 'Must be the id of the path, or left out.')
      const input = { ...body, id }
      const jobId = await ingest.put(c.get('principal'), input, idempotencyKeyOf(c), c.get('over'))
      return answerJob(c, ingest, jobId, body.content_base64 === undefined ? 'text' : 'content_base64')
    })
    .openapi(remove, async (c) => {
      const { id } = c.req.valid('param')
      const jobId = await ingest.withdraw(c.get('principal'), id, idempotencyKeyOf(c), c.get('over'))
      return answerJob(c, ingest, jobId)
    })
    .openapi(retag, async (c) => {
      const { id } = c.req.valid('param')
      const notes = await ingest.retag(c.get('principal'), id, c.req.valid('json'), c.get('over'))
      return c.json(
        {
          notes: notesToWire(notes),
          txn: c.get('txn'),
        },
        200,
      )
    })
}
