import { compileModel } from '@remit/engine'
import { AppError } from '../../kernel/errors.ts'
import type { Sql } from '../../store/sql.ts'
import type { ActiveModel } from '../model/active.ts'
import type { ModelJson } from '../model/dsl.ts'
import { readPin } from '../model/pin.ts'
import { type AllowList, compileAllowList, type ListedModel } from './allow-list.ts'
import { fitted } from './fitted.ts'

/**
 * Gives the allow-list of the model in force. It throws `authorization_unavailable` while nobody knows which that is, and
 * where the list cannot be used.
 */
export function followAllowList(active: Pick<ActiveModel, 'current' | 'idInForce'>): () => AllowList {
  let known: AllowList | undefined
  return () => {
    const id = active.idInForce()
    if (known?.modelId !== id) known = compileAllowList(active.current)
    return known
  }
}

/** What of a version's list fits a changed model. Throws like {@link compileAllowList}, and AllowListError. */
export const allowListUnder = ({ id, allowList }: ListedModel, json: ModelJson): AllowList =>
  compileAllowList({ id, json, allowList: allowList && fitted(allowList, compileModel(json)).text })

/**
 * Asked in the transaction that a change commits in: until its end no other model comes into force. Throws
 * `authorization_unavailable` where one did since the change was checked: another list may refuse it.
 */
export async function assertInForce(sql: Sql, { modelId }: Pick<AllowList, 'modelId'>): Promise<void> {
  if ((await readPin(sql, { lock: 'share' }))?.model_id !== modelId)
    throw new AppError('authorization_unavailable', { internal: 'model changed' })
}
