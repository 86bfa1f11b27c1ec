import { vaultAnswerSchema, vaultRequestSchema } from '@remit/contract/vault-schemas'
import type { VaultFetch } from '../../../delegation/vault/fetch.ts'
import { toVaultRequest } from '../../../delegation/vault/fetch.ts'
import { type App, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearerRoute, bodyOf, json, problems } from '../../schemas.ts'

const bodyBytesMax = 1_048_576

// Made anew: only what is made after the library extended zod can be named in the contract.
const body = vaultRequestSchema.clone().openapi('VaultFetchRequest')
const answer = vaultAnswerSchema.clone().openapi('VaultFetchAnswer')

export interface VaultFetchRouteDeps {
  readonly fetch: VaultFetch
  readonly requireBearer: RequireBearer
}

/** `POST /vault/fetch`: one call to a third party with the person's token, which the agent never holds. */
export function vaultFetchRoutes({ fetch, requireBearer }: VaultFetchRouteDeps): App {
  const route = bearerRoute('post', '/vault/fetch', {
    summary: 'Call an API of others with an account that the person linked',
    // Not ended at the deadline of readings: what was sent may have happened, and its outcome has to be told.
    middleware: [requireBearer({ kinds: ['agent'], scopes: ['vault.use'] }), ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(body) },
    responses: {
      200: json('What the provider answered, with whatever status', answer),
      ...problems(404, 409, 504),
    },
  })
  return createRouter().openapi(route, async (c) => {
    const answered = await fetch(c.get('principal'), toVaultRequest(c.req.valid('json')))
    return c.json({ ...answered, txn: c.get('txn') }, 200)
  })
}
