import { availableParallelism } from 'node:os'
import { fairNext } from '../../kernel/fair-next.ts'
import type { Timer } from '../../kernel/timer.ts'
import type { Content, Prepared } from '../context.ts'
import {
  formatOf,
  type Parsed,
  ParseError,
  type ParseInput,
  type ParseLimits,
  parseLimitsDefault,
} from './parsed.ts'
import { createThread, type ParseThread, type Read, type StartWorker } from './thread.ts'
import type { Cutting, ParseRequest } from './worker.ts'

/** Reads documents in threads of its own. */
export interface Parser extends AsyncDisposable {
  /**
   * Text and blocks of a document; throws `ParseError` for one that is not taken, `ThreadError` where none
   * can be read now.
   */
  parse(input: ParseInput): Promise<Parsed>
  /**
   * The same, cut into passages. Ends at once with the signal's reason when it fires, and so does the
   * reading.
   */
  prepare(input: Content, signal?: AbortSignal): Promise<Prepared>
  /** What it calls itself: see `own-title.ts`. */
  ownTitle(input: ParseInput): Promise<string | undefined>
}

interface Task {
  readonly request: ParseRequest
  /** Whose document it is. */
  readonly source: string
  /** That reads it. Undefined while it waits. */
  thread: ParseThread | undefined
  readonly resolve: (reply: Read) => void
  readonly reject: (reason: unknown) => void
}

interface ParserOptions extends Partial<ParseLimits> {
  /** Documents at a time. Defaults to 1. */
  readonly threads?: number
  /** Left out: documents are read, and never cut. */
  readonly cutting?: Cutting
  /** Whether its threads let all others go first. Defaults to false. */
  readonly givesWay?: boolean
  /** Defaults to a `Worker`. */
  readonly startWorker?: StartWorker
  /** Ends a thread that does not get ready. */
  readonly timer?: Timer
}

/** One core is left to answer requests; two at least, so that one document never stops all others. */
export const parsersHere = (): number => Math.min(4, Math.max(2, availableParallelism() - 1))

/** Of whom the turn is: a large document, which takes long, lets the small ones of its owner go first. */
const smallestLike = (oldest: Task, waiting: readonly Task[]): Task =>
  waiting.reduce(
    (best, task) =>
      task.source === oldest.source && task.request.bytes.length < best.request.bytes.length ? task : best,
    oldest,
  )

/**
 * Parsing is where strangers' bytes meet much code: a document that takes too much time or memory costs its
 * thread, never the service. Who has fewest documents being read is next, and nobody's are read in all
 * threads: one is left for others.
 */
export function createParser({
  threads = 1,
  cutting,
  givesWay = false,
  startWorker,
  timer,
  ...limitsGiven
}: ParserOptions = {}): Parser {
  const limits: ParseLimits = { ...parseLimitsDefault, ...limitsGiven }
  const waiting: Task[] = []
  const idle: ParseThread[] = Array.from({ length: threads }, () =>
    createThread(limits, { ...(cutting && { cutting }), givesWay }, startWorker, timer),
  )
  const idleThreads = [...idle]
  const running: Task[] = []
  let closed = false
  let counter = 0

  function pump(): void {
    while (!closed && idle.length > 0) {
      const oldest = fairNext(waiting, running, ({ source }) => source, Math.max(1, threads - 1))
      const thread = oldest && idle.pop()
      if (oldest === undefined || thread === undefined) return
      const task = smallestLike(oldest, waiting)
      // It goes in the turn of the oldest, and that one in its.
      waiting[waiting.indexOf(task)] = oldest
      waiting.splice(waiting.indexOf(oldest), 1)
      running.push(task)
      void read(thread, task)
    }
  }

  async function read(thread: ParseThread, task: Task): Promise<void> {
    task.thread = thread
    try {
      task.resolve(await thread.read(task.request))
    } catch (error) {
      task.reject(error)
    }
    running.splice(running.indexOf(task), 1)
    idle.push(thread)
    pump()
  }

  async function ask(
    { mimeType, bytes }: ParseInput,
    content?: Content,
    signal?: AbortSignal,
    titleRequest: Pick<ParseRequest, 'isTitleWanted'> = {},
  ): Promise<Read> {
    if (closed) throw new Error('The parser is closed.')
    signal?.throwIfAborted()
    // Said here already, so that a wrong type never starts a thread.
    formatOf(mimeType)
    if (bytes.length > limits.bytesMax) {
      throw new ParseError('too_large', `The document has more than ${limits.bytesMax} bytes.`)
    }
    const { promise, resolve, reject } = Promise.withResolvers<Read>()
    const request = {
      id: ++counter,
      mimeType,
      bytes,
      ...(content && { title: content.title }),
      ...titleRequest,
    }
    const task: Task = { request, source: content?.source ?? '', thread: undefined, resolve, reject }
    const leave = (): void => {
      const index = waiting.indexOf(task)
      if (index >= 0) {
        waiting.splice(index, 1)
        reject(signal?.reason)
      } else if (running.includes(task)) {
        // Not once it is read: its thread may be at another's document.
        task.thread?.end(signal?.reason)
      }
    }
    signal?.addEventListener('abort', leave, { once: true })
    waiting.push(task)
    pump()
    try {
      return await promise
    } finally {
      // A signal that stays is held as long as somebody listens, and with it what was read.
      signal?.removeEventListener('abort', leave)
    }
  }

  return {
    async parse(input) {
      const reply = await ask(input)
      if ('parsed' in reply) return reply.parsed
      throw new Error('The document was cut, which nobody asked for.')
    },
    async prepare(content, signal) {
      const reply = await ask(content, content, signal)
      if ('prepared' in reply) return reply.prepared
      throw new Error('The parser was not told how to cut.')
    },
    async ownTitle(input) {
      const reply = await ask(input, undefined, undefined, { isTitleWanted: true })
      return 'ownTitle' in reply ? reply.ownTitle : undefined
    },
    async [Symbol.asyncDispose]() {
      closed = true
      for (const task of waiting.splice(0)) task.reject(new Error('The parser is closed.'))
      await Promise.all(idleThreads.map((thread) => thread[Symbol.asyncDispose]()))
    },
  }
}
