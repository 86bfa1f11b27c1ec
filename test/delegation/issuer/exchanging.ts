import * as client from 'openid-client'
import type { ClientKey, IssuerWorld } from './world.ts'

export const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'
const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'
type Exchanger = keyof IssuerWorld['keys']
export type Answer = Readonly<Record<string, unknown>> & {
  readonly error?: string
  readonly access_token?: string
}

/** Token exchange as a registered client, by a library that we did not write. Errors of OAuth's form are answers. */
export function createExchanger(world: IssuerWorld) {
  const known = new Map<string, Promise<client.Configuration>>()
  const configuration = (id: Exchanger, { key, kid }: ClientKey) => {
    const options = { execute: [client.allowInsecureRequests], algorithm: 'oauth2' as const }
    const auth = client.PrivateKeyJwt({ key, kid })
    return client.discovery(new URL(world.issuer), id, undefined, auth, options)
  }
  return async (
    by: Exchanger,
    subjectToken: string,
    parameters: Readonly<Record<string, string>> = {},
  ): Promise<Answer> => {
    const configured = known.get(by) ?? configuration(by, world.keys[by])
    known.set(by, configured)
    try {
      return await client.genericGrantRequest(await configured, grantType, {
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
}
