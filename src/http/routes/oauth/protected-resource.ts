import { createRoute, z } from '@hono/zod-openapi'
import { proofAlgorithms } from '../../../delegation/tokens/dpop.ts'
import { type App, createRouter } from '../../env.ts'
import { metadataUrl } from '../../problem.ts'
import { json, objectOf } from '../../schemas.ts'

/** One API of this service, as clients have to know it before they ask for a token. */
export interface ProtectedResource {
  /** The audience of its tokens, as an exact string. */
  readonly resource: string
  readonly name: string
  /** Issuers whose tokens for exactly this audience are accepted, our own first. */
  readonly authorizationServers: readonly string[]
  readonly scopes: readonly string[]
  readonly authorizationDetailsTypes: readonly string[]
  /** Whether every token has to name an agent that acts (`act`). */
  readonly isActorRequired: boolean
}

export interface ProtectedResourceRoutesDeps {
  readonly resources: readonly ProtectedResource[]
  /** For people who build clients. */
  readonly documentation: string
}

const metadata = objectOf('ProtectedResourceMetadata', {
  resource: z.string(),
  resource_name: z.string(),
  resource_documentation: z.string(),
  authorization_servers: z.array(z.string()),
  scopes_supported: z.array(z.string()),
  bearer_methods_supported: z.array(z.literal('header')),
  dpop_signing_alg_values_supported: z.array(z.string()),
  authorization_details_types_supported: z.array(z.string()),
  actor_profile_required: z.boolean(),
})

/** RFC 9728 metadata, one document a resource, for anyone; browsers may read it from any origin. */
export function protectedResourceRoutes({ resources, documentation }: ProtectedResourceRoutesDeps): App {
  const routes = createRouter()
  for (const entry of resources) {
    const route = createRoute({
      method: 'get',
      path: new URL(metadataUrl(entry.resource)).pathname,
      summary: `Which tokens ${entry.name} takes, and who issues them (RFC 9728)`,
      responses: { 200: json('The metadata', metadata) },
    })
    routes.openapi(route, (c) => {
      c.header('access-control-allow-origin', '*')
      return c.json(toWire(entry, documentation), 200)
    })
  }
  return routes
}

const toWire = (entry: ProtectedResource, documentation: string): z.output<typeof metadata> => ({
  resource: entry.resource,
  resource_name: entry.name,
  resource_documentation: documentation,
  authorization_servers: [...entry.authorizationServers],
  scopes_supported: [...entry.scopes],
  bearer_methods_supported: ['header'],
  dpop_signing_alg_values_supported: [...proofAlgorithms],
  authorization_details_types_supported: [...entry.authorizationDetailsTypes],
  actor_profile_required: entry.isActorRequired,
})
