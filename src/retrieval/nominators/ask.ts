import { X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { checkServerIdentity } from 'node:tls'
import type { TupleKey } from '../../authz/fga.ts'
import type { OwnWatermarks } from '../../authz/index/create.ts'
import { shareName, shareOf } from '../../authz/index/share.ts'
import { assertNotAborted } from '../../kernel/assert-not-aborted.ts'
import { AppError } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import {
  answer,
  digestOf,
  digestOfBits,
  type NominatorAnswer,
  type NominatorQuestion,
  path,
} from './protocol.ts'
import { hasRole } from './role.ts'
import type { Credentials } from './serve.ts'

/** One person's question, with what they present. */
export interface Wanted {
  readonly user: FgaObject
  readonly contextual: readonly TupleKey[]
  readonly visible?: NominatorQuestion['visible']
  readonly allowed?: NominatorQuestion['allowed']
}

/** What a nominator said. It decides nothing. */
export interface Told extends Pick<NominatorAnswer, 'allowed'> {
  /** For each relation, in their order; null: the model has no such one. */
  readonly visible: readonly (Bitmap | null)[]
  /**
   * By our clock: it had heard of all that OpenFGA held then. undefined: nothing shows it, or this process
   * has written since: its own write may be missing. NOT told by the nominator's word alone: it names a mark
   * of ours that stands in OpenFGA's log.
   */
  readonly heardUntil: number | undefined
}

/** Documents by their numbers. */
export interface Bitmap {
  readonly digest: string
  /** undefined: those that were known. */
  readonly bits: Buffer | undefined
}

/** Where nominators are, and how an answer is bound to its question. */
export interface NominatorsDeps {
  /** For each share, in their order, the origins of those that hold it. */
  readonly shares: readonly (readonly string[])[]
  readonly credentials: Credentials
  readonly modelId: () => string
  readonly ownMarks: () => OwnWatermarks | undefined
  /** When this process last wrote tuples; Infinity while it does. */
  readonly wroteAt: () => number
  readonly now: () => number
  /** Another one each time, that cannot be guessed. */
  readonly newNonce: () => string
  readonly log: Log
  /** Milliseconds for one try. */
  readonly timeoutMs: number
}

/** The nominators, from an API process. */
export interface Nominators extends AsyncDisposable {
  /**
   * Asks one that holds the person's share, and the others in turn where it does not answer as it should.
   * Throws `authorization_unavailable` where none does, and `deadline_exceeded` where the signal fired.
   * `bitsMax`: bits of a bitmap that are taken at most.
   */
  ask(
    wanted: Wanted,
    options: { readonly signal?: AbortSignal | undefined; readonly bitsMax?: number },
  ): Promise<Told>
}

// After a write of ours: until every nominator has read that by itself.
const readOnMs = 2_000
// One that failed is asked last for so long.
const passedOverMs = 5_000

/** Keeps connections open to each. Does NOT trust what is said: the gate asks OpenFGA about all of it. */
export function openNominators(dependencies: NominatorsDeps): Nominators {
  const { shares, credentials, modelId, ownMarks, wroteAt, now, newNonce, log, timeoutMs } = dependencies
  const agent = new Agent({
    ...credentials,
    keepAlive: true,
    minVersion: 'TLSv1.3',
    // Each connection is verified in full.
    maxCachedSessions: 0,
    checkServerIdentity: (host, certificate) =>
      checkServerIdentity(host, certificate) ??
      (hasRole(new X509Certificate(certificate.raw), 'nominator')
        ? undefined
        : new Error('its certificate has not the role nominator')),
  })
  const failedAt = new Map<string, number>()

  /** The same one first for the same person: it has worked out what they see. */
  function inTurn(user: string): readonly string[] {
    const urls = shares[shareOf(user, shares.length) - 1] ?? []
    const first = shareOf(`${user} `, Math.max(1, urls.length)) - 1
    const turned = [...urls.slice(first), ...urls.slice(0, first)]
    const hasFailed = (url: string) =>
      performance.now() - (failedAt.get(url) ?? Number.NEGATIVE_INFINITY) < passedOverMs
    return [...turned.filter((url) => !hasFailed(url)), ...turned.filter(hasFailed)]
  }

  return {
    async ask({ user, contextual, visible = [], allowed = [] }, { signal, bitsMax = 0 }) {
      const marks = ownMarks()
      const sinceWrite = now() - wroteAt()
      const share = shareName({ number: shareOf(user, shares.length), of: shares.length })
      const bytesMax = visible.length * Math.ceil(bitsMax / 6) + allowed.length * 8 + 64_000
      for (const url of inTurn(user)) {
        const asked: NominatorQuestion = {
          nonce: newNonce(),
          share,
          model_id: modelId(),
          user: user as NominatorQuestion['user'],
          contextual: contextual.map(({ user, relation, object }) => ({ user, relation, object })),
          visible: [...visible],
          allowed: allowed.map(({ relation, object }) => ({ relation, object })),
          marks: marks?.object ?? 'none',
          read_on: !(sinceWrite >= readOnMs),
        }
        try {
          const inTime = AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])])
          const said = bound(
            asked,
            await send(new URL(path, url), asked, { agent, signal: inTime, bytesMax }),
          )
          if (said.model_id !== modelId()) throw new Error('an answer by a model that is over')
          const bitmaps = said.visible.map((one, number) => one && bitmapOf(one, visible[number]?.known))
          if (failedAt.delete(url)) log('nominator_answers', { url })
          const heardUntil = said.mark === null ? undefined : marks?.begunAt(said.mark)
          return {
            visible: bitmaps,
            allowed: said.allowed,
            heardUntil: heardUntil !== undefined && heardUntil > wroteAt() ? heardUntil : undefined,
          }
        } catch (error) {
          assertNotAborted(signal)
          if (!failedAt.has(url)) log('nominator_refused', { url, reason: reasonOf(error) })
          failedAt.set(url, performance.now())
        }
      }
      throw new AppError('authorization_unavailable', { internal: 'no nominator of this share answers' })
    },
    async [Symbol.asyncDispose]() {
      agent.destroy()
    },
  }
}

interface Sending {
  readonly agent: Agent
  readonly signal: AbortSignal
  readonly bytesMax: number
}

/** Rejects for whatever is not 200, or is longer than what was asked can be. */
async function send(
  url: URL,
  asked: NominatorQuestion,
  { agent, signal, bytesMax }: Sending,
): Promise<unknown> {
  const text = JSON.stringify(asked)
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  request(
    url,
    {
      method: 'POST',
      agent,
      signal,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
    },
    resolve,
  )
    .on('error', reject)
    .end(text)
  const response = await promise
  if (response.statusCode !== 200) {
    response.resume()
    throw new Error(`HTTP ${response.statusCode}`)
  }
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > bytesMax) throw new Error('an answer that is too long')
    parts.push(part)
  }
  return JSON.parse(Buffer.concat(parts).toString())
}

/** Throws for an answer to another question, and for one of another form. Quotes nothing of it. */
function bound(asked: NominatorQuestion, said: unknown): NominatorAnswer {
  const { success, data } = answer.safeParse(said)
  if (!success) throw new Error('an answer of another form')
  const isOurs =
    data.nonce === asked.nonce &&
    data.share === asked.share &&
    data.model_id === asked.model_id &&
    data.asked === digestOf(asked) &&
    data.visible.length === asked.visible.length &&
    data.allowed.length === asked.allowed.length
  if (!isOurs) throw new Error('an answer to another question')
  return data
}

/** Throws where it is not what its digest says: it would pass for what another one means by that. */
function bitmapOf(
  { digest, bits: text }: NonNullable<NominatorAnswer['visible'][number]>,
  known: string | undefined,
): Bitmap {
  const bits = text === undefined ? undefined : Buffer.from(text, 'base64')
  if ((bits === undefined ? known : digestOfBits(bits)) !== digest)
    throw new Error('a bitmap that is not what its digest says')
  return { digest, bits }
}
