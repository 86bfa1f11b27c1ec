import { createMemo, check as decide, type Memo } from '../../core/check.ts'
import type { JsonObject } from '../../core/condition-values.ts'
import { findForbidden } from '../../core/context.ts'
import { ConditionError, FgaError, invalidRequest } from '../../core/errors.ts'
import type { Model } from '../../core/model.ts'
import type { TupleKey } from '../../core/tuples.ts'
import { checkKey, checkTuple, type Misfit } from '../../core/validity.ts'
import type { StoreState } from '../state.ts'
import { type Call, modelOf, ok, type Reply } from './call.ts'
import { checkKeyOf, contextualOf, listMember, match, modelIdOf, objectMember, textMember } from './input.ts'

const checksMax = 50

interface Question {
  readonly key: TupleKey
  readonly contextualTuples: readonly TupleKey[]
  readonly context: JsonObject
}

const questionOf = (json: JsonObject, message: string): Question => ({
  key: checkKeyOf(json, message),
  contextualTuples: contextualOf(json),
  context: objectMember(json, 'context') ?? {},
})

/** Answers `POST /stores/{id}/check`. */
export function check(call: Call): Reply {
  const question = questionOf(call.body, 'CheckRequest')
  const { model, store } = modelOf(call, modelIdOf(call.body, 'CheckRequest'))
  return ok({ allowed: answer(call, model, store, question, createMemo()), resolution: '' })
}

/** One memo for the whole batch: groups and folders that several items lead to are looked at once. */
export function batchCheck(call: Call): Reply {
  const checks = listMember(call.body, 'checks')
  if (checks.length === 0)
    throw invalidRequest('invalid BatchCheckRequest.Checks: value must contain at least 1 item(s)')
  const questions = checks.map((check) => ({
    id: match(textMember(check, 'correlation_id'), /^[\w\d-]{1,36}$/, 'BatchCheckItem.CorrelationId'),
    question: questionOf(check, 'BatchCheckItem'),
  }))
  const { model, store } = modelOf(call, modelIdOf(call.body, 'BatchCheckRequest'))
  if (checks.length > checksMax)
    throw invalidRequest(`batchCheck received ${checks.length} checks, the maximum allowed is ${checksMax}`)
  const seenIds = new Set<string>()
  for (const { id } of questions) {
    if (seenIds.has(id)) throw invalidRequest(`received duplicate correlation id: ${id}`)
    seenIds.add(id)
  }
  const memo = createMemo()
  const result = questions.map(({ id, question }) => [
    id,
    single(() => answer(call, model, store, question, memo)),
  ])
  return ok({ result: Object.fromEntries(result) })
}

function single(ask: () => boolean): JsonObject {
  try {
    return { allowed: ask() }
  } catch (error) {
    if (error instanceof ConditionError)
      return { error: { input_error: 'validation_error', message: error.message } }
    if (error instanceof FgaError) return { error: { input_error: error.code, message: error.message } }
    throw error
  }
}

function answer(call: Call, model: Model, store: StoreState, question: Question, memo: Memo): boolean {
  const misfit = checkKey(model, question.key)
  if (misfit !== undefined) throw invalidRequest(`invalid relation: ${misfit.reason}`)
  const forbidden = findForbidden(question.context)
  if (forbidden !== undefined) throw invalidRequest(`invalid context: ${forbidden}`)
  for (const key of question.contextualTuples) assertContextual(key, checkTuple(model, key))
  const { user, relation, object } = question.key
  const { contextualTuples, context } = question
  return decide(
    model,
    store.tuples,
    { user, relation, object, contextualTuples, context },
    memo,
    call.depthMax,
  )
}

function assertContextual(key: TupleKey, misfit: Misfit | undefined): void {
  if (misfit === undefined) return
  throw new FgaError(
    'invalid_tuple',
    `Invalid tuple. Reason: invalid tuple: Invalid tuple '${key.object}#${key.relation}@${key.user}'. Reason: ${misfit.reason}`,
  )
}
