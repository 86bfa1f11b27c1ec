import { Worker } from 'node:worker_threads'
import type { Content, Prepared } from '../deps.ts'
import {
  formatOf,
  type Parsed,
  ParseError,
  type ParseInput,
  type ParseLimits,
  parseLimitsDefault,
} from './parsed.ts'
import type { Cutting, ParseReply, ParseRequest, WorkerStart } from './worker.ts'

/** Reads documents in a thread of its own. */
export interface Parser extends AsyncDisposable {
  /** Text and blocks of a document; throws `ParseError` for one that is not taken. One at a time, in order. */
  parse(input: ParseInput): Promise<Parsed>
  /** The same, cut into passages. */
  prepare(input: Content): Promise<Prepared>
}

type Read = Extract<ParseReply, { parsed: Parsed }> | Extract<ParseReply, { prepared: Prepared }>

interface Task {
  readonly request: ParseRequest
  readonly resolve: (reply: Read) => void
  readonly reject: (reason: unknown) => void
}

interface ParserOptions extends Partial<ParseLimits> {
  /** Left out: documents are read, and never cut. */
  readonly cutting?: Cutting
}

const MIB = 1024 * 1024
/** How often a document's memory is looked at. */
const MEMORY_POLL_MS = 50

/**
 * Parsing is where strangers' bytes meet much code: a document that takes too much time or memory costs its
 * thread, never the service. The thread is kept for the next document, and begun anew after one that
 * cost it or that left half of its memory in use.
 * Memory beside the heap (unpacked streams) is watched from outside every 50 ms, so that a document can pass
 * the limit for that long.
 */
export function createParser({ cutting, ...limitsGiven }: ParserOptions = {}): Parser {
  const limits: ParseLimits = { ...parseLimitsDefault, ...limitsGiven }
  const waiting: Task[] = []
  let worker: Worker | undefined
  let isReady = false
  let running: Task | undefined
  let closed = false
  let counter = 0

  function pump(): void {
    if (running || closed) return
    running = waiting.shift()
    if (!running) return
    worker ??= start()
    worker.ref()
    if (isReady) watch(running, worker)
    worker.postMessage(running.request)
  }

  function start(): Worker {
    isReady = false
    const fresh = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: { limits, ...(cutting && { cutting }) } satisfies WorkerStart,
      execArgv: [],
      // What a library prints about a document is not for the service's log.
      stdout: true,
      stderr: true,
      resourceLimits: { maxOldGenerationSizeMb: Math.ceil(limits.memoryBytesMax / MIB) },
    })
    fresh.stdout.resume()
    fresh.stderr.resume()
    fresh.on('message', (reply: ParseReply) => ('ready' in reply ? begin(fresh) : finish(fresh, reply)))
    fresh.on('error', (cause) => stop(fresh, asParseError(cause)))
    fresh.on('exit', () => stop(fresh, new ParseError('unreadable', 'Reading the document stopped.')))
    return fresh
  }

  /** The time that a thread takes to start is not the document's. */
  function begin(started: Worker): void {
    if (started !== worker) return
    isReady = true
    if (running) watch(running, started)
  }

  function finish(from: Worker, reply: Exclude<ParseReply, { ready: true }>): void {
    if (from !== worker || reply.id !== running?.request.id) return
    const task = running
    running = undefined
    if ('parsed' in reply || 'prepared' in reply) task.resolve(reply)
    else if ('broken' in reply) task.reject(new Error(`The thread that reads cannot: ${reply.broken}`))
    else
      task.reject(
        new ParseError(reply.code, reply.detail, reply.cause === '' ? undefined : new Error(reply.cause)),
      )
    from.unref()
    if (waiting.length === 0) void renew(from)
    pump()
  }

  /** What a large document leaves behind would count against the next one. */
  async function renew(idle: Worker): Promise<void> {
    const used = await memoryOf(idle)
    if (idle !== worker || running || used < limits.memoryBytesMax / 2) return
    worker = undefined
    await idle.terminate()
  }

  /** Ends the thread, and with it the document that it was at. */
  function stop(which: Worker, reason: unknown): void {
    if (which !== worker) return
    worker = undefined
    const task = running
    running = undefined
    void which.terminate()
    task?.reject(reason)
    pump()
  }

  function watch(task: Task, which: Worker): void {
    const late = setTimeout(
      () => stop(which, new ParseError('timed_out', `Reading took longer than ${limits.timeoutMs} ms.`)),
      limits.timeoutMs,
    )
    const look = async (): Promise<void> => {
      const used = await memoryOf(which)
      if (running === task && used > limits.memoryBytesMax) stop(which, tooMuchMemory())
    }
    const poll = setInterval(() => void look(), MEMORY_POLL_MS)
    const done = () => {
      clearTimeout(late)
      clearInterval(poll)
    }
    settled.set(task, done)
  }

  const settled = new WeakMap<Task, () => void>()

  function ask({ mimeType, bytes, title }: Omit<ParseRequest, 'id'>): Promise<Read> {
    if (closed) return Promise.reject(new Error('The parser is closed.'))
    return new Promise<Read>((resolve, reject) => {
      // Said here already, so that a wrong type never starts a thread.
      formatOf(mimeType)
      if (bytes.length > limits.bytesMax) {
        throw new ParseError('too_large', `The document has more than ${limits.bytesMax} bytes.`)
      }
      const task: Task = {
        request: { id: ++counter, mimeType, bytes, ...(title !== undefined && { title }) },
        resolve: (reply) => resolve((settled.get(task)?.(), reply)),
        reject: (reason) => reject((settled.get(task)?.(), reason)),
      }
      waiting.push(task)
      pump()
    })
  }

  return {
    async parse({ mimeType, bytes }) {
      const reply = await ask({ mimeType, bytes })
      if ('parsed' in reply) return reply.parsed
      throw new Error('The document was cut, which nobody asked for.')
    },
    async prepare(content) {
      const reply = await ask(content)
      if ('prepared' in reply) return reply.prepared
      throw new Error('The parser was not told how to cut.')
    },
    async [Symbol.asyncDispose]() {
      closed = true
      const error = new Error('The parser is closed.')
      for (const task of waiting.splice(0)) task.reject(error)
      running?.reject(error)
      running = undefined
      await worker?.terminate()
    },
  }
}

/** Heap and the memory beside it; 0 for a thread that has ended or not begun. */
const memoryOf = (worker: Worker): Promise<number> =>
  worker.getHeapStatistics().then(
    (statistics) => statistics.used_heap_size + statistics.external_memory,
    () => 0,
  )

const tooMuchMemory = (cause?: unknown): ParseError =>
  new ParseError('too_large', 'Reading the document takes too much memory.', cause)

function asParseError(cause: unknown): ParseError {
  const outOfMemory = cause instanceof Error && 'code' in cause && cause.code === 'ERR_WORKER_OUT_OF_MEMORY'
  return outOfMemory
    ? tooMuchMemory(cause)
    : new ParseError('unreadable', 'The document cannot be read.', cause)
}
