import type { Configuration } from 'oidc-provider'
import type { Clients } from '../../registry/clients.ts'
import { clientMetadata } from '../client-metadata.ts'
import { isMetadataClient } from './metadata-clients.ts'

/** The draft that this was written to; the setting names it, so that a later one is a decision. */
export const cimdDraft = 'draft-02'

/**
 * The library's own support for clients with documents, on our fetcher: it reads what {@link clientOf} makes
 * of a document, never the document itself, so that what such a client may do is fixed here and is not its
 * own choice.
 */
export function documentFeature(clients: Clients) {
  return {
    features: {
      clientIdMetadataDocument: {
        enabled: true,
        ack: cimdDraft,
        // A token request of somebody unknown reads nothing: codes and refresh tokens are of clients that
        // were let in.
        allowFetch: async (ctx, clientId) =>
          isBeginning(ctx?.oidc?.route) || (await clients.get(clientId)) !== undefined,
        // Its agent may be disabled since the library remembered it.
        allowClient: async (_ctx, { clientId }) => (await clients.registered(clientId)) !== undefined,
        cacheDuration: { min: 30, max: 30 },
      },
    },
    fetch: async (url) => {
      const client = await clients.registered(String(url))
      return client === undefined ? new Response(null, { status: 404 }) : Response.json(clientOf(client))
    },
  } satisfies Configuration
}

/**
 * Whether this id is the library's to find, by a document: nobody registered it. Asks nobody but the
 * registry.
 */
export async function isByDocument(clients: Clients, clientId: string): Promise<boolean> {
  const row = await clients.get(clientId)
  return row === undefined || isMetadataClient(row)
}

const isBeginning = (route: string | undefined): boolean =>
  route === undefined || ['authorization', 'pushed_authorization_request', 'resume'].includes(route)

/** By browser only: with a device code anybody could be it. */
const clientOf = (client: Parameters<typeof clientMetadata>[0]) => ({
  ...clientMetadata(client, []),
  grant_types: ['authorization_code', 'refresh_token'],
})
