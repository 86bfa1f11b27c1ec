import { createRoute, z } from '@hono/zod-openapi'
import { callMethods } from '../../delegation/vault/call.ts'
import type { VaultFetch, VaultRequest } from '../../delegation/vault/fetch.ts'
import { pathLengthMax } from '../../delegation/vault/path.ts'
import { type App, createRouter } from '../env.ts'
import type { RequireBearer } from '../middleware/bearer.ts'
import { jsonBody } from '../middleware/json.ts'
import { bearer, id, problems } from '../schemas.ts'

const bodyBytesMax = 1_048_576

const body = z
  .strictObject({
    connection: id.openapi({ description: 'Name of the provider', example: 'github' }),
    method: z.enum(callMethods),
    path: z.string().min(1).max(pathLengthMax).openapi({
      description:
        'At the provider’s API, with its query, as it is to be sent. With one of its origins before it where it has several.',
      example: '/repos/acme/site/issues?state=open',
    }),
    headers: z
      .record(z.string().min(1).max(100), z.string().max(1_000))
      .optional()
      .openapi({ description: 'accept, accept-language, content-type, if-…; no others' }),
    body: z
      .string()
      .refine((value) => value.isWellFormed(), 'must not hold lone surrogates')
      .optional()
      .openapi({ description: 'Text, sent in UTF-8; needs a content-type' }),
    body_base64: z.base64().optional().openapi({ description: 'Bytes, instead of body' }),
    approval: z
      .string()
      .regex(/^g_[\w-]{1,100}$/)
      .optional()
      .openapi({ description: '`grant_id` of an approval of exactly this call' }),
  })
  .refine((value) => value.body === undefined || value.body_base64 === undefined, {
    path: ['body_base64'],
    message: 'is instead of body, not beside it',
  })
  .openapi('VaultFetchRequest')

const answer = z
  .strictObject({
    status: z.int().openapi({ description: 'The provider’s, whatever it is', example: 200 }),
    headers: z.record(z.string(), z.string()),
    body: z.string().openapi({ description: 'Tokens in it are replaced by `[removed]`' }),
    encoding: z.enum(['text', 'base64']),
    txn: z.string(),
  })
  .openapi('VaultFetchAnswer')

export interface VaultFetchRouteDeps {
  readonly fetch: VaultFetch
  readonly requireBearer: RequireBearer
}

/** `POST /vault/fetch`: one call to a third party with the person's token, which the agent never holds. */
export function vaultFetchRoutes({ fetch, requireBearer }: VaultFetchRouteDeps): App {
  const route = createRoute({
    method: 'post',
    path: '/vault/fetch',
    summary: 'Call an API of others with an account that the person linked',
    security: bearer,
    // Not ended at the deadline of readings: what was sent may have happened, and its outcome has to be told.
    middleware: [
      requireBearer({ kinds: ['agent'], scopes: ['vault.use'] }),
      ...jsonBody(bodyBytesMax),
    ] as const,
    request: { body: { required: true, content: { 'application/json': { schema: body } } } },
    responses: {
      200: {
        description: 'What the provider answered, with whatever status',
        content: { 'application/json': { schema: answer } },
      },
      ...problems(404, 409, 504),
    },
  })
  return createRouter().openapi(route, async (c) => {
    const answered = await fetch(c.get('principal'), requestOf(c.req.valid('json')))
    return c.json({ ...answered, txn: c.get('txn') }, 200)
  })
}

const requestOf = ({
  body: text,
  body_base64: bytes,
  headers = {},
  approval,
  ...call
}: z.output<typeof body>): VaultRequest => ({
  ...call,
  headers,
  ...(text !== undefined && { body: Buffer.from(text) }),
  ...(bytes !== undefined && { body: Buffer.from(bytes, 'base64') }),
  ...(approval !== undefined && { approval }),
})
