import { setTimeout as pause } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { AppError, invalid, overloaded } from '../../kernel/errors.ts'
import { createPacedQueue } from '../../kernel/paced-queue.ts'
import { limitsAbove, threadUse } from '../../kernel/thread-use.ts'
import type { Sql } from '../../store/sql.ts'
import { reading, TextError } from '../text-error.ts'
import { type ModelCheck, problemAtStart } from './check.ts'
import type { ModelJson } from './dsl.ts'
import { type ModelVersion, readVersion } from './pin.ts'
import type { StoreFile } from './store-file.ts'
import type { ListRead, TextReply, TextTask, TextWork } from './texts-worker.ts'
import { type Candidate, type ModelSource, versioned, withMarks } from './with-marks.ts'

/**
 * Reads texts that somebody sent, in a thread, one at a time: the language's reader takes minutes for some
 * kilobytes that are made for it, and nobody else would have a turn meanwhile. The thread ends with a text
 * that takes too much. Throws `overloaded` where too many wait.
 */
export interface Texts extends AsyncDisposable {
  /** Throws TextError, also for one that is larger than anybody writes. */
  read(dsl: string): Promise<ModelJson>
  /** The same, with the service's own marks. */
  readSource(dsl: string): Promise<ModelSource>
  /** Throws `deadline_exceeded` once the signal fires: who types goes and asks anew meanwhile. */
  check(dsl: string, signal: AbortSignal): Promise<ModelCheck>
  /** What of an allow-list's text fits this model and what may not stand. Throws TextError. */
  readAllowList(allowList: string, model: ModelJson): Promise<ListRead>
  /** A store file's text about this model. Throws TextError. */
  readTable(tests: string, model: ModelJson): Promise<StoreFile>
}

interface TextLimits {
  /**
   * Milliseconds of processor for one text. Default 3,000: a model of 256 KiB as people write them takes 900.
   */
  readonly cpuMsMax?: number
  /** Milliseconds of the clock, far above. Default 300,000. */
  readonly timeoutMs?: number
  /** Texts. Default 4. */
  readonly waitingMax?: number
}

/** A changed model, a changed allow-list or both as texts, or an earlier version by OpenFGA's id. */
export type WantedModel =
  | { readonly dsl?: string; readonly allowList?: string }
  | { readonly modelId: string }

const LOOK_EVERY_MS = 50
const memoryBytesMax = 256 * 1024 * 1024

/** Reads texts of others in a thread of its own, within bounds of time and memory. */
export function createTexts({
  cpuMsMax = 3_000,
  timeoutMs = 300_000,
  waitingMax = 4,
}: TextLimits = {}): Texts {
  let idle: Worker | undefined
  const inTurn = createPacedQueue({
    atOnce: 1,
    perTurn: 1,
    waitingMax,
    full: () => overloaded(10, 'Others are waiting for their texts, too.'),
  })

  function startThread(): Worker {
    const worker = new Worker(new URL('./texts-worker.ts', import.meta.url), {
      execArgv: [],
      resourceLimits: limitsAbove(memoryBytesMax),
    })
    // One that ends while nothing is asked of it is no failure of anybody's.
    return worker
      .on('error', () => undefined)
      .on('exit', () => {
        if (idle === worker) idle = undefined
      })
  }

  function run<Kind extends keyof TextWork>(
    task: Extract<TextTask, { kind: Kind }>,
    signal?: AbortSignal,
  ): Promise<TextWork[Kind]['gives']> {
    return inTurn(async () => {
      if (signal?.aborted) throw new AppError('deadline_exceeded')
      const reply = await answerOf(task, signal)
      if ('wrong' in reply) throw new TextError(reply.wrong)
      return reply.value as TextWork[Kind]['gives']
    })
  }

  async function answerOf(task: TextTask, signal: AbortSignal | undefined): Promise<Said> {
    const worker = idle ?? startThread()
    idle = undefined
    worker.ref()
    const { promise, resolve, reject } = Promise.withResolvers<Said>()
    let isOver = false
    const hear = (reply: TextReply) => ('ready' in reply ? void watch() : resolve(reply))
    const fail = (cause: Error & { readonly code?: string }) =>
      cause.code === 'ERR_WORKER_OUT_OF_MEMORY' ? resolve(tooMuchMemory) : reject(cause)
    const failEnded = () => reject(new Error('The thread that reads texts ended.'))
    worker.on('message', hear).on('error', fail).on('exit', failEnded)
    const leave = () => reject(new AppError('deadline_exceeded'))
    signal?.addEventListener('abort', leave)
    const timer = setTimeout(() => resolve(tooMuchTime), timeoutMs)

    async function watch(): Promise<void> {
      const before = await threadUse(worker)
      while (!isOver) {
        const { bytes, cpuMs } = await threadUse(worker)
        if (bytes > memoryBytesMax) resolve(tooMuchMemory)
        if (cpuMs - before.cpuMs > cpuMsMax) resolve(tooMuchTime)
        await pause(LOOK_EVERY_MS)
      }
    }

    let workerReply: Said | undefined
    try {
      worker.postMessage(task)
      workerReply = await promise
      return workerReply
    } finally {
      isOver = true
      clearTimeout(timer)
      signal?.removeEventListener('abort', leave)
      worker.off('message', hear).off('error', fail).off('exit', failEnded)
      if (workerReply === undefined || workerReply === tooMuchTime || workerReply === tooMuchMemory)
        await worker.terminate()
      else {
        worker.unref()
        idle = worker
      }
    }
  }

  return {
    read: (dsl) => run({ kind: 'json', dsl }),
    readSource: (dsl) => run({ kind: 'source', dsl }),
    check: (dsl, signal) =>
      run({ kind: 'check', dsl }, signal).catch((error: unknown) => {
        if (!(error instanceof TextError)) throw error
        return { problems: [problemAtStart(error.message)], refusals: [], warnings: [] }
      }),
    readAllowList: (allowList, model) => run({ kind: 'allowList', allowList, model }),
    readTable: (tests, model) => run({ kind: 'table', tests, model }),
    async [Symbol.asyncDispose]() {
      await idle?.terminate()
    },
  }
}

type Said = Exclude<TextReply, { ready: true }>

const tooMuchTime: Said = { wrong: 'It takes too much time to read.' }
const tooMuchMemory: Said = { wrong: 'It takes too much memory to read.' }

/**
 * A text without an allow-list keeps of today's what fits, and a list without a text keeps today's model.
 * Throws `invalid_request` for a text that is no model or no list, and for a list that names what the model
 * lacks; `not_found` for one that was never in force.
 */
export async function candidateOf(
  sql: Sql,
  request: WantedModel,
  current: ModelVersion,
  texts: Pick<Texts, 'readSource' | 'readAllowList'>,
): Promise<Candidate> {
  if ('modelId' in request) {
    const version = await readVersion(sql, request.modelId)
    if (version === undefined) throw new AppError('not_found', { public: 'No such model was ever in force.' })
    return listed(version, version.allowList ?? current.allowList, texts)
  }
  const { dsl, allowList } = request
  const source = dsl === undefined ? current : await reading('model', () => texts.readSource(dsl))
  if (allowList === undefined) return listed(source, current.allowList, texts)
  const marked = withMarks(source)
  const { lacking } = await reading('allow_list', () => texts.readAllowList(allowList, marked.json))
  if (lacking.length > 0) throw invalid('allow_list', lacking.join('\n'))
  return versioned(marked, allowList)
}

async function listed(
  source: ModelSource,
  allowList: string | undefined,
  texts: Pick<Texts, 'readAllowList'>,
): Promise<Candidate> {
  const marked = withMarks(source)
  if (allowList === undefined) return versioned(marked, undefined)
  const { fitting } = await reading('model', () => texts.readAllowList(allowList, marked.json))
  return versioned(marked, fitting)
}
