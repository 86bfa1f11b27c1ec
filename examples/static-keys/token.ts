/**
 * What the agent does in place of reading a key from its environment: Anne agrees to exactly what it may do
 * at the API, for a token that is addressed to the agent and opens nothing; with its own key it exchanges
 * that for one to the API (RFC 8693). An agent in TypeScript has all of this behind `session.access(…)` of
 * `@remit/client`, and never sees the token; here it is printed, so that it can be stolen.
 */
import { readFile } from 'node:fs/promises'
import { type CryptoKey, importJWK, type JWK } from 'jose'
import * as client from 'openid-client'

const {
  PORT = '8787',
  PUBLIC_URL: remit = `http://localhost:${PORT}`,
  REMIT_HOME: home = '.remit',
  RESOURCE: resource = 'http://127.0.0.1:4100/api',
} = process.env
const issuer = new URL(`${remit}/oauth`)
const agentClient = 'demo-agent-research-bot'
// Only because the demo is on loopback: everywhere else it is https.
const options: client.DiscoveryRequestOptions = {
  algorithm: 'oauth2',
  execute: [client.allowInsecureRequests],
}
const wanted = [
  { type: 'invoices', action: 'list', locations: [resource] },
  { type: 'invoices', action: 'pay', invoice: 'i-1', locations: [resource] },
]

const app = await client.discovery(issuer, 'remit-cli', undefined, client.None(), options)
const started = await client.initiateDeviceAuthorization(app, {
  resource: `${remit}/agents/research-bot`,
  scope: 'docs.search',
  authorization_details: JSON.stringify(wanted),
})
console.error(`Open ${started.verification_uri} and enter ${started.user_code}`)
const person = await client.pollDeviceAuthorizationGrant(app, started)

const jwk = JSON.parse(await readFile(`${home}/demo-clients/${agentClient}.json`, 'utf8')) as JWK
const proof = client.PrivateKeyJwt((await importJWK(jwk, 'ES256')) as CryptoKey)
const agent = await client.discovery(issuer, agentClient, undefined, proof, options)
const { access_token: token } = await client.genericGrantRequest(
  agent,
  'urn:ietf:params:oauth:grant-type:token-exchange',
  {
    subject_token: person.access_token,
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    resource,
  },
)
console.log(token)
