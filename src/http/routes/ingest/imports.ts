import { z } from '@hono/zod-openapi'
import type { MiddlewareHandler } from 'hono'
import type { Ingest } from '../../../ingest/ingest.ts'
import { AppError, invalid } from '../../../kernel/errors.ts'
import { type App, type AppEnv, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { bearerRoute, id, problems } from '../../schemas.ts'
import { answerJob, idempotencyKeyOf, jobResponses } from '../writing.ts'

export interface ImportRouteDeps {
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
    const jobId = await ingest.importAll(c.get('principal'), {
      body: c.req.raw.body ?? new Blob([]).stream(),
      signal: c.get('over'),
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
