import { parentPort } from 'node:worker_threads'
import { placeAll } from './assign.ts'
import type { Vectors } from './kmeans.ts'
import { type CellModel, trainModel } from './model.ts'
import { seeded } from './random.ts'

type Message =
  | { readonly kind: 'train'; readonly samples: Vectors; readonly count: number; readonly seed: number }
  | { readonly kind: 'place'; readonly vectors: Vectors; readonly model?: CellModel }

let model: CellModel | undefined

parentPort?.on('message', (message: Message) => {
  if (message.kind === 'train') {
    parentPort?.postMessage(trainModel(message.samples, message.count, seeded(message.seed)))
    return
  }
  model = message.model ?? model
  if (model !== undefined) parentPort?.postMessage(placeAll(model, message.vectors))
})
