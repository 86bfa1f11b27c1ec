import * as client from 'openid-client'
import type { ClientKey, IssuerWorld } from './world.ts'

export const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'
const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'
type Exchanger = keyof IssuerWorld['keys']
export type Answer = Readonly<Record<string, unknown>> & {
  readonly error?: string
  readonly access_token?: string
}

/**
 * A registered client's requests at the token endpoint, by a library that we did not write. OAuth's errors
 * are answers.
 */
export function createExchanger(world: IssuerWorld) {
  const configurations = new Map<Exchanger, Promise<client.Configuration>>()
  const discover = (id: Exchanger, { key, kid }: ClientKey) => {
    const options = { execute: [client.allowInsecureRequests], algorithm: 'oauth2' as const }
    return client.discovery(new URL(world.issuer), id, undefined, client.PrivateKeyJwt({ key, kid }), options)
  }
  const configuration = (exchanger: Exchanger) => {
    const configured = configurations.get(exchanger) ?? discover(exchanger, world.keys[exchanger])
    configurations.set(exchanger, configured)
    return configured
  }
  const exchange = async (
    exchanger: Exchanger,
    subjectToken: string,
    parameters: Readonly<Record<string, string>> = {},
  ): Promise<Answer> => {
    try {
      return await client.genericGrantRequest(await configuration(exchanger), grantType, {
        subject_token: subjectToken,
        subject_token_type: accessTokenType,
        resource: world.url,
        ...parameters,
      })
    } catch (error) {
      if (error instanceof client.ResponseBodyError) return { error: error.error }
      throw error
    }
  }
  return Object.assign(exchange, {
    introspect: async (exchanger: Exchanger, token: string) =>
      client.tokenIntrospection(await configuration(exchanger), token),
    revoke: async (exchanger: Exchanger, token: string) =>
      client.tokenRevocation(await configuration(exchanger), token),
  })
}
