import { parentPort } from 'node:worker_threads'
import { compileModel } from '@remit/engine'
import { refusedRows } from '../allow-list/findings.ts'
import { fitted, problemToText } from '../allow-list/problems.ts'
import { readAllowList } from '../allow-list/read.ts'
import { isTextError } from '../text-error.ts'
import { checkText, type ModelCheck } from './check.ts'
import { assertSmall, type ModelJson, readDsl } from './dsl.ts'
import type { Finding } from './invariants.ts'
import { readStoreText, type StoreFile } from './store-file.ts'
import { type ModelSource, withMarks } from './with-marks.ts'

/** What can be done with a text, and what comes of it. */
export interface TextWork {
  readonly json: { readonly dsl: string; readonly gives: ModelJson }
  readonly source: { readonly dsl: string; readonly gives: ModelSource }
  readonly check: { readonly dsl: string; readonly gives: ModelCheck }
  readonly allowList: { readonly allowList: string; readonly model: ModelJson; readonly gives: ListRead }
  readonly table: { readonly tests: string; readonly model: ModelJson; readonly gives: StoreFile }
}

/** An allow-list beside a model. */
export interface ListRead {
  /** Without what the model lacks. */
  readonly fitting: string
  /** What it lacks, line by line of the given text. */
  readonly lacking: readonly string[]
  /** Rows of `fitting` that may not come into force. */
  readonly refused: readonly Finding[]
}

/** What the thread that reads texts is asked. */
export type TextTask = {
  [Kind in keyof TextWork]: { readonly kind: Kind } & Omit<TextWork[Kind], 'gives'>
}[keyof TextWork]

/** What it answers. */
export type TextReply =
  | { readonly ready: true }
  | { readonly value: TextWork[keyof TextWork]['gives'] }
  /** Why the text is none. */
  | { readonly wrong: string }

function workOn(task: TextTask): TextWork[keyof TextWork]['gives'] {
  switch (task.kind) {
    case 'check':
      return checkText(task.dsl)
    case 'allowList': {
      const model = compileModel(task.model)
      const { text, dropped } = fitted(task.allowList, model)
      const lacking = dropped.map((problem) => problemToText(problem, 'allow_list'))
      return { fitting: text, lacking, refused: refusedRows(readAllowList(text), model) }
    }
    case 'table':
      return readStoreText(task.tests, task.model, 'tests')
    default: {
      const json = readDsl(task.dsl)
      assertSmall(json)
      return task.kind === 'json' ? json : withMarks({ dsl: task.dsl, json })
    }
  }
}

function reply(task: TextTask): TextReply {
  try {
    return { value: workOn(task) }
  } catch (error) {
    // The libraries' own stumbling, over a stack that ends or too many aliases, is the text's doing.
    return { wrong: isTextError(error) ? error.message : 'It cannot be read.' }
  }
}

parentPort?.on('message', (task: TextTask) => {
  // That all is loaded is said first: what this took is not the text's.
  parentPort?.postMessage({ ready: true } satisfies TextReply)
  parentPort?.postMessage(reply(task))
})
