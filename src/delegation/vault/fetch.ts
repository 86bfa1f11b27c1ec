import type { vaultRequestSchema } from '@remit/contract/vault-schemas'
import type { z } from 'zod'
import { record } from '../../audit/record.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import type { Principal } from '../../kernel/principal.ts'
import { createSerialQueue } from '../../kernel/serial-queue.ts'
import { OutboundError } from '../../outbound/error.ts'
import type { GuardedFetch } from '../../outbound/guarded-fetch.ts'
import type { Database } from '../../store/sql.ts'
import type { ApprovalGrants } from '../approvals/grants.ts'
import { answerOf, type VaultAnswer } from './answer.ts'
import { digestOfBody, hasBody, recordedCall, shownBody, type VaultCall } from './call.ts'
import { type Connections, unlinked } from './connections.ts'
import { hasOverrideInBody, isCovered } from './patterns.ts'
import type { ResolveCall, ResolvedCall } from './resolve-call.ts'
import type { LiveToken } from './tokens.ts'

/** A call as an agent asks for it, not checked yet. */
export interface VaultRequest {
  /** Name of the provider. */
  readonly connection: string
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** Grant of a person who agreed to exactly this call. */
  readonly approval?: string
}

/**
 * One call to a third party with the person's token, which stays here. What the person agreed to for this
 * agent is done; anything else takes an approval of exactly this call, which counts once, before it is sent.
 * Whatever changes something is on record before it is sent, and how it ended before the answer leaves. Not
 * retried but after a 401, once, with another token. Nothing is sent where what was agreed to, or the
 * caller's token (`assertStands`), ended while the provider's token was fetched. NOT checked: the scope
 * `vault.use`.
 */
export type VaultFetch = (
  principal: Principal,
  vaultRequest: VaultRequest,
  caller: { readonly assertStands?: () => Promise<void> },
) => Promise<VaultAnswer>

export interface VaultFetchDeps {
  readonly database: Database
  readonly connections: Pick<Connections, 'withToken' | 'connectUrl'>
  readonly resolve: ResolveCall
  readonly grants: Pick<ApprovalGrants, 'useWithin' | 'settle'>
  readonly outbound: GuardedFetch
  readonly log: Log
  /** Milliseconds for one request to the provider. Default 20 seconds. */
  readonly timeoutMs?: number
  /** Bytes of its answer. Default 1 MiB. */
  readonly bytesMax?: number
}

const largeBytes = 65_536

/** How a request ended: with an answer, or without one that could be given on. */
type Outcome = { readonly answer: VaultAnswer; readonly bytes: number } | { readonly failed: Failure }
type Failure = 'not_sent' | 'timed_out' | 'too_large' | 'broken' | 'unreadable'

/** Checks, records, sends, scans. A write is on record before it is sent. */
export function createVaultFetch(deps: VaultFetchDeps): VaultFetch {
  const { database, connections, resolve, grants, outbound, log } = deps
  const { timeoutMs = 20_000, bytesMax = 1_048_576 } = deps

  // Looking through a large answer takes hundreds of times its memory: of those one at a time.
  const largeAnswers = createSerialQueue()

  async function beginCall(principal: Principal, call: Begun): Promise<void> {
    const isAllowed = await database.transaction(async (sql) => {
      const { grant } = call
      const use = { id: grant ?? '', principal, vaultCall: call.call }
      if (grant !== undefined && !(await grants.useWithin(sql, use))) return false
      await record(sql, principal, { event: 'vault_call_begun', ...factsOf(call) })
      return true
    })
    if (!isAllowed) throw await refused(principal, call)
  }

  /** At either face: a call that is refused has no other record. */
  async function refused(
    principal: Principal,
    call: Parameters<typeof approvalRequired>[0],
  ): Promise<AppError> {
    const error = approvalRequired(call)
    await record(database, principal, {
      event: 'request_refused',
      code: error.code,
      method: 'POST',
      route: '/vault/fetch',
    })
    return error
  }

  async function send({ path, found, call, headers, body }: Begun, token: string, tokens: readonly string[]) {
    try {
      const response = await outbound(path.url, {
        method: call.method,
        // Nothing of what came in but this list: no token of ours, no cookie, no address.
        headers: { ...headers, authorization: `Bearer ${token}` },
        ...(body !== undefined && { body }),
        timeoutMs,
        bytesMax,
      })
      const scanAnswer = () => answerOf(response, { tokens, url: path.url, provider: found.provider })
      const answer = await (response.body.byteLength > largeBytes
        ? largeAnswers.run(scanAnswer)
        : scanAnswer())
      if (answer === undefined) return { failed: 'unreadable' as const }
      return { answer, bytes: response.body.byteLength }
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error
      log('vault_call_failed', { provider: found.provider.name, reason: error.message })
      return { failed: failureOf(error) }
    }
  }

  return async (principal, vaultRequest, { assertStands }) => {
    const headers = callHeaders(vaultRequest.headers)
    const body = vaultRequest.body?.byteLength === 0 ? undefined : vaultRequest.body
    const digest = digestOfBody(body)
    const vaultCall: VaultCall = {
      connection: vaultRequest.connection,
      method: vaultRequest.method,
      path: vaultRequest.path,
      ...(headers['content-type'] !== undefined && { contentType: headers['content-type'] }),
      ...(digest !== undefined && { bodyDigest: digest }),
    }
    const resolved = await resolve(principal, vaultCall, (member) => members[member])
    const { found, path, call } = resolved
    if (hasOverrideInBody(call.contentType, body))
      throw invalid('body', 'A field of the body says another method, headers or credentials.')
    const isAgreed = isCovered(found.rules, call.method, path)
    const grant = isAgreed ? undefined : (vaultRequest.approval ?? principal.grant)
    const prepared: Begun = { ...resolved, grant, headers, body }
    if (!isAgreed && grant === undefined) throw await refused(principal, prepared)

    const tokens: string[] = []
    let last: Outcome | undefined
    const end = async (outcome: Outcome): Promise<void> => {
      const ended = { event: 'vault_called' as const, ...factsOf(prepared), ...resultOf(outcome, call) }
      await record(database, principal, ended)
      if (grant !== undefined) await grants.settle([grant])
    }
    const use = async (token: string, { rules }: Pick<LiveToken, 'rules'>): Promise<Outcome> => {
      await assertStands?.()
      if (grant === undefined && !isCovered(rules, call.method, path))
        throw await refused(principal, prepared)
      // Once, and only now: a token that cannot be had must not use an approval up.
      if (tokens.length === 0 && (grant !== undefined || isWrite(call))) await beginCall(principal, prepared)
      tokens.push(token)
      last = await send(prepared, token, tokens)
      return last
    }
    const isRefused = (outcome: Outcome) => 'answer' in outcome && outcome.answer.status === 401
    const outcome = await connections
      .withToken(found.id, use, { recordedAs: principal, isRefused })
      .catch(async (error: unknown) => {
        // Sent once, and refused with a 401: of another token nothing came.
        if (last !== undefined) await end(last)
        // It ended between being found and being used.
        if (
          error instanceof AppError &&
          (error.code === 'connection_required' || error.code === 'reconnect_required')
        )
          throw await unlinked(connections, principal, found.provider.name, error.code)
        throw error
      })
    await end(outcome)
    if ('failed' in outcome) throw failed(outcome.failed, call, bytesMax)
    if (isRefused(outcome))
      throw await unlinked(connections, principal, found.provider.name, 'reconnect_required')
    return outcome.answer
  }
}

/** Where a request says what a call is made of. */
const members = {
  connection: 'connection',
  method: 'method',
  path: 'path',
  contentType: 'headers.content-type',
  bodyDigest: 'body',
} as const

interface Begun extends ResolvedCall {
  readonly grant: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | undefined
}

/** May change something there. */
const isWrite = ({ method }: VaultCall): boolean => hasBody(method)

/** What an agent has to ask its person for, by names that it knows. */
function approvalRequired({ found, call, body }: Begun): AppError {
  const bodyText = shownBody(body)
  return new AppError('approval_required', {
    members: {
      authorization_details: [
        {
          type: 'vault_call',
          connection: found.provider.name,
          method: call.method,
          path: call.path,
          ...(call.contentType !== undefined && { content_type: call.contentType }),
          ...(call.bodyDigest !== undefined && { body_digest: call.bodyDigest }),
          ...(bodyText !== undefined && { body: bodyText }),
        },
      ],
    },
  })
}

const factsOf = ({ found, call, grant, body }: Begun) => ({
  ...recordedCall(call),
  provider: found.provider.name,
  grant: grant ?? null,
  request_bytes: body?.byteLength ?? 0,
})

const resultOf = (outcome: Outcome, call: VaultCall) =>
  'failed' in outcome
    ? {
        outcome: isUnknown(outcome.failed, call) ? ('unknown' as const) : ('no_answer' as const),
        status: null,
        answer_bytes: 0,
      }
    : { outcome: 'answered' as const, status: outcome.answer.status, answer_bytes: outcome.bytes }

/** It was sent, it may have changed something, and nobody was told. */
const isUnknown = (failure: Failure, call: VaultCall): boolean => failure !== 'not_sent' && isWrite(call)

function failureOf({ reason, sent }: OutboundError): Failure {
  if (!sent) return 'not_sent'
  return reason === 'timed_out' || reason === 'too_large' ? reason : 'broken'
}

function failed(failure: Failure, call: VaultCall, bytesMax: number): AppError {
  if (isUnknown(failure, call)) return new AppError('outcome_unknown')
  return new AppError('provider_unavailable', {
    public: {
      not_sent: 'It cannot be reached; nothing was sent.',
      timed_out: 'It takes too long to answer.',
      too_large: `Its answer is larger than ${bytesMax} bytes.`,
      broken: 'It gave no whole answer.',
      unreadable: 'Its answer cannot be read.',
    }[failure],
  })
}

const allowed: ReadonlySet<string> = new Set([
  'accept',
  'accept-language',
  'content-type',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
])

const valueMax = 1_000

/**
 * What an agent may say to a third party beside the path and the body: headers from a short list, by small
 * names. What is not on it, or could end a line, is a 422: a header that is dropped without a word would
 * change what was asked.
 */
function callHeaders(
  agentHeaders: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> & { readonly 'content-type'?: string } {
  const headers: Record<string, string> = {}
  for (const [spelled, value] of Object.entries(agentHeaders)) {
    const name = spelled.toLowerCase()
    if (!allowed.has(name))
      throw invalid(`headers.${spelled}`, `Only ${[...allowed].join(', ')} can be sent.`)
    if (Object.hasOwn(headers, name)) throw invalid(`headers.${spelled}`, 'This header is given twice.')
    if (value.length > valueMax || !/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value))
      throw invalid(`headers.${spelled}`, `must be 1 to ${valueMax} characters of printable ASCII`)
    headers[name] = value
  }
  return headers
}

/** From the JSON of a request that its schema has validated. */
export const toVaultRequest = ({
  body: text,
  body_base64: bytes,
  headers = {},
  approval,
  ...call
}: z.output<typeof vaultRequestSchema>): VaultRequest => ({
  ...call,
  headers,
  ...(text !== undefined && { body: Buffer.from(text) }),
  ...(bytes !== undefined && { body: Buffer.from(bytes, 'base64') }),
  ...(approval !== undefined && { approval }),
})
