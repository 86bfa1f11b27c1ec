import { RemitError } from '../errors/error.ts'
import { errorFromResponse, retryAfterOf } from '../errors/from-response.ts'
import { Unavailable } from '../errors/kinds.ts'
import { sendUnder } from '../service/authorized.ts'
import { limitedText } from '../shared/fetch-json.ts'
import { parsedJson } from '../shared/json.ts'
import type { Platform } from '../shared/platform.ts'
import type { Check } from '../shared/shape.ts'
import type { ServiceTokens } from './client-credentials.ts'

/** One request of a writer. It may be sent again: each of them is the same whether it arrives once or twice. */
export interface WriteRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  /** Begins with a slash; may have a query. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** A function makes the same stream anew each time. */
  readonly body?: string | (() => ReadableStream<Uint8Array>)
  readonly signal?: AbortSignal | undefined
}

/** What sending a write needs. */
export interface WriteRequestDeps {
  /** Of the service, without a slash at its end: also the audience of its tokens. */
  readonly url: string
  readonly tokens: ServiceTokens
  readonly platform: Platform
}

const bytesMax = 32 * 1024 * 1024
const attemptsMax = 6
const pauseMsMax = 30_000

/**
 * Sends a request, again where the service asks to come back (429, 503; six times in all), and gives the JSON of its
 * success. There is no limit of time but the signal's and the platform's: an import takes as long as it takes.
 *
 * @throws RemitError of the service's code; `bad_answer` where the answer has another shape; Unavailable without a status
 * where there was none.
 */
export async function writeRequest<T>(
  request: WriteRequest,
  check: Check<T>,
  { url, tokens, platform }: WriteRequestDeps,
): Promise<T> {
  const { method, path, headers = {}, body } = request
  const signal = request.signal ?? new AbortController().signal
  const tokenRequest = { audience: url, signal }
  const supply = {
    get: () => tokens.get(tokenRequest),
    drop: (token: Parameters<ServiceTokens['drop']>[1]) => tokens.drop(tokenRequest, token),
  }
  const sent = {
    method,
    url: `${url}${path}`,
    headers: new Headers({ accept: 'application/json', ...headers }),
    body,
    signal,
  }
  for (let attempt = 1; ; attempt += 1) {
    const { response, token } = await sendUnder(supply, sent, platform)
    if (response.ok) return readAnswer(response, check, `${method} ${path.replace(/\?.*/, '')}`)
    const isBusy = response.status === 429 || response.status === 503
    if (!isBusy || attempt === attemptsMax)
      throw await errorFromResponse(response, { secrets: [token.reveal()], now: platform.now() })
    await response.body?.cancel()
    await platform.sleep(pauseMs(response.headers, attempt, platform.now()), signal)
  }
}

function pauseMs(headers: Headers, attempt: number, now: number): number {
  const seconds = retryAfterOf(headers, now)
  const delayMs = seconds === undefined ? 250 * 2 ** attempt : seconds * 1_000
  return Math.min(Math.max(delayMs, 50), pauseMsMax)
}

async function readAnswer<T>(response: Response, check: Check<T>, name: string): Promise<T> {
  const text = await limitedText(response, bytesMax).catch(() => {
    throw new Unavailable('unavailable', { message: `The answer to ${name} broke off.` }, {})
  })
  const answer = parsedJson(text)
  if (check(answer)) return answer
  const message = `The answer to ${name} cannot be read.`
  throw new RemitError('bad_answer', { message, status: response.status }, {})
}
