import { z } from '@hono/zod-openapi'
import type { MiddlewareHandler } from 'hono'
import type { Ingest } from '../../../ingest/ingest.ts'
import { accessSchema, documentBodySchema } from '../../../ingest/wire.ts'
import { AppError, invalid } from '../../../kernel/errors.ts'
import { type App, type AppEnv, createRouter } from '../../env.ts'
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

interface ImportRouteDeps {
  readonly ingest: Ingest
  readonly requireBearer: RequireBearer
}

const query = z.strictObject({
  mode: z.enum(['snapshot']).optional(),
  collection: id.optional(),
  allow_empty: z
    .enum(['true', 'false'])
    .optional()
    .openapi({ description: 'With mode=snapshot: lets an empty list withdraw all, within allow_withdraw' }),
  allow_withdraw: z
    .string()
    .regex(/^\d{1,9}$/, 'must be a whole number of documents')
    .optional()
    .openapi({
      description:
        'With mode=snapshot: how many documents may be withdrawn where they are more than half of the collection. Left out: none then, and the job notes snapshot_not_applied with the number it would take',
    }),
})

const requireNdjson: MiddlewareHandler<AppEnv> = async function ndjson(c, next) {
  const type = (c.req.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase()
  if (type !== 'application/x-ndjson') {
    throw new AppError('unsupported_media_type', { public: 'Send application/x-ndjson.' })
  }
  await next()
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

/** `POST /imports`: documents, one JSON object a line, for a service with `docs.write`. */
export function importRoutes({ ingest, requireBearer }: ImportRouteDeps): App {
  const route = bearerRoute('post', '/imports', {
    summary: 'Bring many documents in; with mode=snapshot also withdraw what is no longer listed',
    middleware: [requireBearer({ kinds: ['service'], scopes: ['docs.write'] }), requireNdjson],
    request: { query, body: { required: true, content: { 'application/x-ndjson': { schema: z.string() } } } },
    responses: { ...jobResponses, ...problems(409) },
  })
  return createRouter().openapi(route, async (c) => {
    const options = c.req.valid('query')
    if (options.mode === undefined && Object.keys(options).length > 0) {
      throw invalid('mode', 'These parameters belong to mode=snapshot.')
    }
    if (options.mode === 'snapshot' && options.collection === undefined)
      throw invalid('collection', 'Is needed with mode=snapshot.')
    const key = idempotencyKeyOf(c)
    const { assertStands } = c.get('deadline')
    const jobId = await ingest.importAll(c.get('principal'), {
      body: c.req.raw.body ?? new Blob([]).stream(),
      signal: c.get('over'),
      assertStands: () => assertStands?.('under_way') ?? Promise.resolve(),
      ...(key !== undefined && { idempotencyKey: key }),
      ...(options.collection !== undefined && {
        snapshot: {
          collection: options.collection,
          allowEmpty: options.allow_empty === 'true',
          allowWithdraw: options.allow_withdraw === undefined ? undefined : Number(options.allow_withdraw),
        },
      }),
    })
    return answerJob(c, ingest, jobId)
  })
}
