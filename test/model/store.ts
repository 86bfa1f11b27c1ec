import { embeddedUrl, openInMemory } from '../../src/authz/embedded.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import type { Question, StoreTest } from '../../src/authz/model/store-file.ts'
import { isSame, openTrial, RefusedError } from '../../src/authz/model/store-test.ts'
import { createFgaApi } from '../../src/authz/openfga.ts'
import { native } from '../support/native.ts'

export const engineApi = (): FgaApi =>
  createFgaApi({ apiUrl: embeddedUrl, timeoutMs: 10_000, adapter: openInMemory().adapter })

export function serverApi(): FgaApi {
  if (native.openfga === undefined) throw new Error('This test needs a real OpenFGA server.')
  return createFgaApi({ apiUrl: native.openfga.url, apiToken: native.openfga.token, timeoutMs: 10_000 })
}

/** Reads as a promise: `document:plan: user:anne has can_read`. */
export function titleOf(question: Question): string {
  const at = question.context === undefined ? '' : ` at ${String(question.context['current_time'])}`
  switch (question.kind) {
    case 'check': {
      const { object, user, relation, expected } = question
      return `${object}: ${user} ${expected ? 'has' : 'has not'} ${relation}${at}`
    }
    case 'list_objects': {
      const { user, relation, type, expected } = question
      return `${user} has ${relation} of ${expected.join(', ') || `no ${type}`}${at}`
    }
    case 'list_users': {
      const { object, relation, expected } = question
      return `${object}: ${relation} is of ${expected.join(', ') || 'nobody'}${at}`
    }
  }
}

/** What the model does not keep, in the order of the table; stops at the first. */
export async function firstBroken(dsl: string, table: readonly StoreTest[]): Promise<string | undefined> {
  const api = engineApi()
  const model = readDsl(dsl)
  for (const { name, tuples, questions } of table) {
    try {
      await using trial = await openTrial(api, model, tuples)
      for (const question of questions) {
        const got = await trial.ask(question)
        if (!isSame(got, question.expected)) return `${name}: ${titleOf(question)}`
      }
    } catch (error) {
      if (error instanceof RefusedError && error.what === 'tuples') return `${name}: ${error.message}`
      throw error
    }
  }
  return undefined
}
