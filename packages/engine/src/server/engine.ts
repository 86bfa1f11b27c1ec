import { isJsonObject, type JsonObject } from '../core/condition-values.ts'
import { ConditionError, FgaError, invalidRequest } from '../core/errors.ts'
import { match } from '../core/json-members.ts'
import type { Call, Reply } from './http/call.ts'
import { readChanges, write } from './http/changes.ts'
import { ulidPattern } from './http/input.ts'
import { batchCheck, check, listObjects, listUsers, read, streamedListObjects } from './http/queries.ts'
import {
  createStore,
  deleteStore,
  getStore,
  listStores,
  readModel,
  readModels,
  writeModel,
} from './http/stores.ts'
import type { Journal } from './journal.ts'
import { loadState, type State } from './state.ts'

/** Where the engine keeps its rows, which clock it reads, and who is told of its failures. */
export interface EngineOptions {
  /** Persistence; without one, everything is gone with the process. */
  readonly journal?: Journal
  /** Milliseconds since the epoch. Default: the system's clock. */
  readonly now?: () => number
  /** Told of every failure that callers see only as `internal_error`. */
  readonly onError?: (error: unknown) => void
}

/** An OpenFGA server in process: requests in, replies out. */
export interface Engine {
  /** Loads the journal; rejects when it cannot be read. `fetch` waits for it. */
  ready(): Promise<void>
  /**
   * The OpenFGA HTTP API (paths, JSON, error codes of server v1.22.1) as a fetch handler: stores, models,
   * write, read, changes, check, batch-check, list-objects, streamed-list-objects, list-users, healthz. All
   * else answers `unimplemented`. Authenticates nobody: put that before it.
   */
  fetch(request: Request): Promise<Response>
}

/** Reads everything from the journal, then answers requests one after another as OpenFGA would. */
export function createEngine({ journal, now = Date.now, onError }: EngineOptions = {}): Engine {
  let loading: Promise<State> | undefined
  const exclusive = createExclusive()

  function load(): Promise<State> {
    loading ??= loadState(journal, now).catch((error: unknown) => {
      loading = undefined
      throw error
    })
    return loading
  }

  async function attempt(request: Request, url: URL, headers: Headers): Promise<Reply> {
    let isStream = false
    try {
      const route = findRoute(request.method, url.pathname)
      const { storeId, id } = route
      const body = await readBody(request)
      const state = await load()
      isStream = route.handler === streamedListObjects
      if (storeId !== '') {
        headers.set('Openfga-Store-Id', storeId.replace(/[^\x21-\x7e]/g, '?'))
        match(storeId, ulidPattern, 'Request.StoreId')
      }
      const query = url.searchParams
      return await route.handler({ storeId, id, query, body, state, journal, now, headers, exclusive })
    } catch (error) {
      const fgaError = toFgaError(error)
      if (fgaError.code === 'internal_error') onError?.(error)
      return showError(fgaError, isStream)
    }
  }

  return {
    ready: async () => {
      await load()
    },
    async fetch(request) {
      const url = new URL(request.url)
      if (url.pathname === '/healthz') return Response.json({ status: 'SERVING' })
      const headers = new Headers({ 'X-Request-Id': globalThis.crypto.randomUUID() })
      const { status, body } = await attempt(request, url, headers)
      if (body === undefined) return new Response(null, { status, headers })
      headers.set('Content-Type', 'application/json')
      return new Response(body instanceof ReadableStream ? body : JSON.stringify(body), { status, headers })
    },
  }
}

/** Runs tasks one after another, whether or not those before failed. */
function createExclusive(): Call['exclusive'] {
  let queue: Promise<unknown> = Promise.resolve()
  return (task) => {
    const result = queue.then(task)
    queue = result.catch(() => undefined)
    return result
  }
}

/** Errors of a stream have a shape of their own. */
const showError = ({ status, code, message }: FgaError, isStream: boolean): Reply => ({
  status,
  body: isStream ? { error: { code: 3, message, details: [] } } : { code, message },
})

/** Only what was thrown on purpose is told to the caller. */
function toFgaError(error: unknown): FgaError {
  if (error instanceof FgaError) return error
  if (error instanceof ConditionError) return invalidRequest(error.message)
  return new FgaError('internal_error', 'Internal Server Error')
}

type Handler = (call: Call) => Reply | Promise<Reply>
type Methods = Readonly<Record<string, Handler>>

/** The server's limit on a request (its gRPC message size). */
const bodyBytesMax = 616_448

const unsupported: Handler = () => {
  throw new FgaError('unimplemented', 'this engine does not implement the method')
}

const rootRoutes: Methods = { POST: createStore, GET: listStores }
const storeRoutes: Methods = { GET: getStore, DELETE: deleteStore, PATCH: unsupported }
const underStore: Readonly<Record<string, Methods>> = {
  'authorization-models': { POST: writeModel, GET: readModels },
  write: { POST: write },
  read: { POST: read },
  changes: { GET: readChanges },
  check: { POST: check },
  'batch-check': { POST: batchCheck },
  'list-objects': { POST: listObjects },
  'streamed-list-objects': { POST: streamedListObjects },
  'list-users': { POST: listUsers },
  expand: { POST: unsupported },
}
const withId: Readonly<Record<string, Methods>> = {
  'authorization-models': { GET: readModel },
  assertions: { GET: unsupported, PUT: unsupported },
}

/** The handler of one method and path, with the ids that the path names. */
interface Route {
  readonly handler: Handler
  readonly storeId: string
  readonly id: string
}

/** The handler of a path and method. Throws `undefined_endpoint` or `unimplemented`. */
function findRoute(method: string, path: string): Route {
  const [stores, storeId = '', name, id = '', ...excess] = path.split('/').slice(1)
  if (stores !== 'stores' || excess.length > 0) throw notFound()
  const methods = methodsOf(path.split('/').length - 1, name ?? '')
  if (methods === undefined) throw notFound()
  const handler = Object.hasOwn(methods, method) ? methods[method] : undefined
  if (handler === undefined) throw new FgaError('unimplemented', 'Method Not Allowed')
  return { handler, storeId: decode(storeId), id: decode(id) }
}

function methodsOf(length: number, name: string): Methods | undefined {
  if (length === 1) return rootRoutes
  if (length === 2) return storeRoutes
  const table = length === 3 ? underStore : withId
  return Object.hasOwn(table, name) ? table[name] : undefined
}

const notFound = (): FgaError => new FgaError('undefined_endpoint', 'Not Found')

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch (error) {
    if (error instanceof URIError) throw notFound()
    throw error
  }
}

/** Reads a JSON body; an empty one is `{}`. Unknown members are ignored, as by the server. */
async function readBody(request: Request): Promise<JsonObject> {
  if (request.body === null) return {}
  const text = await readLimited(request.body)
  if (text.trim() === '') return {}
  const json = parse(text)
  if (!isJsonObject(json)) throw invalidRequest('syntax error: unexpected token, expected an object')
  return json
}

function parse(text: string): Parameters<typeof isJsonObject>[0] {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) throw invalidRequest(error.message)
    throw error
  }
}

async function readLimited(stream: ReadableStream<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of stream) {
    size += chunk.length
    if (size > bodyBytesMax)
      throw new FgaError(
        'resource_exhausted',
        `grpc: received message larger than max (${size} vs. ${bodyBytesMax})`,
      )
    chunks.push(chunk)
  }
  return new TextDecoder().decode(Buffer.concat(chunks))
}
