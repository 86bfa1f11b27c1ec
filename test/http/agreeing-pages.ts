import * as client from 'openid-client'
import type { RequestedAccess } from '../../src/delegation/approvals/requested-access.ts'
import { callbackPath } from '../../src/delegation/upstream/provider.ts'
import { type Browser, openBrowser, type Page } from '../delegation/issuer/browser.ts'
import { document, openWeb, redirectUri, clientId as stranger } from '../delegation/issuer/cimd/web.ts'
import { openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { agentPrincipal } from '../delegation/vault/world.ts'
import { askedCall, decide } from '../support/approvals.ts'
import { providerSecret, providerSecretVariable, startProvider } from '../support/provider.ts'
import { clientSecret, secretVariable, startUpstream } from '../support/upstream.ts'
import { openOwnBrowser } from './own-browser.ts'

/** Every page on which somebody can agree to something, as the service answers it to Anne. */
export async function agreeingPages(): Promise<Readonly<Record<string, string>>> {
  await using stack = new AsyncDisposableStack()
  const upstream = stack.use(await startUpstream())
  const provider = stack.use(await startProvider())
  const web = openWeb()
  web.at.set(stranger, document())
  const world = stack.use(
    await openIssuerWorld({
      env: {
        CLIENT_ID_METADATA_DOCUMENTS: 'draft-02',
        TRUSTED_ISSUERS: JSON.stringify([upstream.entry()]),
        [secretVariable]: clientSecret,
        VAULT_PROVIDERS: JSON.stringify([provider.entry()]),
        [providerSecretVariable]: providerSecret,
      },
      outbound: web.fetch,
    }),
  )
  upstream.redirectUris = [`${world.url}${callbackPath('up')}`]
  const access = { viewers: ['user:anne'], sensitive: true }
  await world.put({ 'handbook/travel': { title: 'Travel', text: 'Travel.', access } })
  const delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  const others = await world.lend('anne', 'other-bot', 'collection:handbook')
  await world.database.query(
    `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed, wrapped_key,
       key_version, token_expires_at, refreshable, sealed_at, created_at)
     select 'c_' || state, 'user:anne', 'acme', $1, state, state, state, '{}', 'none', 'none', 'home', now(), true, now(), now()
     from unnest(array['live', 'needs_reconnect']) as state`,
    [provider.origin],
  )
  const anne = (await openOwnBrowser(world, 'anne')).browser
  await world.database.query('update browser_sessions set verified_at = now()')

  const ask = async (
    asked: RequestedAccess,
    front: 'rest' | 'ciba',
    agent = 'research-bot',
    lent = delegation,
  ) => {
    const asker = { subject: 'user:anne', agent, client: 'agent-app', delegation: lent, txn: 't_1' } as const
    return (await world.service.approvals.ask(asker, asked, { front, seconds: 600 })).id
  }
  const access_ = { kind: 'access', resource: world.url, scopes: ['docs.search'], details: [] } as const
  await decide(world.service, await ask(access_, 'ciba', 'other-bot', others), {
    answer: 'deny',
    block: true,
  })

  /** Who is asked to consent, signed in there. */
  async function consent(parameters: Readonly<Record<string, string>>): Promise<Page> {
    const query = new URLSearchParams({
      response_type: 'code',
      code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
      code_challenge_method: 'S256',
      ...parameters,
    })
    const browser = world.browser()
    const asked = await browser.open(`${world.issuer}/auth?${query}`)
    return browser.submit(asked, '/sign-in', { user: 'anne', password })
  }
  const narrowing = [{ type: 'document_access', collections: ['handbook'] }]
  const narrowed = { scope: 'docs.search', authorization_details: JSON.stringify(narrowing) }

  async function device(): Promise<Page> {
    const asked = await fetch(`${world.issuer}/device/auth`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: 'public-agent', scope: 'docs.search', resource: world.url }),
    })
    const { user_code } = (await asked.json()) as { user_code: string }
    const browser = world.browser()
    return browser.submit(await browser.open(`${world.issuer}/device`), '/oauth/device', { user_code })
  }

  async function link(browser: Browser): Promise<Page> {
    const page = await browser.open(`${world.url}/accounts`)
    const away = await browser.submit(page, '/accounts/link', { provider: 'up' })
    const elsewhere = await openBrowser(upstream.issuer).open(onwards(away))
    const back = await browser.open(elsewhere.url.href)
    return browser.open(new URL(onwards(back), world.url).href)
  }

  const own = async (path: string) => (await anne.open(`${world.url}${path}`)).text
  const { connections } = world.service.vault
  return {
    'a known agent asks for consent': (
      await consent({ client_id: 'agent-app', redirect_uri: world.redirectUri, ...narrowed })
    ).text,
    'a stranger asks for consent': (
      await consent({ client_id: stranger, redirect_uri: redirectUri, ...narrowed })
    ).text,
    'a program of their own asks for consent': (
      await consent({ client_id: 'cli', redirect_uri: world.redirectUri, scope: 'docs.search' })
    ).text,
    'a device was given a code': (await device()).text,
    'an agent asks for an account elsewhere': await own(
      new URL(await connections.connectUrl(agentPrincipal({ delegation }), 'acme')).pathname,
    ),
    'connected accounts': await own('/connections'),
    'linked accounts': await own('/accounts'),
    'an account is to be linked': (await link(anne)).text,
    'what they have lent': await own('/delegations'),
    passkeys: await own('/passkeys'),
    approvals: await own('/approvals'),
    'an approval of documents': await own(
      `/approvals/${await ask({ kind: 'documents', scopes: [], offer: 'o_1', documentIds: ['handbook/travel'], queryHmac: 'q' }, 'rest')}`,
    ),
    'an approval of a call': await own(
      `/approvals/${await ask(askedCall({ connection: 'c_live', method: 'GET', path: '/user' }), 'rest')}`,
    ),
    'an approval of a token': await own(`/approvals/${await ask(access_, 'ciba')}`),
  }
}

const onwards = ({ text }: Page): string =>
  (/http-equiv="refresh" content="0;url=([^"]+)"/.exec(text)?.[1] ?? `nowhere:\n${text}`).replaceAll(
    '&amp;',
    '&',
  )
