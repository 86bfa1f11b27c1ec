import { z } from '@hono/zod-openapi'
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

export const bearer = [{ bearer: [] }]

/** The person's own browser: its cookie, and for changes `Origin` and `X-CSRF-Token`. */
export const session = [{ session: [] }]
