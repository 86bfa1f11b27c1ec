import type { Client } from '../registry/clients.ts'
import { agentResource, owns, type Resources } from '../registry/resources.ts'
import type { ExternalIssuer } from '../tokens/issuers.ts'
import type { ExaminedToken } from '../tokens/verify.ts'

interface SubjectTokenPolicyDeps {
  readonly resources: Resources
  readonly publicUrl: string
}

/**
 * Whether a client may have a token of its own for this one: the confused deputy is refused here. A token
 * that was sent to somebody else, or got lost, is worth nothing. Ours has to be addressed to the client, or
 * issued to it.
 */
export async function mayExchangeSubjectToken(
  client: Client,
  examined: ExaminedToken,
  { resources, publicUrl }: SubjectTokenPolicyDeps,
): Promise<boolean> {
  const { claims, audience, issuer } = examined
  if (issuer.kind === 'external') return mayExchangeForeignToken(client, examined, issuer, publicUrl)
  if (claims.client_id === client.clientId) return true
  const entry = await resources.get(audience)
  return entry !== undefined && owns(entry, client)
}

/**
 * Another issuer's client ids are names of its own: one that is written like ours is not ours, and only the
 * settings (`exchange_clients`) say which two are one program. Such a program passes on what it was issued
 * for our API, or for its own agent, and nobody else does: the token that comes of it would not name that
 * program. What a person's client, or an agent, was issued has to be addressed to the requester's agent; that
 * the token is for our API is an address that every requester could claim.
 */
function mayExchangeForeignToken(
  client: Client,
  { claims, audience }: ExaminedToken,
  { exchangeClients, audiences }: ExternalIssuer,
  publicUrl: string,
): boolean {
  const isAddressee = client.kind === 'agent' && audience === agentResource(publicUrl, client.agent)
  const pairedClient = claims.client_id === undefined ? undefined : exchangeClients.get(claims.client_id)
  if (pairedClient === undefined) return isAddressee
  return pairedClient === client.clientId && (isAddressee || Object.values(audiences).includes(audience))
}
