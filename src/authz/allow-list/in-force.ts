import { compileModel } from '@remit/engine'
import { AppError } from '../../kernel/errors.ts'
import type { Sql } from '../../store/sql.ts'
import type { ActiveModel } from '../model/active.ts'
import type { ModelJson } from '../model/dsl.ts'
import { readPin } from '../model/pin.ts'
import type { Texts } from '../model/texts.ts'
import { TextError } from '../text-error.ts'
import {
  type AllowList,
  compileAllowList,
  createAllowList,
  type ListedModel,
  unusable,
} from './allow-list.ts'
import { readAllowList } from './read.ts'

/**
 * Gives the allow-list of the model in force. It throws `authorization_unavailable` while nobody knows which
 * that is, and where the list cannot be used.
 */
export function followAllowList(activeModel: Pick<ActiveModel, 'current' | 'idInForce'>): () => AllowList {
  let compiled: AllowList | undefined
  return () => {
    const id = activeModel.idInForce()
    if (compiled?.modelId !== id) compiled = compileAllowList(activeModel.current)
    return compiled
  }
}

/**
 * What of a version's list fits a changed model. Throws `authorization_unavailable` like
 * {@link compileAllowList}.
 */
export async function allowListUnder(
  { id, allowList }: ListedModel,
  json: ModelJson,
  texts: Pick<Texts, 'readAllowList'>,
): Promise<AllowList> {
  try {
    if (allowList === undefined) throw new TextError('there is none')
    const { fitting, refused: refusals } = await texts.readAllowList(allowList, json)
    if (refusals[0] !== undefined) throw new TextError(refusals[0].detail)
    return createAllowList(id, readAllowList(fitting), compileModel(json))
  } catch (error) {
    throw error instanceof TextError ? unusable(id, error) : error
  }
}

/**
 * Asked in the transaction that a change commits in: until its end no other model comes into force. Throws
 * `authorization_unavailable` where one did since the change was checked: another list may refuse it.
 */
export async function assertInForce(sql: Sql, { modelId }: Pick<AllowList, 'modelId'>): Promise<void> {
  if ((await readPin(sql, { lock: 'share' }))?.model_id !== modelId)
    throw new AppError('authorization_unavailable', { internal: 'model changed' })
}
