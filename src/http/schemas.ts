import { createRoute, type RouteConfig, z } from '@hono/zod-openapi'
import { errorCodes } from '@remit/contract/errors'
import { id as contractId } from '@remit/contract/id'

/** An id of the contract. */
export const id = contractId.clone()

export const problem = z
  .strictObject({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string().optional(),
    code: z.enum(Object.keys(errorCodes) as [string, ...string[]]),
    field: z.string().optional(),
    txn: z.string(),
    authorization_details: z
      .array(z.looseObject({ type: z.string() }))
      .optional()
      .openapi({ description: 'Of `approval_required`: what to ask for by `POST /approvals`, as it stands' }),
    connect_url: z
      .string()
      .optional()
      .openapi({ description: 'Of `connection_required` and `reconnect_required`: the person’s page' }),
  })
  .openapi('Problem')

/** Beside what a token lacks, so beside neither `forbidden` nor a missing sign-in of a browser. */
const challengeHeader = {
  'WWW-Authenticate': {
    description:
      'RFC 6750, 9470 and 9728: `error` (absent where no token was sent), `scope` (every scope that is needed), `max_age` (seconds that the sign-in may be old), `resource_metadata`.',
    schema: { type: 'string' as const },
    example:
      'Bearer error="insufficient_scope", scope="docs.search", resource_metadata="https://remit.example/.well-known/oauth-protected-resource"',
  },
}

/** The responses that any route may give beside its own. */
export const problems = (...statuses: readonly number[]) =>
  Object.fromEntries(
    [...new Set([...statuses, 400, 401, 403, 413, 415, 421, 422, 429, 500, 503])].sort().map((status) => [
      status,
      {
        description: describe(status),
        ...((status === 401 || status === 403) && { headers: challengeHeader }),
        content: { 'application/problem+json': { schema: problem } },
      },
    ]),
  )

const describe = (status: number): string =>
  Object.entries(errorCodes)
    .filter(([, entry]) => entry.status === status)
    .map(([code]) => code)
    .join(', ')

/** What the contract calls by a name of its own. It knows all its members. */
export const objectOf = <Shape extends z.ZodRawShape>(name: string, shape: Shape) =>
  z.strictObject(shape).openapi(name)

/** The same, of an answer: with the thread of the request. */
export const answerOf = <Shape extends z.ZodRawShape>(name: string, shape: Shape) =>
  z.strictObject({ ...shape, txn: z.string() }).openapi(name)

/** A body of JSON, which has to be there. */
export const bodyOf = <Schema extends z.ZodType>(schema: Schema) => ({
  required: true,
  content: { 'application/json': { schema } },
})

/** A response of JSON. */
export const json = <Schema extends z.ZodType>(description: string, schema: Schema) => ({
  description,
  content: { 'application/json': { schema } },
})

export const bearer = [{ bearer: [] }]

/** The person's own browser: its cookie, and for changes `Origin` and `X-CSRF-Token`. */
export const session = [{ session: [] }]

type Method = 'get' | 'post' | 'put' | 'delete'
type RouteOptions = Omit<RouteConfig, 'method' | 'path' | 'security'>

const routeFor =
  (security: Record<string, string[]>[]) =>
  <Path extends string, Options extends RouteOptions>(method: Method, path: Path, options: Options) =>
    createRoute({ method, path, ...options, security })

/** A route that takes an access token. */
export const bearerRoute = routeFor(bearer)

/** A route for the person's own browser. */
export const sessionRoute = routeFor(session)

/** A route for whoever comes; what it takes instead, it says itself. */
export const openRoute = routeFor([])
