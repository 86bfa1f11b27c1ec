import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK } from 'jose'
import * as client from 'openid-client'
import { openBrowser } from '../delegation/issuer/browser.ts'
import { root, type Stand } from './stand.ts'

/** An agent's program: its key, and its client's id. */
export interface Agent {
  readonly id: string
  readonly client: string
  readonly key: CryptoKey
}

const reading = 'docs.search docs.read'

/** A key of a client: what it keeps, and what is registered. */
export async function clientKey(): Promise<{
  readonly key: CryptoKey
  readonly jwk: JWK
  readonly jwks: string
}> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const named = async (key: CryptoKey) => ({ ...(await exportJWK(key)), kid: 'one', alg: 'ES256' })
  return {
    key: privateKey,
    jwk: await named(privateKey),
    jwks: JSON.stringify({ keys: [await named(publicKey)] }),
  }
}

/** Registers an agent and the client that it acts by. */
export async function addAgent({ cli, inside }: Stand, id: string): Promise<Agent> {
  const { key, jwks } = await clientKey()
  const scopes = reading.split(' ').flatMap((one) => ['--scope', one])
  await cli(
    'agent',
    'add',
    id,
    '--owner',
    'user:anne',
    '--purpose',
    'Answers.',
    '--any-collection',
    ...scopes,
  )
  const add = ['client', 'add', `${id}-app`, '--kind', 'agent', '--of', id, '--title', 'Helper']
  await inside(['node', 'src/cli/main.js', ...add, '--jwks', '/dev/stdin'], jwks)
  return { id, client: `${id}-app`, key }
}

/** An account that can sign in, and its password. */
export async function addPerson({ cli }: Stand, key: string): Promise<string> {
  await cli('person', 'add', key, '--name', key)
  return /^[\w-]{20}$/m.exec(await cli('password', key))?.[0] ?? ''
}

const oauth = { algorithm: 'oauth2' } as const
const ownOf = (url: string, agent: Agent) =>
  client.discovery(new URL(`${url}/oauth`), agent.client, undefined, client.PrivateKeyJwt(agent.key), oauth)

/** A person at the public address. */
export interface Person {
  readonly user: string
  readonly password: string
}

/** By the device flow: a program shows a code, and the person signs in by a browser and agrees. */
async function agree(
  program: client.Configuration,
  { user, password }: Person,
  wanted: { readonly resource: string; readonly fields?: Readonly<Record<string, string>> },
): Promise<string> {
  const started = await client.initiateDeviceAuthorization(program, {
    resource: wanted.resource,
    scope: reading,
  })
  const browser = openBrowser(started.verification_uri)
  const entry = await browser.open(started.verification_uri)
  const asked = await browser.submit(entry, '/oauth/device', { user_code: started.user_code })
  const signIn = await browser.submit(asked, '/oauth/device')
  const consent = await browser.submit(signIn, '/sign-in', { user, password })
  await browser.submit(consent, '/consent', { seconds: '3600', ...wanted.fields })
  return (await client.pollDeviceAuthorizationGrant(program, started)).access_token
}

/**
 * A person signs in at the agent's own program, and lends it a collection. On a busy machine the first
 * consent after a start may run out of its time: then once more.
 */
export async function lend(url: string, agent: Agent, person: Person, object: string): Promise<void> {
  const program = await ownOf(url, agent)
  const once = () => agree(program, person, { resource: url, fields: { object } })
  await once().catch((error: unknown) => {
    if (!String(error).includes('deadline_exceeded')) throw error
    return once()
  })
}

/** A person signs in at a program of theirs, for a token that is addressed so. */
async function signedIn(url: string, person: Person, resource: string): Promise<string> {
  const none = client.None()
  const program = await client.discovery(new URL(`${url}/oauth`), 'remit-cli', undefined, none, oauth)
  return agree(program, person, { resource })
}

/** What a person reads without an agent, as {@link answer}. */
export const answerOf = async (url: string, person: Person): Promise<readonly string[]> =>
  answer(url, await signedIn(url, person, url))

/** A person signs in. The agent exchanges what that hands over for its own token. */
export async function exchanged(url: string, agent: Agent, person: Person): Promise<string> {
  const handedOver = await signedIn(url, person, `${url}/agents/${agent.id}`)
  const { access_token } = await client.genericGrantRequest(
    await ownOf(url, agent),
    'urn:ietf:params:oauth:grant-type:token-exchange',
    {
      subject_token: handedOver,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      resource: url,
    },
  )
  return access_token
}

/** The version of the process that was asked. */
export async function versionOf(url: string): Promise<string> {
  const { info } = (await (await fetch(`${url}/openapi.json`)).json()) as { info: { version: string } }
  return info.version
}

/** What a question is answered with: texts of passages, sorted. Throws what else is said. */
export async function answer(url: string, token: string): Promise<readonly string[]> {
  const response = await fetch(`${url}/retrieve`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query: 'Where was the otter seen?' }),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${response.status} ${text}`)
  const { results, complete } = JSON.parse(text) as {
    results: readonly { text: string }[]
    complete: boolean
  }
  if (!complete) throw new Error('The answer says that it is not whole.')
  return results.map((one) => one.text).sort()
}

/** A command of Remit at a machine elsewhere, which trusts this authority; its standard output and error. */
export async function atHome(cwd: string, ca: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [join(root, 'src/cli/main.ts'), ...args],
    { cwd, env: { PATH: process.env['PATH'], HOME: cwd, NODE_EXTRA_CA_CERTS: ca } },
  )
  return stdout + stderr
}
