import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { lowerPriority } from '../kernel/lower-priority.ts'
import { reasonOf } from '../kernel/reason.ts'
import { normalize } from './embedder.ts'
import { readTokens } from './tokens.ts'

/** What the main thread starts this worker with. */
export interface WorkerStart {
  readonly folder: string
  readonly tokensMax: number
  /** See {@link lowerPriority}. */
  readonly givesWay: boolean
}

export type WorkerRequest =
  | { readonly kind: 'embed'; readonly id: number; readonly texts: readonly string[] }
  | { readonly kind: 'close' }

export type WorkerReply =
  | { readonly kind: 'ready'; readonly dimensions: number }
  | { readonly kind: 'vectors'; readonly id: number; readonly vectors: readonly Float32Array[] }
  | { readonly kind: 'failed'; readonly id: number; readonly message: string }

/**
 * Holds one session and runs one batch at a time: `session.run` blocks its thread until it is done, whatever
 * its promise suggests, so it must never run where requests are served.
 * One thread a session: two share a batch so badly here that two workers do nearly twice as much.
 */
async function serve(port: NonNullable<typeof parentPort>, workerStart: WorkerStart): Promise<void> {
  const tokens = readTokens(workerStart.folder)
  const session = await InferenceSession.create(join(workerStart.folder, 'model.onnx'), {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
  })
  const embed = async (texts: readonly string[]) =>
    run(
      session,
      texts.map((text) => tokens.encode(text, workerStart.tokensMax)),
    )

  const [probe] = await embed([''])
  port.postMessage({ kind: 'ready', dimensions: probe?.length ?? 0 } satisfies WorkerReply)
  async function take(request: WorkerRequest): Promise<void> {
    if (request.kind === 'embed') return port.postMessage(await answer(request, embed))
    await session.release()
    port.close()
  }
  if (workerStart.givesWay) lowerPriority()
  port.on('message', (request: WorkerRequest) => void take(request))
}

async function answer(
  request: { readonly id: number; readonly texts: readonly string[] },
  embed: (texts: readonly string[]) => Promise<Float32Array[]>,
): Promise<WorkerReply> {
  try {
    return { kind: 'vectors', id: request.id, vectors: await embed(request.texts) }
  } catch (error) {
    return { kind: 'failed', id: request.id, message: reasonOf(error) }
  }
}

async function run(session: InferenceSession, rows: readonly (readonly number[])[]): Promise<Float32Array[]> {
  const width = Math.max(...rows.map((row) => row.length))
  const ids = new BigInt64Array(rows.length * width)
  const mask = new BigInt64Array(rows.length * width)
  for (const [index, row] of rows.entries()) {
    for (const [position, id] of row.entries()) {
      ids[index * width + position] = BigInt(id)
      mask[index * width + position] = 1n
    }
  }
  const shape = [rows.length, width]
  const inputs: Record<string, Tensor> = {
    input_ids: new Tensor('int64', ids, shape),
    attention_mask: new Tensor('int64', mask, shape),
    token_type_ids: new Tensor('int64', new BigInt64Array(rows.length * width), shape),
  }
  const feeds = Object.fromEntries(
    Object.entries(inputs).filter(([name]) => session.inputNames.includes(name)),
  )
  const { last_hidden_state: hidden } = await session.run(feeds)
  if (hidden === undefined || !(hidden.data instanceof Float32Array)) {
    throw new TypeError('The model has no output named last_hidden_state')
  }
  return meanPool(
    hidden.data,
    rows.map((row) => row.length),
    width,
  )
}

/** The mean over a text's own tokens; the filling behind a shorter text must not count. */
function meanPool(hidden: Float32Array, lengths: readonly number[], width: number): Float32Array[] {
  const size = hidden.length / (lengths.length * width)
  return lengths.map((length, index) => {
    const sum = new Float32Array(size)
    for (let position = 0; position < length; position++) {
      const offset = (index * width + position) * size
      for (let dimension = 0; dimension < size; dimension++)
        sum[dimension] = (sum[dimension] ?? 0) + (hidden[offset + dimension] ?? 0)
    }
    return normalize(sum)
  })
}

if (parentPort) await serve(parentPort, workerData)
