import { createRoute, z } from '@hono/zod-openapi'
import { isId } from '@remit/contract/id'
import { text } from '@remit/contract/text'
import type { Ingest } from '../../../ingest/ingest.ts'
import { type App, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearer, id, problems } from '../../schemas.ts'
import { assertAdministrator, type IsAdministrator } from '../writing.ts'

export interface CollectionWriteRouteDeps {
  readonly ingest: Ingest
  readonly requireBearer: RequireBearer
  readonly isAdministrator: IsAdministrator
  readonly now: () => number
}

const bodyBytesMax = 64 * 1024
const isService = (value: string): boolean =>
  value.startsWith('service:') && isId(value.slice('service:'.length))
const services = z.array(z.string().refine(isService, 'must be service:NAME')).max(100)

const body = z
  .strictObject({
    title: text(1, 200),
    organization: id.optional(),
    public_allowed: z.boolean().default(false),
    writers: services.optional(),
    taggers: services.optional(),
  })
  .openapi('CollectionInput')

const answer = z
  .strictObject({ id: z.string(), title: z.string(), public_allowed: z.boolean(), txn: z.string() })
  .openapi('CollectionSaved')

/** `PUT /collections/{id}`: for an administrator. Lists that are left out stay as they are. */
export function collectionWriteRoutes({
  ingest,
  requireBearer,
  isAdministrator,
  now,
}: CollectionWriteRouteDeps): App {
  const route = createRoute({
    method: 'put',
    path: '/collections/{id}',
    summary: 'Make or change a collection and say which services write to it',
    security: bearer,
    middleware: [
      requireBearer({ kinds: ['person'], scopes: ['security.write'] }),
      ...jsonBody(bodyBytesMax),
    ] as const,
    request: {
      params: z.strictObject({ id }),
      body: { required: true, content: { 'application/json': { schema: body } } },
    },
    responses: {
      200: { description: 'Saved', content: { 'application/json': { schema: answer } } },
      ...problems(),
    },
  })
  return createRouter().openapi(route, async (c) => {
    await assertAdministrator(c.get('principal'), isAdministrator, now())
    const { id } = c.req.valid('param')
    const { title, organization, public_allowed, writers, taggers } = c.req.valid('json')
    const input = {
      id,
      title,
      publicAllowed: public_allowed,
      ...(organization !== undefined && { organization }),
      ...(writers !== undefined && { writers }),
      ...(taggers !== undefined && { taggers }),
    }
    await ingest.saveCollection(c.get('principal'), input, c.get('over'))
    return c.json({ id, title, public_allowed, txn: c.get('txn') }, 200)
  })
}
