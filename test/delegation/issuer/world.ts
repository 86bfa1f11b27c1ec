import { type CryptoKey, exportJWK, generateKeyPair, type JWK } from 'jose'
import { listen } from '../../../src/start.ts'
import { freePort } from '../../support/port.ts'
import { openWorld, type World, type WorldOptions } from '../../support/world.ts'
import { type Browser, openBrowser, type Page } from './browser.ts'

export const password = 'correct horse battery'

export interface ClientKey {
  readonly key: CryptoKey
  readonly kid: string
  readonly alg: string
}

/** The whole service on a port of loopback, with clients of each kind and people who can sign in. */
export interface IssuerWorld extends World {
  readonly url: string
  readonly issuer: string
  /**
   * Of `agent-app` (research-bot), `helper-app` (other-bot) and `loader-app`; `cli` and `public-agent` have
   * none.
   */
  readonly keys: Readonly<Record<'agent-app' | 'helper-app' | 'loader-app', ClientKey>>
  readonly redirectUri: string
  browser(): Browser
  /** Signs in and consents: the pages between the start of a flow and the redirect back. */
  consent(browser: Browser, page: Page, choice?: Consent): Promise<Page>
}

export interface Consent {
  readonly user?: string
  readonly objects?: readonly string[]
  readonly subAgents?: readonly string[]
  readonly seconds?: number
}

export async function openIssuerWorld(options: WorldOptions = {}): Promise<IssuerWorld> {
  const port = await freePort()
  const world = await openWorld({ ...options, env: { PORT: String(port), ...options.env } })
  const listening = await listen({ fetch: world.service.app.fetch, host: '127.0.0.1', port, drainMs: 100 })
  const url = world.config.publicUrl
  const redirectUri = 'https://app.test/callback'
  const { clients, issuer, people } = world.service
  const agentApp = await clientKey('agent-key')
  const helperApp = await clientKey('helper-key')
  const loaderApp = await clientKey('loader-key')
  const jwks = ({ jwk }: { jwk: JWK }) => ({ keys: [jwk as JWK & { kty: 'EC' }] })
  await clients.register(
    { clientId: 'agent-app', kind: 'agent', agent: 'research-bot' },
    { title: 'Research desktop', redirectUris: [redirectUri], jwks: jwks(agentApp) },
  )
  await clients.register(
    { clientId: 'helper-app', kind: 'agent', agent: 'other-bot' },
    { title: 'Helper', redirectUris: [], jwks: jwks(helperApp) },
  )
  await clients.register(
    { clientId: 'public-agent', kind: 'agent', agent: 'research-bot' },
    { title: 'Research in the terminal', redirectUris: ['http://127.0.0.1/callback'], jwks: undefined },
  )
  await clients.register(
    { clientId: 'cli', kind: 'person' },
    { title: 'Remit CLI', redirectUris: [redirectUri], jwks: undefined },
  )
  await clients.register(
    { clientId: 'loader-app', kind: 'service', service: 'loader' },
    { title: 'Loader', redirectUris: [], jwks: jwks(loaderApp) },
  )
  for (const { key } of await people.list()) await issuer.passwords.set(key, password)

  return {
    ...world,
    url,
    issuer: `${url}/oauth`,
    keys: { 'agent-app': agentApp, 'helper-app': helperApp, 'loader-app': loaderApp },
    redirectUri,
    browser: () => openBrowser(url),
    async consent(browser, page, { user = 'anne', objects, subAgents = [], seconds = 3_600 } = {}) {
      const asked = page.text.includes('name="password"')
        ? await browser.submit(page, '/sign-in', { user, password })
        : page
      return browser.submit(asked, '/consent', {
        ...(objects !== undefined && { object: objects }),
        ...(subAgents.length > 0 && { sub_agent: subAgents }),
        seconds: String(seconds),
      })
    },
    async [Symbol.asyncDispose]() {
      await listening[Symbol.asyncDispose]()
      await world[Symbol.asyncDispose]()
    },
  }
}

async function clientKey(kid: string): Promise<ClientKey & { readonly jwk: JWK }> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  return { key: privateKey, kid, alg: 'ES256', jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256' } }
}
