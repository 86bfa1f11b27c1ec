import { Worker } from 'node:worker_threads'
import type { Assignments } from './assign.ts'
import type { Vectors } from './kmeans.ts'
import type { IvfModel } from './model.ts'

/** Arithmetic in a thread of its own: it takes seconds to minutes, and nothing else may wait for it. */
export interface ModelWorker extends AsyncDisposable {
  train(samples: Vectors, count: number, seed: number): Promise<IvfModel>
  /** The vectors are handed over: they are empty afterwards. */
  assign(model: IvfModel, vectors: Vectors): Promise<Assignments>
}

/**
 * A thread that trains and assigns, so that this one answers meanwhile. It does not keep the process alive.
 */
export function createModelWorker(): ModelWorker {
  const worker = new Worker(new URL('./model-worker-thread.ts', import.meta.url))
  worker.unref()
  const waiting: { resolve(value: unknown): void; reject(error: Error): void }[] = []
  let postedModel: IvfModel | undefined
  const fail = (error: Error): void => {
    for (const { reject } of waiting.splice(0)) reject(error)
  }
  worker.on('message', (value: unknown) => waiting.shift()?.resolve(value))
  worker.on('error', fail)
  worker.on('exit', () => fail(new Error('The thread of the cells ended.')))

  /** Answered in the order of asking. */
  const ask = <T>(message: object, handedOver: ArrayBuffer[] = []): Promise<T> =>
    new Promise<unknown>((resolve, reject) => {
      waiting.push({ resolve, reject })
      worker.postMessage(message, handedOver)
    }) as Promise<T>

  return {
    train: (samples, count, seed) => ask({ kind: 'train', samples, count, seed }),
    assign(model, vectors) {
      const isNew = model !== postedModel
      postedModel = model
      return ask({ kind: 'place', vectors, ...(isNew && { model }) }, [vectors.numbers.buffer as ArrayBuffer])
    },
    async [Symbol.asyncDispose]() {
      await worker.terminate()
    },
  }
}
