import type { VaultAnswer, VaultRequest } from '@remit/contract/vault'
import { RemitError } from '../errors/error.ts'
import { OutcomeUnknown, Unavailable } from '../errors/kinds.ts'
import { type Check, isNumber, isText, shape, wordOf } from '../shared/shape.ts'
import type { Person } from '../tokens/token.ts'
import type { Api, CallOptions } from './api.ts'

export interface VaultInit extends CallOptions {
  /** Default GET. */
  readonly method?: VaultRequest['method']
  /** `accept`, `content-type` and a few more; no credentials, which are the vault's. */
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** A grant that the person gave for exactly this call. */
  readonly approval?: string | undefined
}

/**
 * One call to a third party with the account that the person linked; the token for it stays with the service.
 *
 * @throws ConnectionRequired where the person has not linked one for this agent; ApprovalRequired where they
 * have to agree to this call first; OutcomeUnknown where nobody knows whether it took effect: it must not
 * simply be repeated.
 */
export type VaultFetch = (connection: string, path: string, init?: VaultInit) => Promise<Response>

/** Whatever else the service says of it is of no use to who called. */
type Answered = Omit<VaultAnswer, 'txn'>

// The service waits for the provider, with one more try.
const timeoutMs = 60_000
const bodiless = new Set([204, 205, 304])

/** A `fetch` that calls third parties through the service with accounts that the person linked. */
export const createVaultFetch =
  (api: Api, person: Person): VaultFetch =>
  async (connection, path, { method = 'GET', headers, body, approval, ...options } = {}) => {
    const isReading = method === 'GET' || method === 'HEAD'
    const response = api.json(
      person,
      {
        method: 'POST',
        path: '/vault/fetch',
        body: {
          connection,
          method,
          path,
          ...(headers !== undefined && { headers }),
          ...(typeof body === 'string' && { body }),
          ...(body instanceof Uint8Array && { body_base64: base64(body) }),
          ...(approval !== undefined && { approval }),
        },
        scopes: ['vault.use'],
        // What may have happened, or counted as a use, is not done twice.
        isRepeatable: isReading && approval === undefined,
        timeoutMs,
        ...options,
      },
      isVaultAnswer,
    )
    return responseOf(await (isReading ? response : response.catch(unknownOutcome)))
  }

/** No answer of the service's is none of the provider's either, which may have done what it was told. */
function unknownOutcome(error: unknown): never {
  if (!(error instanceof Unavailable) || error.status !== undefined) throw error
  const message = 'There was no answer: whether the call took effect is not known.'
  throw new OutcomeUnknown('outcome_unknown', { message }, {})
}

function responseOf({ status, headers, body, encoding }: Answered): Response {
  if (status < 200 || status > 599)
    throw new RemitError('bad_answer', { message: 'The answer of the vault cannot be read.' }, {})
  const content = encoding === 'text' ? body : bytesOf(body)
  return new Response(bodiless.has(status) ? null : content, { status, headers })
}

const base64 = (bytes: Uint8Array): string =>
  btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))

const bytesOf = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(text), (char) => char.charCodeAt(0))

const isWords: Check<Readonly<Record<string, string>>> = (value): value is Readonly<Record<string, string>> =>
  typeof value === 'object' && value !== null && Object.values(value).every(isText)

// In another encoding the body could not be read.
const isVaultAnswer: Check<Answered> = shape<Answered>({
  status: isNumber,
  headers: isWords,
  body: isText,
  encoding: wordOf('text', 'base64'),
})
