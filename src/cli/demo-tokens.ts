import { join } from 'node:path'
import { decodeJwt, exportJWK, generateKeyPair, importJWK } from 'jose'
import * as client from 'openid-client'
import { z } from 'zod'
import { tokenExchange } from '../delegation/oauth/client-metadata.ts'
import { accessTokenType } from '../delegation/oauth/exchange.ts'
import { scopesOfKind } from '../delegation/registry/claims.ts'
import { cliClient } from '../delegation/registry/clients.ts'
import { agentResource } from '../delegation/registry/resources.ts'
import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import type { Resource } from '../delegation/tokens/issuers.ts'
import { parseJson, readPrivate, withExclusiveFolder, writePrivate } from '../store/private-file.ts'
import type { AdminClient } from './admin-client.ts'
import { isNotAnswering, NotAnsweringError } from './not-answering.ts'

interface Wanted {
  /** Left out: all that this kind of client may hold. */
  readonly scopes?: readonly string[]
  /** Defaults to `api`. */
  readonly resource?: Resource
}

/**
 * Access tokens of the running demo, each of at most 300 s, by the flows that anybody's programs would use.
 */
export interface DemoTokens {
  /** The device flow, with the service's own word instead of a browser (`DemoConsent`). */
  person(wanted: Wanted & { readonly user: string }): Promise<string>
  /** That person's token, addressed to the agent, exchanged by the agent's key (RFC 8693). */
  agent(wanted: Wanted & { readonly user: string; readonly agent: string }): Promise<string>
  /** Client credentials by the service's key. */
  service(wanted: Wanted & { readonly service: string }): Promise<string>
}

/** What {@link createDemoTokens} works with. */
export interface DemoTokensDeps {
  readonly admin: AdminClient
  /** REMIT_HOME: the demo's agents and services keep their keys there. */
  readonly home: string
  readonly fetch: Fetch
}

interface Demo {
  /** Address of the service. */
  readonly url: string
  readonly server: client.ServerMetadata
}

const deviceCode = 'urn:ietf:params:oauth:grant-type:device_code'

/** Tokens of a demo's people, agents and services. A demo only. */
export function createDemoTokens({ admin, home, fetch }: DemoTokensDeps): DemoTokens {
  const keysDir = join(home, 'demo-clients')
  const ask: client.CustomFetch = (url, init) => fetch(url, { ...init, body: init.body ?? null })

  async function demo(): Promise<Demo> {
    const url = String((await admin.run('demo', {}))['url'])
    const found = await client
      .discovery(new URL(`${url}/oauth`), cliClient, undefined, client.None(), {
        algorithm: 'oauth2',
        execute: [client.allowInsecureRequests],
        [client.customFetch]: ask,
      })
      .catch((error: unknown) => {
        if (!isNotAnswering(error)) throw error
        throw new NotAnsweringError(
          `The demo of ${home} does not answer at ${url}. Start it: npm run remit -- demo. Commands need the REMIT_HOME, PORT and PUBLIC_URL that it was started with.`,
          error,
        )
      })
    return { url, server: found.serverMetadata() }
  }

  function as({ server }: Demo, clientId: string, auth: client.ClientAuth): client.Configuration {
    const config = new client.Configuration(server, clientId, undefined, auth)
    client.allowInsecureRequests(config)
    config[client.customFetch] = ask
    return config
  }

  async function personAt(server: Demo, user: string, resource: string, scope: string): Promise<string> {
    const config = as(server, cliClient, client.None())
    const started = await client.initiateDeviceAuthorization(config, { resource, scope })
    await admin.run('demo_confirm', { code: started.user_code, user })
    const tokens = await client.genericGrantRequest(config, deviceCode, { device_code: started.device_code })
    return tokens.access_token
  }

  /** Registers the client with a key of its own at its first use. */
  async function withKey(
    server: Demo,
    kind: 'agent' | 'service',
    ownerId: string,
  ): Promise<client.Configuration> {
    const clientId = `demo-${kind}-${ownerId}`
    const path = join(keysDir, `${encodeURIComponent(clientId)}.json`)
    // Two first uses at once would each register a key, and keep the other's.
    const jwk = await withExclusiveFolder(
      keysDir,
      async () => (await readKey(path)) ?? (await makeKey(path, clientId, kind, ownerId)),
    )
    const key = await importJWK(jwk, 'ES256')
    if (key instanceof Uint8Array) throw new Error(`${path} holds no private key.`)
    return as(server, clientId, client.PrivateKeyJwt(key))
  }

  async function makeKey(path: string, clientId: string, kind: string, ownerId: string): Promise<PrivateJwk> {
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256' }] }
    // Registered first: a key that is kept without being registered would never be mended.
    await admin.run('client_add', {
      client_id: clientId,
      kind,
      of: ownerId,
      title: `${ownerId} of the demo`,
      jwks,
    })
    const jwk = privateJwk.parse(await exportJWK(privateKey))
    await writePrivate(path, JSON.stringify(jwk))
    return jwk
  }

  return {
    async person({ user, scopes, resource }) {
      const server = await demo()
      const scope = (scopes ?? scopesOfKind.person).join(' ')
      return requireScopes(
        await personAt(server, user, audience(server, resource), scope).catch(refusalWith()),
        scopes,
      )
    },
    async agent({ user, agent, scopes, resource }) {
      const server = await demo()
      const config = await withKey(server, 'agent', agent)
      const scope = (scopes ?? scopesOfKind.agent).join(' ')
      const subject = await personAt(server, user, agentResource(server.url, agent), scope).catch(
        refusalWith({
          invalid_target: `The agent ${agent} is disabled. An operator enables it: npm run remit -- agent enable ${agent}`,
        }),
      )
      const exchanged = await client
        .genericGrantRequest(config, tokenExchange, {
          subject_token: subject,
          subject_token_type: accessTokenType,
          resource: audience(server, resource),
        })
        .catch(
          refusalWith({
            actor_unauthorized: `${user} has lent nothing to ${agent} that is live. They lend at ${server.url}/delegations.`,
          }),
        )
      return requireScopes(exchanged.access_token, scopes)
    },
    async service({ service, scopes, resource }) {
      const server = await demo()
      const config = await withKey(server, 'service', service)
      const tokens = await client
        .clientCredentialsGrant(config, {
          scope: (scopes ?? scopesOfKind.service).join(' '),
          resource: audience(server, resource),
        })
        .catch(refusalWith())
      return requireScopes(tokens.access_token, scopes)
    },
  }
}

const privateJwk = z.strictObject({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: z.string(),
  y: z.string(),
  d: z.string(),
})
type PrivateJwk = z.infer<typeof privateJwk>

async function readKey(path: string): Promise<PrivateJwk | undefined> {
  const text = await readPrivate(path)
  if (text === undefined) return undefined
  const parsed = privateJwk.safeParse(parseJson(text))
  if (!parsed.success) throw new Error(`${path} is not a key of ours. Remove it.`)
  return parsed.data
}

const audience = ({ url }: Demo, resource: Resource = 'api'): string =>
  resource === 'mcp' ? `${url}/mcp` : url

/** The token, if it holds every scope that was named: one that lacks some would only fail later. */
function requireScopes(token: string, scopes: readonly string[] = []): string {
  const { scope: scopeClaim } = decodeJwt(token)
  const grantedScopes = typeof scopeClaim === 'string' ? scopeClaim.split(' ') : []
  const missing = scopes.find((scope) => !grantedScopes.includes(scope))
  if (missing !== undefined)
    throw new Error(`The scope ${missing} is not among what this token may hold: ${grantedScopes.join(' ')}.`)
  return token
}

/** Says what the authorization server answered, in its words or in those given for its code. */
const refusalWith =
  (messages: Readonly<Record<string, string>> = {}) =>
  (error: unknown): never => {
    if (!(error instanceof client.ResponseBodyError)) throw error
    const { error: code, error_description: description } = error
    throw new Error(messages[code] ?? `${code}: ${description ?? 'the authorization server refused.'}`, {
      cause: error,
    })
  }
