import { errors, type Provider } from 'oidc-provider'
import type { Clients } from '../clients.ts'
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

/** Token exchange (RFC 8693) as a grant type of the library, which has authenticated the client. */
export function registerExchange(provider: Provider, exchange: Exchange, clients: Clients): void {
  provider.registerGrantType(
    tokenExchange,
    async (ctx) => {
      const params: Readonly<Record<string, unknown>> = ctx.oidc.params
      const one = (name: string): string | undefined => {
        const value = params[name]
        return typeof value === 'string' && value !== '' ? value : undefined
      }
      const client = await clients.registered(ctx.oidc.client.clientId)
      if (client === undefined) throw new errors.UnauthorizedClient()
      const details = one('authorization_details')
      const exchanged = await exchange({
        client,
        subjectToken: one('subject_token') ?? '',
        subjectTokenType: one('subject_token_type') ?? '',
        actorToken: one('actor_token'),
        requestedTokenType: one('requested_token_type'),
        targets: [params['resource'], params['audience']].flat().filter((value) => typeof value === 'string'),
        scope: one('scope'),
        // The library has parsed and validated it once already.
        details: details === undefined ? undefined : JSON.parse(details),
      })
      if (!exchanged.ok)
        throw new errors.CustomOIDCProviderError(
          exchanged.reason,
          exchanged.detail ?? 'this cannot be exchanged',
        )
      const { accessToken, expiresIn, scope, details: granted } = exchanged.value
      ctx.body = {
        access_token: accessToken,
        issued_token_type: accessTokenType,
        token_type: 'Bearer',
        expires_in: expiresIn,
        scope,
        ...(granted.length > 0 && { authorization_details: granted }),
      }
    },
    parameters,
    ['resource', 'audience'],
  )
}
