/**
 * An agent's program, whole. It lets a person sign in (device flow) for a token that is addressed to the
 * agent and good for nothing else, exchanges it with the agent's own key for one to the API (RFC 8693), and
 * asks. With the demo running, in the folder of the repository:
 *
 *     npm run -s remit -- token --user anne --agent research-bot      # once: makes and registers its key
 *     npm run -s example -- agent-exchange "What did the March recall cost?"
 */
import { readFile } from 'node:fs/promises'
import { type CryptoKey, importJWK, type JWK } from 'jose'
import * as client from 'openid-client'

// As for `npm start`: with ports or a folder of your own, set the same here.
const {
  PORT = '8787',
  PUBLIC_URL: api = `http://localhost:${PORT}`,
  REMIT_HOME: home = '.remit',
} = process.env
const question = process.argv[2] ?? 'What did the March recall cost?'
const issuer = new URL(`${api}/oauth`)
// Only because the demo is on loopback: everywhere else it is https.
const options: client.DiscoveryRequestOptions = {
  algorithm: 'oauth2',
  execute: [client.allowInsecureRequests],
}

async function ask(): Promise<void> {
  // 1. The person signs in and agrees, in any browser.
  const app = await client.discovery(issuer, 'remit-cli', undefined, client.None(), options)
  const started = await client.initiateDeviceAuthorization(app, {
    resource: `${api}/agents/research-bot`,
    scope: 'docs.search docs.read',
  })
  console.error(`Open ${started.verification_uri} and enter ${started.user_code}`)
  const person = await client.pollDeviceAuthorizationGrant(app, started)

  // 2. The agent proves who it is, and exchanges that token for one of its own.
  const jwk = JSON.parse(await readFile(`${home}/demo-clients/demo-agent-research-bot.json`, 'utf8')) as JWK
  const key = (await importJWK(jwk, 'ES256')) as CryptoKey
  const agent = await client.discovery(
    issuer,
    'demo-agent-research-bot',
    undefined,
    client.PrivateKeyJwt(key),
    options,
  )
  const { access_token: token } = await client.genericGrantRequest(
    agent,
    'urn:ietf:params:oauth:grant-type:token-exchange',
    {
      subject_token: person.access_token,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      resource: api,
    },
  )

  // 3. It asks, for this person, within what they lent.
  const response = await fetch(`${api}/retrieve`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query: question, top_k: 3 }),
  })
  if (!response.ok) throw new Error(`The API answered ${response.status}: ${await response.text()}`)
  const { results } = (await response.json()) as {
    results: readonly { document_id: string; title: string }[]
  }
  for (const { document_id: id, title } of results) console.log(`${id}  ${title}`)
}

/** What went wrong, as one sentence for whoever runs this. */
function said(error: unknown): string {
  if (error instanceof client.ResponseBodyError)
    return `Refused (${error.error}): ${(error.error_description ?? 'no reason given').replace(/\.?$/, '.')} What is lent: ${api}/delegations`
  if (!(error instanceof Error)) return 'Something was thrown that is no error.'
  const { code } = { code: undefined, ...error } as { readonly code: unknown }
  if (code === 'ENOENT')
    return 'The agent has no key yet: npm run -s remit -- token --user anne --agent research-bot'
  if (error.message === 'fetch failed')
    return `Nothing answers at ${api}: start Remit, or set PORT or PUBLIC_URL as for it.`
  return error.message
}

ask().catch((error: unknown) => {
  console.error(said(error))
  process.exitCode = 1
})
