import { z } from '@hono/zod-openapi'
import { text } from '@remit/contract/text'
import type { FailedDocument } from '../../../ingest/failed-documents.ts'
import { type App, createRouter, reply } from '../../env.ts'
import { answerOf, bearerRoute, id, json, objectOf, problems } from '../../schemas.ts'
import { answerJob, assertAdministrator, type IsAdministrator, jobResponses } from '../writing.ts'
import { type OversightDeps, ownOrAll, pageQuery, serviceFor, serviceQuery } from './jobs.ts'

export interface FailedRouteDeps extends OversightDeps {
  /** Of the role `security.write`. */
  readonly isAdministrator: IsAdministrator
  readonly now: () => number
}

const query = z.strictObject({
  state: z.literal('failed').openapi({ description: 'No other list of documents is given here.' }),
  code: text(1, 60).optional().openapi({ description: 'Why it failed', example: 'unreadable' }),
  service: serviceQuery,
  ...pageQuery,
})

const document = objectOf('FailedDocument', {
  id: z.string(),
  collection: z.string(),
  service: z.string().openapi({ description: 'That sent it.' }),
  code: z.string(),
  detail: z.string(),
  failed_at: z.string(),
  tries: z.int(),
  held: z.boolean().openapi({ description: 'Whether a retry can take it in; if not, send it again.' }),
})
const list = answerOf('FailedDocumentList', {
  documents: z.array(document),
  cursor: z.string().nullable().openapi({ description: 'Where the next page begins; null on the last.' }),
})

/**
 * `GET /documents?state=failed`: documents whose newest content could not be taken in, a service's own where
 * it may write now, or all for an administrator with `security.read`. `POST /documents/{id}/retry`: for the
 * service that sent it, or an administrator with `security.write`; another service gets the 404 of a missing
 * one.
 */
export function failedRoutes(dependencies: FailedRouteDeps): App {
  const { ingest, requireBearer, isAdministrator, now } = dependencies
  const listRoute = bearerRoute('get', '/documents', {
    summary: 'Documents whose newest content could not be taken in, newest first',
    description: 'Never their content. What is live of a document stays live.',
    middleware: [ownOrAll(requireBearer)],
    request: { query },
    responses: { 200: json('One page', list), ...problems() },
  })
  const retryRoute = bearerRoute('post', '/documents/{id}/retry', {
    summary: 'Take failed content in again, without sending it',
    description:
      'With the rights and the access of now. Once begun, the same retry is answered with the same job. 409: the content is held no longer, so send it again.',
    middleware: [
      requireBearer({ kinds: ['service', 'person'], scopes: [], anyOf: ['docs.write', 'security.write'] }),
    ],
    request: { params: z.strictObject({ id }) },
    responses: { ...jobResponses, ...problems(404, 409) },
  })
  return createRouter()
    .openapi(listRoute, async (c) => {
      const { code, service, cursor, limit } = c.req.valid('query')
      const owner = await serviceFor(c, dependencies, 'failed_documents', { service, code })
      const page = await ingest.failed(
        { service: owner, isOwn: c.get('principal').kind === 'service', code },
        { cursor, limit },
      )
      return reply(c, { documents: page.documents.map(toWire), cursor: page.cursor ?? null })
    })
    .openapi(retryRoute, async (c) => {
      const principal = c.get('principal')
      const isPerson = principal.kind !== 'service'
      if (isPerson) await assertAdministrator(principal, isAdministrator, now())
      const { jobId, owner } = await ingest.retry(c.req.valid('param').id, {
        by: { ...principal, over: c.get('over') },
        isAdministrator: isPerson,
        signal: c.get('over'),
      })
      return answerJob(c, ingest, jobId, 'id', owner)
    })
}

const toWire = ({ failedAt, isHeld, ...failed }: FailedDocument): z.output<typeof document> => ({
  ...failed,
  failed_at: failedAt.toISOString(),
  held: isHeld,
})
