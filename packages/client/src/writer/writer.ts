import type {
  AccessChange,
  AccessChanged,
  DocumentAccess,
  DocumentInput,
  FailedDocumentList,
  JobSummary,
} from '@remit/contract/writes'
import { RemitError } from '../errors/error.ts'
import { errorFromResponse, retryAfterOf } from '../errors/from-response.ts'
import { Unavailable, WriteFailed } from '../errors/kinds.ts'
import { sendUnder } from '../service/authorized.ts'
import type { Job, JobList } from '../shared/answers.ts'
import { isSafe, limitedText } from '../shared/fetch-json.ts'
import { parsedJson } from '../shared/json.ts'
import { type Platform, type PlatformOptions, platformOf } from '../shared/platform.ts'
import type { Check } from '../shared/shape.ts'
import { AccessToken } from '../tokens/token.ts'
import type { ServiceTokens } from './client-credentials.ts'
import { isAccessChanged, isFailedDocumentList, isJob, isJobAnswer, isJobList } from './wire.ts'

/** Settings of `createWriter` for one service. */
export interface WriterOptions extends PlatformOptions {
  /** Of the service: its PUBLIC_URL, exactly. */
  readonly url: string
  /**
   * The service's own tokens: `clientCredentials`, or a function that gives one which still counts for a
   * while.
   */
  readonly token: ServiceTokens | (() => Promise<string>)
  /**
   * Lets tokens travel over plain http beyond this machine, in a network that is yours alone. Default false.
   */
  readonly allowPlainHttp?: boolean
}

/** Options of every write. */
export interface WriteOptions {
  readonly signal?: AbortSignal | undefined
}

/** Options of a write that the service does as a job. */
export interface JobOptions extends WriteOptions {
  /** Called with each state of the job, the last one included. */
  readonly onProgress?: (job: Job) => void
}

/** Options of an import. Without `snapshotOf` it withdraws nothing. */
export interface ImportOptions extends JobOptions {
  /**
   * Withdraws what this collection has and the lines do not list. The last line has to be
   * `{"end": <number of lines before>}`, else nothing is withdrawn and the job notes `snapshot_not_applied`.
   */
  readonly snapshotOf?: string
  /** Lets an empty list withdraw everything, within `allowWithdraw`. Default false. */
  readonly allowEmpty?: boolean
  /** How many documents may go where they are more than half of the collection. Left out: none then. */
  readonly allowWithdraw?: number
  /** The same key is the same import, once. Default: a random one for each call. */
  readonly idempotencyKey?: string
  /** Called once when all lines are with the service, before the job is waited for. */
  readonly onAccepted?: (id: string) => void
}

/**
 * Lines of an import: documents, or NDJSON as a function that makes the same stream anew each time it is
 * sent.
 */
export type ImportLines = Iterable<DocumentInput> | (() => ReadableStream<Uint8Array>)

/**
 * A service's way to write: documents with who may read them, and the relationships beside them. Every call
 * may be made again after a failure. What each may touch is for the service to say.
 */
export interface Writer {
  /**
   * Brings a document in, or replaces it, and waits until it can be found. Content and access come together.
   *
   * @throws RemitError where the service refuses it; WriteFailed where it was taken in and failed.
   */
  put(document: DocumentInput, options?: WriteOptions): Promise<Job>
  /** Withdraws a document. Nobody finds it any more when this begins to wait for the rest. */
  withdraw(id: string, options?: WriteOptions): Promise<Job>
  /**
   * Sets anew who may read a document; `{}` is nobody. What it takes away is in force when this is answered.
   */
  setAccess(id: string, access: DocumentAccess, options?: WriteOptions): Promise<AccessChanged>
  /** Writes and deletes relationship tuples: memberships, and readers and parents of folders. */
  changeAccess(change: AccessChange, options?: WriteOptions): Promise<AccessChanged>
  /**
   * Imports many documents and waits for the job. The job is given whatever became of its lines: look at
   * `failed`, `errors` and `notes`.
   *
   * @throws RemitError where the import as a whole is refused.
   */
  importAll(lines: ImportLines, options?: ImportOptions): Promise<Job>
  /** Waits until a job is `done` or `failed`. A state that this version does not know is neither. */
  waitFor(id: string, options?: JobOptions): Promise<Job>
}

/** Options of a list. */
export interface ListOptions extends WriteOptions {
  /** Of the page before. Left out: the first. */
  readonly cursor?: string | undefined
  /** Rows of a page, 200 at most. Left out: 50. */
  readonly limit?: number | undefined
}

/** Which jobs: what is left out is any. */
export interface JobListOptions extends ListOptions {
  readonly state?: JobSummary['state'] | undefined
  readonly kind?: JobSummary['kind'] | undefined
}

/** A service's way to see what became of what it sent, and to mend it. */
export interface JobDesk {
  /** How a job stands. */
  job(id: string, options?: WriteOptions): Promise<Job>
  /** A page of the service's jobs, newest first. */
  jobs(options?: JobListOptions): Promise<JobList>
  /** A page of its documents whose newest content could not be taken in, newest failure first. */
  failedDocuments(options?: ListOptions & { readonly code?: string | undefined }): Promise<FailedDocumentList>
  /**
   * Has failed content taken in again without sending it, and waits until it can be found.
   *
   * @throws RemitError `not_found` where nothing of the document failed, `conflict` where its content is held
   * no longer: send it again; WriteFailed where it failed once more.
   */
  retry(id: string, options?: WriteOptions): Promise<Job>
}

const pollMsMax = 1_000

const isOver = ({ state }: Job): boolean => state === 'done' || state === 'failed'

/** A service's writer. Nothing is sent before it is used. */
export function createWriter(options: WriterOptions): Writer & JobDesk {
  const { token, allowPlainHttp = false } = options
  if (typeof options.url !== 'string')
    throw new TypeError('createWriter needs `url`: the service’s PUBLIC_URL.')
  const url = options.url.replace(/\/$/, '')
  if (!isSafe(url) && !allowPlainHttp)
    throw new TypeError(`${url} has to be an https URL, or http on loopback.`)
  const platform = platformOf(options)
  const dependencies = { url, tokens: typeof token === 'function' ? tokensFrom(token) : token, platform }
  const send = <T>(request: WriteRequest, check: Check<T>) => writeRequest(request, check, dependencies)

  const jobOf = (id: string, { signal }: WriteOptions = {}): Promise<Job> =>
    send({ method: 'GET', path: `/jobs/${encodeURIComponent(id)}`, signal }, isJob)

  async function waitFor(id: string, { signal, onProgress }: JobOptions = {}): Promise<Job> {
    for (let pause = 100; ; pause = Math.min(pause * 1.5, pollMsMax)) {
      const job = await jobOf(id, { signal })
      onProgress?.(job)
      if (isOver(job)) return job
      await platform.sleep(pause, signal)
    }
  }

  /** The job of this request, when it has ended well. */
  async function succeed(request: WriteRequest): Promise<Job> {
    const { job } = await send(request, isJobAnswer)
    // It holds the whole job only where the service was waited for.
    const ended = isJob(job) && isOver(job) ? job : await waitFor(job.id, { signal: request.signal })
    if (ended.state === 'failed' || ended.failed > 0) throw failureOf(ended)
    return ended
  }

  return {
    waitFor,
    job: jobOf,
    jobs: ({ signal, ...query } = {}) =>
      send({ method: 'GET', path: `/jobs${searchOf(query)}`, signal }, isJobList),
    failedDocuments: ({ signal, ...query } = {}) =>
      send(
        { method: 'GET', path: `/documents${searchOf({ state: 'failed', ...query })}`, signal },
        isFailedDocumentList,
      ),
    retry: (id, { signal } = {}) =>
      succeed({
        method: 'POST',
        path: `/documents/${encodeURIComponent(id)}/retry`,
        headers: { prefer: 'wait' },
        signal,
      }),
    put: (document, { signal } = {}) =>
      succeed({
        method: 'PUT',
        path: `/documents/${encodeURIComponent(document.id)}`,
        headers: { 'content-type': 'application/json', prefer: 'wait' },
        body: JSON.stringify(document),
        signal,
      }),
    withdraw: (id, { signal } = {}) =>
      succeed({
        method: 'DELETE',
        path: `/documents/${encodeURIComponent(id)}`,
        headers: { prefer: 'wait' },
        signal,
      }),
    setAccess: (id, access, { signal } = {}) =>
      send(
        {
          method: 'PUT',
          path: `/documents/${encodeURIComponent(id)}/access`,
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(access),
          signal,
        },
        isAccessChanged,
      ),
    changeAccess: (change, { signal } = {}) =>
      send(
        {
          method: 'POST',
          path: '/access',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(change),
          signal,
        },
        isAccessChanged,
      ),
    async importAll(lines, { signal, onProgress, onAccepted, ...importOptions } = {}) {
      const { job } = await send(
        {
          method: 'POST',
          path: `/imports${queryOf(importOptions)}`,
          headers: {
            'content-type': 'application/x-ndjson',
            'idempotency-key': importOptions.idempotencyKey ?? crypto.randomUUID(),
          },
          body: typeof lines === 'function' ? lines : ndjson(lines, importOptions.snapshotOf !== undefined),
          signal,
        },
        isJobAnswer,
      )
      onAccepted?.(job.id)
      return waitFor(job.id, { signal, ...(onProgress !== undefined && { onProgress }) })
    },
  }
}

/** A function's tokens. It has no other one to give for one that was refused. */
const tokensFrom = (token: () => Promise<string>): ServiceTokens => ({
  get: async ({ audience }) =>
    new AccessToken(await token(), {
      subject: '',
      audience,
      scopes: [],
      details: [],
      expiresAt: Number.MAX_SAFE_INTEGER,
    }),
  drop: async () => undefined,
})

/** Whoever gives documents gives all of them: the end line is ours to write. */
function ndjson(documents: Iterable<DocumentInput>, isSnapshot: boolean): string {
  const lines = [...documents].map((document) => JSON.stringify(document))
  return [...lines, ...(isSnapshot ? [JSON.stringify({ end: lines.length })] : [])]
    .map((line) => `${line}\n`)
    .join('')
}

function queryOf({ snapshotOf, allowEmpty = false, allowWithdraw }: ImportOptions): string {
  if (snapshotOf === undefined) return ''
  const query = new URLSearchParams({ mode: 'snapshot', collection: snapshotOf })
  if (allowEmpty) query.set('allow_empty', 'true')
  if (allowWithdraw !== undefined) query.set('allow_withdraw', String(allowWithdraw))
  return `?${query}`
}

function searchOf(members: Readonly<Record<string, string | number | undefined>>): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(members)) if (value !== undefined) query.set(name, String(value))
  return query.size === 0 ? '' : `?${query}`
}

function failureOf(job: Job): WriteFailed {
  const [error] = job.errors
  const message = job.errors.map(({ code, detail }) => `${code} ${detail}`).join('; ') || 'the job failed'
  return new WriteFailed('write_failed', { message, field: error?.field }, { job })
}

/**
 * One request of a writer. It may be sent again: each of them is the same whether it arrives once or twice.
 */
interface WriteRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  /** Begins with a slash; may have a query. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** A function makes the same stream anew each time. */
  readonly body?: string | (() => ReadableStream<Uint8Array>)
  readonly signal?: AbortSignal | undefined
}

/** What sending a write needs. */
interface WriteRequestDeps {
  /** Of the service, without a slash at its end: also the audience of its tokens. */
  readonly url: string
  readonly tokens: ServiceTokens
  readonly platform: Platform
}

const bytesMax = 32 * 1024 * 1024
const attemptsMax = 6
const pauseMsMax = 30_000

/**
 * Sends a request, again where the service asks to come back (429, 503; six times in all), and gives the JSON
 * of its success. There is no limit of time but the signal's and the platform's: an import takes as long as
 * it takes.
 *
 * @throws RemitError of the service's code; `bad_answer` where the answer has another shape; Unavailable
 * without a status where there was none.
 */
async function writeRequest<T>(
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
