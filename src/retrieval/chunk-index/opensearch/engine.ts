import { z } from 'zod'
import { assertNotAborted } from '../../../kernel/assert-not-aborted.ts'
import { reasonOf } from '../../../kernel/reason.ts'

/** A request to the engine. */
export interface EngineRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  /** With its first slash. */
  readonly path: string
  /** Several go as lines, as `_bulk` takes them; a string is a line of JSON already. */
  readonly body?: object | readonly (object | string)[]
  /** Milliseconds for one try. Default 5,000. */
  readonly timeoutMs?: number
  /** Ends it: nobody waits for the answer any more. */
  readonly signal?: AbortSignal | undefined
}

/**
 * The nodes of an OpenSearch. Each request may be sent twice, so all that are made can be done twice: reads,
 * and writes under a version.
 */
export interface Engine {
  /**
   * Asks a node, and once more the next one where that one refuses or `read` throws what it makes of the
   * answer. Throws {@link EngineRefused}, and `deadline_exceeded` where its signal fired. An answer in part
   * is for `read` to refuse.
   */
  ask<T>(request: EngineRequest, read: (answer: unknown) => T): Promise<T>
  /** Asks every node once. */
  askEach<T>(
    request: EngineRequest,
    read: (answer: unknown) => T,
  ): Promise<readonly PromiseSettledResult<T>[]>
}

/** Where the nodes are, and how to get there. */
export interface EngineOptions {
  /** Origins, one at least. A single one is asked both times. */
  readonly urls: readonly string[]
  /** The `authorization` header. */
  readonly authorization?: string | undefined
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>
}

/** The engine did not answer as it should. Quotes nothing of an answer: it may hold lexemes. */
export class EngineRefused extends Error {
  /** HTTP's, where there was an answer that says no. */
  readonly status: number | undefined
  /** The engine itself says that there is no such index. A 404 of a proxy is not that. */
  readonly isNoIndex: boolean
  /** The engine says that there is an index of this name already. */
  readonly isIndexThere: boolean
  constructor(
    reason: string,
    { status, isNoIndex = false, isIndexThere = false, cause }: Partial<Refusal> = {},
  ) {
    super(`The search engine refuses: ${reason}.`, { cause })
    this.name = 'EngineRefused'
    this.status = status
    this.isNoIndex = isNoIndex
    this.isIndexThere = isIndexThere
  }
}

type Refusal = Pick<EngineRefused, 'status' | 'isNoIndex' | 'isIndexThere' | 'cause'>

const timeoutMsDefault = 5_000
// A page of 10,000 numbers has 1 MB; more than this is no answer to what is asked here.
const bytesMax = 64_000_000

/** Takes the nodes in turn. */
export function createEngine({ urls, authorization, fetch }: EngineOptions): Engine {
  let turn = 0

  async function askNode<T>(
    url: string,
    { method, path, body, timeoutMs = timeoutMsDefault, signal }: EngineRequest,
    read: (answer: unknown) => T,
  ): Promise<T> {
    try {
      const response = await fetch(`${url}${path}`, {
        method,
        redirect: 'error',
        signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])]),
        headers: {
          accept: 'application/json',
          ...(authorization !== undefined && { authorization }),
          ...(body !== undefined && {
            'content-type': Array.isArray(body) ? 'application/x-ndjson' : 'application/json',
          }),
        },
        ...(body !== undefined && { body: toText(body) }),
      })
      const text = await readText(response)
      if (!response.ok) {
        const { status } = response
        const isNoIndex = status === 404 && text.includes('"index_not_found_exception"')
        const isIndexThere = status === 400 && text.includes('"resource_already_exists_exception"')
        throw new EngineRefused(`HTTP ${status}`, { status, isNoIndex, isIndexThere })
      }
      return read(JSON.parse(text))
    } catch (error) {
      // Whatever else it died of: no other node, and not the database, is asked for nobody.
      assertNotAborted(signal)
      if (error instanceof EngineRefused) throw error
      const isForm = error instanceof SyntaxError || error instanceof z.ZodError
      throw new EngineRefused(isForm ? 'an answer of another form' : reasonOf(error), { cause: error })
    }
  }

  return {
    async ask(request, read) {
      const first = turn
      turn = (turn + 1) % urls.length
      try {
        return await askNode(urls[first] ?? '', request, read)
      } catch (error) {
        if (!(error instanceof EngineRefused) || isFinal(error)) throw error
        return await askNode(urls[(first + 1) % urls.length] ?? '', request, read)
      }
    },
    askEach: (request, read) => Promise.allSettled(urls.map((url) => askNode(url, request, read))),
  }
}

/** Another node would say the same. Of what is not there that is not so: one may be of another cluster. */
const isFinal = ({ status }: EngineRefused): boolean =>
  status !== undefined && status < 500 && ![404, 408, 429].includes(status)

const toText = (body: object): string =>
  Array.isArray(body) ? body.map((line) => `${toLine(line)}\n`).join('') : JSON.stringify(body)

const toLine = (line: object | string): string => (typeof line === 'string' ? line : JSON.stringify(line))

async function readText(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of response.body ?? []) {
    bytes += part.length
    if (bytes > bytesMax) throw new EngineRefused('an answer that is too long')
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}
