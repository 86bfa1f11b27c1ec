import { parentPort, workerData } from 'node:worker_threads'
import { parseDocument } from './document.ts'
import { type Parsed, ParseError, type ParseErrorCode, type ParseInput, type ParseLimits } from './parsed.ts'

export interface ParseRequest extends ParseInput {
  readonly id: number
}

export type ParseReply =
  | { readonly ready: true }
  | { readonly id: number; readonly parsed: Parsed }
  | { readonly id: number; readonly code: ParseErrorCode; readonly detail: string; readonly cause: string }

const limits: ParseLimits = workerData

parentPort?.on('message', (request: ParseRequest) => {
  void answer(request).then((reply) => parentPort?.postMessage(reply))
})
parentPort?.postMessage({ ready: true } satisfies ParseReply)

async function answer(request: ParseRequest): Promise<ParseReply> {
  try {
    return { id: request.id, parsed: await parseDocument(request, limits) }
  } catch (error) {
    const { code, detail } =
      error instanceof ParseError
        ? error
        : // A parser that stumbles, by a stack that ends or a value that it did not expect, has met a bad document.
          { code: 'unreadable' as const, detail: 'The document cannot be read.' }
    const cause = error instanceof ParseError ? error.cause : error
    return {
      id: request.id,
      code,
      detail,
      cause: cause instanceof Error ? `${cause.name}: ${cause.message}` : '',
    }
  }
}
