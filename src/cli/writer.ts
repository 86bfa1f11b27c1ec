import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import type { AdminClient } from './admin-client.ts'
import { clientTokens } from './client-tokens.ts'
import type { DemoTokens } from './demo-tokens.ts'
import { createRemitHttp, type RemitHttp, type TokenSource } from './remit-http.ts'
import { renewed } from './renewed.ts'

/** Which service writes, and where. */
export interface WriterFlags {
  readonly collection?: string
  readonly service?: string
  readonly url?: string
  readonly client?: string
  readonly key?: string
}

export interface WriterDeps {
  readonly admin: AdminClient
  readonly demoTokens: DemoTokens
  readonly fetch: Fetch
  readonly publicUrl: string
  readonly envToken: string | undefined
  readonly now: () => number
}

const scope = 'docs.write'

/**
 * The service's API for whoever writes documents: by the client's key, else by REMIT_TOKEN, else in the demo of this machine. Throws
 * where none of these can be; asks nobody for that.
 */
export function httpFor(flags: WriterFlags, deps: WriterDeps): RemitHttp {
  const url = (flags.url ?? deps.publicUrl).replace(/\/$/, '')
  return createRemitHttp({ url, token: tokensFor(flags, url, deps), fetch: deps.fetch })
}

function tokensFor(flags: WriterFlags, url: string, deps: WriterDeps): TokenSource {
  const { client, key } = flags
  const { envToken, publicUrl } = deps
  if ((client === undefined) !== (key === undefined)) throw new Error('--client and --key belong together.')
  if (client !== undefined && key !== undefined)
    return clientTokens({ url, clientId: client, keyFile: key, scope }, deps)
  if (envToken !== undefined) return async () => envToken
  // The demo's token is for the demo: another address would get it, and could use it here.
  if (flags.url !== undefined && url !== publicUrl)
    throw new Error(
      `There is no token for ${url}. Set REMIT_TOKEN, or name --client and --key: docs/your-own-documents.md, "Outside the demo".`,
    )
  return demoTokensFor(flags, deps)
}

// What a token of the demo counts for.
const seconds = 300

const demoTokensFor = (
  { service, collection }: WriterFlags,
  { admin, demoTokens, now }: WriterDeps,
): TokenSource =>
  renewed(async () => {
    const wanted = {
      ...(service !== undefined && { service }),
      ...(collection !== undefined && { collection }),
    }
    const writer = String((await admin.run('writer', wanted))['service'])
    return { token: await demoTokens.service({ service: writer, scopes: [scope] }), seconds }
  }, now)
