import { FgaApiError } from '@openfga/sdk'
import type { ModelAnswer } from '@remit/contract/model'
import { AppError } from '../../kernel/errors.ts'
import { splitObject } from '../../kernel/ids.ts'
import type { FgaApi } from '../fga-api.ts'
import type { ModelJson } from './dsl.ts'
import type { Question, StoreFile, StoreTuple } from './store-file.ts'

/** What a server says: a verdict, a list in alphabetical order, or why it says nothing. */
export type Answer = ModelAnswer

/** A question of a test, the answer to it, and whether it was the expected one. */
export interface QuestionResult {
  readonly question: Question
  readonly got: Answer
  readonly passed: boolean
}

/** A test's results, or why its tuples were refused. */
export interface TestResult {
  readonly name: string
  /** The server took the model but not the tuples; nothing was asked. */
  readonly refused?: string
  readonly results: readonly QuestionResult[]
}

/** A store that is made for one question after the other and removed at disposal. */
export interface Trial extends AsyncDisposable {
  ask(question: Question): Promise<Answer>
}

/** A server that refuses a model or tuples; its message says why. */
export class RefusedError extends Error {
  readonly what: 'model' | 'tuples'
  constructor(refusedInput: 'model' | 'tuples', cause: unknown) {
    super(cause instanceof Error ? messageOf(cause) : 'thrown value', { cause })
    this.name = 'RefusedError'
    this.what = refusedInput
  }
}

/** The 503 where a trial failed. Not with the error itself: the SDK's carry the request with its key. */
export const notTried = (what: string, error: unknown, detail?: string): AppError =>
  new AppError('authorization_unavailable', {
    ...(detail !== undefined && { public: detail }),
    internal: `${what}: ${error instanceof Error ? error.name : 'thrown value'}`,
  })

/**
 * Runs every test of a store file, each in a store of its own. Throws RefusedError for a model that is
 * refused.
 */
export async function testStoreFile(api: FgaApi, file: StoreFile): Promise<readonly TestResult[]> {
  const results: TestResult[] = []
  // One after the other: a server of one's own is small, and the answer is a report, not a page.
  for (const { name, tuples, questions } of file.tests) {
    try {
      await using trial = await openTrial(api, file.model, tuples)
      const questionResults = await Promise.all(
        questions.map(async (question) => {
          const got = await trial.ask(question)
          return { question, got, passed: isSame(got, question.expected) }
        }),
      )
      results.push({ name, results: questionResults })
    } catch (error) {
      if (!(error instanceof RefusedError) || error.what === 'model') throw error
      results.push({ name, refused: error.message, results: [] })
    }
  }
  return results
}

/** Opens a store with this model and these tuples. Throws RefusedError. */
export async function openTrial(
  api: FgaApi,
  model: ModelJson,
  tuples: readonly StoreTuple[],
): Promise<Trial> {
  const { id: store } = await api.createStore({ name: 'remit-trial' })
  const remove = async () => {
    await api.deleteStore(store)
  }
  try {
    const { authorization_model_id } = await refusing('model', api.writeAuthorizationModel(store, model))
    for (let offset = 0; offset < tuples.length; offset += writeMax) {
      const tuple_keys = tuples.slice(offset, offset + writeMax).map(({ condition, ...key }) => ({
        ...key,
        ...(condition && { condition }),
      }))
      await refusing('tuples', api.write(store, { authorization_model_id, writes: { tuple_keys } }))
    }
    return {
      ask: (question) => ask(api, store, authorization_model_id, question),
      [Symbol.asyncDispose]: remove,
    }
  } catch (error) {
    await remove()
    throw error
  }
}

/** Whether an answer is the expected one; the order of the expected list does not count. */
export function isSame(got: Answer, expected: boolean | readonly string[]): boolean {
  if (typeof expected === 'boolean') return got === expected
  return Array.isArray(got) && JSON.stringify(got) === JSON.stringify(expected.toSorted())
}

const writeMax = 100

async function ask(api: FgaApi, store: string, model: string, question: Question): Promise<Answer> {
  const common = {
    authorization_model_id: model,
    ...(question.context !== undefined && { context: question.context }),
  }
  try {
    switch (question.kind) {
      case 'check': {
        const { user, relation, object } = question
        const { allowed } = await api.check(store, { ...common, tuple_key: { user, relation, object } })
        return allowed ?? { error: 'no answer' }
      }
      case 'list_objects': {
        const { user, relation, type } = question
        return (await api.listObjects(store, { ...common, user, relation, type })).objects.toSorted()
      }
      case 'list_users': {
        const { object, relation, filter } = question
        const { users } = await api.listUsers(store, {
          ...common,
          object: splitObject(object),
          relation,
          user_filters: [filter],
        })
        return users.map(userOf).toSorted()
      }
    }
  } catch (error) {
    if (error instanceof FgaApiError) return { error: messageOf(error) }
    throw error
  }
}

type ListedUser = Awaited<ReturnType<FgaApi['listUsers']>>['users'][number]

function userOf({ object, userset, wildcard }: ListedUser): string {
  if (wildcard) return `${wildcard.type}:*`
  if (userset) return `${userset.type}:${userset.id}#${userset.relation}`
  return `${object?.type ?? ''}:${object?.id ?? ''}`
}

async function refusing<T>(refusedInput: RefusedError['what'], call: Promise<T>): Promise<T> {
  try {
    return await call
  } catch (error) {
    if (error instanceof FgaApiError && error.statusCode === 400) throw new RefusedError(refusedInput, error)
    throw error
  }
}

/** The server's own words; the SDK puts its own in front. */
export function messageOf(error: Error): string {
  const { responseData } = error as { responseData?: { readonly message?: unknown } }
  return typeof responseData?.message === 'string' ? responseData.message : error.message
}
