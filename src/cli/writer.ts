import { STATUS_CODES } from 'node:http'
import { createWriter, isRemitError, type RemitError, type Writer } from '@remit/client'
import type { Command } from 'commander'
import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import type { AdminClient } from './admin-client.ts'
import { clientTokens } from './client-tokens.ts'
import type { DemoTokens } from './demo-tokens.ts'
import { bare } from './ids.ts'
import { NotAnsweringError } from './not-answering.ts'
import type { TokenSource } from './remit-http.ts'
import { renewed } from './renewed.ts'

/** A command with the options by which a service that writes is named. */
export const asWriter = (command: Command): Command =>
  command
    .option('--service <name>', 'service that writes (demo)', bare('service'))
    .option(
      '--client <id>',
      'client of the service that writes (not the demo), with --key; or set REMIT_TOKEN',
    )
    .option('--key <file>', 'private key of the client, a JWK: a token is renewed by it before it ends')
    .option('--url <url>', 'address of the service')

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

/** A writer for a command, which says more of a service that does not answer than the client may. */
export interface CommandWriter {
  readonly writer: Writer
  /** What the platform said where the service gave no answer; any other error as it is. */
  reasonOf(error: unknown): unknown
}

/**
 * Writes documents by the client's key, else by REMIT_TOKEN, else in the demo of this machine. Throws where none of these can be;
 * nobody is asked for that.
 */
export function writerFor(flags: WriterFlags, deps: WriterDeps): CommandWriter {
  const url = (flags.url ?? deps.publicUrl).replace(/\/$/, '')
  let lastFailure: unknown
  const writer = createWriter({
    url,
    token: tokensFor(flags, url, deps),
    // Whoever names such an address, and a token for it, has a network of their own.
    allowPlainHttp: true,
    now: deps.now,
    async fetch(address, init) {
      try {
        return await deps.fetch(address, init)
      } catch (error) {
        lastFailure = error
        throw error
      }
    },
  })
  return {
    writer,
    reasonOf: (error) =>
      isRemitError(error, 'unavailable') && error.status === undefined
        ? (lastFailure ?? new NotAnsweringError(error.message, error))
        : error,
  }
}

/** What a refused request says, in one line. */
export function problemOf({ status = 0, message, field }: RemitError): string {
  // Of an answer that is not the service's the client says its number alone.
  const said = message === `The answer was ${status}.` ? (STATUS_CODES[status] ?? '') : message
  return [`${status}`, said, ...(field === undefined ? [] : [`(${field})`])].join(' ')
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
