import { STATUS_CODES } from 'node:http'
import {
  createWriter,
  isRemitError,
  type JobDesk,
  type JobEntry,
  type RemitError,
  type Writer,
} from '@remit/client'
import type { Command } from 'commander'
import { type CryptoKey, importJWK, type JWK } from 'jose'
import * as client from 'openid-client'
import { z } from 'zod'
import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import { parseJson, readPrivate } from '../store/private-file.ts'
import type { AdminClient } from './admin-client.ts'
import type { DemoTokens } from './demo-tokens.ts'
import { bare } from './ids.ts'
import { isNotAnswering, NotAnsweringError } from './not-answering.ts'
import type { TokenSource } from './remit-http.ts'
import { discoverServer, requireHttps } from './sign-ins.ts'

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
  readonly writer: Writer & JobDesk
  /** What the platform said where the service gave no answer; any other error as it is. */
  reasonOf(error: unknown): unknown
}

/**
 * Writes documents by the client's key, else by REMIT_TOKEN, else in the demo of this machine. Throws where
 * none of these can be, and for plain http to another machine; nobody is asked for that.
 */
export function writerFor(flags: WriterFlags, deps: WriterDeps): CommandWriter {
  const url = (flags.url ?? deps.publicUrl).replace(/\/$/, '')
  requireHttps(url)
  let lastFailure: unknown
  const writer = createWriter({
    url,
    token: tokensFor(flags, url, deps),
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
  const wording = message === `The answer was ${status}.` ? (STATUS_CODES[status] ?? '') : message
  return [`${status}`, wording, ...(field === undefined ? [] : [`(${field})`])].join(' ')
}

/** What a job says of one document, or of itself, in one line. */
export function lineOf({ line, id, code, field, detail }: JobEntry): string {
  const where = [line === undefined ? undefined : `line ${line}`, id, field].filter(
    (part) => part !== undefined,
  )
  return `${where.join(', ') || 'job'}: ${code}: ${detail}`
}

function tokensFor(flags: WriterFlags, url: string, deps: WriterDeps): TokenSource {
  const { client, key } = flags
  const { envToken, publicUrl } = deps
  if ((client === undefined) !== (key === undefined)) throw new Error('--client and --key belong together.')
  if (client !== undefined && key !== undefined) return clientTokens(url, client, key, deps)
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
    const writerQuery = {
      ...(service !== undefined && { service }),
      ...(collection !== undefined && { collection }),
    }
    const writer = String((await admin.run('writer', writerQuery))['service'])
    return { token: await demoTokens.service({ service: writer, scopes: [scope] }), seconds }
  }, now)

// What a server that says nothing of it gives is renewed soon.
const secondsUnsaid = 60

/**
 * Tokens of a service's own client (RFC 6749 §4.4) at this address, exactly as its `PUBLIC_URL`, by the
 * client's key (`private_key_jwt`), a new one before the last one ends. Throws where the file holds no
 * private key or others can read it, and with what the authorization server says where it refuses.
 */
function clientTokens(
  url: string,
  clientId: string,
  keyFile: string,
  { fetch, now }: Pick<WriterDeps, 'fetch' | 'now'>,
): TokenSource {
  let found: Promise<client.Configuration> | undefined

  const discover = async (): Promise<client.Configuration> =>
    discoverServer(url, clientId, client.PrivateKeyJwt(await readKey(keyFile)), fetch)

  async function ask(): Promise<Issued> {
    try {
      found ??= discover()
      const { access_token, expires_in } = await client.clientCredentialsGrant(await found, {
        scope,
        resource: url,
      })
      return { token: access_token, seconds: expires_in ?? secondsUnsaid }
    } catch (error) {
      found = undefined
      throw registrationError(error, url)
    }
  }
  return renewed(ask, now)
}

const privateJwk = z.looseObject({ kty: z.string(), d: z.string(), kid: z.string().optional() })

/**
 * Of a private JWK (0600), as `remit client key-pair` makes it. Its public half is registered with
 * the client.
 */
async function readKey(path: string): Promise<client.PrivateKey | CryptoKey> {
  const read = privateJwk.safeParse(parseJson((await readPrivate(path)) ?? ''))
  const key = read.success
    ? await importJWK(read.data as JWK, String(read.data['alg'] ?? 'ES256')).catch(() => undefined)
    : undefined
  if (key === undefined || key instanceof Uint8Array)
    throw new Error(`There is no private key (a JWK) in ${path}.`)
  const kid = read.data?.kid
  return kid === undefined ? key : { key, kid }
}

function registrationError(error: unknown, url: string): unknown {
  if (error instanceof client.ResponseBodyError && error.status < 500)
    return new Error(`${error.error}: ${error.error_description ?? 'the authorization server refused.'}`, {
      cause: error,
    })
  const { cause } = error instanceof client.ClientError ? error : {}
  const isDown =
    error instanceof client.ResponseBodyError ||
    (cause instanceof Response && cause.status >= 500) ||
    (error instanceof client.ClientError && isOfNoAnswer(cause))
  return isDown ? new NotAnsweringError(`The authorization server of ${url} does not answer.`, error) : error
}

/** Whether it rests on an answer that did not come in time, or broke off. */
const isOfNoAnswer = (error: unknown): boolean =>
  isNotAnswering(error) ||
  (error instanceof Error && (error.name === 'TimeoutError' || isOfNoAnswer(error.cause)))

/** A token, and the seconds for which it is good. */
interface Issued {
  readonly token: string
  /** Seconds for which it counts. */
  readonly seconds: number
}

/** A token is used for this share of its time: none ends on the way. */
const share = 2 / 3

/** One token for all until it is about to end, then the next. One that was refused is asked for again. */
function renewed(ask: () => Promise<Issued>, now: () => number): TokenSource {
  let token: Promise<Issued> | undefined
  let renewAt = 0
  return async () => {
    if (token === undefined || now() >= renewAt) {
      const requestedAt = now()
      renewAt = Number.POSITIVE_INFINITY
      token = ask()
      try {
        renewAt = requestedAt + (await token).seconds * 1_000 * share
      } catch (error) {
        token = undefined
        throw error
      }
    }
    return (await token).token
  }
}
