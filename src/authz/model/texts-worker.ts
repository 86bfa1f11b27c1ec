import { parentPort } from 'node:worker_threads'
import { checkText, type ModelCheck } from './check.ts'
import { assertSmall, digestOf, type ModelJson, ModelSyntaxError, readDsl } from './dsl.ts'
import { readStoreText, type StoreFile, StoreFileError } from './store-file.ts'
import { type ModelSource, withMarks } from './with-marks.ts'

/** What can be done with a text, and what comes of it. */
export interface TextWork {
  readonly json: { readonly dsl: string; readonly gives: ModelJson }
  readonly source: { readonly dsl: string; readonly gives: ModelSource }
  readonly check: { readonly dsl: string; readonly gives: ModelCheck }
  readonly table: { readonly tests: string; readonly model: ModelJson; readonly gives: StoreFile }
}

export type TextTask = {
  [Kind in keyof TextWork]: { readonly kind: Kind } & Omit<TextWork[Kind], 'gives'>
}[keyof TextWork]

export type TextReply =
  | { readonly ready: true }
  | { readonly value: TextWork[keyof TextWork]['gives'] }
  /** Why the text is none. */
  | { readonly wrong: string }

function workOn(task: TextTask): TextWork[keyof TextWork]['gives'] {
  switch (task.kind) {
    case 'check':
      return checkText(task.dsl)
    case 'table':
      return readStoreText(task.tests, task.model, 'tests')
    default: {
      const json = readDsl(task.dsl)
      assertSmall(json)
      return task.kind === 'json' ? json : withMarks({ digest: digestOf(task.dsl), dsl: task.dsl, json })
    }
  }
}

function reply(task: TextTask): TextReply {
  try {
    return { value: workOn(task) }
  } catch (error) {
    const isSaid = error instanceof ModelSyntaxError || error instanceof StoreFileError
    // The libraries' own stumbling, over a stack that ends or too many aliases, is the text's doing.
    return { wrong: isSaid ? error.message : 'It cannot be read.' }
  }
}

parentPort?.on('message', (task: TextTask) => {
  // That all is loaded is said first: what this took is not the text's.
  parentPort?.postMessage({ ready: true } satisfies TextReply)
  parentPort?.postMessage(reply(task))
})
