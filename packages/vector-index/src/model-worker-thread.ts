import { parentPort } from 'node:worker_threads'
import { assignAll } from './assign.ts'
import type { Vectors } from './kmeans.ts'
import { seededRandom } from './kmeans.ts'
import { type IvfModel, trainModel } from './model.ts'

type Message =
  | { readonly kind: 'train'; readonly samples: Vectors; readonly count: number; readonly seed: number }
  | { readonly kind: 'place'; readonly vectors: Vectors; readonly model?: IvfModel }

let model: IvfModel | undefined

parentPort?.on('message', (message: Message) => {
  if (message.kind === 'train') {
    parentPort?.postMessage(trainModel(message.samples, message.count, seededRandom(message.seed)))
    return
  }
  model = message.model ?? model
  if (model !== undefined) parentPort?.postMessage(assignAll(model, message.vectors))
})
