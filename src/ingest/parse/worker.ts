import { parentPort, workerData } from 'node:worker_threads'
import { type Counting, createCounter } from '../../embed/counting.ts'
import { lowerPriority } from '../../kernel/lower-priority.ts'
import { reasonOf } from '../../kernel/reason.ts'
import { chunk } from '../chunk.ts'
import type { Prepared } from '../context.ts'
import { parseDocument } from './document.ts'
import { ownTitle } from './own-title.ts'
import { type Parsed, ParseError, type ParseErrorCode, type ParseInput, type ParseLimits } from './parsed.ts'

/** What the parser's thread is asked. */
export interface ParseRequest extends ParseInput {
  readonly id: number
  /** Of a document that is cut into passages, too. */
  readonly title?: string
  /** Only what it calls itself is wanted. */
  readonly isTitleWanted?: true
}

/** How documents are cut into passages. */
export interface Cutting {
  readonly counting: Counting
  /** Of a passage: what the model reads. */
  readonly tokensMax: number
}

/** What the parser's thread starts with. */
export interface WorkerStart {
  readonly limits: ParseLimits
  readonly cutting?: Cutting
  /** See {@link lowerPriority}. */
  readonly givesWay?: boolean
}

/** What the parser's thread answers. */
export type ParseReply =
  | { readonly ready: true }
  | { readonly id: number; readonly parsed: Parsed }
  | { readonly id: number; readonly prepared: Prepared }
  | { readonly id: number; readonly ownTitle: string | undefined }
  /** No document's fault: the model's tokenizer cannot be read. */
  | { readonly id: number; readonly broken: string }
  | { readonly id: number; readonly code: ParseErrorCode; readonly detail: string; readonly cause: string }

const { limits, cutting, givesWay }: WorkerStart = workerData
let counter: ((text: string) => number) | undefined

/** Share of a passage of prose that is repeated in the next. */
const OVERLAP_SHARE = 0.125

parentPort?.on('message', (request: ParseRequest) => {
  void answer(request).then((reply) => parentPort?.postMessage(reply))
})
// Not before: a thread that is not ready after a minute is ended.
if (givesWay) lowerPriority()
parentPort?.postMessage({ ready: true } satisfies ParseReply)

async function answer(request: ParseRequest): Promise<ParseReply> {
  const { id, title } = request
  if (title !== undefined) {
    try {
      counter ??= cutting && createCounter(cutting.counting)
    } catch (error) {
      return { id, broken: reasonOf(error) }
    }
  }
  try {
    if (request.isTitleWanted) return { id, ownTitle: await ownTitle(request, limits) }
    const parsed = await parseDocument(request, limits)
    if (title === undefined || counter === undefined || cutting === undefined) return { id, parsed }
    const { tokensMax } = cutting
    const overlapTokens = Math.round(tokensMax * OVERLAP_SHARE)
    const chunks = chunk(parsed, { countTokens: counter, tokensMax, overlapTokens, title })
    return { id, prepared: { text: parsed.text, chunks } }
  } catch (error) {
    const { code, detail } =
      error instanceof ParseError
        ? error
        : // A parser that stumbles, by a stack that ends or a value that it did not expect, has met a bad document.
          { code: 'unreadable' as const, detail: 'The document cannot be read.' }
    const cause = error instanceof ParseError ? error.cause : error
    return {
      id,
      code,
      detail,
      cause: cause instanceof Error ? `${cause.name}: ${cause.message}` : '',
    }
  }
}
