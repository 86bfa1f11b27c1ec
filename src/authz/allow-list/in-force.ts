import { AppError } from '../../kernel/errors.ts'
import type { Sql } from '../../store/sql.ts'
import type { ActiveModel } from '../model/active.ts'
import { readPin } from '../model/pin.ts'
import { type AllowList, compileAllowList } from './allow-list.ts'

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

/**
 * Asked in the transaction that a change commits in: until its end no other model comes into force. Throws
 * `authorization_unavailable` where one did since the change was checked: another list may refuse it.
 */
export async function assertInForce(sql: Sql, { modelId }: Pick<AllowList, 'modelId'>): Promise<void> {
  if ((await readPin(sql, { lock: 'share' }))?.model_id !== modelId)
    throw new AppError('authorization_unavailable', { internal: 'model changed' })
}
