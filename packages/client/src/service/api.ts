import { RemitError } from '../errors/error.ts'
import { errorFromResponse, retryAfterOf } from '../errors/from-response.ts'
import { limitedText } from '../shared/fetch-json.ts'
import { parsedJson } from '../shared/json.ts'
import type { Platform } from '../shared/platform.ts'
import type { Check } from '../shared/shape.ts'
import type { Person, TokenSource } from '../tokens/token.ts'
import { inTime, sendFor } from './authorized.ts'

/** What any call of a session takes. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  /** Milliseconds. Default: what `createRemit` was given. */
  readonly timeoutMs?: number
}

/** One request to the service. */
export interface ApiRequest {
  readonly method: 'GET' | 'POST'
  /** Begins with a slash; may have a query. */
  readonly path: string
  readonly body?: object
  readonly headers?: Readonly<Record<string, string>>
  /** All that the route asks for. */
  readonly scopes: readonly string[]
  /** Sending it twice is like sending it once: then it is sent again where the service asks to come back. */
  readonly isRepeatable: boolean
  readonly signal?: AbortSignal | undefined
  /** Milliseconds. Default: the client's. */
  readonly timeoutMs?: number
}

/** The service's answer, its body unread. */
export interface Answer {
  readonly response: Response
  /** What an answer that is no success says. Reads the body. */
  error(): Promise<RemitError>
}

/** One agent's requests to the service, each for a person. */
export interface Api {
  /** The answer, whatever its status; its body is not read yet. */
  send(person: Person, request: ApiRequest): Promise<Answer>
  /**
   * The answer of a success, as JSON of that shape.
   *
   * @throws RemitError of the service's code; `bad_answer` where it cannot be read.
   */
  json<T>(person: Person, request: ApiRequest, check: Check<T>): Promise<T>
}

/** What the API client needs. `timeoutMs` counts for a whole request, its retries included. */
export interface ApiDeps {
  /** Of the service, without a slash at its end: also the audience of its tokens. */
  readonly url: string
  readonly source: TokenSource
  readonly platform: Platform
  readonly timeoutMs: number
  /** Scopes of the token that serves reading. One that is not among them has a token of its own. */
  readonly readScopes: readonly string[]
}

const bytesMax = 32 * 1024 * 1024
const attemptsMax = 3
const waitSecondsMax = 10

/** A client of the service's API that sends tokens of one source. */
export function createApi({ url, source, platform, timeoutMs, readScopes }: ApiDeps): Api {
  async function attempt(person: Person, request: ApiRequest, signal: AbortSignal): Promise<Answer> {
    const { method, path, body, scopes, headers = {} } = request
    const sent = {
      method,
      url: `${url}${path}`,
      headers: new Headers({
        accept: 'application/json',
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      }),
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    }
    const isReading = scopes.every((scope) => readScopes.includes(scope))
    const tokenRequest = { person, audience: url, scopes: isReading ? readScopes : scopes, signal }
    for (let attemptNumber = 1; ; attemptNumber += 1) {
      const { response, token } = await sendFor(source, tokenRequest, sent, platform)
      const seconds = waitOf(response, platform.now())
      if (!request.isRepeatable || attemptNumber === attemptsMax || seconds === undefined) {
        const context = { secrets: [token.reveal()], now: platform.now() }
        return { response, error: () => errorFromResponse(response, context) }
      }
      await response.body?.cancel()
      await platform.sleep(seconds * 1_000, signal)
    }
  }

  const timed = <T>(request: ApiRequest, run: (signal: AbortSignal) => Promise<T>): Promise<T> =>
    inTime(request.timeoutMs ?? timeoutMs, request.signal, run)

  return {
    send: (person, request) => timed(request, (signal) => attempt(person, request, signal)),
    json: (person, request, check) =>
      timed(request, async (signal) => {
        const { response, error } = await attempt(person, request, signal)
        if (!response.ok) throw await error()
        const answer = parsedJson(await limitedText(response, bytesMax))
        if (check(answer)) return answer
        const message = `The answer to ${request.method} ${request.path.replace(/\?.*/, '')} cannot be read.`
        throw new RemitError('bad_answer', { message, status: response.status }, {})
      }),
  }
}

/** Seconds; undefined: it is not worth asking again. */
function waitOf(response: Response, now: number): number | undefined {
  if (response.status !== 503 && response.status !== 429) return undefined
  const seconds = retryAfterOf(response.headers, now)
  return seconds === undefined || seconds > waitSecondsMax ? undefined : seconds
}
