import { Worker, type WorkerOptions } from 'node:worker_threads'
import { realTimer, type Timer } from '../kernel/timer.ts'
import { EmbeddingError } from './embedder.ts'
import type { WorkerReply, WorkerRequest, WorkerStart } from './local-worker.ts'

/**
 * A few worker threads behind two lanes. In the first what is urgent goes first. The others give way to it
 * and to all else that wants the processor: they take what is patient first, and what is urgent only where
 * nothing of that waits. While the first starts anew, the next that is ready does its part. Each holds the
 * model anew, some 190 MB: the others start once something waits, and end when they idle.
 */
export interface Pool {
  /** Length of the model's vectors, as the model itself showed at start. */
  readonly dimensions: number
  submit(
    texts: readonly string[],
    options: { readonly urgent: boolean; readonly signal?: AbortSignal },
  ): Promise<readonly Float32Array[]>
  /** Ends the threads. What waits or runs is rejected as `closed`. */
  close(): Promise<void>
}

interface Task {
  readonly id: number
  readonly texts: readonly string[]
  readonly resolve: (vectors: readonly Float32Array[]) => void
  readonly reject: (reason: unknown) => void
}

interface Slot {
  readonly givesWay: boolean
  worker: Worker | undefined
  isReady: boolean
  running: Task | undefined
  /** Keeps a thread that idles from its end. */
  stay: () => void
}

const CLOSE_GRACE_MS = 2000
// A model is read from a disk that may be slow, on a machine that may be busy.
const startMsMax = 300_000
// Longer than an intake pauses between two documents.
const idleMsMax = 30_000
// What keeps a thread from its start, such as memory, seldom goes at once: each try reads the model anew.
const restMs = 60_000

/**
 * Starts the first worker and waits for it. A worker that dies fails the batch it had, which its caller
 * may try again, and a fresh one takes its place with the next batch.
 */
export async function createPool(dependencies: {
  readonly start: Omit<WorkerStart, 'givesWay'>
  readonly workers: number
  /** Starts a thread; throws where the system has none to give. Defaults to a `Worker`. */
  readonly startWorker?: (script: URL, options: WorkerOptions) => Worker
  /**
   * Ends a thread that is not ready within five minutes, and one of the others that idles for 30 s. Where one
   * of those does not start, none is tried for a minute.
   */
  readonly timer?: Timer
}): Promise<Pool> {
  const { startWorker = (script, options) => new Worker(script, options), timer = realTimer } = dependencies
  const slots: Slot[] = Array.from({ length: dependencies.workers }, (_, index) => ({
    givesWay: index > 0,
    worker: undefined,
    isReady: false,
    running: undefined,
    stay: () => undefined,
  }))
  const ending = new Set<Promise<void>>()
  const urgent: Task[] = []
  const patient: Task[] = []
  let closed = false
  let rests = false
  let counter = 0

  function spawn(slot: Slot): Promise<number> {
    // No flags of ours reach the thread: `node -e` would hand it one that it refuses to start with.
    const { givesWay } = slot
    const options = { workerData: { ...dependencies.start, givesWay } satisfies WorkerStart, execArgv: [] }
    return new Promise((resolve, reject) => {
      const worker = startWorker(new URL('./local-worker.ts', import.meta.url), options)
      slot.worker = worker
      const callOff = timer(startMsMax, () => {
        drop(slot, worker, new Error(`it was not ready after ${startMsMax / 1_000} s`), reject)
        void worker.terminate()
      })
      worker.on('message', (reply: WorkerReply) => {
        if (reply.kind === 'ready') {
          callOff()
          slot.isReady = true
          resolve(reply.dimensions)
        } else settle(slot, reply)
        pump()
        if (slot.running) return
        worker.unref()
        if (slot.givesWay) endIdle(slot, worker)
      })
      worker.on('error', (cause) => drop(slot, worker, cause, reject))
      worker.on('exit', () => {
        callOff()
        drop(slot, worker, new Error('the thread ended'), reject)
      })
    })
  }

  function drop(slot: Slot, worker: Worker, cause: unknown, reject: (reason: unknown) => void): void {
    const error = new EmbeddingError('unavailable', 'The local embedding model stopped.', cause)
    reject(error)
    if (slot.worker !== worker) return
    slot.stay()
    slot.worker = undefined
    slot.isReady = false
    slot.running?.reject(error)
    slot.running = undefined
    pump()
  }

  /** Where no thread could be started nobody else tells of its end. */
  function lack(slot: Slot, task: Task, cause: unknown): void {
    task.reject(
      cause instanceof EmbeddingError
        ? cause
        : new EmbeddingError('unavailable', 'No thread for the local embedding model can start.', cause),
    )
    if (slot.running !== task) return
    slot.running = undefined
    pump()
  }

  function pump(): void {
    if (closed) return
    const [firstSlot, ...otherSlots] = slots.toSorted((a, b) => Number(b.isReady) - Number(a.isReady))
    for (const slot of [firstSlot, ...otherSlots]) {
      if (slot === undefined || slot.running) continue
      // What waits for a start waits longer than for the first.
      if (slot.givesWay && !slot.isReady) continue
      const task =
        slot === firstSlot ? (urgent.shift() ?? patient.shift()) : (patient.shift() ?? urgent.shift())
      if (!task) return
      slot.stay()
      slot.running = task
      // The message waits in the thread's mailbox until it is ready; a start that fails rejects the task.
      if (!slot.worker) spawn(slot).catch((cause: unknown) => lack(slot, task, cause))
      send(slot, { kind: 'embed', id: task.id, texts: task.texts })
    }
  }

  /** Starts one more thread where something waits. If there is none to give, that waits for the first. */
  function reinforce(): void {
    if (rests || urgent.length + patient.length === 0) return
    const slot = slots.find(({ givesWay, worker }) => givesWay && worker === undefined)
    if (slot) spawn(slot).catch(rest)
  }

  function rest(): void {
    rests = true
    timer(restMs, () => {
      rests = false
    })
  }

  function endIdle(slot: Slot, worker: Worker): void {
    slot.stay()
    slot.stay = timer(idleMsMax, () => {
      if (closed || slot.worker !== worker || slot.running) return
      slot.worker = undefined
      slot.isReady = false
      const ended = endWorker(worker).finally(() => ending.delete(ended))
      ending.add(ended)
    })
  }

  function submit(
    texts: readonly string[],
    options: { readonly urgent: boolean; readonly signal?: AbortSignal },
  ): Promise<readonly Float32Array[]> {
    const { signal } = options
    if (closed) return Promise.reject(new EmbeddingError('closed', 'The embedder is closed.'))
    if (signal?.aborted) return Promise.reject(signal.reason)
    return new Promise((resolve, reject) => {
      const lane = options.urgent ? urgent : patient
      const abort = () => leave(lane, task, signal?.reason)
      const forget = () => signal?.removeEventListener('abort', abort)
      const task: Task = {
        id: ++counter,
        texts,
        resolve: (vectors) => resolve((forget(), vectors)),
        reject: (reason) => reject((forget(), reason)),
      }
      lane.push(task)
      signal?.addEventListener('abort', abort)
      pump()
      reinforce()
    })
  }

  async function close(): Promise<void> {
    if (closed) return
    closed = true
    const error = new EmbeddingError('closed', 'The embedder is closed.')
    for (const task of [...urgent.splice(0), ...patient.splice(0)]) task.reject(error)
    for (const slot of slots) {
      slot.stay()
      slot.running?.reject(error)
    }
    const threads = slots.flatMap(({ worker }) => (worker ? [endWorker(worker)] : []))
    await Promise.all([...threads, ...ending])
  }

  try {
    const [first] = slots
    const dimensions = first && (await spawn(first))
    if (!dimensions) throw new EmbeddingError('wrong_answer', 'The local embedding model gives no vectors.')
    return { dimensions, submit, close }
  } catch (error) {
    await close()
    throw error
  }
}

/**
 * A thread with work keeps the process alive, an idle one does not: a forgotten close must not hang a
 * command.
 */
function send(slot: Slot, request: WorkerRequest): void {
  slot.worker?.ref()
  slot.worker?.postMessage(request)
}

function settle(slot: Slot, reply: Exclude<WorkerReply, { kind: 'ready' }>): void {
  const task = slot.running
  if (task?.id !== reply.id) return
  slot.running = undefined
  if (reply.kind === 'vectors') task.resolve(reply.vectors)
  else task.reject(new EmbeddingError('unavailable', `The local embedding model failed: ${reply.message}`))
}

/** A batch that already runs cannot be stopped: its caller goes on at once, its answer is thrown away. */
function leave(lane: Task[], task: Task, reason: unknown): void {
  const position = lane.indexOf(task)
  if (position >= 0) lane.splice(position, 1)
  task.reject(reason)
}

/**
 * Asks first, so that the session frees its native memory; ends the thread by force when it does not hear.
 */
async function endWorker(worker: Worker): Promise<void> {
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  worker.postMessage({ kind: 'close' } satisfies WorkerRequest)
  const timer = setTimeout(() => void worker.terminate(), CLOSE_GRACE_MS)
  await exited
  clearTimeout(timer)
}
