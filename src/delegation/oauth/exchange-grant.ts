import { errors, type KoaContextWithOIDC, type Provider } from 'oidc-provider'
import type { Clients } from '../registry/clients.ts'
import type { Proofs } from '../tokens/dpop.ts'
import { tokenExchange } from './client-metadata.ts'
import { accessTokenType, type Exchange } from './exchange.ts'

const parameters = [
  'subject_token',
  'subject_token_type',
  'actor_token',
  'actor_token_type',
  'requested_token_type',
  'resource',
  'audience',
  'scope',
  'authorization_details',
]

export interface ExchangeGrantDeps {
  readonly exchange: Exchange
  readonly clients: Clients
  readonly proofs: Pick<Proofs, 'check' | 'nonce'>
  readonly issuer: string
}

/** Token exchange (RFC 8693) as a grant type of the library, which has authenticated the client. */
export function registerExchange(
  provider: Provider,
  { exchange, clients, proofs, issuer }: ExchangeGrantDeps,
): void {
  provider.registerGrantType(
    tokenExchange,
    async (ctx) => {
      const params: Readonly<Record<string, unknown>> = ctx.oidc.params
      const singleParameter = (name: string): string | undefined => {
        const value = params[name]
        return typeof value === 'string' && value !== '' ? value : undefined
      }
      const client = await clients.registered(ctx.oidc.client.clientId)
      if (client === undefined) throw new errors.UnauthorizedClient()
      const provenKey = await provenKeyOf(ctx, proofs, issuer)
      const details = singleParameter('authorization_details')
      const exchanged = await exchange({
        client,
        provenKey,
        subjectToken: singleParameter('subject_token') ?? '',
        subjectTokenType: singleParameter('subject_token_type') ?? '',
        actorToken: singleParameter('actor_token'),
        actorTokenType: singleParameter('actor_token_type'),
        requestedTokenType: singleParameter('requested_token_type'),
        targets: [params['resource'], params['audience']].flat().filter((value) => typeof value === 'string'),
        scope: singleParameter('scope'),
        // The library has parsed and validated it once already.
        details: details === undefined ? undefined : JSON.parse(details),
      })
      if (!exchanged.ok) throw refusal(exchanged, 'this cannot be exchanged')
      const { accessToken, expiresIn, scope, details: granted } = exchanged.value
      ctx.body = {
        access_token: accessToken,
        issued_token_type: accessTokenType,
        token_type: provenKey === undefined ? 'Bearer' : 'DPoP',
        expires_in: expiresIn,
        scope,
        ...(granted.length > 0 && { authorization_details: granted }),
      }
    },
    parameters,
    ['resource', 'audience'],
  )
}

/**
 * The key that the client proves, to which the new token is then bound; undefined for a request without a
 * proof. The library checks proofs for its own grants only.
 */
async function provenKeyOf(
  ctx: KoaContextWithOIDC,
  proofs: ExchangeGrantDeps['proofs'],
  issuer: string,
): Promise<string | undefined> {
  const proof = ctx.get('dpop')
  if (proof === '') return undefined
  const presentedProof = { proof, method: ctx.method, url: `${issuer}/token` }
  const possession = await proofs.check(presentedProof, { nonce: 'demanded' })
  ctx.set('dpop-nonce', proofs.nonce())
  if (!possession.ok) throw refusal(possession, 'this proof is not accepted')
  return possession.value
}

const refusal = (
  { reason, detail }: { readonly reason: string; readonly detail?: string },
  otherwise: string,
) => new errors.CustomOIDCProviderError(reason, detail ?? otherwise)
