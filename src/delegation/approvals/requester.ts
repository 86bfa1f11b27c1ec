import { AppError } from '../../kernel/errors.ts'
import { splitObject } from '../../kernel/ids.ts'
import { outermostActor, type Principal } from '../../kernel/principal.ts'
import type { Requester } from './approval.ts'

/** Who asks, from a verified token: what is absent never decides. */
export function requesterOf(principal: Principal): Requester {
  const agent = outermostActor(principal)
  const { subject, client, delegation, txn } = principal
  if (agent === undefined || delegation === undefined)
    throw new AppError('actor_unauthorized', { internal: 'nobody asks for themself' })
  return { subject, agent: splitObject(agent).id, client, delegation, txn }
}
