import { isJsonObject, type JsonObject } from '../../core/condition-values.ts'
import { ConditionError, FgaError, invalidRequest } from '../../core/errors.ts'
import type { Call, Reply } from './call.ts'
import { match, ulidPattern } from './input.ts'
import { listObjects, listUsers, streamedListObjects } from './lists.ts'
import { batchCheck, check } from './queries.ts'
import { read, readChanges } from './read.ts'
import {
  createStore,
  deleteStore,
  getStore,
  listStores,
  readModel,
  readModels,
  writeModel,
} from './stores.ts'
import { write } from './write.ts'

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
export interface Route {
  readonly handler: Handler
  /** Errors of a stream have a shape of their own. */
  readonly isStream: boolean
  readonly storeId: string
  readonly id: string
}

/** The handler of a path and method. Throws `undefined_endpoint` or `unimplemented`. */
export function findRoute(method: string, path: string): Route {
  const [stores, storeId = '', name, id = '', ...excess] = path.split('/').slice(1)
  if (stores !== 'stores' || excess.length > 0) throw notFound()
  const methods = methodsOf(path.split('/').length - 1, name ?? '')
  if (methods === undefined) throw notFound()
  const handler = Object.hasOwn(methods, method) ? methods[method] : undefined
  if (handler === undefined) throw new FgaError('unimplemented', 'Method Not Allowed')
  return { handler, isStream: handler === streamedListObjects, storeId: decode(storeId), id: decode(id) }
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

/** Runs a handler and turns what it throws into the server's error answer. */
export async function answer(route: Route, call: Call): Promise<Response> {
  const reply = await attempt(route, call)
  if (reply.body === undefined) return new Response(null, { status: reply.status, headers: call.headers })
  call.headers.set('Content-Type', 'application/json')
  const body = reply.body instanceof ReadableStream ? reply.body : JSON.stringify(reply.body)
  return new Response(body, { status: reply.status, headers: call.headers })
}

async function attempt(route: Route, call: Call): Promise<Reply> {
  try {
    if (route.storeId !== '') {
      call.headers.set('Openfga-Store-Id', route.storeId.replace(/[^\x21-\x7e]/g, '?'))
      match(route.storeId, ulidPattern, 'Request.StoreId')
    }
    return await route.handler(call)
  } catch (error) {
    const fgaError = toFgaError(error)
    if (route.isStream)
      return { status: fgaError.status, body: { error: { code: 3, message: fgaError.message, details: [] } } }
    return showError(fgaError)
  }
}

/** An error as the API shows it: status, code and message. */
export const showError = (error: FgaError): Reply => ({
  status: error.status,
  body: { code: error.code, message: error.message },
})

/** Only what was thrown on purpose is told to the caller. */
export function toFgaError(error: unknown): FgaError {
  if (error instanceof FgaError) return error
  if (error instanceof ConditionError) return invalidRequest(error.message)
  return new FgaError('internal_error', 'Internal Server Error')
}

/** Reads a JSON body; an empty one is `{}`. Unknown members are ignored, as by the server. */
export async function readBody(request: Request): Promise<JsonObject> {
  if (request.body === null) return {}
  const text = new TextDecoder().decode(await readLimited(request.body))
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

async function readLimited(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
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
  const joined = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    joined.set(chunk, offset)
    offset += chunk.length
  }
  return joined
}
