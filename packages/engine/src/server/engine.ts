import type { Call } from './http/call.ts'
import { answer, findRoute, type Route, readBody, showError, toFgaError } from './http/routes.ts'
import type { Journal } from './journal.ts'
import { loadState, type State } from './state.ts'

/** Where the engine keeps its rows, which clock it reads, and its bounds. */
export interface EngineOptions {
  /** Persistence; without one, everything is gone with the process. */
  readonly journal?: Journal
  /** Milliseconds since the epoch. Default: the system's clock. */
  readonly now?: () => number
  /** Userset and parent hops after which a check errs (the server's resolve-node-limit). Default 25. */
  readonly depthMax?: number
  /** Source of ids; must grow. Default: made from `now`, above all that the journal holds. */
  readonly ulid?: () => string
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
export function createEngine(options: EngineOptions = {}): Engine {
  const now = options.now ?? Date.now
  const { journal, depthMax = 25, onError } = options
  let loading: Promise<State> | undefined
  let queue: Promise<unknown> = Promise.resolve()

  function load(): Promise<State> {
    loading ??= loadState(journal, now, options.ulid).catch((error: unknown) => {
      loading = undefined
      throw error
    })
    return loading
  }

  function exclusive<T>(task: () => Promise<T>): Promise<T> {
    const result = queue.then(task)
    queue = result.catch(() => undefined)
    return result
  }

  async function serve(request: Request, route: Route, url: URL, headers: Headers): Promise<Response> {
    const body = await readBody(request)
    const state = await load()
    const { storeId, id, handler } = route
    const call: Call = {
      storeId,
      id,
      query: url.searchParams,
      body,
      state,
      journal,
      now,
      depthMax,
      headers,
      exclusive,
    }
    return answer({ ...route, handler: reporting(handler, onError) }, call)
  }

  return {
    ready: async () => {
      await load()
    },
    async fetch(request) {
      const url = new URL(request.url)
      if (url.pathname === '/healthz') return Response.json({ status: 'SERVING' })
      const headers = new Headers({ 'X-Request-Id': globalThis.crypto.randomUUID() })
      try {
        return await serve(request, findRoute(request.method, url.pathname), url, headers)
      } catch (error) {
        const fgaError = toFgaError(error)
        if (fgaError.code === 'internal_error') onError?.(error)
        const { status, body } = showError(fgaError)
        return Response.json(body, { status, headers })
      }
    },
  }
}

function reporting(handler: Route['handler'], onError: EngineOptions['onError']): Route['handler'] {
  return async (call) => {
    try {
      return await handler(call)
    } catch (error) {
      if (toFgaError(error).code === 'internal_error') onError?.(error)
      throw error
    }
  }
}
