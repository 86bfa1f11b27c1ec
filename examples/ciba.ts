/**
 * An agent's program that works while its person is elsewhere. It asks them on their own device (OpenID
 * Connect CIBA), waits for their answer, reads what that opens, and asks again for what is kept from every
 * agent until they agree. With the demo running, in the folder of the repository:
 *
 *     npm run -s remit -- token --user anne --agent research-bot      # once: makes its key, and Anne lends
 *     npm run -s example -- ciba "What did the March recall cost?"
 *
 * Then answer at http://localhost:8787/approvals.
 */
import { readFile } from 'node:fs/promises'
import { type CryptoKey, importJWK, type JWK } from 'jose'
import * as client from 'openid-client'

// As for `npm start`: with ports or a folder of your own, set the same here.
const {
  PORT = '8787',
  PUBLIC_URL: api = `http://localhost:${PORT}`,
  REMIT_HOME: home = '.remit',
  PERSON: person = 'anne',
} = process.env
const query = process.argv[2] ?? 'What did the March recall cost?'
const clientId = 'demo-agent-research-bot'

/** The agent proves who it is by its key: only such a program may ask a person. */
async function findIssuer(): Promise<client.Configuration> {
  const jwk = JSON.parse(await readFile(`${home}/demo-clients/${clientId}.json`, 'utf8')) as JWK
  const key = (await importJWK(jwk, 'ES256')) as CryptoKey
  const issuer = await client.discovery(
    new URL(`${api}/oauth`),
    clientId,
    undefined,
    client.PrivateKeyJwt(key),
    // Only because the demo is on loopback: everywhere else it is https.
    { algorithm: 'oauth2', execute: [client.allowInsecureRequests] },
  )
  // A question of the person stands beside `authorization_pending`, where no library looks.
  issuer[client.customFetch] = async (url, init) => {
    const response = await fetch(url, init as RequestInit)
    const { info_request: asked } = (await response.clone().json()) as { info_request?: Asked }
    if (asked !== undefined)
      console.error(
        `${person} asks: ${asked.question} (answer: POST ${api}/approvals/${asked.approval}/answers)`,
      )
    return response
  }
  return issuer
}
interface Asked {
  readonly approval: string
  readonly question: string
}

/** One question to the person; the token that comes of their yes, good for five minutes. */
async function ask(
  issuer: client.Configuration,
  why: string,
  scope: string,
  ...details: readonly object[]
): Promise<string> {
  const started = await client.initiateBackchannelAuthentication(issuer, {
    login_hint: person,
    scope,
    binding_message: why,
    ...(details.length > 0 && { authorization_details: JSON.stringify(details) }),
  })
  console.error(`${why}: ${person} has ${started.expires_in} seconds to answer at ${api}/approvals`)
  // Waits as long as it is told to between two looks, and longer where it is told to slow down.
  return (await client.pollBackchannelAuthenticationGrant(issuer, started)).access_token
}

interface Answer {
  readonly results: readonly { readonly document_id: string; readonly title: string }[]
  readonly approval?: { readonly offer_id: string }
}

async function retrieve(token: string): Promise<Answer> {
  const response = await fetch(`${api}/retrieve`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, top_k: 5, mode: 'keyword' }),
  })
  if (!response.ok) throw new Error(`The API answered ${response.status}: ${await response.text()}`)
  return (await response.json()) as Answer
}

function show({ results }: Answer): void {
  for (const { document_id: id, title } of results) console.log(`${id}  ${title}`)
}

async function main(): Promise<void> {
  const issuer = await findIssuer()
  const first = await retrieve(await ask(issuer, 'Nightly report', 'openid docs.search approvals.request'))
  show(first)
  const offer = first.approval?.offer_id
  if (offer === undefined) return
  // Something would have been found that no agent may read by itself: one bit, and a name for it. What it is
  // the person sees.
  console.log('— and with your yes:')
  const rest = { type: 'document_access', offer }
  // For one offer the scope that redeems it, and no other.
  show(await retrieve(await ask(issuer, 'Nightly report, the rest', 'openid docs.search', rest)))
}

/** What went wrong, as one sentence for whoever runs this. */
function said(error: unknown): string {
  if (error instanceof client.ResponseBodyError) {
    const { error: code, error_description: why = 'no reason given' } = error
    if (code === 'unknown_user_id') return `${person} has lent this agent nothing, or is not known.`
    if (code === 'expired_token') return `${person} did not answer in time.`
    return code === 'access_denied' ? why : `Refused (${code}): ${why}`
  }
  return error instanceof Error ? error.message : 'Something was thrown that is no error.'
}

main().catch((error: unknown) => {
  console.error(said(error))
  process.exitCode = 1
})
