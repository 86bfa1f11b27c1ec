import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import {
  type BatchCheckItem,
  Configuration,
  ConsistencyPreference,
  CredentialsMethod,
  OpenFgaApi,
} from '@openfga/sdk'
import { AppError } from '../kernel/errors.ts'
import type { FgaObject } from '../kernel/ids.ts'
import { step, traceHeaders } from '../kernel/trace.ts'
import {
  type BatchAnswer,
  batchMax,
  type Check,
  contextAt,
  type Fga,
  pages,
  type QueryOptions,
  type Tuple,
  type UntilCondition,
  type Verdict,
} from './fga.ts'
import type { AxiosAdapter, AxiosInstance, FgaApi, OpenFgaTransport } from './fga-api.ts'
import { asUnavailable } from './fga-errors.ts'
import { createDirect } from './openfga-direct.ts'
import { objectsOf, readChanges, readPages, toStored } from './openfga-read.ts'
import { createWriter } from './openfga-write.ts'

/** How many checks go in one call, by how long calls with such checks took. */
export interface CallSizes {
  /** How many of these, from the first on, go in the next call: at least one where there is one. */
  next(checks: readonly Check[]): number
  /** What a call took, in milliseconds; `isAnswered`: false where it failed, was given up or was late. */
  took(call: readonly Check[], ms: number, isAnswered: boolean): void
}

// OpenFGA takes so many of a call at once (docker-compose.yml): fewer would take it as long.
const sizeMin = 4

const sizeAtFirst = batchMax / 2

// The SDK is CommonJS: its axios is the CommonJS build, whose types differ from the ES module's.
const axios = createRequire(import.meta.url)('axios') as {
  create(defaults: {
    readonly timeout: number
    readonly maxRedirects: number
    readonly adapter?: AxiosAdapter
  }): AxiosInstance
}

/**
 * The OpenFGA API by the official SDK, without its retries: the query path has its own deadline. BatchCheck
 * and ReadChanges go over the network by a shorter way.
 */
export function createFgaApi(transport: OpenFgaTransport): FgaApi {
  const { apiUrl, apiToken, timeoutMs, adapter } = transport
  const configuration = new Configuration({
    apiUrl,
    credentials:
      apiToken === undefined
        ? { method: CredentialsMethod.None }
        : { method: CredentialsMethod.ApiToken, config: { token: apiToken } },
    retryParams: { maxRetry: 0, minWaitInMs: 100 },
  })
  const client = axios.create({ timeout: timeoutMs, maxRedirects: 0, ...(adapter && { adapter }) })
  // axios' own time-out starts anew with every byte: a server that trickles would hold a request for ever.
  client.interceptors.request.use((config) => {
    const limit = AbortSignal.timeout(timeoutMs)
    for (const [name, value] of Object.entries(traceHeaders())) config.headers.set(name, value)
    return {
      ...config,
      signal: config.signal instanceof AbortSignal ? AbortSignal.any([config.signal, limit]) : limit,
    }
  })
  const api = new OpenFgaApi(configuration, client)
  return adapter === undefined ? Object.assign(api, createDirect(transport)) : api
}

// A quarter of the time that a call has (src/compose/infrastructure.ts).
const callMsByDefault = 1_000

/**
 * One store on the real server or the embedded engine; `pinned` gives the model in force, asked once a call.
 * `callMs`: what one call of BatchCheck should take at most, in milliseconds; 1,000 by default.
 */
export function createFga(
  api: FgaApi,
  storeId: string,
  pinned: () => string,
  callMs: number = callMsByDefault,
): Fga {
  const writer = createWriter(api, storeId, pinned)
  const sizes = createCallSizes(callMs)
  return {
    storeId,
    get modelId() {
      return pinned()
    },

    async batchCheck(checks, options): Promise<BatchAnswer> {
      // Once for all its pages: no answer mixes two models.
      const modelId = pinned()
      const calls = await Promise.all(
        pages(checks).map((page) =>
          inTurn(page, sizes, (call) => batchOnce(api, storeId, modelId, call, options)),
        ),
      )
      return {
        verdicts: calls.flatMap(({ verdicts }) => verdicts),
        tooDeep: calls.flatMap(({ tooDeep = [] }) => tooDeep),
        requestIds: calls.flatMap(({ requestIds }) => requestIds),
      }
    },

    async *listObjects({ user, relation, type, contextual = [] }, options) {
      const body = {
        authorization_model_id: pinned(),
        user,
        relation,
        type,
        context: contextAt(options.now),
        contextual_tuples: { tuple_keys: [...contextual] },
        consistency: preference(options),
      }
      const stream = await asUnavailable<AsyncIterable<Uint8Array | string>>(() =>
        api.streamedListObjects(storeId, body, callOptions(options)),
      )
      yield* objectsOf(stream)
    },

    async *read({ user, relation, object }) {
      const key =
        object === undefined
          ? undefined
          : { object, ...(user !== undefined && { user }), ...(relation !== undefined && { relation }) }
      for await (const tuples of readPages(api, storeId, key))
        yield* tuples.map((tuple) => toTuple(tuple.key))
    },

    async *readAll({ signal } = {}) {
      for await (const tuples of readPages(api, storeId, undefined, signal)) yield tuples.map(toStored)
    },

    readChanges: (position, options = {}) => readChanges(api, storeId, position, options),

    write: writer.write,
    writeEach: writer.writeEach,
    isOrderly: writer.isOrderly,

    async isHealthy(modelId) {
      try {
        await api.readAuthorizationModel(storeId, modelId)
        return true
      } catch {
        return false
      }
    },
  }
}

// Of one call alone: an answer to another one, that comes late or once too often on a connection that is
// kept, is none to this.
const callsOfThis = randomBytes(6).toString('hex')
let calls = 0

/**
 * A page in as many calls as it takes, one after the other. Where one fails, what was answered before stands
 * and the rest is not asked: an error, as whatever is not answered. Throws where the first one fails.
 */
async function inTurn(
  page: readonly Check[],
  sizes: CallSizes,
  ask: (call: readonly Check[]) => Promise<BatchAnswer>,
): Promise<BatchAnswer> {
  const verdicts: Verdict[] = []
  const tooDeep: Check[] = []
  const requestIds: string[] = []
  while (verdicts.length < page.length) {
    const remaining = page.slice(verdicts.length)
    const call = remaining.slice(0, sizes.next(remaining))
    const began = performance.now()
    const answer = await ask(call).catch((error: unknown) => {
      sizes.took(call, performance.now() - began, false)
      if (verdicts.length === 0 || !(error instanceof AppError)) throw error
    })
    if (answer === undefined)
      return { verdicts: page.map((_, at) => verdicts[at] ?? 'error'), tooDeep, requestIds }
    sizes.took(call, performance.now() - began, true)
    verdicts.push(...answer.verdicts)
    tooDeep.push(...(answer.tooDeep ?? []))
    requestIds.push(...answer.requestIds)
  }
  return { verdicts, tooDeep, requestIds }
}

async function batchOnce(
  api: FgaApi,
  storeId: string,
  modelId: string,
  checks: readonly Check[],
  options: QueryOptions,
): Promise<BatchAnswer> {
  const context = contextAt(options.now)
  const call = `${callsOfThis}-${(calls++).toString(36)}`
  const batchItems: BatchCheckItem[] = checks.map(({ user, relation, object, contextual = [] }, index) => ({
    tuple_key: { user, relation, object },
    // Of fifty empty lists every one is written, read and passed on: a twentieth of what a call costs
    // OpenFGA.
    ...(contextual.length > 0 && { contextual_tuples: { tuple_keys: [...contextual] } }),
    context,
    correlation_id: `${call}-${index}`,
  }))
  const answer = await step(
    'openfga BatchCheck',
    { kind: 'client', attributes: { 'rpc.system.name': 'openfga', 'rpc.method': 'BatchCheck' } },
    () =>
      asUnavailable(() =>
        api.batchCheck(
          storeId,
          {
            checks: batchItems,
            authorization_model_id: modelId,
            consistency: preference(options),
          },
          callOptions(options),
        ),
      ),
  )
  const result: Readonly<Record<string, BatchResult>> | undefined | null = answer.result
  // A page of a proxy, say: nothing was answered, which is no answer about each of them.
  if (result === undefined || result === null) {
    throw new AppError('authorization_unavailable', { internal: 'OpenFGA answered without results' })
  }
  const requestId = answer.$response.headers['x-request-id']
  const resultOf = (index: number): BatchResult | undefined => result[`${call}-${index}`]
  return {
    verdicts: checks.map((_, index) => verdictOf(resultOf(index))),
    tooDeep: checks.filter((_, index) => resultOf(index)?.error?.input_error === tooDeepCode),
    requestIds: typeof requestId === 'string' ? [requestId] : [],
  }
}

interface BatchResult {
  readonly allowed?: boolean
  readonly error?: { readonly input_error?: string } | null
}

// Its BatchCheck says this of `ErrResolutionDepthExceeded` alone (OpenFGA 1.22, pkg/server/batch_check.go).
const tooDeepCode = 'authorization_model_resolution_too_complex'

// What is absent never decides: only `allowed: true` without an error is a yes, only `allowed: false` a no.
function verdictOf(batchResult: BatchResult | null | undefined): Verdict {
  if (batchResult?.error !== undefined && batchResult.error !== null) return 'error'
  if (batchResult?.allowed === true) return 'allowed'
  return batchResult?.allowed === false ? 'denied' : 'error'
}

const preference = ({ consistency = 'fresh' }: QueryOptions): ConsistencyPreference =>
  consistency === 'fresh' ? ConsistencyPreference.HigherConsistency : ConsistencyPreference.MinimizeLatency

const callOptions = ({ signal }: Pick<QueryOptions, 'signal'>): { signal?: AbortSignal } =>
  signal ? { signal } : {}

function toTuple({
  user,
  relation,
  object,
  condition,
}: {
  user: string
  relation: string
  object: string
  condition?: { name: string; context?: object } | null
}): Tuple {
  return {
    user,
    relation,
    object: object as FgaObject,
    ...(condition && { condition: condition as UntilCondition }),
  }
}

/**
 * A call should take `callMs` at most, a part of its time-out: of fifty checks through zones on a busy server
 * none was answered in time, of a few at a time all were. Kept by relation, since `parent` is one read and
 * `can_read` may be fifty: a call is as small as the slowest relation in it asks for. What took too long gets
 * smaller by as much at once; what was full and quick twice as large.
 */
export function createCallSizes(callMs: number): CallSizes {
  const sizes = new Map<string, number>()
  const sizeOf = ({ relation }: Check): number => sizes.get(relation) ?? sizeAtFirst
  return {
    next(checks) {
      let size = batchMax
      for (const [at, check] of checks.entries()) {
        size = Math.min(size, sizeOf(check))
        if (at >= size) return at
      }
      return checks.length
    },
    took(call, ms, isAnswered) {
      const isFull = isAnswered && ms < callMs / 4 && call.length >= Math.min(...call.map(sizeOf))
      const shorter = Math.max(sizeMin, Math.floor((call.length * callMs) / ms))
      for (const relation of new Set(call.map((check) => check.relation))) {
        const size = sizes.get(relation) ?? sizeAtFirst
        if (ms > callMs) sizes.set(relation, Math.min(size, shorter))
        else if (isFull) sizes.set(relation, Math.min(batchMax, 2 * size))
      }
    },
  }
}
