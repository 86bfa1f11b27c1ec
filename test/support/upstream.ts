import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Provider } from 'oidc-provider'

/**
 * Another OpenID provider on loopback, on code that is not ours. Signs in whoever the test says, without
 * asking.
 */
export interface UpstreamDouble extends AsyncDisposable {
  readonly issuer: string
  /** Its entry of TRUSTED_ISSUERS. */
  entry(namespace?: string): Record<string, unknown>
  /** Who sits in front of it. */
  person: { sub: string; name?: string; amr?: string[] }
  /** What it does when asked. Default: signs that person in. */
  mood: 'signs in' | 'refuses' | 'is down'
  /** Where our client may be sent back to. */
  redirectUris: string[]
}

export const secretVariable = 'UPSTREAM_SECRET'
export const clientSecret = 'a secret of at least thirty-two characters'

export async function startUpstream(): Promise<UpstreamDouble> {
  let provider: Provider | undefined
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The provider has no port.')
  const issuer = `http://127.0.0.1:${address.port}`

  const double: UpstreamDouble = {
    issuer,
    person: { sub: 'u-1', name: 'Anne of Upstream' },
    mood: 'signs in',
    redirectUris: [],
    entry: (namespace = 'up') => ({
      issuer,
      audiences: { api: 'https://remit.test/api', mcp: 'https://remit.test/mcp' },
      namespace,
      preset: 'generic',
      sign_in: { client_id: 'remit', client_secret_env: secretVariable },
    }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (double.mood === 'is down') {
      response.writeHead(503).end()
      return
    }
    provider ??= make()
    if (!request.url?.startsWith('/interaction/')) {
      await provider.callback()(request, response)
      return
    }
    const { prompt, params, session } = await provider.interactionDetails(request, response)
    if (double.mood === 'refuses') {
      await provider.interactionFinished(request, response, { error: 'access_denied' })
    } else if (prompt.name === 'login') {
      const { sub, amr = [] } = double.person
      await provider.interactionFinished(request, response, {
        login: { accountId: sub, amr, remember: false },
      })
    } else {
      const grant = new provider.Grant({
        accountId: session?.accountId,
        clientId: String(params['client_id']),
      } as never)
      grant.addOIDCScope('openid profile')
      await provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } })
    }
  }

  const make = () =>
    new Provider(issuer, {
      clients: [{ client_id: 'remit', client_secret: clientSecret, redirect_uris: double.redirectUris }],
      cookies: { keys: ['test'] },
      features: { devInteractions: { enabled: false } },
      interactions: { url: (_, { uid }) => `/interaction/${uid}` },
      pkce: { required: () => true },
      claims: { openid: ['sub', 'amr'], profile: ['name'] },
      conformIdTokenClaims: false,
      findAccount: (_, sub) => ({
        accountId: sub,
        claims: () => ({ sub, ...(double.person.name !== undefined && { name: double.person.name }) }),
      }),
    })

  return double
}
