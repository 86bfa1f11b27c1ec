import { setTimeout as pause } from 'node:timers/promises'
import { Worker, type WorkerOptions } from 'node:worker_threads'
import { limitsAbove, type ThreadUse, threadUse } from '../../kernel/thread-use.ts'
import { realTimer, type Timer } from '../../kernel/timer.ts'
import { ParseError, type ParseLimits, ThreadError } from './parsed.ts'
import type { ParseReply, ParseRequest, WorkerStart } from './worker.ts'

/** What came of a document that is taken. */
export type Read =
  | Extract<ParseReply, { parsed: unknown }>
  | Extract<ParseReply, { prepared: unknown }>
  | Extract<ParseReply, { ownTitle: unknown }>

/** A thread that reads one document at a time, and is replaced by a fresh one where a document cost it. */
export interface ParseThread extends AsyncDisposable {
  /**
   * Not before the one before has ended. Throws `ParseError` for a document that is not taken,
   * {@link ThreadError} where no document is at fault.
   */
  read(request: ParseRequest): Promise<Read>
  /** Ends the reading with this reason, and the thread with it. Nothing where none is under way. */
  end(reason: unknown): void
}

/** Starts the thread. Throws where the system has none to give. */
export type StartWorker = (script: URL, options: WorkerOptions) => Worker

interface Task {
  readonly request: ParseRequest
  readonly resolve: (reply: Read) => void
  readonly reject: (reason: unknown) => void
}

/** How often is looked at what a document has used. */
const LOOK_EVERY_MS = 50
/** A thread takes a second to start, on a machine with nothing to spare some ten. */
const startMsMax = 60_000

/**
 * Begins when it is first needed. Processor time and the memory beside the heap (unpacked streams) are looked
 * at from outside every 50 ms, so that a document can pass its limits for that long, or for as long as one
 * call of a library that never answers meanwhile: the clock ends those.
 */
export function createThread(
  limits: ParseLimits,
  { cutting, givesWay }: Omit<WorkerStart, 'limits'>,
  startWorker: StartWorker = (script, options) => new Worker(script, options),
  timer: Timer = realTimer,
): ParseThread {
  let worker: Worker | undefined
  let isReady = false
  let running: Task | undefined
  /** Of the thread between two documents: what the next one uses is counted from there. */
  let usedBefore: ThreadUse | undefined

  function startThread(): Worker {
    isReady = false
    usedBefore = undefined
    const newWorker = startWorker(new URL('./worker.ts', import.meta.url), {
      workerData: {
        limits,
        ...(cutting && { cutting }),
        ...(givesWay && { givesWay }),
      } satisfies WorkerStart,
      execArgv: [],
      // What a library prints about a document is not for the service's log.
      stdout: true,
      stderr: true,
      resourceLimits: limitsAbove(limits.memoryBytesMax),
    })
    newWorker.stdout.resume()
    newWorker.stderr.resume()
    const callOff = timer(startMsMax, () =>
      stop(newWorker, new ThreadError(new Error(`it took longer than ${startMsMax / 1_000} s`))),
    )
    newWorker.on('message', (reply: ParseReply) => {
      if (!('ready' in reply)) return void finish(newWorker, reply)
      callOff()
      beginNext(newWorker)
    })
    newWorker.on('error', (cause) => stop(newWorker, isReady ? asParseError(cause) : new ThreadError(cause)))
    newWorker.on('exit', () => {
      callOff()
      stop(
        newWorker,
        isReady
          ? new ParseError('unreadable', 'Reading the document stopped.')
          : new ThreadError(new Error('it ended')),
      )
    })
    return newWorker
  }

  /**
   * What a thread takes to start, and what ends it until then, is not the document's: it gets none before.
   */
  function beginNext(started: Worker): void {
    if (started !== worker) return
    isReady = true
    if (running) give(running, started)
  }

  function give(task: Task, toWorker: Worker): void {
    void watch(task, toWorker)
    toWorker.postMessage(task.request)
  }

  async function finish(fromWorker: Worker, reply: Exclude<ParseReply, { ready: true }>): Promise<void> {
    if (fromWorker !== worker || reply.id !== running?.request.id) return
    const task = running
    running = undefined
    // What a large document leaves behind would count against the next one; and of one that was given up a
    // library may still read other parts.
    const isGivenUp = 'code' in reply
    const used = isGivenUp ? { bytes: 0, cpuMs: 0 } : await threadUse(fromWorker)
    fromWorker.unref()
    usedBefore = used
    if (fromWorker === worker && (isGivenUp || used.bytes >= limits.memoryBytesMax / 2)) {
      worker = undefined
      void fromWorker.terminate()
    }
    if ('parsed' in reply || 'prepared' in reply || 'ownTitle' in reply) task.resolve(reply)
    else if ('broken' in reply) task.reject(new ThreadError(reply.broken))
    else
      task.reject(
        new ParseError(reply.code, reply.detail, reply.cause === '' ? undefined : new Error(reply.cause)),
      )
  }

  /** Ends the thread, and with it the document that it was at. */
  function stop(which: Worker, reason: unknown): void {
    if (which !== worker) return
    worker = undefined
    const task = running
    running = undefined
    void which.terminate()
    task?.reject(reason)
  }

  async function watch(task: Task, which: Worker): Promise<void> {
    const { timeoutMs, cpuMsMax, memoryBytesMax } = limits
    const finishWith = (reason: ParseError): void => {
      if (running === task) stop(which, reason)
    }
    const timer = setTimeout(
      () => finishWith(timedOut(`longer than ${timeoutMs / 1_000} s`)),
      timeoutMs,
    ).unref()
    const before = usedBefore ?? (await threadUse(which))
    while (running === task) {
      // Most are read by then: a look costs more than they do.
      await pause(LOOK_EVERY_MS, undefined, { ref: false })
      if (running !== task) break
      const { bytes, cpuMs } = await threadUse(which)
      if (bytes > memoryBytesMax) finishWith(tooMuchMemory())
      if (cpuMs - before.cpuMs > cpuMsMax)
        finishWith(timedOut(`more than ${cpuMsMax / 1_000} s of processor time`))
    }
    clearTimeout(timer)
  }

  return {
    read: (request) =>
      new Promise<Read>((resolve, reject) => {
        try {
          worker ??= startThread()
        } catch (error) {
          throw new ThreadError(error)
        }
        running = { request, resolve, reject }
        worker.ref()
        if (isReady) give(running, worker)
      }),
    end(reason) {
      if (running !== undefined && worker !== undefined) stop(worker, reason)
    },
    async [Symbol.asyncDispose]() {
      const lastWorker = worker
      worker = undefined
      running?.reject(new Error('The parser is closed.'))
      running = undefined
      await lastWorker?.terminate()
    },
  }
}

const timedOut = (limit: string): ParseError => new ParseError('timed_out', `Reading took ${limit}.`)

const tooMuchMemory = (cause?: unknown): ParseError =>
  new ParseError('too_large', 'Reading the document takes too much memory.', cause)

function asParseError(cause: unknown): ParseError {
  const outOfMemory = cause instanceof Error && 'code' in cause && cause.code === 'ERR_WORKER_OUT_OF_MEMORY'
  return outOfMemory
    ? tooMuchMemory(cause)
    : new ParseError('unreadable', 'The document cannot be read.', cause)
}
