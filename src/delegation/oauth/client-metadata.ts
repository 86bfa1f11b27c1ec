import type { AdapterPayload } from 'oidc-provider'
import { type Client, consoleClient, type Registration } from '../registry/clients.ts'
import { ownDetailTypes } from '../registry/details.ts'

/**
 * How the answer to an authorization request comes back. A page that posts itself needs a script, which ours
 * forbid.
 */
export const responseModes = ['query'] as const

/** Grant type of RFC 8693. */
export const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
/** Grant type of OpenID Connect CIBA. */
export const ciba = 'urn:openid:params:grant-type:ciba'
const deviceCode = 'urn:ietf:params:oauth:grant-type:device_code'
/** All that a client can have. */
export const allGrantTypes: ReadonlySet<unknown> = new Set([
  'authorization_code',
  'client_credentials',
  'refresh_token',
  deviceCode,
  tokenExchange,
  ciba,
])

/**
 * A registered client in the library's form. There are no client secrets: a client proves itself with a key
 * of its own, or is public. What a kind may do is fixed here and not a client's choice.
 */
export function clientMetadata(
  client: Client & Registration,
  foreignTypes: readonly string[],
): AdapterPayload {
  const { clientId, title, redirectUris, jwks, kind, notificationEndpoint, requestAlgorithm } = client
  const { idTokenAlgorithm = 'ES256' } = client
  return {
    client_id: clientId,
    client_name: title,
    redirect_uris: [...redirectUris],
    response_types: redirectUris.length > 0 && kind !== 'service' ? ['code'] : [],
    response_modes: [...responseModes],
    grant_types: grantTypes(client),
    token_endpoint_auth_method: jwks === undefined ? 'none' : 'private_key_jwt',
    ...(jwks !== undefined && { jwks: { keys: [...jwks.keys] } }),
    // To a native one the library would send codes on any port of loopback: nothing there is the console.
    application_type:
      clientId !== consoleClient && redirectUris.some((uri) => uri.startsWith('http:')) ? 'native' : 'web',
    id_token_signed_response_alg: idTokenAlgorithm,
    // What is got out of a page by whatever means is worth nothing without its key (RFC 9449 §5.2).
    ...(clientId === consoleClient && { dpop_bound_access_tokens: true }),
    authorization_details_types: detailTypes(kind, foreignTypes),
    ...(asksPeople(client) && {
      ...(requestAlgorithm !== undefined && {
        backchannel_authentication_request_signing_alg: requestAlgorithm,
      }),
      backchannel_token_delivery_mode: notificationEndpoint === undefined ? 'poll' : 'ping',
      // Never the real one: the library would ask it unguarded. Ours does (ciba/requests.ts).
      ...(notificationEndpoint !== undefined && {
        backchannel_client_notification_endpoint: 'https://not-by-the-library.invalid/',
      }),
    }),
  }
}

/** A person's own client may ask for others' APIs, or hand an agent what it is to do there. */
function detailTypes(kind: Client['kind'], foreignTypes: readonly string[]): string[] {
  if (kind === 'service') return []
  return kind === 'agent' ? [...ownDetailTypes, ...foreignTypes] : [...foreignTypes]
}

function grantTypes({ clientId, kind, redirectUris, jwks }: Client & Registration): string[] {
  // A page keeps nothing that outlives it: it asks anew, by the sign-in.
  if (clientId === consoleClient) return ['authorization_code']
  if (kind === 'service') return ['client_credentials']
  return [
    ...(redirectUris.length > 0 ? ['authorization_code'] : []),
    // Its redirect address is the one thing that a web client proves; with a device code anybody could be it.
    ...(redirectUris.some((uri) => uri.startsWith('https:')) ? [] : [deviceCode]),
    'refresh_token',
    // A public client proves nothing, so that nobody knows who asks.
    ...(kind === 'agent' && jwks !== undefined ? [tokenExchange] : []),
    ...(asksPeople({ kind, jwks }) ? [ciba] : []),
  ]
}

/** Whether it may ask a person who is not at it: an agent's, and it proves that it is. */
const asksPeople = ({ kind, jwks }: Pick<Client & Registration, 'kind' | 'jwks'>): boolean =>
  kind === 'agent' && jwks !== undefined
